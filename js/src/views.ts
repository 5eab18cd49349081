// The views of a map: the picture, the map over it, the map alone; painted from the model's bytes.

import { Boxes } from "./boxes";
import { CanvasHost } from "./canvas";
import { table, tableOf } from "./colours";
import type { Comparison } from "./compare";
import { borders, Composite, copyLeft, decoded, type Look } from "./composite";
import { button, h } from "./dom";
import { bytes, follow, type Maps, type Model, type View } from "./model";
import { short } from "./paint";
import type { Shown } from "./save";
import { latest } from "./schedule";
import { gestures, type Zoom } from "./zoom";

/** A place of the map. */
export type Place = { row: number; column: number };

interface Slot {
  view: View;
  host: CanvasHost;
  marks: CanvasHost | null;
  box: HTMLElement;
  /** Frames the place of the map that is pointed at. */
  cell: HTMLElement;
  element: HTMLElement;
  title: HTMLElement;
  pixels: ImageData | null;
}

export class Views {
  readonly element = h("div", { class: "nbv-views", role: "group", tabindex: "0" });
  readonly readout = h("output", { class: "nbv-readout" });
  /** Which views are shown. */
  readonly menu = h("div", { class: "nbv-menu nbv-local", role: "group", "aria-label": "Views" });
  /** Take the picture from the model, as pixels; of several that come while one is decoded, the newest. */
  readonly decode: () => Promise<void>;
  /** The same of what is beside it: the map as a picture of its own, and the regions. */
  readonly decodeBeside: () => Promise<void>;
  private slots: Slot[] = [];
  private readonly now = new Composite();
  private readonly pinned = new Composite();
  private readonly boxes: Boxes;
  private colour: ImageData | null = null;
  private regions: ImageData | null = null;
  /** The overlay that was pinned, painted; null where there is none. */
  private pinnedOverlay: ImageData | null = null;
  private readonly scratch = h("canvas");
  private outdated = true;
  private at: Place | null = null;
  /** The kinds of views that the reader chose; null where all are shown. */
  private chosen: Set<View["kind"]> | null = null;
  /** Whether the map was asked for beside what was pinned. */
  private mapToo = false;

  constructor(
    private readonly model: Model<Maps>,
    private readonly zoom: Zoom,
    private readonly signal: AbortSignal,
  ) {
    this.decode = latest(() => this.read(), signal);
    this.decodeBeside = latest(async () => {
      this.colour = await decoded(bytes(this.model.get("colour")), this.scratch);
      this.regions = await decoded(bytes(this.model.get("regions")), this.scratch);
    }, signal);
    this.boxes = new Boxes(model, zoom, signal);
    const pickable = () => this.element.classList.toggle("nbv-pickable", this.model.get("pickable"));
    follow(model, ["pickable"], pickable, signal);
    pickable();
    signal.addEventListener("abort", () => {
      for (const { host, marks } of this.slots) {
        host.remove();
        marks?.remove();
      }
    });
    this.element.addEventListener("blur", () => this.point(null), { signal });
  }

  async start(comparison: Comparison): Promise<void> {
    const manager = this.model.widget_manager;
    const references = this.model.get("canvases");
    const marked = this.model.get("marks");
    for (const [i, view] of this.model.get("views").entries()) {
      const box = h("div", { class: "nbv-canvas", role: "img", "aria-label": view.title });
      const title = h("figcaption", { title: view.title }, view.title);
      const element = h(
        "figure",
        { class: "nbv-view", "data-view": view.kind },
        title,
        h("div", { class: "nbv-stage" }, box),
      );
      const over = h("div", { class: "nbv-marks", "aria-hidden": "true" });
      const cell = h("div", { class: "nbv-cell", "aria-hidden": "true" });
      cell.hidden = true;
      element.hidden = view.kind === "pinned";
      this.element.append(element);
      const host = await CanvasHost.host(manager, references[i] ?? "", box);
      const marks =
        marked && (view.kind === "overlay" || view.kind === "map")
          ? await CanvasHost.host(manager, marked, over)
          : null;
      this.slots.push({ view, host, marks, box, cell, element, title, pixels: null });
      if (this.signal.aborted) {
        host.remove();
        marks?.remove();
        return;
      }
      box.append(...(marks ? [over] : []), cell);
      if (view.kind === "overlay") box.parentElement?.append(comparison.divider);
      if (view.kind === "picture") box.parentElement?.append(this.boxes.element);
      this.listen(box, view);
    }
    this.offerViews();
    await Promise.all([this.decode(), this.decodeBeside()]);
  }

  /** Buttons that show and hide views, where there are more than two to choose from; what is chosen is remembered. */
  private offerViews(): void {
    const kinds = this.model.get("views").map((view) => view.kind);
    this.chosen = kinds.includes("picture") ? remembered(kinds) : null;
    if (!this.chosen) return;
    for (const kind of kinds.filter((one) => one !== "pinned")) {
      const face = button(
        NAMES[kind],
        `Show or hide: ${NAMES[kind].toLowerCase()}`,
        "",
        () => this.turn(kind),
        this.signal,
      );
      face.dataset.view = kind;
      this.menu.append(face);
    }
    follow(this.model, ["pinned", "pickable"], () => this.showChosen(), this.signal);
    this.showChosen();
  }

