// The page's state and actions; pointer, keys and panel call the actions.
import { predict } from "./api.js";
import { Labels, assign, newSubject, replaced, withPoint } from "./labels.js";
import { Pictures } from "./pictures.js";
import { partColors } from "./view.js";

const REMEMBERED = 50;

export class App {
  constructor(folder, view, hooks) {
    this.folder = folder; this.view = view; this.hooks = hooks; // hooks: draw(), message(text), touch(number, labels)
    this.names = folder.pictures; this.states = folder.states; this.uncertainty = folder.uncertainty;
    this.skeleton = folder.skeleton; this.parts = this.skeleton.names.length;
    this.colors = partColors(this.parts);
    const place = (part) => this.skeleton.names.indexOf(part);
    this.limbs = this.skeleton.limbs.map(([a, b]) => [place(a), place(b)]);
    this.pictures = new Pictures();
    this.known = new Map();
    this.order = [...this.names.keys()]; this.orderBy = "name";
    this.number = -1; this.subject = 0; this.part = 0;
    this.boxMode = false; this.showNames = true; this.labels = null; this.ready = false;
  }

  // --- which picture -------------------------------------------------------------------------------------------------

  async show(number) {
    if (number === this.number && this.labels) return;
    const started = performance.now();
    this.number = number; this.ready = false; this.boxMode = false;
    try {
      const [picture, bitmap] = await Promise.all([this.pictures.labels(number), this.pictures.image(number)]);
      if (this.number !== number) return;
      this.labels = this.remembered(number, picture);
      this.view.show(bitmap);
    } catch (error) {
      if (this.number !== number) return;
      this.labels = null; this.view.bitmap = null;
      this.hooks.message(`${this.names[number]}: ${error.message}`);
      this.hooks.draw();
      return;
    }
    this.hooks.message("");
    this.subject = 0;
    this.part = this.firstFree(0);
    this.ready = true;
    this.hooks.draw();
    this.shownMs = performance.now() - started;
    this.ahead();
  }

  ahead() {
    const at = this.order.indexOf(this.number);
    for (const step of [1, -1, 2]) {
      const next = this.order[at + step];
      if (next !== undefined) this.pictures.image(next).catch(() => {});
    }
  }

  remembered(number, picture) {
    let labels = this.known.get(number);
    if (labels && (labels.revision === picture.revision || labels.dirty)) {
      labels.predictions = picture.predictions;
    } else labels = new Labels(picture);
    this.known.delete(number);
    this.known.set(number, labels);
    for (const [key, old] of this.known) {
      if (this.known.size <= REMEMBERED) break;
      if (!old.dirty) this.known.delete(key);
    }
    return labels;
  }

  step(by) {
    const next = this.order[this.order.indexOf(this.number) + by];
    if (next !== undefined) this.show(next);
  }

  nextUnlabeled() {
    const at = this.order.indexOf(this.number);
    const rest = [...this.order.slice(at + 1), ...this.order.slice(0, at)];
    const next = rest.find((n) => ["untouched", "predicted"].includes(this.states[n]));
    if (next === undefined) this.hooks.message("every picture is labeled");
    else this.show(next);
  }

  sort(by) {
    this.orderBy = by;
    const doubt = (n) => (["untouched", "predicted"].includes(this.states[n]) ? this.uncertainty[n] ?? -1 : -2);
    this.order = [...this.names.keys()];
    if (by === "uncertainty") this.order.sort((a, b) => doubt(b) - doubt(a) || a - b);
    this.hooks.draw();
  }

  // --- labels --------------------------------------------------------------------------------------------------------

  get subjects() { return this.labels ? this.labels.subjects : []; }

  change(subjects, state) {
    if (!this.labels) return;
    this.labels.change(subjects, state);
    this.afterChange();
  }

  afterChange() {
    this.subject = Math.max(0, Math.min(this.subject, this.subjects.length - 1));
    this.hooks.touch(this.number, this.labels);
    this.hooks.draw();
  }

  undo() { if (this.labels?.undo()) this.afterChange(); }
  redo() { if (this.labels?.redo()) this.afterChange(); }

  firstFree(from) {
    const points = this.subjects[this.subject]?.points;
    if (!points) return 0;
    for (let i = 0; i < this.parts; i++) if (!points[(from + i) % this.parts]) return (from + i) % this.parts;
    return Math.min(from, this.parts - 1);
  }

  choose(subject, part) {
    this.subject = subject;
    this.part = part ?? this.firstFree(0);
    this.hooks.draw();
  }

  cyclePart(by) { this.part = (this.part + by + this.parts) % this.parts; this.hooks.draw(); }
  cycleSubject() { if (this.subjects.length) this.choose((this.subject + 1) % this.subjects.length); }

  addSubject() {
    const last = this.subjects[this.subjects.length - 1];
    if (last && !last.box && last.points.every((p) => !p)) { this.choose(this.subjects.length - 1, 0); return; }
    this.subject = this.subjects.length; // it comes into being with its first point or box
    this.part = 0;
    this.hooks.draw();
  }

  // The subjects, with a new one at the end where the active one is not there yet.
  begun() {
    return this.subject < this.subjects.length ? this.subjects : [...this.subjects, newSubject(this.parts)];
  }

  place(at, hidden = false) {
    const subjects = this.begun();
    const subject = Math.min(this.subject, subjects.length - 1);
    if (subjects[subject].points[this.part]) {
      const free = this.firstFree(this.part);
      if (subjects[subject].points[free]) { this.hooks.message("every part is placed; N begins the next subject"); return false; }
      this.part = free;
    }
    const [x, y] = this.view.clamped(at);
    this.subject = subject;
    this.change(withPoint(subjects, subject, this.part, [x, y, hidden ? 1 : 2]));
    this.part = this.firstFree(this.part);
    this.hooks.draw();
    return true;
  }

