// The views of a panel: the picture, the map over it, the map alone; painted from the model's bytes.
import { table } from "./colours";
import { h } from "./dom";
import { bytes, type Maps, type Model, type View } from "./model";
import { type ByteMap, blend, colour, short, upscale } from "./paint";
import { Surface } from "./surface";

export class Views {
  readonly element = h("div", { class: "nbv-views", role: "group" });
  private surfaces: { view: View; surface: Surface }[] = [];
  private picture: ImageData | null = null;
  private turn = 0;
  private places: Float32Array = new Float32Array();
  private outdated = true;
  private readonly readout = h("output", { class: "nbv-readout" });

  constructor(
    private readonly model: Model<Maps>,
    private readonly signal: AbortSignal,
  ) {
    signal.addEventListener("abort", () => {
      for (const { surface } of this.surfaces) surface.remove();
    });
  }

  get reader(): HTMLElement {
    return this.readout;
  }

  async start(): Promise<void> {
    const manager = this.model.widget_manager;
    const references = this.model.get("surfaces");
    for (const [i, view] of this.model.get("views").entries()) {
      const box = h("div", { class: "nbv-surface", role: "img", "aria-label": view.title });
      this.element.append(h("figure", { class: "nbv-view" }, h("figcaption", {}, view.title), box));
      const surface = await Surface.host(manager, references[i] ?? "", box);
      if (this.signal.aborted) return surface.remove();
      const marks = this.model.get("marks");
      if (marks && view.kind !== "picture") {
        const over = h("div", { class: "nbv-marks", "aria-hidden": "true" });
        box.append(over);
        const layer = await Surface.host(manager, marks, over);
        if (this.signal.aborted) {
          layer.remove();
          return surface.remove();
        }
        this.signal.addEventListener("abort", layer.remove);
      }
      this.surfaces.push({ view, surface });
      box.addEventListener("mousemove", (event) => this.read(event, box), {
        capture: true,
        signal: this.signal,
      });
      if (view.kind !== "picture") {
        box.addEventListener("click", (event) => this.choose(event, box), { signal: this.signal });
      }
      box.addEventListener("mouseleave", () => this.readout.replaceChildren(), { signal: this.signal });
    }
    await this.decode();
    this.paint();
  }

  /** Take the picture from the model, as pixels. */
  async decode(): Promise<void> {
    const turn = ++this.turn;
    const encoded = bytes(this.model.get("picture"));
    const bitmap = encoded.length ? await createImageBitmap(new Blob([encoded])).catch(() => null) : null;
    if (!bitmap || turn !== this.turn) return bitmap?.close(); // a later picture may have been decoded first
    const { width, height } = bitmap;
    const context = h("canvas", { width: `${width}`, height: `${height}` }).getContext("2d", {
      willReadFrequently: true,
    });
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
    const [height, width] = this.model.get("size");
    const map = this.map();
    this.places = map.width * map.height > 0 ? upscale(map, width, height) : new Float32Array();
  }

  private map(): ByteMap {
    const [height, width] = this.model.get("shape");
    return { values: bytes(this.model.get("values")), width, height };
  }

  /** Paint every view from what is held; asks nothing of the kernel. */
  paint(): void {
    const [height, width] = this.model.get("size");
    if (!width || !height) return;
    if (this.outdated) this.scale();
    for (const { view, surface } of this.surfaces) {
      surface.paint(width, height, (context) => context.putImageData(this.pixels(view, width, height), 0, 0));
    }
  }

  private pixels(view: View, width: number, height: number): ImageData {
    const picture = this.picture?.width === width && this.picture.height === height ? this.picture : null;
    const mapped = this.places.length === width * height;
    if (view.kind === "picture" && picture) return picture;
    const pixels = new ImageData(width, height);
    if (view.kind !== "map" && picture) pixels.data.set(picture.data);
    if (!mapped) return pixels;
    if (view.kind === "map") {
      colour(this.places, table(this.model), pixels.data);
    } else if (view.kind === "overlay") {
      const signed = this.model.get("low") < 0;
      const { opacity, threshold } = {
        opacity: this.model.get("opacity"),
        threshold: this.model.get("threshold"),
      };
      blend(pixels.data, this.places, table(this.model), signed, opacity, threshold);
    }
    return pixels;
  }

  /** The pixel of the picture under the cursor. */
  private pixel(event: MouseEvent, box: HTMLElement): { x: number; y: number } | null {
    const [height, width] = this.model.get("size");
    const frame = box.getBoundingClientRect();
    const x = Math.floor(((event.clientX - frame.left) / frame.width) * width);
    const y = Math.floor(((event.clientY - frame.top) / frame.height) * height);
    const inside = x >= 0 && y >= 0 && x < width && y < height && this.places.length === width * height;
    return inside ? { x, y } : null;
  }

  /** Tell the value under the cursor. */
  private read(event: MouseEvent, box: HTMLElement): void {
    const at = this.pixel(event, box);
    if (!at) return;
    const { low, high } = { low: this.model.get("low"), high: this.model.get("high") };
    const value = low + (this.places[at.y * this.model.get("size")[1] + at.x] / 255) * (high - low);
    this.readout.textContent = `x ${at.x}  y ${at.y}  value ${short(value)}`;
  }

  /** Tell the kernel which place of the map was clicked. */
  private choose(event: MouseEvent, box: HTMLElement): void {
    const at = this.pixel(event, box);
    if (!at || event.detail > 1) return;
    const [height, width] = this.model.get("size");
    const [rows, columns] = this.model.get("shape");
    const place = {
      row: Math.floor((at.y * rows) / height),
      column: Math.floor((at.x * columns) / width),
    };
    this.model.send({ type: "pixel", ...place });
  }
}
