// A picture on which the reader marks a part: a box, dragged with the mouse, a pen or a finger. The kernel shows it in
// number fields too, which the keyboard reaches.
import { CanvasHost } from "./canvas";
import { decoded } from "./composite";
import { h } from "./dom";
import { bytes, follow, type Marking, type Model } from "./model";
import { offerFigure, type Shown } from "./save";
import { latest } from "./schedule";

/** Pixels of the screen: what is moved less was meant as a click. */
const FEWEST = 4;
/** How wide it is saved. */
const SAVED = 672;

type Box = [number, number, number, number];

export async function marking(model: Model<Marking>, el: HTMLElement, signal: AbortSignal): Promise<void> {
  const box = h("div", { class: "nbv-canvas", role: "img" });
  const mark = h("div", { class: "nbv-mark", "aria-hidden": "true" });
  const stage = h("div", { class: "nbv-stage" }, box, mark);
  const caption = h("div", { class: "nbv-caption" });
  const root = h("section", { class: "nbv-marking", "aria-label": model.get("label") || "Picture" });
  root.append(stage, caption);
  el.append(root);

  const size = () => model.get("size");
  const place = (shown: number[]) => {
    const [height, width] = size();
    mark.hidden = shown.length !== 4 || !width || !height;
    if (mark.hidden) return;
    const [left, top, right, bottom] = shown;
    mark.style.left = `${(100 * left) / width}%`;
    mark.style.top = `${(100 * top) / height}%`;
    mark.style.width = `${(100 * (right - left)) / width}%`;
    mark.style.height = `${(100 * (bottom - top)) / height}%`;
  };
  const label = () => {
    caption.textContent = model.get("caption");
    box.setAttribute("aria-label", model.get("caption") || model.get("label"));
  };

  const host = await CanvasHost.host(model.widget_manager, model.get("canvases")[0] ?? "", box);
  if (signal.aborted) return host.remove();
  signal.addEventListener("abort", () => host.remove());
  const scratch = h("canvas");
  const show = latest(async () => {
    const pixels = await decoded(bytes(model.get("picture")), scratch);
    if (pixels && !signal.aborted) {
      host.paint(pixels.width, pixels.height, (context) => context.putImageData(pixels, 0, 0));
    }
  }, signal);
  follow(model, ["picture"], () => void show(), signal);
  follow(model, ["box", "size"], () => place(model.get("box")), signal);
  follow(model, ["caption"], label, signal);
  offerFigure(root, () => ({ caption: "", pictures: marked(host.canvas, model) }), signal);
  drag(stage, size, place, (drawn) => model.send({ type: "marked", box: drawn }), signal);
  label();
  place(model.get("box"));
  await show();
}

/** The picture with the box on it, to be saved. */
export function marked(picture: HTMLCanvasElement, model: Pick<Model<Marking>, "get">): Shown[] {
  const [height, width] = model.get("size");
  if (!width || !height) return [];
  const fine = Math.max(1, Math.ceil(SAVED / width));
  const canvas = h("canvas", { width: `${fine * width}`, height: `${fine * height}` });
  const context = canvas.getContext("2d");
  context?.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const box = model.get("box");
  if (context && box.length === 4) frameBox(context, box.map((edge) => fine * edge) as Box, fine);
  return [{ title: model.get("caption"), canvas, width: SAVED / 2, height: (SAVED * height) / width / 2 }];
}

/** Draw a box as it is shown on the page: a colour within black. */
export function frameBox(context: CanvasRenderingContext2D, box: Box, fine: number, ink = "#ffb000"): void {
  const [left, top, right, bottom] = box;
  for (const [colour, wide] of [
    ["#000", 4],
    [ink, 2],
  ] as const) {
    context.strokeStyle = colour;
    context.lineWidth = wide * fine;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

/** Let a box be dragged: `place` is called as it grows, `done` when it is let go. */
export function drag(
  stage: HTMLElement,
  size: () => number[],
  place: (box: number[]) => void,
  done: (box: Box) => void,
  signal: AbortSignal,
): void {
  let from: [number, number] | null = null;
  const at = (event: PointerEvent): [number, number] => {
    const frame = stage.getBoundingClientRect();
    const [height, width] = size();
    const within = (share: number, length: number) => Math.min(length, Math.max(0, share * length));
    return [
      within((event.clientX - frame.left) / frame.width, width),
      within((event.clientY - frame.top) / frame.height, height),
    ];
  };
  const between = (to: [number, number]): Box => {
    const [x, y] = from ?? to;
    const whole = [Math.min(x, to[0]), Math.min(y, to[1]), Math.max(x, to[0]), Math.max(y, to[1])];
    return whole.map(Math.round) as Box;
  };
  const on = (name: "pointerdown" | "pointermove" | "pointerup", act: (event: PointerEvent) => void) =>
    stage.addEventListener(name, act, { signal });
  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    from = at(event);
    stage.setPointerCapture?.(event.pointerId);
  });
  on("pointermove", (event) => {
    if (from) place(between(at(event)));
  });
  on("pointerup", (event) => {
    if (!from) return;
    const box = between(at(event));
    const [x, y] = from;
    from = null;
    const frame = stage.getBoundingClientRect();
    const [height, width] = size();
    const moved = Math.min(
      (Math.abs(at(event)[0] - x) * frame.width) / width,
      (Math.abs(at(event)[1] - y) * frame.height) / height,
    );
    if (moved >= FEWEST && box[0] < box[2] && box[1] < box[3]) done(box);
    else place([]);
  });
  stage.addEventListener("pointercancel", () => (from = null), { signal });
}
