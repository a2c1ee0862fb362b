// The gallery: all jobs, newest first, as the API lists them, and each followed until it has ended.

import { cancelJob, getJob, listJobs } from "./api.js";
import { Card, askedFor, isOpen, title } from "./card.js";

const PAGE = 24;
const POLL_MS = 700;
const SLOW_POLL_MS = 4000;
// So many are followed at full speed; the more there are, the less often each is asked after.
const AT_FULL_SPEED = 4;
const RENEW_BEFORE_MS = 60_000;

export class Gallery {
  #list = document.querySelector("#jobs");
  #more = document.querySelector("#more");
  #cards = new Map();
  #followed = new Set();
  #cursor; // undefined until there was a page, null behind the last
  #actions;
  #say;

  /** `again` is called with what a job asked for, `start` with a picture's place, `say` with news. */
  constructor({ again, start, say }) {
    this.#say = say;
    this.#actions = {
      again: (job) => again(this.#repeated(job)),
      start: (job) => start(job.images[0].s3),
      cancel: (job) => this.#cancel(job),
    };
    this.#more.addEventListener("click", () => this.#showMore());
  }

  /** Shows the newest jobs: those that are not shown yet, above the others. */
  async refresh() {
    const page = await listJobs("", PAGE);
    const isNew = (job) => !this.#cards.has(job.id);
    if (this.#cursor === undefined) {
      this.#continueAt(page.cursor);
    } else if (page.cursor && page.jobs.every(isNew)) {
      // There is a gap between these and what is shown: as if the page were opened anew.
      this.#cards.clear();
      this.#list.replaceChildren();
      this.#continueAt(page.cursor);
    }
    for (const job of page.jobs.filter(isNew).reverse()) this.add(job);
    for (const job of page.jobs) this.#update(job);
    document.querySelector("#empty").hidden = this.#cards.size > 0;
  }

  /** Shows a job, among the others by its age. */
  add(job) {
    if (this.#cards.has(job.id)) return;
    const next = [...this.#list.children].find((item) => made(this.#cards.get(item.dataset.id).job) <= made(job));
    this.#list.insertBefore(this.#card(job), next ?? null);
    document.querySelector("#empty").hidden = true;
    this.#follow(job.id);
  }

  /** Scrolls to a job. */
  reveal(id) {
    this.#cards.get(id)?.element.scrollIntoView({ block: "nearest" });
  }

  #card(job) {
    const card = new Card(job, this.#actions);
    this.#cards.set(job.id, card);
    this.#renew(card);
    return card.element;
  }

  async #showMore() {
    let page;
    try {
      page = await listJobs(this.#cursor, PAGE);
    } catch (problem) {
      document.querySelector("#trouble").textContent = problem.message;
      return;
    }
    const older = page.jobs.filter((job) => !this.#cards.has(job.id));
    this.#list.append(...older.map((job) => this.#card(job)));
    older.forEach((job) => this.#follow(job.id));
    this.#continueAt(page.cursor);
    const first = older.length && this.#cards.get(older[0].id).element.querySelector(".again");
    if (first) first.focus({ preventScroll: true }); // the button is elsewhere now, or gone
    this.#say(`${older.length} older jobs.`);
  }

  #continueAt(cursor) {
    this.#cursor = cursor;
    this.#more.hidden = !cursor;
  }

  #update(job) {
    const card = this.#cards.get(job.id);
    if (!card) return;
    const before = card.job;
    if (!isOpen(before) && isOpen(job)) return; // older news
    card.show(job);
    if (isOpen(before) && !isOpen(job)) {
      this.#say(`${title(card.job)}: ${job.status}${job.status === "failed" ? `, ${job.error?.message}` : ""}`);
      this.#renew(card);
    }
  }

  /** Asks for a job until it has ended, less often while nobody looks. */
  async #follow(id) {
    const going = () => this.#cards.has(id) && isOpen(this.#cards.get(id).job);
    if (!going() || this.#followed.has(id)) return;
    this.#followed.add(id);
    let slow = false;
    while (going()) {
      const crowd = Math.max(1, this.#followed.size / AT_FULL_SPEED);
      await pause(slow || document.hidden ? SLOW_POLL_MS : POLL_MS * crowd);
      try {
        this.#update(await getJob(id));
        slow = false;
      } catch (problem) {
        if (problem.status === 404) break; // its record has expired
        slow = true;
      }
    }
    this.#followed.delete(id);
  }

  /** Sees to it that links work as long as the page is open: those to pictures expire. */
  #renew(card) {
    const expires = card.job.images?.[0]?.expires_at;
    if (!expires) return;
    const left_ms = Math.max(new Date(expires) - Date.now() - RENEW_BEFORE_MS, RENEW_BEFORE_MS);
    setTimeout(async () => {
      if (this.#cards.get(card.job.id) !== card) return;
      card.show(await getJob(card.job.id).catch(() => ({})));
      this.#renew(card);
    }, left_ms);
  }

  async #cancel(job) {
    try {
      this.#update(await cancelJob(job.id));
      this.#say(`${title(job)}: being cancelled`);
    } catch (problem) {
      document.querySelector("#trouble").textContent = problem.message;
    }
  }

  /** Returns what a job asked for, with the seed that it got: the same picture once more. */
  #repeated(job) {
    const asked = askedFor(job);
    const seed = job.seeds?.[0];
    return seed === undefined || !asked.input || job.task === "pipeline" ? asked : { ...asked, input: { ...asked.input, seed } };
  }
}

/** When a job was made; those that do not know it are the newest. */
function made(job) {
  return Date.parse(job.created_at ?? "") || Infinity;
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