  /** Show a view, or hide it, unless it is the last one. */
  private turn(kind: View["kind"]): void {
    const chosen = new Set(this.chosen);
    const shown = this.shownKinds();
    if (!shown.has(kind)) chosen.add(kind);
    else if (shown.size > 1) chosen.delete(kind);
    if (kind === "map") this.mapToo = shown.has("pinned") && !shown.has(kind);
    this.chosen = chosen;
    try {
      localStorage.setItem(REMEMBERED, [...chosen].join());
    } catch {} // a host may keep nothing
    this.showChosen();
  }

  /** Those that the reader chose; what was pinned stands in the map's place, so that all keep their size. */
  private shownKinds(): Set<View["kind"]> {
    const shown = new Set(this.chosen);
    if (this.model.get("pickable")) shown.add("picture"); // where a place of it can be chosen
    if (this.model.get("pinned").caption === undefined) {
      this.mapToo = false;
      return shown;
    }
    if (shown.has("map") && shown.size === 2 && !this.mapToo) shown.delete("map");
    return shown.add("pinned");
  }

  private showChosen(): void {
    const shown = this.shownKinds();
    for (const { view, element } of this.slots) element.hidden = !shown.has(view.kind);
    for (const face of this.menu.children as HTMLCollectionOf<HTMLElement>) {
      face.setAttribute("aria-pressed", String(shown.has(face.dataset.view as View["kind"])));
    }
    this.element.style.setProperty("--nbv-columns", String(shown.size));
  }

