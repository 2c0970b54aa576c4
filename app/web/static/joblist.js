// The jobs that a list holds, in the server's order: fetched a page at a time, kept as they are now.

import { call } from "./api.js";

const PAGE = 100;

export class JobList {
  constructor() {
    this.jobs = [];
    this.isKnown = false;
    this.next = null;
    this.tail = null;
    this.query = new URLSearchParams();
    this.generation = 0;
    this.isLoading = false;
  }

  /** Whether there are more jobs than those that are held. */
  get isPart() {
    return this.next !== null;
  }

  /** Begin anew with what `query` asks for; false where something newer was asked for meanwhile. */
  async restart(query) {
    const own = ++this.generation;
    this.query = query;
    const page = await call(this.address());
    if (own !== this.generation) return false;
    this.jobs = page.items;
    this.next = page.next_cursor;
    this.tail = null;
    this.isKnown = true;
    return true;
  }

  /** The next page; false where there is nothing new. */
  async more() {
    if (this.isLoading || !this.isPart) return false;
    this.isLoading = true;
    try {
      return await this.append(this.next);
    } finally {
      this.isLoading = false;
    }
  }

  async append(cursor) {
    const own = this.generation;
    const page = await call(this.address({ cursor }));
    if (own !== this.generation) return false;
    const known = new Set(this.jobs.map((job) => job.id));
    this.jobs.push(...page.items.filter((job) => !known.has(job.id)));
    this.next = page.next_cursor;
    this.tail = cursor;
    return true;
  }

  /** The first page as it is now, and of the jobs beyond it those from `first` to `end`, which are in view. */
  async refresh(first, end) {
    const own = this.generation;
    const head = await call(this.address());
    if (own !== this.generation) return false;
    this.merge(head);
    // Where all are held, new ones may have come behind the last.
    if (!this.isPart && this.tail && !(await this.append(this.tail))) return false;
    const inHead = new Set(head.items.map((job) => job.id));
    const beyond = this.jobs.slice(first, end).map((job) => job.id).filter((id) => !inHead.has(id));
    if (!beyond.length) return true;
    const page = await call(this.address({ id: beyond }));
    if (own !== this.generation) return false;
    const fresh = new Map(page.items.map((job) => [job.id, job]));
    const asked = new Set(beyond);
    this.jobs = this.jobs.filter((job) => !asked.has(job.id) || fresh.has(job.id)).map((job) => fresh.get(job.id) ?? job);
    return true;
  }

  /** Put the first page in place of all jobs up to its last one that was known. */
  merge(head) {
    const place = new Map(this.jobs.map((job, index) => [job.id, index]));
    const last = head.items.findLast((job) => place.has(job.id));
    if (!head.next_cursor || !last) {
      this.jobs = head.items;
      this.next = head.next_cursor;
      this.tail = null;
      return;
    }
    const inHead = new Set(head.items.map((job) => job.id));
    const rest = this.jobs.slice(place.get(last.id) + 1).filter((job) => !inHead.has(job.id));
    if (!rest.length) this.next = head.next_cursor;
    this.jobs = [...head.items, ...rest];
  }

  address(more = {}) {
    const query = new URLSearchParams(this.query);
    query.set("view", "summary");
    query.set("limit", PAGE);
    for (const [name, value] of Object.entries(more)) {
      for (const one of [value].flat()) query.append(name, one);
    }
    return `/v1/jobs?${query}`;
  }
}
