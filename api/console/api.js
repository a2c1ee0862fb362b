// Asks the API: with the key of this tab, where there is one, and with its problems as errors.

const STORE = "darkroom.key";
const HEADER = "X-API-Key";

/** What the API refused, or that it could not be asked: `status` is 0 then. `errors` has each problem's path and message. */
export class Problem extends Error {
  constructor(status, detail, errors = []) {
    super(detail);
    this.status = status;
    this.errors = errors;
  }
}

export const key = {
  get: () => sessionStorage.getItem(STORE),
  set: (value) => sessionStorage.setItem(STORE, value),
  forget: () => sessionStorage.removeItem(STORE),
};

/** Returns what the API answers to a request, whose `body` is sent as JSON; throws a Problem. */
export async function ask(path, { method = "GET", body } = {}) {
  const headers = { Accept: "application/json" };
  if (key.get()) headers[HEADER] = key.get();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, "The API cannot be reached.");
  }
  const document = await answer.json().catch(() => ({}));
  if (answer.ok) return document;
  const detail = document.detail ?? document.message ?? `The API answered ${answer.status}.`;
  throw new Problem(answer.status, detail, document.errors);
}

/** Submits a job. Its id is made here, so that a request whose answer was lost can be repeated as it was. */
export async function submit(job) {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const request = { method: "POST", body: { id, ...job } };
  try {
    return await ask("v1/jobs", request);
  } catch (problem) {
    if (problem.status !== 0) throw problem;
    return ask("v1/jobs", request);
  }
}

export const listJobs = (cursor, limit) =>
  ask(`v1/jobs?limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
export const getJob = (id) => ask(`v1/jobs/${encodeURIComponent(id)}`);
export const cancelJob = (id) => ask(`v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
export const listRuntimes = async () => (await ask("v1/runtimes")).runtimes;

/** Puts a file where jobs can read it, and returns what they call it. Throws a Problem when the bucket cannot be reached. */
export async function upload(file) {
  const place = await ask("v1/uploads", { method: "POST", body: { content_type: file.type, size: file.size } });
  let answer;
  try {
    answer = await fetch(place.url, { method: place.method, headers: place.headers, body: file });
  } catch {
    throw new Problem(0, "The bucket takes nothing from this page: its CORS rules must allow PUT from here.");
  }
  if (!answer.ok) throw new Problem(answer.status, `The bucket answered ${answer.status}.`);
  return place.s3;
}
