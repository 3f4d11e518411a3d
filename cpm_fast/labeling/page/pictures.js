// Pictures fetched ahead: the one shown and its neighbors, few, so that memory stays flat.
import { getImage, getPicture } from "./api.js";

const KEPT = 5;

export class Pictures {
  constructor() { this.waiting = new Map(); }

  // A promise of the bitmap; the last used stay.
  image(number) {
    let found = this.waiting.get(number);
    this.waiting.delete(number);
    if (!found) {
      found = getImage(number);
      found.catch(() => this.waiting.delete(number));
    }
    this.waiting.set(number, found);
    while (this.waiting.size > KEPT) {
      const [oldest, promise] = this.waiting.entries().next().value;
      this.waiting.delete(oldest);
      promise.then((bitmap) => bitmap.close(), () => {});
    }
    return found;
  }

  labels(number) { return getPicture(number); }
}
