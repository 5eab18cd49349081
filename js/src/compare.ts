// How the overlay is compared with the picture, or with an overlay that was pinned: in turns, or at a line that moves.
import { h } from "./dom";
import { follow, type Maps, type Model } from "./model";
import type { Zoom } from "./zoom";

export const COMPARE = ["overlay", "blink", "split"];
/** Milliseconds that each of two is shown in turns. */
const TURN = 700;

export class Comparison {
  /** Whether what it is compared with is shown in place of the overlay. */
  flipped = false;
  /** The line between the two. */
  readonly divider = h("div", {
    class: "nbv-divider",
    role: "slider",
    tabindex: "0",
    "aria-label": "Where the picture ends and the overlay begins",
    "aria-valuemin": "0",
    "aria-valuemax": "100",
    title: "Drag, or use the arrow keys",
  });
  private readonly reducedMotion = window.matchMedia?.("(prefers-reduced-motion: reduce)");
  private timer = 0;

  constructor(
    private readonly model: Model<Maps>,
    private readonly zoom: Zoom,
    private readonly changed: () => void,
    signal: AbortSignal,
  ) {
    follow(model, ["compare"], () => this.begin(), signal);
    // Another map or picture is shown as it is: what was flipped by hand was the one before.
    const anew = () => {
      if (this.mode === "overlay") this.flipped = false;
    };
    follow(model, ["values", "picture"], anew, signal);
    follow(model, ["split"], () => this.place(), signal);
    this.reducedMotion?.addEventListener("change", () => this.begin(), { signal });
    signal.addEventListener("abort", () => clearInterval(this.timer));
    this.draggable(signal);
    this.begin();
  }

  get mode(): string {
    return this.model.get("compare");
  }

  /** The share, from the left, that shows what the overlay is compared with. */
  get split(): number {
    return this.mode === "split" ? this.model.get("split") : 0;
  }

  /** Show what it is compared with in place of the overlay, or the overlay again. */
  flip(): void {
    this.flipped = !this.flipped;
    this.changed();
  }

  /** Move the line to a share of the picture, or by keys. */
  move(to: number): void {
    this.model.set("split", Math.min(1, Math.max(0, to)));
    this.changed();
  }

  key(event: KeyboardEvent): boolean {
    const steps: Record<string, number> = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 };
    if (event.target !== this.divider || !(event.key in steps)) return false;
    this.move(this.model.get("split") + steps[event.key]);
    return true;
  }

  /** Put the line where it belongs. */
  place(): void {
    const split = this.model.get("split");
    const [left] = this.zoom.over(split, 0);
    this.divider.hidden = this.mode !== "split" || left < 0 || left > 1;
    this.divider.style.left = `${100 * left}%`;
    this.divider.setAttribute("aria-valuenow", `${Math.round(100 * split)}`);
  }

  private begin(): void {
    clearInterval(this.timer);
    this.flipped = false;
    // Who asked for less motion flips by hand.
    if (this.mode === "blink" && !this.reducedMotion?.matches) {
      this.timer = window.setInterval(() => document.hidden || this.flip(), TURN);
    }
    this.place();
    this.changed();
  }

  private draggable(signal: AbortSignal): void {
    const { divider } = this;
    divider.addEventListener(
      "pointerdown",
      (event) => {
        event.stopPropagation(); // no panning meanwhile
        divider.setPointerCapture(event.pointerId);
      },
      { signal },
    );
    divider.addEventListener(
      "pointermove",
      (event) => {
        if (!divider.hasPointerCapture(event.pointerId)) return;
        const frame = divider.parentElement?.getBoundingClientRect();
        if (frame) this.move(this.zoom.under((event.clientX - frame.left) / frame.width, 0)[0]);
      },
      { signal },
    );
    divider.addEventListener("pointerup", () => this.model.save_changes(), { signal });
    for (const name of ["click", "dblclick"]) {
      divider.addEventListener(name, (event) => event.stopPropagation(), { signal });
    }
  }
}
