// Every change goes to the server at once; what could not be sent yet is kept in the browser.
import { putPicture, getPicture, Refused } from "./api.js";
import { Labels } from "./labels.js";
import { merge } from "./merge.js";

const RETRY_MS = 1500;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const plain = (subjects) => subjects.map(({ points, box }) => ({ points, box }));

export class Saver {
  // hooks: status(kind, text), saved(number, labels), merged(number), choose(count) -> "mine" or "theirs".
  constructor(folder, names, hooks) {
    this.prefix = `draft:${folder}:`;
    this.names = names; this.hooks = hooks; this.waiting = new Map(); this.running = false;
  }

  touch(number, labels) {
    this.waiting.set(number, labels);
    this.keepDraft(number, labels);
    if (!this.running) this.run();
  }

  async run() {
    this.running = true;
    while (this.waiting.size) {
      const [number, labels] = this.waiting.entries().next().value;
      if (!labels.dirty) { this.forget(number); continue; }
      this.hooks.status("waiting", "saving");
      try {
        await this.send(number, labels);
      } catch (error) {
        if (error instanceof Refused && error.status < 500) {
          this.waiting.delete(number);
          this.hooks.status("bad", `not saved: ${error.message}`);
          this.running = false;
          return;
        }
        this.hooks.status("bad", error instanceof Refused ? `not saved: ${error.message}` : "not saved: server gone");
        await pause(RETRY_MS);
      }
    }
    this.running = false;
    this.hooks.status("", "saved");
  }

  async send(number, labels) {
    const { subjects, state } = labels;
    const { saved, conflict } = await putPicture(number, labels.toChange());
    if (saved) {
      labels.accept(saved);
      labels.saved = subjects;
      labels.savedState = state;
      this.hooks.saved(number, labels, saved.state);
      return;
    }
    const sides = [labels.saved, labels.subjects, conflict.subjects];
    let merged = merge(...sides);
    if (merged.conflicts) merged = merge(...sides, await this.hooks.choose(merged.conflicts));
    labels.rebase(conflict, merged.subjects);
    this.hooks.merged(number);
  }

  forget(number) {
    this.waiting.delete(number);
    try { localStorage.removeItem(this.prefix + this.names[number]); } catch { /* storage may be switched off */ }
  }

  keepDraft(number, labels) {
    const draft = { saved: plain(labels.saved), subjects: plain(labels.subjects), state: labels.state };
    try { localStorage.setItem(this.prefix + this.names[number], JSON.stringify(draft)); } catch { /* full or switched off */ }
  }

  // Send what an earlier page could not, for instance because the server was killed.
  async recover() {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(this.prefix));
    for (const key of keys) {
      const number = this.names.indexOf(key.slice(this.prefix.length));
      if (number < 0) continue;
      const draft = JSON.parse(localStorage.getItem(key));
      const picture = await getPicture(number);
      const labels = new Labels(picture);
      labels.rebase(picture, merge(draft.saved, draft.subjects, picture.subjects).subjects);
      if (draft.state && !labels.subjects.length) labels.state = draft.state;
      this.waiting.set(number, labels);
    }
    if (keys.length && !this.running) await this.run();
    return keys.length;
  }
}
