// The image that a picture starts from: a file of this machine, or one that is in the bucket already.

import { Problem, upload } from "./api.js";

// A job may be 6 MiB, of which base64 takes four thirds.
const MOST_EMBEDDED_BYTES = 4 * 1024 * 1024;

export class StartImage {
  #fields;
  #kept = "";

  constructor(fields) {
    this.#fields = fields;
    fields.image.addEventListener("change", () => this.keep(""));
    document.querySelector("#kept button").addEventListener("click", () => {
      this.keep("");
      fields.image.focus();
    });
  }

  get isThere() {
    return Boolean(this.#kept || this.#fields.image.files.length);
  }

  /** Starts from what is at an `s3://` URL; "" for nothing. */
  keep(s3) {
    this.#kept = s3;
    if (s3) this.#fields.image.value = "";
    const line = document.querySelector("#kept");
    line.hidden = !s3;
    line.querySelector("span").textContent = s3 ? `Starts from ${s3.slice(s3.lastIndexOf("/", s3.lastIndexOf("/") - 1) + 1)}` : "";
    document.querySelector("#strength").hidden = !this.isThere;
  }

  /** Returns what a job's input calls the image: its place in the bucket, or the image itself where it cannot get there. */
  async reference() {
    if (this.#kept) return this.#kept;
    const [file] = this.#fields.image.files;
    try {
      return await upload(file);
    } catch (problem) {
      if (problem.status !== 0) throw new Problem(problem.status, `The image: ${problem.message}`);
      if (file.size > MOST_EMBEDDED_BYTES) throw problem;
      return embedded(file);
    }
  }
}

function embedded(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Problem(0, "The image cannot be read.")));
    reader.readAsDataURL(file);
  });
}
