// The views of a map: the picture, the map over it, the map alone; painted from the model's bytes.

import { Boxes } from "./boxes";
import { CanvasHost } from "./canvas";
import { table, tableOf } from "./colours";
import type { Comparison } from "./compare";
import { borders, Composite, copyLeft, decoded, type Look } from "./composite";
import { h } from "./dom";
import { bytes, follow, type Maps, type Model, type View } from "./model";
import { ObjectNote, outlined } from "./object";
import { Pointer } from "./pointer";
import type { Shown } from "./save";
import { latest } from "./schedule";
import { ViewMenu } from "./viewmenu";
import type { Zoom } from "./zoom";

interface Slot {
  view: View;
  host: CanvasHost;
  marks: CanvasHost | null;
  box: HTMLElement;
  element: HTMLElement;
  title: HTMLElement;
  pixels: ImageData | null;
}

export class Views {
  readonly element = h("div", { class: "nbv-views", role: "group", tabindex: "0" });
  /** Which views are shown. */
  readonly menu: ViewMenu;
  /** The place that is pointed at. */
  readonly pointer: Pointer;
  /** Take the picture from the model, as pixels; of several that come while one is decoded, the newest. */
  readonly decode: () => Promise<void>;
  /** The same of what is beside it: the map as a picture of its own, the regions, the object's mask. */
  readonly decodeBeside: () => Promise<void>;
  private slots: Slot[] = [];
  private readonly now = new Composite();
  private readonly pinned = new Composite();
  private readonly boxes: Boxes;
  private colour: ImageData | null = null;
  private regions: ImageData | null = null;
  private object: ImageData | null = null;
  private readonly note: ObjectNote;
  /** The overlay that was pinned, painted; null where there is none. */
  private pinnedOverlay: ImageData | null = null;
  private readonly scratch = h("canvas");
  private outdated = true;

  constructor(
    private readonly model: Model<Maps>,
    private readonly zoom: Zoom,
    private readonly signal: AbortSignal,
  ) {
    this.decode = latest(() => this.read(), signal);
    this.decodeBeside = latest(async () => {
      this.colour = await decoded(bytes(this.model.get("colour")), this.scratch);
      this.regions = await decoded(bytes(this.model.get("regions")), this.scratch);
      this.object = await decoded(bytes(this.model.get("object")), this.scratch);
    }, signal);
    this.boxes = new Boxes(model, zoom, signal);
    this.menu = new ViewMenu(model, (shown) => this.showKinds(shown), signal);
    this.note = new ObjectNote(model, signal);
    this.pointer = new Pointer(model, zoom, this.element, this, signal);
    const pickable = () => this.element.classList.toggle("nbv-pickable", this.model.get("pickable"));
    follow(model, ["pickable"], pickable, signal);
    pickable();
    signal.addEventListener("abort", () => {
      for (const { host, marks } of this.slots) {
        host.remove();
        marks?.remove();
      }
    });
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
      element.hidden = view.kind === "pinned";
      this.element.append(element);
      const host = await CanvasHost.host(manager, references[i] ?? "", box);
      const marks =
        marked && (view.kind === "overlay" || view.kind === "map")
          ? await CanvasHost.host(manager, marked, over)
          : null;
      this.slots.push({ view, host, marks, box, element, title, pixels: null });
      if (this.signal.aborted) {
        host.remove();
        marks?.remove();
        return;
      }
      if (marks) box.append(over);
      if (view.kind === "overlay") box.parentElement?.append(comparison.divider);
      if (view.kind === "picture") box.parentElement?.append(this.boxes.element);
      if (view.kind === "object") box.parentElement?.append(this.note.element);
      this.pointer.listen(box, view);
    }
    this.menu.offer();
    await Promise.all([this.decode(), this.decodeBeside()]);
  }

  private showKinds(shown: Set<View["kind"]>): void {
    for (const { view, element } of this.slots) element.hidden = !shown.has(view.kind);
    this.element.style.setProperty("--nbv-columns", String(shown.size));
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

  /** Whether there is a map of the picture that is shown. */
  get mapped(): boolean {
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
      if (slot.view.kind === "object") {
        name(slot, this.note.title(slot.view.title, this.fitting("object") !== null));
      }
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
    if (!this.menu.offered) slot.element.hidden = caption === undefined;
    name(slot, `Pinned: ${caption}`);
    return caption !== undefined;
  }

  /** The map as a picture of its own, if it has one. */
  private get coloured(): ImageData | null {
    return this.mapped ? this.fitting("colour") : null;
  }

  /** What is held beside the picture, if the model still has it, and the picture's size. */
  private fitting(what: "colour" | "regions" | "object"): ImageData | null {
    const [height, width] = this.model.get("size");
    const held = this.model.get(what)?.byteLength ? this[what] : null;
    return held?.width === width && held.height === height ? held : null;
  }

  /** What the network found at a pixel, in words; "" where it finds nothing place by place. */
  found(x: number, y: number): string {
    const regions = this.fitting("regions");
    if (!regions) return this.boxes.name(x, y);
    return this.model.get("region_names")[regions.data[4 * (y * regions.width + x)]] ?? "";
  }

  /** Where the map's value at a pixel lies between the ends of the scale, 0 to 1. */
  share(x: number, y: number): number {
    return this.now.places[y * this.model.get("size")[1] + x] / 255;
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
    const object = kind === "object" ? this.fitting("object") : null;
    if (object) outlined(pixels, object);
  }

  /** Put what lies over the views where it is shown. */
  frame(): void {
    this.boxes.place();
    this.pointer.frame();
  }

  /** What the views show, as it is zoomed and marked, to be saved. */
  shown(): Shown[] {
    const [height, width] = this.model.get("size");
    if (!width || !height) return [];
    const size = 336;
    const visible = this.slots.filter(({ element }) => !element.hidden);
    return visible.map(({ view, title, host, marks }) => {
      const canvas = h("canvas", {
        width: `${size * 2}`,
        height: `${Math.round((size * 2 * height) / width)}`,
      });
      const context = canvas.getContext("2d");
      const [across, down] = [canvas.width * this.zoom.scale, canvas.height * this.zoom.scale];
      for (const layer of [host, marks]) {
        if (layer) context?.drawImage(layer.canvas, -this.zoom.x * across, -this.zoom.y * down, across, down);
      }
      if (context && view.kind === "picture") this.boxes.draw(context, 2);
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
