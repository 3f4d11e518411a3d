// The labels of one picture: subjects that are never changed in place, so that undo is keeping old lists.
let lastId = 0;
const HISTORY = 500;

export const newSubject = (parts) => ({ id: ++lastId, points: Array(parts).fill(null), box: null, taken: false });
const withId = (subject) => ({ taken: false, ...subject, id: ++lastId });

export class Labels {
  constructor(picture) {
    this.undone = [];
    this.done = [];
    this.accept(picture);
    this.subjects = picture.subjects.map(withId);
    this.saved = this.subjects;
    this.state = ["labeled", "corrected", "empty"].includes(picture.state) ? picture.state : null;
    this.savedState = this.state;
  }

  // Note what the server holds now.
  accept(picture) {
    this.revision = picture.revision;
    this.predictions = picture.predictions;
    this.warnings = picture.warnings;
  }

  get dirty() { return this.subjects !== this.saved || this.state !== this.savedState; }

  change(subjects, state) {
    this.done.push([this.subjects, this.state]);
    if (this.done.length > HISTORY) this.done.shift();
    this.undone = [];
    this.subjects = subjects;
    this.state = state ?? this.stateOf(subjects);
  }

  stateOf(subjects) {
    if (!subjects.length) return null;
    return this.state === "corrected" || subjects.some((subject) => subject.taken) ? "corrected" : "labeled";
  }

  undo() { return this.step(this.done, this.undone); }
  redo() { return this.step(this.undone, this.done); }

  step(from, to) {
    if (!from.length) return false;
    to.push([this.subjects, this.state]);
    [this.subjects, this.state] = from.pop();
    return true;
  }

  // The change to send to the server; `row` says which saved subject each subject was.
  toChange() {
    const subjects = this.subjects.map(({ id, points, box }) => {
      const row = this.saved.findIndex((other) => other.id === id);
      return { points, box, row: row < 0 ? null : row };
    });
    return { base: this.revision, subjects, state: this.state };
  }

  // Take over subjects that were merged with somebody else's, as a change that undo doesn't reach beyond.
  rebase(picture, subjects) {
    this.accept(picture);
    const theirs = picture.subjects.map(withId);
    const known = new Set(this.subjects.map((subject) => subject.id));
    this.subjects = subjects.map((subject) => (known.has(subject.id) ? subject : withId(subject)));
    this.saved = theirs;
    this.savedState = undefined;
    this.state = this.stateOf(this.subjects);
    this.done = [];
    this.undone = [];
  }
}

export function replaced(subjects, place, changes) {
  return subjects.map((subject, i) => (i === place ? { ...subject, ...changes } : subject));
}

export function withPoint(subjects, place, part, point) {
  return replaced(subjects, place, { points: subjects[place].points.map((old, p) => (p === part ? point : old)) });
}

// Which prediction belongs to which subject: by the distance of their common parts, each once.
// Returns { of: prediction per subject or -1, open: predictions that belong to nobody }.
export function assign(subjects, predictions) {
  const pairs = [];
  subjects.forEach((subject, s) => predictions.forEach((prediction, k) => {
    let sum = 0, count = 0;
    subject.points.forEach((point, p) => {
      const other = prediction.points[p];
      if (point && other) { sum += Math.hypot(point[0] - other[0], point[1] - other[1]); count += 1; }
    });
    if (!count && subject.box) {
      const inside = prediction.points.filter((q) => q && q[0] >= subject.box[0] && q[0] <= subject.box[2]
        && q[1] >= subject.box[1] && q[1] <= subject.box[3]).length;
      if (inside) { sum = 1e6 / inside; count = 1; }
    }
    if (count) pairs.push([sum / count, s, k]);
  }));
  const of = subjects.map(() => -1);
  const open = new Set(predictions.keys());
  pairs.sort((a, b) => a[0] - b[0]).forEach(([, s, k]) => {
    if (of[s] < 0 && open.has(k)) { of[s] = k; open.delete(k); }
  });
  subjects.forEach((subject, s) => { // a subject without anything takes the first that is free
    if (of[s] < 0 && open.size && !subject.box && subject.points.every((point) => !point)) {
      of[s] = Math.min(...open);
      open.delete(of[s]);
    }
  });
  return { of, open: [...open] };
}
