// Two sets of changes to the same labels brought together, part by part.
const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
const content = (subject) => [subject.points, subject.box];

// For each subject of `before`, the place in `after` of what became of it, or -1.
function match(before, after) {
  const free = new Set(after.keys());
  const places = before.map((subject) => {
    const place = [...free].find((j) => same(content(subject), content(after[j])));
    if (place === undefined) return -1;
    free.delete(place);
    return place;
  });
  if (after.length >= before.length) {
    places.forEach((place, i) => {
      if (place < 0 && free.has(i)) { places[i] = i; free.delete(i); }
    });
  }
  return { places, added: [...free] };
}

// Args: lists of subjects { points, box }; prefer "mine" or "theirs" decides where both changed the same thing.
// Returns the merged subjects and how many things both changed differently.
export function merge(base, mine, theirs, prefer = "mine") {
  let conflicts = 0;
  const pick = (before, left, right) => {
    if (same(left, right) || same(right, before)) return left;
    if (same(left, before)) return right;
    conflicts += 1;
    return prefer === "mine" ? left : right;
  };
  const ours = match(base, mine);
  const others = match(base, theirs);
  const subjects = [];
  base.forEach((before, i) => {
    const left = mine[ours.places[i]];
    const right = theirs[others.places[i]];
    if (left && right) {
      const points = before.points.map((point, p) => pick(point, left.points[p], right.points[p]));
      subjects.push({ ...left, points, box: pick(before.box, left.box, right.box) });
    } else if (left || right) {
      const kept = left || right;
      if (same(content(kept), content(before))) return; // one removed it, the other did not touch it
      conflicts += 1;
      if ((prefer === "mine") === Boolean(left)) subjects.push(kept);
    }
  });
  ours.added.forEach((i) => subjects.push(mine[i]));
  others.added.forEach((i) => {
    if (!ours.added.some((j) => same(content(mine[j]), content(theirs[i])))) subjects.push(theirs[i]);
  });
  return { subjects, conflicts };
}
