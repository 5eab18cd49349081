// The picture as it was given, and on it the box that is cropped.
import { h, show } from "./dom";
import { bytes, follow, type Intake, type Model } from "./model";

/** Shares of width and height, 0 to 1. */
type Box = [left: number, top: number, right: number, bottom: number];

export class Crop {
  private readonly image = h("img", { alt: "The picture as given", draggable: "false" });
  private readonly box = h("div", { class: "nbv-crop", "aria-hidden": "true" });
  private readonly taken = h("div", { class: "nbv-taken", "aria-hidden": "true" });
  private readonly stage = h(
    "div",
    { class: "nbv-original", title: "Draw a box to crop to it" },
    this.image,
    this.box,
    this.taken,
  );
  readonly whole = h(
    "button",
    { type: "button", title: "Crop no more: take all of the picture" },
    "Whole picture",
  );
  readonly element = h(
    "div",
    { class: "nbv-popover nbv-crop-popover", role: "group", "aria-label": "The picture as given" },
    this.stage,
    h("p", { class: "nbv-hint" }, "Draw a box to crop. Dashed: the part that the network takes."),
    this.whole,
  );

  constructor(
    private readonly model: Model<Intake>,
    signal: AbortSignal,
  ) {
    let from: [number, number] | null = null;
    let drawn: Box | null = null;
    const place = (event: PointerEvent): [number, number] => {
      const frame = this.image.getBoundingClientRect();
      const within = (v: number) => Math.max(0, Math.min(1, v));
      return [
        within((event.clientX - frame.left) / frame.width),
        within((event.clientY - frame.top) / frame.height),
      ];
    };
    this.stage.addEventListener(
      "pointerdown",
      (event) => {
        if (event.button !== 0) return;
        event.preventDefault();
        this.stage.setPointerCapture(event.pointerId);
        from = place(event);
        drawn = null;
      },
      { signal },
    );
    this.stage.addEventListener(
      "pointermove",
      (event) => {
        if (!from) return;
        const [x, y] = place(event);
        drawn = [Math.min(from[0], x), Math.min(from[1], y), Math.max(from[0], x), Math.max(from[1], y)];
        this.draw(drawn);
      },
      { signal },
    );
    const end = (event: PointerEvent) => {
      if (!from) return;
      from = null;
      const frame = this.image.getBoundingClientRect();
      // A click, or a slip of the hand, is no box.
      const large =
        drawn && (drawn[2] - drawn[0]) * frame.width > 8 && (drawn[3] - drawn[1]) * frame.height > 8;
      if (event.type === "pointerup" && drawn && large) model.send({ type: "crop", box: drawn });
      else this.draw(model.get("crop") as Box);
    };
    this.stage.addEventListener("pointerup", end, { signal });
    this.stage.addEventListener("pointercancel", end, { signal });
    this.whole.addEventListener("click", () => model.send({ type: "crop", box: [0, 0, 1, 1] }), { signal });
    const refresh = () => {
      const known = bytes(model.get("original")).length > 0;
      this.stage.hidden = !known;
      if (known) void show(this.image, bytes(model.get("original")));
    };
    const mark = () => this.draw(model.get("crop") as Box);
    follow(model, ["original"], refresh, signal);
    follow(model, ["crop", "taken"], mark, signal);
    refresh();
    mark();
  }

  private draw([left, top, right, bottom]: Box): void {
    const whole = right - left >= 1 && bottom - top >= 1;
    this.box.hidden = whole;
    this.whole.disabled = (this.model.get("crop") as Box).every((v, i) => v === [0, 0, 1, 1][i]);
    place(this.box, [left, top, right, bottom]);
    // What the network takes is a part of what is cropped.
    const taken = this.model.get("taken");
    this.taken.hidden = taken.length !== 4;
    if (taken.length !== 4) return;
    const [width, height] = [right - left, bottom - top];
    place(this.taken, [
      left + taken[0] * width,
      top + taken[1] * height,
      left + taken[2] * width,
      top + taken[3] * height,
    ]);
  }
}

function place(box: HTMLElement, [left, top, right, bottom]: Box): void {
  const percent = (share: number) => `${(100 * share).toFixed(2)}%`;
  Object.assign(box.style, {
    left: percent(left),
    top: percent(top),
    width: percent(right - left),
    height: percent(bottom - top),
  });
}
