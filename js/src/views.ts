// The views of a map: the picture, the map over it, the map alone; painted from the model's bytes.
import { table } from "./colours";
import type { Comparison } from "./compare";
import { distances, ink, levels } from "./contours";
import { h } from "./dom";
import { bytes, type Maps, type Model, type View } from "./model";
import { blend, colour, short, upscale } from "./paint";
import type { Shown } from "./save";
import { latest } from "./schedule";
import { Surface } from "./surface";
import { gestures, type Zoom } from "./zoom";

/** A place of the map. */
export type Place = { row: number; column: number };

interface Shelf {
  view: View;
  surface: Surface;
  marks: Surface | null;
  box: HTMLElement;
  /** Frames the place of the map that is pointed at. */
  cell: HTMLElement;
  pixels: ImageData | null;
}

export class Views {
  readonly element = h("div", { class: "nbv-views", role: "group", tabindex: "0" });
  readonly readout = h("output", { class: "nbv-readout" });
  /** Take the picture from the model, as pixels; of several that come while one is decoded, the newest. */
  readonly decode: () => Promise<void>;
  private shelves: Shelf[] = [];
  private picture: ImageData | null = null;
  private readonly scratch = h("canvas");
  private places: Float32Array = new Float32Array();
  private outdated = true;
  /** How far each pixel is from a contour line; worked out when first one is drawn. */
  private far: Float32Array | null = null;
  private at: Place | null = null;

  constructor(
    private readonly model: Model<Maps>,
    private readonly zoom: Zoom,
    private readonly signal: AbortSignal,
  ) {
    this.decode = latest(() => this.read(), signal);
    signal.addEventListener("abort", () => {
      for (const { surface, marks } of this.shelves) {
        surface.remove();
        marks?.remove();
      }
    });
    this.element.addEventListener("blur", () => this.point(null), { signal });
  }

  async start(comparison: Comparison): Promise<void> {
    const manager = this.model.widget_manager;
    const references = this.model.get("surfaces");
    const marked = this.model.get("marks");
    for (const [i, view] of this.model.get("views").entries()) {
      const box = h("div", { class: "nbv-surface", role: "img", "aria-label": view.title });
      const title = h("figcaption", { title: view.title }, view.title);
      const over = h("div", { class: "nbv-marks", "aria-hidden": "true" });
      const cell = h("div", { class: "nbv-cell", "aria-hidden": "true" });
      cell.hidden = true;
      this.element.append(h("figure", { class: "nbv-view" }, title, h("div", { class: "nbv-stage" }, box)));
      const surface = await Surface.host(manager, references[i] ?? "", box);
      const marks = marked && view.kind !== "picture" ? await Surface.host(manager, marked, over) : null;
      this.shelves.push({ view, surface, marks, box, cell, pixels: null });
      if (this.signal.aborted) {
        surface.remove();
        marks?.remove();
        return;
      }
      box.append(...(marks ? [over] : []), cell);
      if (view.kind === "overlay") box.parentElement?.append(comparison.divider);
      this.listen(box, view);
    }
    await this.decode();
  }

  private listen(box: HTMLElement, view: View): void {
    const { signal } = this;
    gestures(box, this.zoom, signal);
    box.addEventListener("mousemove", (event) => this.hover(event, box), { capture: true, signal });
    box.addEventListener("mouseleave", () => this.point(null), { signal });
    if (view.kind === "picture") return;
    box.addEventListener(
      "click",
      (event) => {
        const at = event.detail > 1 ? null : this.pixel(event, box);
        if (at) this.choose(this.place(at.x, at.y));
      },
      { signal },
    );
  }

  private async read(): Promise<void> {
    const encoded = bytes(this.model.get("picture"));
    const bitmap = encoded.length ? await createImageBitmap(new Blob([encoded])).catch(() => null) : null;
    if (!bitmap) {
      this.picture = null;
      return;
    }
    const { width, height } = bitmap;
    Object.assign(this.scratch, { width, height });
    const context = this.scratch.getContext("2d", { willReadFrequently: true });
    context?.drawImage(bitmap, 0, 0);
    this.picture = context?.getImageData(0, 0, width, height) ?? null;
    bitmap.close();
  }

  /** Take the map from the model anew before it is painted next: once for a message, however much of the map it changes. */
  outdate(): void {
    this.outdated = true;
  }

  private scale(): void {
    this.outdated = false;
    this.far = null;
    const [height, width] = this.model.get("size");
    const [rows, columns] = this.model.get("shape");
    const map = { values: bytes(this.model.get("values")), width: columns, height: rows };
    this.places = rows * columns > 0 ? upscale(map, width, height) : new Float32Array();
  }

  private get mapped(): boolean {
    const [height, width] = this.model.get("size");
    return this.places.length > 0 && this.places.length === width * height;
  }

