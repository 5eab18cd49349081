// The canvases of a panel are ipycanvas canvases. Here they are hosted: put into the frame and painted on, so that the
// kernel's drawing commands and the browser's painting share one canvas. Where ipycanvas cannot be had (a host without
// it, a saved notebook) a canvas of our own takes its place and shows the same bytes.

/** What is used of ipywidgets' manager, and of a canvas's model and view. */
interface Manager {
  get_model(id: string): Promise<CanvasModel>;
  create_view(model: CanvasModel): Promise<CanvasView>;
}
interface CanvasModel {
  canvas: unknown;
  set(size: { width: number; height: number }): void;
  trigger(event: string): void;
  forEachView(act: (view: CanvasView) => void): void;
}
interface CanvasView {
  el: HTMLElement;
  trigger(event: string): void;
  updateCanvas(): void;
  remove(): void;
}

export class CanvasHost {
  private constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly resize: (width: number, height: number) => void,
    private readonly show: () => void,
    readonly remove: () => void,
  ) {}

  /** Host the ipycanvas model of a reference (`IPY_MODEL_...`) in `box`, or a canvas of our own. */
  static async host(manager: unknown, reference: string, box: HTMLElement): Promise<CanvasHost> {
    try {
      const model = await (manager as Manager).get_model(reference.replace("IPY_MODEL_", ""));
      const view = await (manager as Manager).create_view(model);
      box.append(view.el);
      view.trigger("displayed");
      untrap(view.el);
      const show = () => {
        model.forEachView((v) => v.updateCanvas());
        model.trigger("new-frame");
      };
      if (!(model.canvas instanceof HTMLCanvasElement)) throw new Error("not a canvas");
      show();
      // Its own resizing keeps every view of the canvas in step.
      const resize = (width: number, height: number) => model.set({ width, height });
      return new CanvasHost(model.canvas, resize, show, () => view.remove());
    } catch {
      const canvas = document.createElement("canvas");
      box.replaceChildren(canvas);
      const resize = (width: number, height: number) => Object.assign(canvas, { width, height });
      return new CanvasHost(
        canvas,
        resize,
        () => {},
        () => canvas.remove(),
      );
    }
  }

  /** Draw with `draw`, then show it in every view of the canvas. */
  paint(width: number, height: number, draw: (context: CanvasRenderingContext2D) => void): void {
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.resize(width, height);
    }
    const context = this.canvas.getContext("2d");
    if (!context) return;
    draw(context);
    this.show();
  }
}

const TRAPPED = [
  ...["keydown", "keyup", "wheel", "mousemove", "mousedown", "mouseup", "mouseout"],
  ...["touchstart", "touchmove", "touchend", "touchcancel"],
];

/** ipycanvas takes Tab, Escape and the wheel, and tells the kernel every move of the mouse: none of it is needed here. */
function untrap(element: HTMLElement): void {
  const pass = (event: Event) => event.stopImmediatePropagation();
  for (const name of TRAPPED) {
    element.addEventListener(name, pass, { capture: true });
  }
  for (const focusable of [element, ...element.querySelectorAll<HTMLElement>("[tabindex], canvas")]) {
    focusable.removeAttribute("tabindex");
  }
}
