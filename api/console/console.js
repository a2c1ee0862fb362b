// The console: submits jobs to /v1 and shows those that this browser has submitted, from localStorage.

const STORE = "darkroom.jobs";
const KEPT = 60;
const POLL_MS = 700;
const SLOW_POLL_MS = 4000;
const OPEN = new Set(["queued", "running"]);
const STATES = {
  queued: "Waiting for a runtime",
  running: "Developing",
  failed: "Failed",
  cancelled: "Cancelled",
  expired: "Expired before it started",
  gone: "No longer kept",
};

const form = document.querySelector("#job");
const list = document.querySelector("#jobs");
const template = document.querySelector("#card");
const fields = form.elements;
const cards = new Map();
let runtimes = [];
let jobs = load();

function load() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? [];
  } catch {
    return [];
  }
}

function save() {
  jobs = jobs.slice(0, KEPT);
  localStorage.setItem(STORE, JSON.stringify(jobs));
  document.querySelector("#empty").hidden = jobs.length > 0;
}

function say(text) {
  document.querySelector("#news").textContent = text;
}

function complain(text) {
  document.querySelector("#problem").textContent = text;
}

/** Asks the API; the error's text is the problem's detail, its status the answer's (0: no answer). */
async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw Object.assign(new Error("The API cannot be reached."), { status: 0 });
  }
  const document = await answer.json().catch(() => ({}));
  if (answer.ok) return document;
  throw Object.assign(new Error(document.detail ?? document.message ?? `The API answered ${answer.status}.`), {
    status: answer.status,
  });
}

async function loadRuntimes() {
  try {
    const all = (await ask("v1/runtimes")).runtimes;
    runtimes = all.filter((each) => each.tasks.includes("text-to-image"));
  } catch (error) {
    complain(error.message);
    setTimeout(loadRuntimes, SLOW_POLL_MS);
    return;
  }
  const chosen = fields.runtime.value;
  fields.runtime.replaceChildren(
    ...runtimes.map((each) => new Option(each.model ? `${each.name} · ${each.model}` : each.name, each.name)),
  );
  if (runtimes.some((each) => each.name === chosen)) fields.runtime.value = chosen;
  if (runtimes.length === 0) {
    fields.runtime.replaceChildren(new Option("No runtime draws from a prompt yet", ""));
    setTimeout(loadRuntimes, SLOW_POLL_MS);
  }
  showModel();
}

function showModel() {
  const dynamic = runtimes.find((each) => each.name === fields.runtime.value)?.dynamic ?? false;
  document.querySelector("#model").hidden = !dynamic;
  fields.model.disabled = !dynamic;
}

/** Returns a new id: made here, so that a request whose answer was lost can be repeated. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function submit(event) {
  event.preventDefault();
  complain("");
  const [width, height] = fields.size.value.split("x").map(Number);
  const body = {
    id: newId(),
    runtime: fields.runtime.value,
    input: {
      prompt: fields.prompt.value.trim(),
      steps: Number(fields.steps.value),
      width,
      height,
      seed: fields.seed.value === "" ? -1 : Number(fields.seed.value),
    },
  };
  if (!fields.model.disabled && fields.model.value.trim()) body.model = fields.model.value.trim();
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await ask("v1/jobs", options).catch((error) => (error.status === 0 ? ask("v1/jobs", options) : Promise.reject(error)));
    const job = { ...body, status: "queued", asked: Date.now() };
    jobs.unshift(job);
    save();
    list.prepend(card(job));
    cards.get(job.id).scrollIntoView({ block: "nearest" });
    say("Job accepted.");
    follow(job);
  } catch (error) {
    complain(error.message);
  } finally {
    button.disabled = false;
  }
}

/** Fills the form with what a job asked for, and the seed that it got. */
function again(job) {
  const { prompt, width, height, steps } = job.input;
  const size = `${width}x${height}`;
  fields.prompt.value = prompt;
  fields.steps.value = steps;
  fields.seed.value = job.seed ?? "";
  if ([...fields.size.options].some((option) => option.value === size)) fields.size.value = size;
  if (runtimes.some((each) => each.name === job.runtime)) fields.runtime.value = job.runtime;
  fields.model.value = job.model ?? "";
  showModel();
  form.scrollIntoView({ block: "nearest" });
  fields.prompt.focus();
}

