// The picture and the marks on it: zoom, pan, drawing, and what lies under the pointer.
// A pixel's center is at whole coordinates: image (0, 0) is the middle of the first pixel.
const DOT = 5.5, NEAR = 10, LARGEST_ZOOM = 60, FONT = "12px system-ui, sans-serif";

export const partColors = (count) => Array.from({ length: count }, (_, i) => {
  const hue = (i * 137.508 + 12) % 360;
  return `hsl(${hue.toFixed(1)} 82% ${[60, 52, 68][i % 3]}%)`;
});

export class View {
  constructor(stage, pixels, marks) {
    this.stage = stage; this.pixels = pixels; this.marks = marks;
    this.scale = 1; this.x = 0; this.y = 0; this.fitted = true; this.bitmap = null;
  }

  get width() { return this.stage.clientWidth; }
  get height() { return this.stage.clientHeight; }

  resize() {
    const ratio = devicePixelRatio || 1;
    for (const canvas of [this.pixels, this.marks]) {
      canvas.width = Math.round(this.width * ratio);
      canvas.height = Math.round(this.height * ratio);
    }
    if (this.fitted) this.fit();
  }

  show(bitmap) {
    const kept = this.bitmap && !this.fitted && bitmap.width === this.bitmap.width && bitmap.height === this.bitmap.height;
    this.bitmap = bitmap;
    if (!kept) this.fit();
  }

  fit() {
    this.fitted = true;
    if (!this.bitmap) return;
    this.scale = Math.min((this.width - 24) / this.bitmap.width, (this.height - 24) / this.bitmap.height);
    this.x = (this.width - this.bitmap.width * this.scale) / 2;
    this.y = (this.height - this.bitmap.height * this.scale) / 2;
  }

