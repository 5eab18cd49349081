// Colour maps: the table in use, the menu to choose from, the bar that says which colour is which value.
import { h } from "./dom";
import { bytes, type Coloured, follow, type Model } from "./model";
import { short } from "./paint";

/** The 256 colours in use. */
export function table(model: Model<Coloured>): Uint8Array {
  return tableOf(model, model.get("colours"));
}

/** The 256 colours of a colour map. */
export function tableOf(model: Model<Coloured>, name: string): Uint8Array {
  const at = Math.max(0, model.get("colour_names").indexOf(name));
  return bytes(model.get("colour_tables")).subarray(768 * at, 768 * (at + 1));
}

/** A menu of the colour maps. */
export function coloursMenu(model: Model<Coloured>, signal: AbortSignal): HTMLElement {
  const select = h("select", { "aria-label": "Colours" }); // its label may not be shown
  select.append(...model.get("colour_names").map((name) => h("option", { value: name }, name)));
  const show = () => {
    select.value = model.get("colours");
  };
  select.addEventListener(
    "change",
    () => {
      model.set("colours", select.value);
      model.save_changes();
    },
    { signal },
  );
  follow(model, ["colours"], show, signal);
  show();
  return h("label", { title: "Colour map (c, C)" }, h("span", {}, "Colours"), select);
}

/** Change to a colour map further down or up the menu; around its ends. */
export function nextColours(model: Model<Coloured>, by: number, save: () => void): void {
  const names = model.get("colour_names");
  const at = names.indexOf(model.get("colours")) + by;
  model.set("colours", names[(at + names.length) % names.length]);
  save();
}

/** The values at the ends of a colour scale, and whether it was cut below the largest. */
export type Ends = { low: number; high: number; cut?: boolean };

/** The colour scale with the values at its ends and in the middle, which is zero where it is signed. */
export class ColourBar {
  private readonly canvas = h("canvas", { width: "256", height: "1", "aria-hidden": "true" });
  private readonly ticks = h("div", { class: "nbv-ticks", "aria-hidden": "true" });
  readonly element = h("div", { class: "nbv-colourbar", role: "img" }, this.canvas, this.ticks);

  paint(colours: Uint8Array, { low, high, cut }: Ends): void {
    const ends = [`${cut && low < 0 ? "≤ " : ""}${short(low)}`, `${cut ? "≥ " : ""}${short(high)}`];
    const middle = short((low + high) / 2);
    this.ticks.replaceChildren(...[ends[0], middle, ends[1]].map((text) => h("span", {}, text)));
    this.element.setAttribute("aria-label", `colour scale from ${short(low)} to ${short(high)}`);
    this.element.hidden = high <= low;
    const context = this.canvas.getContext("2d");
    if (!context || colours.length < 768) return;
    const pixels = context.createImageData(256, 1);
    for (let i = 0; i < 256; i++) {
      pixels.data.set([colours[3 * i], colours[3 * i + 1], colours[3 * i + 2], 255], 4 * i);
    }
    context.putImageData(pixels, 0, 0);
  }

  /** The bar and its numbers, to be saved. */
  shown(): { canvas: HTMLCanvasElement; ticks: string[] } {
    return { canvas: this.canvas, ticks: [...this.ticks.children].map((tick) => tick.textContent ?? "") };
  }
}
