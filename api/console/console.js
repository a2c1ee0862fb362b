// The console: a form that submits jobs, and a gallery of all that there are.

import { listRuntimes } from "./api.js";
import * as form from "./form.js";
import { Gallery } from "./gallery.js";
import * as key from "./key.js";
import * as queues from "./queues.js";

const REFRESH_MS = 5000;

const trouble = document.querySelector("#trouble");
const gallery = new Gallery({ again: form.fill, start: form.startFrom, say });
let timer;

function say(text) {
  document.querySelector("#news").textContent = text;
}

/** Asks for everything that others may have changed. */
async function refresh() {
  clearTimeout(timer);
  try {
    const [runtimes] = await Promise.all([listRuntimes(), gallery.refresh()]);
    form.offer(runtimes);
    queues.show(runtimes);
    trouble.textContent = "";
  } catch (problem) {
    if (problem.status === 403) key.request();
    else trouble.textContent = problem.message;
  }
  timer = setTimeout(() => (document.hidden ? (timer = undefined) : refresh()), REFRESH_MS);
}

key.open(refresh);
form.open((job) => {
  gallery.add(job);
  gallery.reveal(job.id);
  say("Job accepted.");
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && timer === undefined) refresh();
});
refresh();