  zoom(factor, at = [this.width / 2, this.height / 2]) {
    const smallest = 0.5 * Math.min(1, this.width / this.bitmap.width, this.height / this.bitmap.height);
    const scale = Math.min(LARGEST_ZOOM, Math.max(smallest, this.scale * factor));
    this.x = at[0] - ((at[0] - this.x) * scale) / this.scale;
    this.y = at[1] - ((at[1] - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
  }

  pan(dx, dy) { this.x += dx; this.y += dy; this.fitted = false; }

  toScreen([x, y]) { return [(x + 0.5) * this.scale + this.x, (y + 0.5) * this.scale + this.y]; }
  toImage([x, y]) { return [(x - this.x) / this.scale - 0.5, (y - this.y) / this.scale - 0.5]; }

  // Within the picture, in hundredths of a pixel, as the table has them.
  clamped([x, y]) {
    const within = (value, size) => Math.round(100 * Math.min(size - 0.5, Math.max(-0.5, value))) / 100;
    return [within(x, this.bitmap.width), within(y, this.bitmap.height)];
  }

  contains([x, y]) {
    return x >= -0.5 && y >= -0.5 && x <= this.bitmap.width - 0.5 && y <= this.bitmap.height - 0.5;
  }

  drawPixels() {
    const c = this.begin(this.pixels);
    if (!this.bitmap) return;
    c.imageSmoothingEnabled = this.scale < 2.5;
    c.imageSmoothingQuality = "high";
    c.drawImage(this.bitmap, this.x, this.y, this.bitmap.width * this.scale, this.bitmap.height * this.scale);
  }

  begin(canvas) {
    const c = canvas.getContext("2d");
    const ratio = devicePixelRatio || 1;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, this.width, this.height);
    return c;
  }

  // figures: { points, box, dim, active, index } in drawing order; style: colors, limbs, names, part, showNames.
  drawMarks(figures, style) {
    const c = this.begin(this.marks);
    if (!this.bitmap) return;
    this.stage.dataset.view = JSON.stringify([this.scale, this.x, this.y]);
    for (const figure of figures) this.drawFigure(c, figure, style);
    if (style.showNames) this.drawNames(c, figures, style);
    if (style.draft) this.drawBox(c, style.draft, true, "");
  }

  drawFigure(c, figure, style) {
    c.globalAlpha = figure.dim ? 0.5 : figure.active ? 1 : 0.75;
    if (figure.box) this.drawBox(c, figure.box, figure.active, String(figure.index + 1));
    for (const [a, b] of style.limbs) {
      const [p, q] = [figure.points[a], figure.points[b]];
      if (!p || !q) continue;
      const ends = [this.toScreen(p), this.toScreen(q)];
      for (const [width, color] of [[4.5, "#0008"], [2, figure.dim ? "#fff" : style.colors[b]]]) {
        c.beginPath();
        c.setLineDash(figure.dim ? [4, 5] : []);
        c.moveTo(...ends[0]); c.lineTo(...ends[1]);
        c.lineWidth = figure.dim && width > 2 ? 3 : width; c.strokeStyle = color; c.stroke();
      }
    }
    c.setLineDash([]);
    figure.points.forEach((point, part) => point && this.drawPoint(c, figure, point, part, style));
    c.globalAlpha = 1;
  }

  drawPoint(c, figure, point, part, style) {
    const [x, y] = this.toScreen(point);
    const chosen = figure.active && part === style.part && !figure.dim;
    const hidden = !figure.dim && point[2] === 1;
    const radius = figure.dim ? DOT - 1.5 : chosen ? DOT + 1.5 : DOT;
    c.beginPath(); c.arc(x, y, radius, 0, 2 * Math.PI);
    c.lineWidth = 4; c.strokeStyle = "#000a"; c.stroke();
    c.fillStyle = hidden ? "#0009" : style.colors[part]; c.fill();
    c.lineWidth = chosen ? 2.5 : 1.8; c.strokeStyle = hidden ? style.colors[part] : chosen ? "#fff" : "#ffffffd0"; c.stroke();
    if (chosen) { c.beginPath(); c.arc(x, y, radius + 4.5, 0, 2 * Math.PI); c.lineWidth = 1.5; c.strokeStyle = "#fff"; c.stroke(); }
  }

  // Names of the parts of the active subject and of predictions. One of several names that would cover each
  // other is drawn: the chosen part's before others, the active subject's before those of predictions.
  drawNames(c, figures, style) {
    const rank = ({ figure, part }) => (figure.dim ? 2 : part === style.part ? 0 : 1);
    const named = figures.filter((figure) => figure.active || figure.dim).flatMap((figure) =>
      figure.points.flatMap((point, part) => (point ? [{ figure, part, at: this.toScreen(point) }] : [])));
    const taken = [];
    c.font = FONT;
    for (const name of named.sort((a, b) => rank(a) - rank(b))) {
      const text = style.names[name.part], [x, y] = [name.at[0] + DOT + 6.5, name.at[1] - 7];
      const place = [x, y - 11, x + c.measureText(text).width, y + 3];
      if (taken.some((other) => place[0] < other[2] && other[0] < place[2] && place[1] < other[3] && other[1] < place[3])) continue;
      taken.push(place);
      c.globalAlpha = name.figure.dim ? 0.7 : 1;
      this.drawText(c, text, x, y);
    }
    c.globalAlpha = 1;
  }

  drawText(c, text, x, y) {
    c.font = FONT; c.lineJoin = "round";
    c.lineWidth = 3.5; c.strokeStyle = "#000c"; c.strokeText(text, x, y);
    c.fillStyle = "#fff"; c.fillText(text, x, y);
  }

  drawBox(c, box, active, title) {
    const [x0, y0] = this.toScreen([box[0], box[1]]), [x1, y1] = this.toScreen([box[2], box[3]]);
    c.lineWidth = 4; c.strokeStyle = "#0007"; c.strokeRect(x0, y0, x1 - x0, y1 - y0);
    c.lineWidth = 1.8; c.strokeStyle = active ? "#ffd54a" : "#fffc"; c.strokeRect(x0, y0, x1 - x0, y1 - y0);
    if (active) for (const [x, y] of [[x0, y0], [x1, y0], [x0, y1], [x1, y1]]) {
      c.fillStyle = "#ffd54a"; c.fillRect(x - 4, y - 4, 8, 8); c.lineWidth = 1; c.strokeStyle = "#000a"; c.strokeRect(x - 4, y - 4, 8, 8);
    }
    if (title) this.drawText(c, title, x0 + 4, y0 - 6);
  }

  // The figure and part nearest to a place on the screen, or null; the active subject wins ties, predictions lose them.
  pointAt(at, figures) {
    let best = null;
    figures.forEach((figure, f) => figure.points.forEach((point, part) => {
      if (!point) return;
      const [x, y] = this.toScreen(point);
      const distance = Math.hypot(x - at[0], y - at[1]) + (figure.dim ? 2 : figure.active ? -1 : 0);
      if (distance < NEAR && (!best || distance < best.distance)) best = { distance, figure: f, part };
    }));
    return best;
  }

  // Which sides of a box a place on the screen holds: [x side, y side] of 0, 2 / 1, 3 or null; null where none.
  edgeAt(at, box) {
    if (!box) return null;
    const [x0, y0] = this.toScreen([box[0], box[1]]), [x1, y1] = this.toScreen([box[2], box[3]]);
    const near = (a, b) => Math.abs(a - b) < 7;
    const within = at[0] > x0 - 7 && at[0] < x1 + 7 && at[1] > y0 - 7 && at[1] < y1 + 7;
    if (!within) return null;
    const sides = [near(at[0], x0) ? 0 : near(at[0], x1) ? 2 : null, near(at[1], y0) ? 1 : near(at[1], y1) ? 3 : null];
    return sides[0] === null && sides[1] === null ? null : sides;
  }
}