function forget(job) {
  jobs = jobs.filter((each) => each !== job);
  save();
  cards.get(job.id).remove();
  cards.delete(job.id);
  fields.prompt.focus();
}

function card(job) {
  const item = template.content.cloneNode(true).querySelector("li");
  item.querySelector(".prompt").textContent = job.input.prompt;
  item.querySelector(".again").addEventListener("click", () => again(job));
  item.querySelector(".forget").addEventListener("click", () => forget(job));
  cards.set(job.id, item);
  show(job, { status: job.status });
  return item;
}

/** Brings a job's card up to date with its state. */
function show(job, state) {
  const item = cards.get(job.id);
  if (!item) return;
  const progress = state.progress;
  const image = item.querySelector("img");
  const picture = state.images?.[0]?.url;
  const source = picture ?? progress?.preview;
  item.dataset.status = state.status;
  if (source && image.getAttribute("src") !== source) image.src = source;
  image.hidden = !image.hasAttribute("src");
  image.alt = picture ? job.input.prompt : "";
  item.querySelector(".picture").toggleAttribute("href", Boolean(picture));
  if (picture) item.querySelector(".picture").href = picture;

  const eta = progress?.eta_s ? `, ${Math.ceil(progress.eta_s)} s to go` : "";
  item.querySelector(".state").textContent =
    state.status === "succeeded" ? (picture ? "" : state.images ? "No picture" : "Loading…") : `${STATES[state.status]}${eta}`;
  const bar = item.querySelector("progress");
  bar.hidden = state.status !== "running";
  if (progress) bar.value = progress.progress;
  else bar.removeAttribute("value");

  const { width, height, steps, seed } = job.input;
  const seconds = state.timings?.inference;
  item.querySelector(".facts").textContent = [
    job.model ?? job.runtime,
    `${width} × ${height}`,
    progress?.step && progress.steps ? `step ${progress.step} of ${progress.steps}` : `${steps} steps`,
    `seed ${job.seed ?? (seed < 0 ? "random" : seed)}`,
    seconds ? `${seconds.toFixed(1)} s` : "",
  ]
    .filter(Boolean)
    .map((fact) => fact.replaceAll(" ", "\u00a0")) // lines break between facts only
    .join(" · ");
  const reason = item.querySelector(".reason");
  reason.hidden = !state.error;
  reason.textContent = state.error?.message ?? "";
}

/** Asks for a job's state until it has ended, less often the longer it takes and while nobody looks. */
async function follow(job) {
  for (;;) {
    let state;
    try {
      state = await ask(`v1/jobs/${job.id}`);
    } catch (error) {
      if (error.status === 404) state = { status: "gone" };
    }
    if (!jobs.includes(job)) return;
    if (state) {
      if (state.seeds?.length) job.seed = state.seeds[0];
      if (job.status !== state.status) {
        if (OPEN.has(job.status) && !OPEN.has(state.status)) say(`${job.input.prompt}: ${state.status}`);
        job.status = state.status;
        save();
      }
      show(job, state);
      if (!OPEN.has(state.status)) return;
    }
    const patient = !state || document.hidden || (state.status === "queued" && Date.now() - job.asked > 60_000);
    await new Promise((resolve) => setTimeout(resolve, patient ? SLOW_POLL_MS : POLL_MS));
  }
}

form.addEventListener("submit", submit);
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
fields.runtime.addEventListener("change", showModel);

list.append(...jobs.map(card));
save();
jobs.forEach(follow);
loadRuntimes();
