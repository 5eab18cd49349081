// A grid of small maps or colour pictures on one canvas. The canvas has the pixels; over it lies a list box with an
// option for each tile, which has what a canvas lacks: labels, the chosen one, keys, names for screen readers.

import { CanvasHost } from "./canvas";
import { CHOICE_KEYS, Choice } from "./choice";
import { ColourBar, coloursMenu, nextColours, table } from "./colours";
import { h } from "./dom";
import { bytes, follow, type Model, type Tiles } from "./model";
import { mosaic } from "./mosaic";
import { short } from "./paint";
import type { Figure } from "./save";
import { debounced, repainter } from "./schedule";
import { tools } from "./tools";

const GAP = 8;
const LABEL = 18;
/** Pixels that a canvas may have, in any browser. */
const MOST = 16e6;

export async function tiles(model: Model<Tiles>, el: HTMLElement, signal: AbortSignal): Promise<void> {
  const grid = new Grid(model, signal);
  el.append(grid.element);
  await grid.start();
}

/** How tiles are laid out: how many a row, and the size of each in pixels of the screen. */
export interface Arrangement {
  columns: number;
  rows: number;
  width: number;
  height: number;
  /** From one row to the next. */
  step: number;
}

/** Lay out n tiles of h x w within a width: as wide as asked, about; squares of whole pixels where not smooth. */
export function arrange(
  [n, h, w]: number[],
  side: number,
  within: number,
  labelled: boolean,
  smooth: boolean,
): Arrangement {
  const width = smooth || w > side ? side : w * Math.max(1, Math.round(side / w));
  const height = Math.max(1, Math.round((width * h) / w));
  const columns = Math.max(1, Math.min(n, Math.floor((within + GAP) / (width + GAP))));
  const step = height + (labelled ? LABEL : 0) + GAP;
  return { columns, rows: Math.ceil(n / columns), width, height, step };
}

// Views of one canvas share its pixels, and so its columns: as many as the narrowest has room for.
const SHARED = new WeakMap<HTMLCanvasElement, Map<Grid, number>>();

class Grid {
  private readonly caption = h("div", { class: "nbv-heading" });
  private readonly bar = new ColourBar();
  private readonly own = h("div", { class: "nbv-own" }, "each tile on a colour scale of its own");
  private readonly readout = h("output", { class: "nbv-readout", "aria-live": "off" });
  private readonly box = h("div", { class: "nbv-canvas", "aria-hidden": "true" });
  private readonly choice: Choice;
  private readonly menu: HTMLElement;
  private readonly scroll: HTMLElement;
  readonly element: HTMLElement;
  private host: CanvasHost | null = null;
  private layout: Arrangement = { columns: 1, rows: 0, width: 0, height: 0, step: 0 };
  private pixels: ImageData | null = null;

  constructor(
    private readonly model: Model<Tiles>,
    private readonly signal: AbortSignal,
  ) {
    const choose = (at: number) => model.send({ type: "choose", index: this.index(at) });
    this.choice = new Choice({ class: "nbv-tiles" }, { choose, moved: (at) => this.describe(at) }, signal);
    this.menu = h("div", { class: "nbv-controls nbv-local" }, coloursMenu(model, signal));
    this.scroll = h(
      "div",
      { class: "nbv-scroll" },
      h("div", { class: "nbv-grid" }, this.box, this.choice.element),
    );
    this.element = h("section", { class: "nbv-tileframe", "aria-label": model.get("label") || "Tiles" });
    const save = debounced(() => model.save_changes());
    const change = (event: KeyboardEvent) => nextColours(model, event.key === "c" ? 1 : -1, save);
    const bindings = [...CHOICE_KEYS, { keys: ["c", "C"], help: "colours: next, previous", act: change }];
    const key = (event: KeyboardEvent) => this.choice.key(event);
    const buttons = tools(this.element, () => this.figure(), bindings, key, signal);
    this.element.append(
      h("div", { class: "nbv-head" }, this.caption, buttons),
      this.scroll,
      h("div", { class: "nbv-scale" }, this.bar.element, this.own, this.readout),
      this.menu,
    );
    this.choice.element.addEventListener("mousemove", (event) => this.read(event), { signal });
    this.choice.element.addEventListener("mouseleave", () => this.readout.replaceChildren(), { signal });
  }