  move(part, at) {
    const old = this.subjects[this.subject]?.points[part];
    if (!old) return;
    const [x, y] = this.view.clamped(at);
    this.change(withPoint(this.subjects, this.subject, part, [x, y, old[2]]));
  }

  nudge(dx, dy) {
    const old = this.subjects[this.subject]?.points[this.part];
    if (old) this.move(this.part, [old[0] + dx, old[1] + dy]);
  }

  remove(subject = this.subject, part = this.part) {
    if (!this.subjects[subject]?.points[part]) return;
    const subjects = withPoint(this.subjects, subject, part, null);
    const bare = !subjects[subject].box && subjects[subject].points.every((point) => !point);
    this.change(bare ? subjects.filter((_, i) => i !== subject) : subjects);
    this.part = part;
    this.hooks.draw();
  }

  removeSubject() {
    if (this.subject < this.subjects.length) this.change(this.subjects.filter((_, i) => i !== this.subject));
    this.part = this.firstFree(0);
    this.hooks.draw();
  }

  toggleHidden() {
    const point = this.subjects[this.subject]?.points[this.part];
    if (point) this.change(withPoint(this.subjects, this.subject, this.part, [point[0], point[1], point[2] === 1 ? 2 : 1]));
  }

  swapSides() {
    const subject = this.subjects[this.subject];
    if (!subject || !this.skeleton.pairs.length) return;
    this.change(replaced(this.subjects, this.subject, { points: this.skeleton.mirror.map((p) => subject.points[p]) }));
  }

  setBox(box) {
    const subjects = this.begun();
    this.subject = Math.min(this.subject, subjects.length - 1);
    this.change(replaced(subjects, this.subject, { box }));
  }

  removeBox() {
    const subject = this.subjects[this.subject];
    if (!subject?.box) return;
    if (subject.points.every((point) => !point)) this.removeSubject();
    else this.change(replaced(this.subjects, this.subject, { box: null }));
  }

  toggleBoxMode() { this.boxMode = !this.boxMode; this.hooks.draw(); }

  markEmpty() {
    if (this.labels) this.change([], this.labels.state === "empty" ? null : "empty");
  }

  // --- predictions ---------------------------------------------------------------------------------------------------

  // The figures to draw: labeled subjects with their missing parts as predicted, and subjects that are only predicted.
  figures() {
    if (!this.labels) return [];
    const { predictions } = this.labels;
    const { of, open } = assign(this.subjects, predictions);
    const dim = [];
    this.subjects.forEach((subject, s) => {
      if (of[s] < 0) return;
      const points = predictions[of[s]].points.map((point, p) => (subject.points[p] ? null : point));
      dim.push({ points, box: null, dim: true, active: s === this.subject, index: s, prediction: of[s] });
    });
    for (const k of open) dim.push({ points: predictions[k].points, box: null, dim: true, active: false, index: -1, prediction: k });
    const solid = this.subjects.map((subject, s) => ({ ...subject, dim: false, active: s === this.subject, index: s }));
    return this.labels.state === "empty" ? solid : [...dim, ...solid];
  }

  // Take over all missing parts of the active subject; with `all`, of every subject.
  accept(all = false) {
    if (!this.labels) return;
    const { predictions } = this.labels;
    let subjects = this.begun();
    let { of, open } = assign(subjects, predictions);
    if (all) {
      subjects = [...subjects, ...open.map(() => newSubject(this.parts))];
      of = [...of, ...open];
    } else if (of[this.subject] === -1 && open.length) of[this.subject] = open[0];
    let taken = 0;
    subjects = subjects.map((subject, s) => {
      if (of[s] < 0 || (!all && s !== this.subject)) return subject;
      const points = subject.points.map((point, p) => {
        const other = predictions[of[s]].points[p];
        if (point || !other) return point;
        taken += 1;
        return [...this.view.clamped(other), 2];
      });
      return { ...subject, points, taken: true };
    });
    if (!taken) { this.hooks.message(predictions.length ? "nothing is left to take over" : "there is no prediction"); return; }
    this.change(subjects.filter((subject) => subject.box || subject.points.some(Boolean)));
    this.part = this.firstFree(0);
    this.hooks.draw();
  }

  // Take over one predicted part, where it is drawn; the subject it goes to becomes active.
  take(figure, part) {
    let subjects = this.subjects;
    if (figure.index < 0) {
      subjects = [...subjects, newSubject(this.parts)];
      this.subject = subjects.length - 1;
    } else this.subject = figure.index;
    const [x, y] = this.view.clamped(figure.points[part]);
    this.part = part;
    this.change(replaced(withPoint(subjects, this.subject, part, [x, y, 2]), this.subject, { taken: true }));
  }

  acceptPart() {
    const figure = this.figures().find((f) => f.dim && (f.active || f.index < 0) && f.points[this.part]);
    if (!figure) { this.hooks.message("this part has no prediction"); return; }
    const { part } = this;
    this.take(figure, part);
    this.part = this.firstFree(part);
    this.hooks.draw();
  }

  async predict() {
    if (!this.folder.model) { this.hooks.message("there is no network; start cpm-fast label with --model"); return; }
    const { number, labels } = this;
    this.hooks.message("asking the network …");
    try {
      const { points } = await predict(number, this.subjects[this.subject]?.box ?? null);
      this.hooks.message("");
      if (this.labels !== labels || !points.some(Boolean)) return;
      const own = assign(this.subjects, labels.predictions).of[this.subject] ?? -1;
      const others = labels.predictions.filter((_, k) => k !== own);
      labels.predictions = [{ points }, ...others];
      this.hooks.draw();
    } catch (error) { this.hooks.message(error.message); }
  }
}
