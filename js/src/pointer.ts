// The place of a map that is pointed at, by mouse or by keys: framed in every view, told in words, and chosen by a click.

import { h } from "./dom";
import type { Maps, Model, View } from "./model";
import { short } from "./paint";
import { gestures, type Zoom } from "./zoom";

/** A place of the map. */
export type Place = { row: number; column: number };

/** What is told of a pixel of the picture. */
export interface Readable {
  /** Whether there is a map of the picture that is shown. */
  readonly mapped: boolean;
  /** Where the map's value lies between the ends of the scale, 0 to 1. */
  share(x: number, y: number): number;
  /** What the network found there, in words. */
  found(x: number, y: number): string;
}

/** How wide a place of a picture is, in pixels, that is chosen by keys where there is no map. */
const CELL = 16;

export class Pointer {
  readonly readout = h("output", { class: "nbv-readout" });
  /** What frames the place, in each view. */
  private readonly cells: HTMLElement[] = [];
  private at: Place | null = null;

  /** Keys are taken while `focused` has the focus. */
  constructor(
    private readonly model: Model<Maps>,
    private readonly zoom: Zoom,
    private readonly focused: HTMLElement,
    private readonly source: Readable,
    private readonly signal: AbortSignal,
  ) {
    focused.addEventListener("blur", () => this.point(null), { signal });
  }

  /** Take the mouse over a view. */
  listen(box: HTMLElement, view: View): void {
    const { signal } = this;
    const cell = h("div", { class: "nbv-cell", "aria-hidden": "true" });
    cell.hidden = true;
    this.cells.push(cell);
    box.append(cell);
    gestures(box, this.zoom, signal);
    box.addEventListener("mousemove", (event) => this.hover(event, box), { capture: true, signal });
    box.addEventListener("mouseleave", () => this.point(null), { signal });
    if (view.kind === "pinned") return;
    box.addEventListener(
      "click",
      (event) => {
        const at = event.detail > 1 ? null : this.pixel(event, box);
        if (!at) return;
        if (this.model.get("pickable")) this.model.send({ type: "place", ...at });
        else if (this.source.mapped && view.kind !== "picture" && view.kind !== "object")
          this.choose(this.place(at.x, at.y));
      },
      { signal },
    );
  }

  /** The pixel of the picture under the cursor. */
  private pixel(event: MouseEvent, box: HTMLElement): { x: number; y: number } | null {
    const [height, width] = this.model.get("size");
    const frame = box.getBoundingClientRect();
    const [u, v] = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
    const [across, down] = this.zoom.under(u, v);
    const [x, y] = [Math.floor(across * width), Math.floor(down * height)];
    return x >= 0 && y >= 0 && x < width && y < height ? { x, y } : null;
  }

  /** Rows and columns of places that can be pointed at: the map's; without a map, of the picture, if it can be chosen on. */
  private get grid(): [number, number] {
    if (this.source.mapped || !this.model.get("pickable")) return this.model.get("shape");
    const [height, width] = this.model.get("size");
    return [Math.ceil(height / CELL), Math.ceil(width / CELL)];
  }

  /** The place of the map under a pixel of the picture. */
  private place(x: number, y: number): Place {
    const [height, width] = this.model.get("size");
    const [rows, columns] = this.grid;
    return { row: Math.floor((y * rows) / height), column: Math.floor((x * columns) / width) };
  }

  /** Tell the value under the mouse. */
  private hover(event: MouseEvent, box: HTMLElement): void {
    const at = this.pixel(event, box);
    if (!at || !this.readable) {
      this.point(null);
      return;
    }
    this.point(this.place(at.x, at.y));
    this.readout.setAttribute("aria-live", "off"); // who points with a mouse sees it
    this.showValue(at.x, at.y);
  }

  private showValue(x: number, y: number): void {
    const { low, high } = { low: this.model.get("low"), high: this.model.get("high") };
    const value = low + this.source.share(x, y) * (high - low);
    const told = [
      `x ${x}  y ${y}`,
      this.source.mapped ? `value ${short(value)}` : "",
      this.source.found(x, y),
    ];
    this.readout.textContent = told.filter(Boolean).join("  ");
  }

  /** Frame a place of the map in every view; null for none. */
  private point(at: Place | null): void {
    this.at = at;
    this.frame();
    if (!at) this.readout.replaceChildren();
  }

  /** Put the frames where the place is shown. */
  frame(): void {
    const [rows, columns] = this.grid;
    const { at } = this;
    for (const cell of this.cells) {
      cell.hidden = at === null;
      if (!at) continue;
      const [left, top] = this.zoom.over(at.column / columns, at.row / rows);
      const [width, height] = [this.zoom.scale / columns, this.zoom.scale / rows];
      const style = { left, top, width, height };
      for (const [name, share] of Object.entries(style)) cell.style.setProperty(name, `${100 * share}%`);
    }
  }

  /** Whether there is a map to be read, or a place of the picture to be chosen. */
  private get readable(): boolean {
    return this.source.mapped || this.model.get("pickable");
  }

  private choose(place: Place): void {
    const [[height, width], [rows, columns]] = [this.model.get("size"), this.grid];
    const x = Math.floor(((place.column + 0.5) / columns) * width);
    const y = Math.floor(((place.row + 0.5) / rows) * height);
    if (this.model.get("pickable")) this.model.send({ type: "place", x, y });
    else this.model.send({ type: "pixel", ...place });
  }

  /** Keys that read the map and choose a place, while the views have the focus. */
  key(event: KeyboardEvent): boolean {
    if (document.activeElement !== this.focused || !this.readable) return false;
    const [rows, columns] = this.grid;
    if (event.key === "Enter" || event.key === " ") {
      if (this.at) this.choose(this.at);
      return true;
    }
    const step = event.shiftKey ? 10 : 1;
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [0, -step],
      ArrowRight: [0, step],
      ArrowUp: [-step, 0],
      ArrowDown: [step, 0],
    };
    const move = moves[event.key];
    if (!move) return false;
    const from = this.at ?? { row: Math.floor(rows / 2), column: Math.floor(columns / 2) };
    const [down, right] = this.at ? move : [0, 0]; // the first key shows where one is
    const within = (at: number, most: number) => Math.min(most - 1, Math.max(0, at));
    const at = { row: within(from.row + down, rows), column: within(from.column + right, columns) };
    const [x, y] = [(at.column + 0.5) / columns, (at.row + 0.5) / rows];
    this.point(at);
    this.zoom.reveal(x, y);
    const [height, width] = this.model.get("size");
    this.readout.setAttribute("aria-live", "polite");
    this.showValue(Math.floor(x * width), Math.floor(y * height));
    return true;
  }
}