  async start(): Promise<void> {
    const host = await CanvasHost.host(
      this.model.widget_manager,
      this.model.get("canvases")[0] ?? "",
      this.box,
    );
    if (this.signal.aborted) return host.remove();
    this.host = host;
    const views = SHARED.get(host.canvas) ?? new Map<Grid, number>();
    SHARED.set(host.canvas, views);
    const watch = new ResizeObserver(() => this.measure());
    watch.observe(this.scroll);
    this.scroll.addEventListener("scroll", () => this.fade(), { passive: true, signal: this.signal });
    this.signal.addEventListener("abort", () => {
      watch.disconnect();
      host.remove();
      views.delete(this);
      for (const view of views.keys()) view.arrange();
    });
    const paint = repainter(() => this.paint(), this.signal);
    follow(this.model, ["values", "shape", "lows", "highs", "cut", "colours", "smooth"], paint, this.signal);
    const arrange = () => this.arrange();
    follow(this.model, ["shape", "side", "smooth"], arrange, this.signal);
    const label = repainter(() => this.label(), this.signal);
    const named = ["shape", "indices", "labels", "hints", "broken", "notes", "badges", "caption"] as const;
    follow(this.model, [...named], label, this.signal);
    follow(this.model, ["chosen", "indices"], () => this.mark(), this.signal);
    this.label();
    this.measure();
  }

  private index(at: number): number {
    return this.model.get("indices")[at] ?? at;
  }

  private name(at: number): string {
    return this.model.get("hints")[at] || this.model.get("labels")[at] || `${this.index(at)}`;
  }

  /** What is said of values that are no numbers, if there are any. */
  private fault(at: number): string {
    const broken = this.model.get("broken")[at] ?? 0;
    return broken ? `${broken} ${broken === 1 ? "value is" : "values are"} NaN or infinite` : "";
  }

  private ends(at: number): { low: number; high: number } {
    const [lows, highs] = [this.model.get("lows"), this.model.get("highs")];
    const of = lows.length === 1 ? 0 : at;
    return { low: lows[of] ?? 0, high: highs[of] ?? 0 };
  }

  /** Put an option for each tile, with its label and name. */
  private label(): void {
    const model = this.model;
    const [n] = model.get("shape");
    const caption = model.get("caption");
    this.caption.textContent = caption;
    this.choice.element.setAttribute("aria-label", caption || model.get("label") || "Tiles");
    if (this.choice.element.childElementCount !== n) {
      const parts = () => ["nbv-label", "nbv-note", "nbv-badge"].map((name) => h("span", { class: name }));
      const option = () => h("div", { role: "option", class: "nbv-tile" }, ...parts());
      this.choice.offer(Array.from({ length: n }, option));
    }
    for (const [i, option] of [...this.choice.element.children].entries()) {
      const fault = this.fault(i);
      const name = [this.name(i), fault].filter(Boolean).join(": ");
      option.setAttribute("aria-label", name);
      option.setAttribute("title", name);
      option.classList.toggle("nbv-broken", fault !== "");
      const texts = [model.get("labels")[i], model.get("notes")[i], model.get("badges")[i]];
      for (const [at, text] of texts.entries()) {
        const part = option.children[at] as HTMLElement;
        part.textContent = text ?? "";
        part.hidden = at > 0 && !text;
      }
    }
    this.mark();
    this.arrange();
  }

  private mark(): void {
    const chosen = this.model.get("chosen");
    const [n] = this.model.get("shape");
    const indices = this.model.get("indices");
    this.choice.mark(chosen < 0 ? -1 : indices.length === n ? indices.indexOf(chosen) : chosen);
  }

  /** Take notice of the width that there is. */
  private measure(): void {
    const views = this.host && SHARED.get(this.host.canvas);
    const width = this.scroll.clientWidth;
    if (!views || !width || views.get(this) === width) return;
    views.set(this, width);
    for (const view of views.keys()) view.arrange();
  }

  /** Lay the tiles out anew, and paint them, if that has changed. */
  private arrange(): void {
    const views = this.host && SHARED.get(this.host.canvas);
    const model = this.model;
    const shape = model.get("shape");
    const within = Math.min(...(views?.values() ?? []));
    if (!shape[0] || !Number.isFinite(within)) {
      this.paint();
      return;
    }
    const room = within - 2 * EDGE;
    const labelled = model.get("labels").some(Boolean);
    const side = model.get("side") * (document.fullscreenElement === this.element ? 2 : 1);
    const layout = arrange(shape, side, room, labelled, model.get("smooth"));
    if (JSON.stringify(layout) === JSON.stringify(this.layout)) return; // what it holds is painted already
    this.layout = layout;
    const style = this.choice.element.style;
    style.gridTemplateColumns = `repeat(${layout.columns}, ${layout.width}px)`;
    style.gridAutoRows = `${layout.step - GAP}px`;
    this.choice.element.style.setProperty("--nbv-tile", `${layout.height}px`);
    this.paint();
  }

