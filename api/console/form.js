// The form: what is asked for, as a job, and a job as the form's fields.

import { Problem, submit } from "./api.js";
import { StartImage } from "./image.js";

// What a job carries along for "again"; more would only make its messages large.
const MOST_REMEMBERED = 32 * 1024;

const form = document.querySelector("#job");
const fields = form.elements;
const image = new StartImage(fields);
let runtimes = [];

/** Shows the form; `accepted` is called with each job that was. */
export function open(accepted) {
  fields.runtime.addEventListener("change", adapt);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("[type=submit]");
    if (button.getAttribute("aria-disabled") === "true") return;
    clear();
    button.setAttribute("aria-disabled", "true"); // `disabled` would lose the focus
    try {
      const job = await asked();
      accepted({ ...job, ...(await submit(job)) });
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      complain(problem);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
}

/** Offers these runtimes. */
export function offer(found) {
  const label = (each) => (each.model ? `${each.name} · ${each.model}` : each.name);
  const wanted = found.map((each) => [each.name, label(each)]);
  const shown = [...fields.runtime.options].map((option) => [option.value, option.text]);
  runtimes = found;
  if (JSON.stringify(wanted) === JSON.stringify(shown)) return;
  const chosen = fields.runtime.value;
  const options = wanted.map(([name, text]) => new Option(text, name));
  fields.runtime.replaceChildren(...(options.length ? options : [new Option("There is no runtime yet", "")]));
  if (found.some((each) => each.name === chosen)) fields.runtime.value = chosen;
  adapt();
}

/** Fills the form with what a job asked for. */
export function fill({ runtime, model, input }) {
  clear();
  if (runtimes.some((each) => each.name === runtime)) fields.runtime.value = runtime;
  adapt();
  fields.model.value = model ?? "";
  if (isPipeline()) {
    fields.workflow.value = input ? JSON.stringify(input, null, 2) : "";
  } else if (input) {
    fields.prompt.value = input.prompt ?? "";
    fields.negative_prompt.value = input.negative_prompt ?? "";
    fields.steps.value = input.steps ?? 20;
    fields.seed.value = input.seed >= 0 ? input.seed : "";
    fields.batch_size.value = input.batch_size ?? 1;
    chooseSize(input.width ?? 512, input.height ?? 512);
    if (input.denoising_strength) fields.denoising_strength.value = input.denoising_strength;
    image.keep(input.init_images?.[0] ?? "");
  }
  show();
}

/** Starts the next picture from one that is in the bucket. */
export function startFrom(s3) {
  image.keep(s3);
  show();
}

function show() {
  form.scrollIntoView({ block: "nearest" });
  (isPipeline() ? fields.workflow : fields.prompt).focus();
}

function chooseSize(width, height) {
  const size = `${width}x${height}`;
  if (![...fields.size.options].some((option) => option.value === size)) {
    fields.size.add(new Option(`${width} × ${height}`, size));
  }
  fields.size.value = size;
}

const chosen = () => runtimes.find((each) => each.name === fields.runtime.value);
const isPipeline = () => chosen()?.type === "comfyui";

/** Shows the fields that the chosen runtime has a use for. */
function adapt() {
  const pipeline = isPipeline();
  for (const [id, wanted] of [["drawing", !pipeline], ["pipeline", pipeline]]) {
    const fieldset = document.querySelector(`#${id}`);
    fieldset.hidden = fieldset.disabled = !wanted;
  }
  const dynamic = chosen()?.dynamic ?? false;
  document.querySelector("#model").hidden = fields.model.disabled = !dynamic;
}

async function asked() {
  const runtime = fields.runtime.value;
  const model = fields.model.disabled ? "" : fields.model.value.trim();
  const job = { runtime, ...(model && { model }), input: isPipeline() ? workflow() : drawing() };
  if (!isPipeline() && image.isThere) {
    const reference = await image.reference();
    job.task = "image-to-image";
    job.input = { ...job.input, init_images: [reference], denoising_strength: Number(fields.denoising_strength.value) };
  }
  const { input } = job;
  const kept = input.init_images?.[0].startsWith("data:") ? { ...input, init_images: undefined } : input;
  const context = { asked: { model: job.model, input: kept } };
  return JSON.stringify(context).length <= MOST_REMEMBERED ? { ...job, context } : job;
}

function drawing() {
  const [width, height] = fields.size.value.split("x").map(Number);
  return {
    prompt: fields.prompt.value.trim(),
    negative_prompt: fields.negative_prompt.value.trim(),
    width,
    height,
    steps: Number(fields.steps.value),
    batch_size: Number(fields.batch_size.value),
    seed: fields.seed.value === "" ? -1 : Number(fields.seed.value),
  };
}

function workflow() {
  const refuse = (message) => new Problem(422, message, [{ path: "input", message }]);
  let graph;
  try {
    graph = JSON.parse(fields.workflow.value);
  } catch (error) {
    throw refuse(`This is not JSON: ${error.message}`);
  }
  if (graph === null || typeof graph !== "object" || Array.isArray(graph)) throw refuse("A workflow is a JSON object.");
  return graph.prompt && !graph.prompt.class_type ? graph.prompt : graph; // as ComfyUI's own API takes it
}

/** Says each problem beside the field that it is about, and the rest below the form. */
function complain(problem) {
  const rest = [];
  const places = [...form.querySelectorAll("[data-paths]:enabled")];
  for (const { path, message } of problem.errors) {
    const field = places.find(({ dataset }) => dataset.paths.split(" ").some((each) => path === each || path.startsWith(`${each}.`)));
    if (!field) {
      rest.push(path ? `${path}: ${message}` : message);
      continue;
    }
    const place = field.dataset.paths.split(" ").find((each) => path.startsWith(each));
    const text = path === place ? message : `${path.slice(place.length + 1)}: ${message}`;
    note(field, text);
  }
  if (!problem.errors.length) rest.push(problem.message);
  document.querySelector("#problem").textContent = rest.join("\n");
  form.querySelector("[aria-invalid]")?.focus();
}

function note(field, text) {
  let line = document.querySelector(`#wrong-${field.name}`);
  if (!line) {
    line = document.createElement("p");
    line.id = `wrong-${field.name}`;
    line.className = "wrong";
    field.closest("label").after(line);
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", line.id);
  }
  line.textContent = [line.textContent, text].filter(Boolean).join("\n");
}

function clear() {
  document.querySelector("#problem").textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
    document.querySelector(`#wrong-${field.name}`).remove();
  }
}