  private listen(box: HTMLElement, view: View): void {
    const { signal } = this;
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
        else if (this.mapped && view.kind !== "picture") this.choose(this.place(at.x, at.y));
      },
      { signal },
    );
  }

  private async read(): Promise<void> {
    const pinned = this.model.get("pinned");
    this.now.picture = await decoded(bytes(this.model.get("picture")), this.scratch);
    this.pinned.picture = pinned.picture
      ? await decoded(bytes(pinned.picture), this.scratch, this.model.get("size"))
      : null;
  }

  /** Take the maps from the model anew before they are painted next: once for a message, however much it changes. */
  outdate(): void {
    this.outdated = true;
  }

  private scale(): void {
    this.outdated = false;
    const [height, width] = this.model.get("size");
    const take = (composite: Composite, values: DataView | null, shape: [number, number], low: number) =>
      composite.take({ values: bytes(values), width: shape[1], height: shape[0] }, low < 0, width, height);
    take(this.now, this.model.get("values"), this.model.get("shape"), this.model.get("low"));
    const { values, shape, low } = this.model.get("pinned");
    take(this.pinned, values ?? null, shape ?? [0, 0], low ?? 0);
  }

  private get mapped(): boolean {
    const [height, width] = this.model.get("size");
    return this.now.covers(width, height);
  }

  private look(): Look {
    const { model } = this;
    const [opacity, threshold] = [model.get("opacity"), model.get("threshold")];
    return { colours: table(model), opacity, threshold, contours: model.get("contours") };
  }

  /** As the map now; but a signed one and one that is not are never in the same colours. */
  private lookOfPinned(): Look {
    const { low, colours } = this.model.get("pinned");
    const alike = (low ?? 0) < 0 === this.model.get("low") < 0;
    return { ...this.look(), ...(alike ? {} : { colours: tableOf(this.model, colours ?? "") }) };
  }

  /** Paint every view from what is held; asks nothing of the kernel. */
  paint(comparison: Comparison): void {
    const [height, width] = this.model.get("size");
    if (!width || !height) return;
    if (this.outdated) this.scale();
    this.paintPinned(width, height);
    for (const slot of this.slots) {
      if (slot.view.kind === "pinned" && !this.showPinned(slot)) continue;
      if (slot.view.kind === "picture") {
        name(slot, this.model.get("pickable") ? PICKABLE : slot.view.title);
      }
      if (slot.view.kind === "map") name(slot, this.coloured ? COLOURED : slot.view.title);
      if (slot.view.kind === "overlay") name(slot, comparison.flipped ? FLIPPED : slot.view.title);
      slot.pixels = sized(slot.pixels, width, height);
      const { pixels } = slot;
      this.fill(pixels, slot.view.kind, comparison);
      slot.host.paint(width, height, (context) => context.putImageData(pixels, 0, 0));
    }
  }

  private paintPinned(width: number, height: number): void {
    if (this.model.get("pinned").caption === undefined) {
      this.pinnedOverlay = null;
      return;
    }
    this.pinnedOverlay = sized(this.pinnedOverlay, width, height);
    this.pinned.overlay(this.pinnedOverlay, this.lookOfPinned());
  }

  /** Show the view of a pinned map, if there is one. */
  private showPinned(slot: Slot): boolean {
    const { caption } = this.model.get("pinned");
    if (!this.chosen) slot.element.hidden = caption === undefined;
    name(slot, `Pinned: ${caption}`);
    return caption !== undefined;
  }

  /** The map as a picture of its own, if it has one. */
  private get coloured(): ImageData | null {
    return this.mapped ? this.fitting("colour") : null;
  }

  /** What is held beside the picture, if the model still has it, and the picture's size. */
  private fitting(what: "colour" | "regions"): ImageData | null {
    const [height, width] = this.model.get("size");
    const held = this.model.get(what)?.byteLength ? this[what] : null;
    return held?.width === width && held.height === height ? held : null;
  }

  /** What the network found at a pixel, in words; "" where it finds nothing place by place. */
  private found(x: number, y: number): string {
    const regions = this.fitting("regions");
    if (!regions) return this.boxes.name(x, y);
    return this.model.get("region_names")[regions.data[4 * (y * regions.width + x)]] ?? "";
  }

  private fill(pixels: ImageData, kind: View["kind"], comparison: Comparison): void {
    const other = this.model.get("compare_with") === "picture" ? null : this.pinnedOverlay;
    if (kind === "map" && this.coloured) pixels.data.set(this.coloured.data);
    else if (kind === "map") this.now.map(pixels, this.look());
    else if (kind === "pinned" && this.pinnedOverlay) pixels.data.set(this.pinnedOverlay.data);
    else if (kind === "overlay" && !comparison.flipped) {
      this.now.overlay(pixels, this.look());
      const left = other ?? this.now.fitting(pixels);
      if (left) copyLeft(left, pixels, Math.round(comparison.split * pixels.width));
    } else if (kind === "overlay" && other) pixels.data.set(other.data);
    else this.now.background(pixels);
    const regions = kind === "picture" ? this.fitting("regions") : null;
    if (regions) borders(pixels, regions);
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
    if (this.mapped || !this.model.get("pickable")) return this.model.get("shape");
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
    const value = low + (this.now.places[y * this.model.get("size")[1] + x] / 255) * (high - low);
    const told = [`x ${x}  y ${y}`, this.mapped ? `value ${short(value)}` : "", this.found(x, y)];
    this.readout.textContent = told.filter(Boolean).join("  ");
  }

  /** Frame a place of the map in every view; null for none. */
  private point(at: Place | null): void {
    this.at = at;
    this.frame();
    if (!at) this.readout.replaceChildren();
  }

  /** Put the frames where the place that is pointed at is shown. */
  frame(): void {
    this.boxes.place();
    const [rows, columns] = this.grid;
    const { at } = this;
    for (const { cell } of this.slots) {
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
    return this.mapped || this.model.get("pickable");
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
    if (document.activeElement !== this.element || !this.readable) return false;
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

  /** What the views show, as it is zoomed and marked, to be saved. */
  shown(): Shown[] {
    const [height, width] = this.model.get("size");
    if (!width || !height) return [];
    const size = 336;
    const visible = this.slots.filter(({ element }) => !element.hidden);
    return visible.map(({ title, host, marks }) => {
      const canvas = h("canvas", {
        width: `${size * 2}`,
        height: `${Math.round((size * 2 * height) / width)}`,
      });
      const context = canvas.getContext("2d");
      const [across, down] = [canvas.width * this.zoom.scale, canvas.height * this.zoom.scale];
      for (const layer of [host, marks]) {
        if (layer) context?.drawImage(layer.canvas, -this.zoom.x * across, -this.zoom.y * down, across, down);
      }
      return {
        title: title.textContent ?? "",
        canvas,
        width: size,
        height: Math.round((size * height) / width),
      };
    });
  }
}

/** What the view of a map that is a picture of its own is called. */
const COLOURED = "Map in colour; grey is zero";
/** What that of a picture is called of which a place can be chosen. */
const PICKABLE = "Picture: click what to explain";
/** What the overlay is called while what it is compared with stands in its place. */
const FLIPPED = "Overlay taken away (b puts it back)";
const NAMES = { picture: "Picture", overlay: "Overlay", map: "Map", pinned: "Pinned" };
const REMEMBERED = "nbcnnviz-views";

/** The views that the reader chose last, of these; the overlay and the map, if none. */
function remembered(kinds: View["kind"][]): Set<View["kind"]> {
  let kept: string[] = [];
  try {
    kept = localStorage.getItem(REMEMBERED)?.split(",") ?? [];
  } catch {} // a host may keep nothing
  const known = kinds.filter((kind) => kept.includes(kind));
  return new Set(known.length ? known : ["overlay", "map"]);
}

/** How wide a place of a picture is, in pixels, that is chosen by keys where there is no map. */
const CELL = 16;

/** Say what a view shows. */
function name({ title, box }: Slot, text: string): void {
  if (title.title === text) return;
  title.textContent = title.title = text;
  box.setAttribute("aria-label", text);
}

/** Pixels of a size: those that are there, if they have it. */
function sized(pixels: ImageData | null, width: number, height: number): ImageData {
  return pixels?.width === width && pixels.height === height ? pixels : new ImageData(width, height);
}
