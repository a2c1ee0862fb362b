// One job of the gallery.

const STATES = {
  queued: "Waiting for a runtime",
  running: "Developing",
  failed: "Failed",
  cancelled: "Cancelled",
  expired: "Expired before it started",
};
const VIDEO = /\.(webm|mp4)$/i;
const template = document.querySelector("#card");

export const isOpen = (job) => job.status === "queued" || job.status === "running";

/** Returns what a job asked for, as far as it is known: what the console sent along, or what the server told. */
export function askedFor(job) {
  const asked = job.context?.asked ?? {};
  const told = { ...job.parameters };
  delete told.init_images; // its images are left out of what the server told
  return { runtime: job.runtime, model: asked.model, input: asked.input ?? (told.prompt === undefined ? undefined : told) };
}

export function title(job) {
  const { input } = askedFor(job);
  return input?.prompt || (job.task === "pipeline" ? `Workflow ${job.id}` : job.id);
}

/** A card; `actions` are `again`, `start` and `cancel`, each called with the job. */
export class Card {
  constructor(job, actions) {
    this.element = template.content.cloneNode(true).querySelector("li");
    this.job = job;
    for (const [name, act] of Object.entries(actions)) {
      this.#one(`.${name}`).addEventListener("click", () => act(this.job));
    }
    this.show(job);
  }

  #one(selector) {
    return this.element.querySelector(selector);
  }

  /** Brings the card up to date; a list knows less of a job than the job itself. */
  show(job) {
    this.job = job = { ...this.job, ...job };
    const name = title(job);
    this.element.dataset.status = job.status;
    this.element.dataset.id = job.id;
    this.#one(".prompt").textContent = name;
    this.#one(".prompt").title = name;
    this.#showPictures(name);
    this.#one(".state").textContent = this.#state();
    const bar = this.#one("progress");
    bar.hidden = job.status !== "running";
    if (job.progress) bar.value = job.progress.progress;
    else bar.removeAttribute("value");
    this.#one(".facts").replaceChildren(...facts(job));
    const reason = this.#one(".reason");
    reason.hidden = !job.error || job.status === "cancelled";
    reason.textContent = job.error?.message ?? "";
    const cancel = this.#one(".cancel");
    cancel.hidden = !isOpen(job);
    cancel.disabled = Boolean(job.cancel_requested_at);
    this.#one(".start").hidden = !(job.images?.[0]?.url && job.task !== "pipeline" && !VIDEO.test(job.images[0].s3));
    for (const button of this.element.querySelectorAll(".actions button")) {
      button.setAttribute("aria-label", `${button.textContent}: ${name}`);
    }
  }

  #state() {
    const { status, images, queue, progress, cancel_requested_at: cancelled } = this.job;
    if (status === "succeeded") return images?.length ? "" : "No picture";
    if (cancelled && isOpen(this.job)) return "Being cancelled";
    if (status === "queued" && queue?.waiting > 1) return `Waiting, about ${queue.waiting} in the queue`;
    if (status === "running" && progress?.eta_s) return `Developing, ${Math.ceil(progress.eta_s)} s to go`;
    return STATES[status] ?? status;
  }

  #showPictures(name) {
    const { images = [], progress, status } = this.job;
    const done = images.filter((each) => each.url);
    const preview = status === "running" && progress?.preview ? [{ url: progress.preview, s3: "preview" }] : [];
    const wanted = done.length ? done : preview;
    const box = this.#one(".pictures");
    box.dataset.count = wanted.length;
    const links = [...box.querySelectorAll("a")];
    if (links.length !== wanted.length || links.some((link, place) => link.dataset.s3 !== wanted[place].s3)) {
      links.forEach((link) => link.remove());
      box.prepend(...wanted.map(framed));
    }
    [...box.querySelectorAll("a")].forEach((link, place) => {
      const { url } = wanted[place];
      const media = link.firstChild;
      const number = wanted.length > 1 ? `, ${place + 1} of ${wanted.length}` : "";
      if (done.length) link.href = url;
      if (media.tagName === "IMG") media.alt = done.length ? name + number : "";
      // A new link to the same picture is no reason to load it again.
      if (!done.length || !media.src || media.dataset.broken) media.src = url;
    });
  }
}

function framed({ s3 }) {
  const link = document.createElement("a");
  link.target = "_blank";
  link.rel = "noopener";
  link.dataset.s3 = s3;
  const media = document.createElement(VIDEO.test(s3) ? "video" : "img");
  if (media.tagName === "VIDEO") Object.assign(media, { controls: true, loop: true, muted: true, preload: "metadata" });
  media.addEventListener("error", () => (media.dataset.broken = "true"));
  media.addEventListener("load", () => delete media.dataset.broken);
  link.append(media);
  return link;
}

function facts(job) {
  const { input = {}, model } = askedFor(job);
  const { progress } = job;
  const seed = job.seeds?.[0] ?? (input.seed >= 0 ? input.seed : undefined);
  const seconds = job.timings?.inference;
  const told = [
    model || job.runtime,
    input.width && `${input.width} × ${input.height}`,
    progress?.step && progress.steps && job.status === "running"
      ? `step ${progress.step} of ${progress.steps}`
      : input.steps && `${input.steps} steps`,
    seed !== undefined && `seed ${seed}`,
    seconds && `${seconds.toFixed(1)} s`,
  ].filter(Boolean);
  const nodes = [document.createTextNode(told.map((fact) => fact.replaceAll(" ", "\u00a0")).join(" · "))];
  if (job.created_at) {
    const time = document.createElement("time");
    time.dateTime = job.created_at;
    time.textContent = new Date(job.created_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    nodes.push(time);
  }
  return nodes;
}
