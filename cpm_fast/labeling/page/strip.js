// All pictures in the current order: a map of their states, and small pictures about the one that is shown.
import { thumbAddress } from "./api.js";

// CELL: width of a small picture and the gap behind it, as style.css has them.
const CELL = 93, GAP = 5, MAX_LOADED = 300;

export class Strip {
  constructor(strip, map, go) {
    this.strip = strip; this.map = map; this.go = go; this.cells = new Map();
    map.addEventListener("click", (event) => {
      const share = event.offsetX / map.clientWidth;
      go(this.order[Math.min(this.order.length - 1, Math.floor(share * this.order.length))]);
    });
    strip.addEventListener("wheel", (event) => { event.preventDefault(); go(null, Math.sign(event.deltaY || event.deltaX)); }, { passive: false });
  }

  draw(order, states, number, names) {
    this.order = order;
    this.drawMap(order, states, number);
    const at = order.indexOf(number);
    const room = Math.max(3, Math.floor((this.strip.clientWidth + GAP) / CELL));
    const first = Math.max(0, Math.min(at - (room >> 1), order.length - room));
    const wanted = order.slice(first, first + room);
    const figures = wanted.map((n) => this.cell(n, states[n], n === number, names[n]));
    this.strip.replaceChildren(...figures);
    for (const key of this.cells.keys()) {
      if (this.cells.size <= MAX_LOADED) break;
      if (!wanted.includes(key)) this.cells.delete(key);
    }
  }

  cell(number, state, on, name) {
    let figure = this.cells.get(number);
    if (!figure) {
      figure = document.createElement("figure");
      const image = new Image();
      image.decoding = "async"; image.loading = "lazy"; image.alt = ""; image.src = thumbAddress(number);
      const title = document.createElement("b");
      title.textContent = String(number + 1);
      figure.append(image, title, document.createElement("span"));
      figure.addEventListener("click", () => this.go(number));
      this.cells.set(number, figure);
    }
    figure.title = `${name}: ${state}`;
    figure.classList.toggle("on", on);
    figure.lastChild.className = state;
    return figure;
  }

  drawMap(order, states, number) {
    const { map } = this;
    const ratio = devicePixelRatio || 1;
    map.width = Math.round(map.clientWidth * ratio); map.height = Math.round(map.clientHeight * ratio);
    const c = map.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`);
    const colors = Object.fromEntries(["untouched", "predicted", "corrected", "labeled", "empty"].map((s) => [s, color(s)]));
    const width = map.width / order.length;
    order.forEach((n, i) => { // of pictures that share a pixel the labeled one shows
      if (width < 1 && states[n] === "untouched") return;
      c.fillStyle = colors[states[n]];
      const left = Math.round(i * width), gap = width > 4 * ratio ? Math.round(ratio) : 0;
      c.fillRect(left, 0, Math.max(1, Math.round((i + 1) * width) - left - gap), map.height);
    });
    if (width < 1) {
      c.globalCompositeOperation = "destination-over";
      c.fillStyle = colors.untouched; c.fillRect(0, 0, map.width, map.height);
      c.globalCompositeOperation = "source-over";
    }
    c.fillStyle = color("ink");
    c.fillRect(Math.max(0, (order.indexOf(number) + 0.5) * width - ratio), 0, Math.max(2 * ratio, Math.min(width, 3 * ratio)), map.height);
  }
}