  /** Paint every view from what is held; asks nothing of the kernel. */
  paint(comparison: Comparison): void {
    const [height, width] = this.model.get("size");
    if (!width || !height) return;
    if (this.outdated) this.scale();
    for (const shelf of this.shelves) {
      if (shelf.pixels?.width !== width || shelf.pixels.height !== height) {
        shelf.pixels = new ImageData(width, height);
      }
      const { pixels } = shelf;
      const { kind } = shelf.view;
      this.fill(pixels, kind, comparison);
      shelf.surface.paint(width, height, (context) => context.putImageData(pixels, 0, 0));
    }
  }

  private fill(pixels: ImageData, kind: View["kind"], comparison: Comparison): void {
    const { width, height, data } = pixels;
    const picture = this.picture?.width === width && this.picture.height === height ? this.picture : null;
    if (kind !== "map" && picture) data.set(picture.data);
    else data.fill(0);
    if (!this.mapped || kind === "picture" || (kind === "overlay" && comparison.bare)) return;
    const colours = table(this.model);
    if (kind === "map") {
      colour(this.places, colours, data);
      this.outline(pixels, 0);
      return;
    }
    const signed = this.model.get("low") < 0;
    const [opacity, threshold] = [this.model.get("opacity"), this.model.get("threshold")];
    blend(data, this.places, colours, signed, opacity, threshold);
    const bare = Math.round(comparison.split * width);
    this.outline(pixels, bare);
    if (!bare || !picture) return;
    for (let row = 0; row < height; row++) {
      const from = 4 * row * width;
      data.set(picture.data.subarray(from, from + 4 * bare), from);
    }
  }

  /** Draw contour lines if they are asked for, from a column on. */
  private outline(pixels: ImageData, from: number): void {
    if (!this.model.get("contours")) return;
    const { width, height } = pixels;
    this.far ??= distances(this.places, width, height, levels(this.model.get("low") < 0));
    ink(pixels.data, this.far, width, from);
  }

  /** The pixel of the picture under the cursor. */
  private pixel(event: MouseEvent, box: HTMLElement): { x: number; y: number } | null {
    const [height, width] = this.model.get("size");
    const frame = box.getBoundingClientRect();
    const [u, v] = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
    const [across, down] = this.zoom.under(u, v);
    const [x, y] = [Math.floor(across * width), Math.floor(down * height)];
    return x >= 0 && y >= 0 && x < width && y < height && this.mapped ? { x, y } : null;
  }

  /** The place of the map under a pixel of the picture. */
  private place(x: number, y: number): Place {
    const [height, width] = this.model.get("size");
    const [rows, columns] = this.model.get("shape");
    return { row: Math.floor((y * rows) / height), column: Math.floor((x * columns) / width) };
  }

  /** Tell the value under the mouse. */
  private hover(event: MouseEvent, box: HTMLElement): void {
    const at = this.pixel(event, box);
    if (!at) return this.point(null);
    this.point(this.place(at.x, at.y));
    this.readout.setAttribute("aria-live", "off"); // who points with a mouse sees it
    this.tell(at.x, at.y);
  }

  private tell(x: number, y: number): void {
    const { low, high } = { low: this.model.get("low"), high: this.model.get("high") };
    const value = low + (this.places[y * this.model.get("size")[1] + x] / 255) * (high - low);
    this.readout.textContent = `x ${x}  y ${y}  value ${short(value)}`;
  }

  /** Frame a place of the map in every view; null for none. */
  private point(at: Place | null): void {
    this.at = at;
    this.frame();
    if (!at) this.readout.replaceChildren();
  }

  /** Put the frames where the place that is pointed at is shown. */
  frame(): void {
    const [rows, columns] = this.model.get("shape");
    const { at } = this;
    for (const { cell } of this.shelves) {
      cell.hidden = at === null;
      if (!at) continue;
      const [left, top] = this.zoom.over(at.column / columns, at.row / rows);
      const [width, height] = [this.zoom.scale / columns, this.zoom.scale / rows];
      const style = { left, top, width, height };
      for (const [name, share] of Object.entries(style)) cell.style.setProperty(name, `${100 * share}%`);
    }
  }

  private choose(place: Place): void {
    this.model.send({ type: "pixel", ...place });
  }

  /** Keys that read the map and choose a place, while the views have the focus. */
  key(event: KeyboardEvent): boolean {
    if (document.activeElement !== this.element || !this.mapped) return false;
    const [rows, columns] = this.model.get("shape");
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
    this.tell(Math.floor(x * width), Math.floor(y * height));
    return true;
  }

  /** What the views show, as it is zoomed and marked, to be saved. */
  shown(): Shown[] {
    const [height, width] = this.model.get("size");
    if (!width || !height) return [];
    const size = 336;
    return this.shelves.map(({ view, surface, marks }) => {
      const canvas = h("canvas", {
        width: `${size * 2}`,
        height: `${Math.round((size * 2 * height) / width)}`,
      });
      const context = canvas.getContext("2d");
      const [across, down] = [canvas.width * this.zoom.scale, canvas.height * this.zoom.scale];
      for (const layer of [surface, marks]) {
        if (layer) context?.drawImage(layer.canvas, -this.zoom.x * across, -this.zoom.y * down, across, down);
      }
      return { title: view.title, canvas, width: size, height: Math.round((size * height) / width) };
    });
  }
}
