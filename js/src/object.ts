// The object that a map points at, cut out of the picture: its view shows outline and box, of the mask that the kernel sends.
import { h } from "./dom";
import { follow, type Maps, type Model } from "./model";

/** What its view shows. */
export const OBJECT = "the object that the map points at, cut out of the picture by its colours";
const CUT_OUT = "Object: its outline and box";
const TO_COME = "Object: cut out once the map is there";

/** Why there is no object, over the picture in its view. */
export class ObjectNote {
  readonly element = h("div", { class: "nbv-note", role: "status" });

  constructor(
    private readonly model: Model<Maps>,
    signal: AbortSignal,
  ) {
    follow(model, ["object_note"], () => this.show(), signal);
    this.show();
  }

  private show(): void {
    this.element.textContent = this.model.get("object_note");
    this.element.hidden = !this.model.get("object_note");
  }

  /** What the view is called: whether the object is there, or is to come, or cannot be had. */
  title(plain: string, there: boolean): string {
    return this.model.get("object_note") ? plain : there ? CUT_OUT : TO_COME;
  }
}

/** The choice of what cuts it out, where its view is shown. */
export function cutting(model: Model<Maps>, signal: AbortSignal): HTMLElement {
  const by = h(
    "select",
    {},
    h("option", { value: "random_walker" }, "random walker"),
    h("option", { value: "grabcut" }, "GrabCut"),
  );
  const label = h("label", { class: "nbv-by", title: CUTTING }, h("span", {}, "Object by"), by);
  const show = () => {
    by.value = model.get("cut_by");
    label.hidden = !model.get("outlining");
  };
  by.addEventListener("change", () => cutBy(model, by.value), { signal });
  follow(model, ["outlining", "cut_by"], show, signal);
  show();
  return label;
}

/** Cut it out by something: by the other of the two, unless it is said what. */
export function cutBy(model: Model<Maps>, what?: string): void {
  model.set("cut_by", what ?? (model.get("cut_by") === "grabcut" ? "random_walker" : "grabcut"));
  model.save_changes();
}

const CUTTING =
  "How the object is cut out: where the map is strongest is the object, where it is weakest is not, and the picture's " +
  "colours decide about the rest. GrabCut needs OpenCV. (g)";

/** Draw an object's outline, white on it and black around it, over its box in yellow; it is white in a mask of that size. */
export function outlined(pixels: ImageData, mask: ImageData): void {
  const { width, height } = pixels;
  const within = (x: number, y: number) => mask.data[4 * (y * width + x)] > 127;
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!within(x, y)) continue;
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
  }
  const ink = (x: number, y: number, colour: number[]) => pixels.data.set(colour, 4 * (y * width + x));
  for (let y = top; y <= bottom; y++) for (const x of [left, right]) ink(x, y, YELLOW);
  for (let x = left; x <= right; x++) for (const y of [top, bottom]) ink(x, y, YELLOW);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = within(x, y);
      const edge =
        (x > 0 && within(x - 1, y) !== here) ||
        (x + 1 < width && within(x + 1, y) !== here) ||
        (y > 0 && within(x, y - 1) !== here) ||
        (y + 1 < height && within(x, y + 1) !== here);
      if (edge) ink(x, y, here ? WHITE : BLACK);
    }
  }
}

const YELLOW = [255, 220, 0, 255];
const WHITE = [255, 255, 255, 255];
const BLACK = [0, 0, 0, 255];