  private paint(): void {
    const { columns, rows, width, height, step } = this.layout;
    const [n, h, w, channels] = this.model.get("shape");
    const values = bytes(this.model.get("values"));
    const shown = this.host && n > 0 && values.length === n * h * w * channels && width > 0;
    const shared = channels === 1 && this.model.get("lows").length === 1;
    this.bar.paint(
      table(this.model),
      shared ? { ...this.ends(0), cut: this.model.get("cut") } : { low: 0, high: 0 },
    );
    this.own.hidden = !shown || channels !== 1 || shared;
    this.menu.hidden = !shown || channels !== 1;
    this.box.parentElement?.toggleAttribute("hidden", !shown);
    if (!this.host || !shown) return;

    const [across, down] = [columns * (width + GAP) - GAP, rows * step - GAP];
    const ratio = Math.min(window.devicePixelRatio || 1, Math.sqrt(MOST / (across * down)));
    const px = (length: number) => Math.round(length * ratio);
    if (this.pixels?.width !== px(across) || this.pixels.height !== px(down)) {
      this.pixels = new ImageData(px(across), px(down));
    }
    const spots = {
      width: px(width),
      height: px(height),
      left: (i: number) => px((i % columns) * (width + GAP)),
      top: (i: number) => px(Math.floor(i / columns) * step),
    };
    const tiles = { values, count: n, height: h, width: w, channels };
    mosaic(this.pixels, tiles, spots, table(this.model), this.model.get("smooth"));
    this.box.style.width = `${across}px`;
    this.box.style.height = `${down}px`;
    this.fade();
    const pixels = this.pixels;
    this.host.paint(pixels.width, pixels.height, (context) => context.putImageData(pixels, 0, 0));
  }

  /** Let the lower edge fade where more tiles follow below. */
  private fade(): void {
    const { scrollTop, clientHeight, scrollHeight } = this.scroll;
    this.scroll.classList.toggle("nbv-more", scrollTop + clientHeight < scrollHeight - 8);
  }

  /** Tell the value under the cursor. */
  private read(event: MouseEvent): void {
    const at = this.choice.at(event.target as Element);
    const option = this.choice.element.children[at];
    if (!option) {
      this.readout.replaceChildren();
      return;
    }
    const frame = option.getBoundingClientRect();
    const [, h, w, channels] = this.model.get("shape");
    const column = Math.floor(((event.clientX - frame.left) / frame.width) * w);
    const row = Math.floor(((event.clientY - frame.top) / this.layout.height) * h);
    if (row < 0 || column < 0 || row >= h || column >= w) {
      this.describe(at);
      return;
    }
    const { low, high } = this.ends(at);
    if (channels === 3 && low === high) {
      this.describe(at); // pictures, whose bytes stand for no values
      return;
    }
    const values = bytes(this.model.get("values"));
    const from = ((at * h + row) * w + column) * channels;
    const read = [...values.subarray(from, from + channels)].map((b) =>
      short(low + (b / 255) * (high - low)),
    );
    this.describe(at, `row ${row}  column ${column}  value ${read.join(" ")}`);
  }

  /** What is shown, to be saved. */
  private figure(): Figure {
    const { columns, width, height, step } = this.layout;
    const labels = this.model.get("labels").map((text, i) => ({
      text,
      x: (i % columns) * (width + GAP) + width / 2,
      y: Math.floor(i / columns) * step + height + 13,
    }));
    const canvas = this.host?.canvas;
    const size = { width: parseFloat(this.box.style.width), height: parseFloat(this.box.style.height) };
    const scale = this.bar.element.hidden ? undefined : this.bar.shown();
    return {
      caption: this.model.get("caption"),
      pictures: canvas ? [{ title: "", canvas, labels, ...size }] : [],
      scale,
    };
  }

  private describe(at: number, value = ""): void {
    this.readout.textContent = [this.name(at), value, this.fault(at)].filter(Boolean).join("   ");
  }
}

/** Room at the edges, for outlines. */
const EDGE = 4;
