// What stands around the views: the colour bar with its numbers, the browser's own controls, the line of status.
import { h } from "./dom";
import type { Model } from "./model";
import { short } from "./paint";
import { table } from "./views";

/** The colour scale with the values at its ends, and at zero where it is signed. */
export class ColourBar {
  private readonly canvas = h("canvas", { width: "256", height: "1", "aria-hidden": "true" });
  private readonly ticks = h("div", { class: "nbv-ticks" });
  readonly element = h("div", { class: "nbv-colourbar", role: "img" }, this.canvas, this.ticks);

  constructor(private readonly model: Model) {}

  paint(): void {
    const { low, high } = { low: this.model.get("low"), high: this.model.get("high") };
    const context = this.canvas.getContext("2d");
    const colours = table(this.model);
    if (!context || colours.length < 768) return;
    const pixels = context.createImageData(256, 1);
    for (let i = 0; i < 256; i++) {
      pixels.data.set([colours[3 * i], colours[3 * i + 1], colours[3 * i + 2], 255], 4 * i);
    }
    context.putImageData(pixels, 0, 0);
    const cut = this.model.get("cut");
    const ends = [`${cut && low < 0 ? "≤ " : ""}${short(low)}`, `${cut ? "≥ " : ""}${short(high)}`];
    const middle = short((low + high) / 2);
    this.ticks.replaceChildren(...[ends[0], middle, ends[1]].map((text) => h("span", {}, text)));
    this.element.setAttribute("aria-label", `colour scale from ${short(low)} to ${short(high)}`);
    this.element.hidden = high <= low;
  }
}

/** Controls that work in the browser alone: opacity, threshold, colours. The kernel is told when a drag has ended. */
export function browserControls(model: Model, changed: () => void, signal: AbortSignal): HTMLElement {
  const slider = (name: "opacity" | "threshold", label: string, title: string) => {
    const input = h("input", { type: "range", min: "0", max: "1", step: "0.01", title });
    // JupyterLab would take the arrow keys for its own shortcuts.
    input.dataset.lmSuppressShortcuts = "true";
    const value = h("span", { class: "nbv-number" });
    const show = () => {
      input.value = String(model.get(name));
      value.textContent = `${Math.round(model.get(name) * 100)} %`;
    };
    input.addEventListener(
      "input",
      () => {
        model.set(name, Number(input.value));
        show();
        changed();
      },
      { signal },
    );
    input.addEventListener("change", () => model.save_changes(), { signal });
    model.on(`change:${name}`, show);
    signal.addEventListener("abort", () => model.off(`change:${name}`, show));
    show();
    return h("label", { title }, h("span", {}, label), input, value);
  };

  const select = h("select", { title: "Colour map" });
  select.dataset.lmSuppressShortcuts = "true";
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
  model.on("change:colours", show);
  signal.addEventListener("abort", () => model.off("change:colours", show));
  show();

  return h(
    "div",
    { class: "nbv-controls" },
    slider("opacity", "Opacity", "How strongly the map covers the picture"),
    slider("threshold", "Threshold", "Hide the map where it is weaker than this"),
    h("label", { title: "Colour map" }, h("span", {}, "Colours"), select),
  );
}

/** What is going on, how far it is, a button to stop it; and in its place what went wrong. */
export class StatusLine {
  private readonly text = h("span", { class: "nbv-text", role: "status", "aria-live": "polite" });
  private readonly progress = h("progress", { "aria-label": "progress" });
  private readonly stop = h(
    "button",
    { type: "button", title: "Stop what is being computed (Escape)" },
    "Stop",
  );
  private readonly error = h("div", { class: "nbv-error", role: "alert" });
  readonly element = h(
    "div",
    { class: "nbv-status" },
    h("div", { class: "nbv-line" }, this.progress, this.stop, this.text),
    this.error,
  );

  constructor(
    private readonly model: Model,
    signal: AbortSignal,
  ) {
    this.stop.addEventListener("click", () => model.send({ type: "stop" }), { signal });
  }

  paint(): void {
    const running = this.model.get("running");
    const { step, steps } = { step: this.model.get("step"), steps: this.model.get("steps") };
    this.progress.max = Math.max(1, steps);
    if (running && steps === 0) this.progress.removeAttribute("value");
    else this.progress.value = step;
    this.progress.classList.toggle("nbv-idle", !running);
    this.stop.disabled = !running;
    this.text.textContent = this.model.get("status");
    const error = this.model.get("error");
    this.error.textContent = error;
    this.error.hidden = !error;
  }
}
