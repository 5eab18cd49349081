// Looking closer: which part of the picture the views show, the same part in all of them.
import { explorerOf } from "./dom";
import { whenAttached } from "./schedule";

const MOST = 32;

export class Zoom {
  /** How many times larger, and the share of the picture at the left and upper edge. */
  scale = 1;
  x = 0;
  y = 0;

  constructor(private readonly changed: () => void) {}

  /** Enlarge by a factor, with what lies at (u, v), shares of the view, staying where it is. */
  by(factor: number, u = 0.5, v = 0.5): void {
    const [x, y] = this.under(u, v);
    this.scale = Math.min(MOST, Math.max(1, this.scale * factor));
    this.look(x - u / this.scale, y - v / this.scale);
  }

  /** Move what is shown by shares of the view. */
  pan(u: number, v: number): void {
    this.look(this.x - u / this.scale, this.y - v / this.scale);
  }

  /** Show the same part as another. */
  as(other: { scale: number; x: number; y: number }): void {
    if (other.scale === this.scale && other.x === this.x && other.y === this.y) return;
    this.scale = other.scale;
    this.look(other.x, other.y);
  }

  /** Show the whole picture. */
  reset(): void {
    this.scale = 1;
    this.look(0, 0);
  }

  /** Move as little as shows this place of the picture, with some room around it. */
  reveal(x: number, y: number): void {
    const room = 0.1 / this.scale;
    const into = (at: number, from: number) =>
      Math.max(Math.min(from, at - room), at + room - 1 / this.scale);
    this.look(into(x, this.x), into(y, this.y));
  }

  /** The place of the picture that is shown at a place of the view, both in shares. */
  under(u: number, v: number): [number, number] {
    return [this.x + u / this.scale, this.y + v / this.scale];
  }

  /** Where in the view a place of the picture is shown. */
  over(x: number, y: number): [number, number] {
    return [(x - this.x) * this.scale, (y - this.y) * this.scale];
  }

  /** As a CSS transform about the upper left corner. */
  get css(): string {
    const shift = (at: number) => `${-100 * at * this.scale}%`;
    return this.scale === 1 ? "none" : `translate(${shift(this.x)}, ${shift(this.y)}) scale(${this.scale})`;
  }

  private look(x: number, y: number): void {
    const most = 1 - 1 / this.scale;
    this.x = Math.min(most, Math.max(0, x));
    this.y = Math.min(most, Math.max(0, y));
    this.changed();
  }
}

const LINK = "nbv-zoom";

/**
 * Have all the frames of an explorer show the same part of its picture. Call what is returned when this one's has changed.
 *
 * It is noted on the explorer's element: widgets share nothing but the page, since each imports a bundle of its own.
 */
export function linked(frame: HTMLElement, zoom: Zoom, signal: AbortSignal): () => void {
  let following = false;
  const follow = (root: HTMLElement) => {
    const noted = root.dataset.nbvZoom;
    if (!noted) return;
    following = true;
    const [scale, x, y] = JSON.parse(noted);
    zoom.as({ scale, x, y });
    following = false;
  };
  const linkedTo = ({ target }: Event) => target === explorerOf(frame) && follow(target as HTMLElement);
  document.addEventListener(LINK, linkedTo, { signal });
  whenAttached(
    frame,
    () => {
      const root = explorerOf(frame);
      if (root) follow(root);
    },
    signal,
  );
  return () => {
    const root = explorerOf(frame);
    if (following || !root) return;
    root.dataset.nbvZoom = JSON.stringify([zoom.scale, zoom.x, zoom.y]);
    root.dispatchEvent(new CustomEvent(LINK, { bubbles: true }));
  };
}

/** Let the mouse zoom and pan a view: Ctrl with the wheel, drag, double click. The wheel alone scrolls the page. */
export function gestures(box: HTMLElement, zoom: Zoom, signal: AbortSignal): void {
  const share = (event: MouseEvent) => {
    const frame = box.getBoundingClientRect();
    return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  };
  const wheel = (event: WheelEvent) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const [u, v] = share(event);
    zoom.by(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.003)), u, v);
  };
  box.addEventListener("wheel", wheel, { capture: true, passive: false, signal });
  box.addEventListener("dblclick", () => zoom.reset(), { signal });

  let from: number[] | null = null;
  let dragged = 0;
  box.addEventListener(
    "pointerdown",
    (event) => {
      dragged = 0;
      if (zoom.scale === 1 || event.button !== 0) return;
      from = share(event);
      box.setPointerCapture(event.pointerId);
    },
    { signal },
  );
  box.addEventListener(
    "pointermove",
    (event) => {
      if (!from) return;
      const to = share(event);
      dragged += Math.abs(event.movementX) + Math.abs(event.movementY);
      zoom.pan(to[0] - from[0], to[1] - from[1]);
      from = to;
    },
    { signal },
  );
  for (const end of ["pointerup", "pointercancel"]) {
    box.addEventListener(end, () => (from = null), { signal });
  }
  // A drag ends in a click that nobody meant.
  box.addEventListener("click", (event) => dragged > 4 && event.stopPropagation(), { capture: true, signal });
}
