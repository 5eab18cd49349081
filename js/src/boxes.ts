// The boxes that a detection network found, over its picture. The mouse chooses one by the place that is clicked, see
// pointer.ts: what lies under them zooms and pans. The keyboard chooses them here.
import { h } from "./dom";
import { frameBox } from "./marking";
import { follow, type Maps, type Model } from "./model";
import type { Zoom } from "./zoom";

export class Boxes {
  readonly element = h("div", { class: "nbv-boxes", role: "group", "aria-label": "Boxes found" });

  constructor(
    private readonly model: Model<Maps>,
    private readonly zoom: Zoom,
    signal: AbortSignal,
  ) {
    this.element.addEventListener(
      "click",
      (event) => {
        const at = [...this.element.children].indexOf((event.target as Element).closest("button") as Element);
        if (at >= 0) model.send({ type: "box", at });
      },
      { signal },
    );
    follow(model, ["boxes", "box_names", "size"], () => this.build(), signal);
    follow(model, ["box"], () => this.mark(), signal);
    this.build();
  }

  private build(): void {
    const names = this.model.get("box_names");
    const boxes = this.model.get("boxes");
    this.element.hidden = boxes.length === 0;
    this.element.replaceChildren(
      ...boxes.map((_, at) => {
        const name = names[at] ?? `box ${at}`;
        return h(
          "button",
          { type: "button", class: "nbv-box", title: `Explain ${name}`, "aria-label": `Explain ${name}` },
          h("span", {}, name),
        );
      }),
    );
    this.mark();
    this.place();
  }

  private mark(): void {
    for (const [at, button] of [...this.element.children].entries()) {
      button.setAttribute("aria-pressed", String(at === this.model.get("box")));
    }
  }

  /** Put the boxes where they are shown. */
  place(): void {
    const [height, width] = this.model.get("size");
    const boxes = this.model.get("boxes");
    for (const [at, button] of [...this.element.children].entries()) {
      const [left, top, right, bottom] = boxes[at] ?? [0, 0, 0, 0];
      const [x, y] = this.zoom.over(left / width, top / height);
      const { scale } = this.zoom;
      const style = {
        left: x,
        top: y,
        width: (scale * (right - left)) / width,
        height: (scale * (bottom - top)) / height,
      };
      for (const [name, share] of Object.entries(style)) {
        (button as HTMLElement).style.setProperty(name, `${100 * share}%`);
      }
    }
  }

  /** Draw them over the picture as it is zoomed, to be saved, `fine` pixels for one of the page; the chosen one last. */
  draw(context: CanvasRenderingContext2D, fine: number): void {
    const [height, width] = this.model.get("size");
    const { width: across, height: down } = context.canvas;
    const chosen = this.model.get("box");
    const boxes = this.model.get("boxes");
    const order = [...boxes.keys()].filter((at) => at !== chosen);
    if (chosen in boxes) order.push(chosen);
    for (const at of order) {
      const [left, top, right, bottom] = boxes[at];
      const [x, y] = this.zoom.over(left / width, top / height);
      const [u, v] = this.zoom.over(right / width, bottom / height);
      const box: [number, number, number, number] = [x * across, y * down, u * across, v * down];
      if (at === chosen) frameBox(context, box, fine);
      else frameBox(context, box, fine / 2, "#fff");
      if (at === chosen || boxes.length < MANY)
        label(context, this.model.get("box_names")[at] ?? "", box, fine);
    }
  }

  /** What the smallest box around a pixel is called; "" where there is none. */
  name(x: number, y: number): string {
    let [smallest, name] = [Number.POSITIVE_INFINITY, ""];
    for (const [at, [left, top, right, bottom]] of this.model.get("boxes").entries()) {
      const area = (right - left) * (bottom - top);
      const around = left <= x + 0.5 && x + 0.5 <= right && top <= y + 0.5 && y + 0.5 <= bottom;
      if (around && area < smallest) [smallest, name] = [area, this.model.get("box_names")[at] ?? ""];
    }
    return name;
  }
}

/** Of so many boxes only the one looked at has its name on it, as maps.css has it. */
const MANY = 9;

/** Write a name into the upper left corner of a box, white on black. */
function label(
  context: CanvasRenderingContext2D,
  name: string,
  [left, top]: [number, number, number, number],
  fine: number,
): void {
  context.font = `${10 * fine}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  context.fillStyle = "rgb(0 0 0 / 75%)";
  context.fillRect(left, top, context.measureText(name).width + 6 * fine, 13 * fine);
  context.fillStyle = "#fff";
  context.fillText(name, left + 3 * fine, top + 6.5 * fine);
}
