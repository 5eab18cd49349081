// The panel frame: hosts a panel's surfaces and gives them what a canvas lacks. The kernel sends bytes; colouring,
// scaling, opacity, threshold and the value under the cursor are worked out here, without a message.
import type { RenderProps } from "@anywidget/types";
import { browserControls, ColourBar, StatusLine } from "./bars";
import { h } from "./dom";
import type { Model, State } from "./model";
import { acknowledge, repainter } from "./schedule";
import { Views } from "./views";

async function render({ model, el }: RenderProps<State>) {
  const gone = new AbortController();
  const views = new Views(model as Model, gone.signal);
  const bar = new ColourBar(model as Model);
  const status = new StatusLine(model as Model, gone.signal);

  const repaint = repainter(() => {
    views.paint();
    bar.paint();
  }, gone.signal);
  const controls = browserControls(model as Model, repaint, gone.signal);
  const caption = h("div", { class: "nbv-caption" });
  const tell = () => {
    caption.textContent = model.get("caption");
    views.element.setAttribute("aria-label", model.get("caption"));
  };

  const on = (names: string[], act: () => void) => {
    for (const name of names) model.on(`change:${name}`, act);
    gone.signal.addEventListener("abort", () => {
      for (const name of names) model.off(`change:${name}`, act);
    });
  };
  on(["picture"], () => void views.decode().then(repaint));
  on(["values", "shape", "size"], () => {
    views.outdate();
    repaint();
  });
  on(["low", "high", "cut", "colours", "opacity", "threshold"], repaint);
  on(["status", "step", "steps", "running", "error"], () => status.paint());
  on(["caption"], tell);

  const root = h(
    "section",
    { class: "nbv-frame", "aria-label": "Explanation", tabindex: "-1" },
    caption,
    views.element,
    h("div", { class: "nbv-scale" }, bar.element, views.reader),
    controls,
    status.element,
  );
  root.addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Escape" && model.get("running")) model.send({ type: "stop" });
    },
    { signal: gone.signal },
  );
  acknowledge(root, () => model.send({ type: "here" }), gone.signal);
  el.classList.add("nbv");
  el.append(root);
  tell();
  status.paint();
  await views.start();
  bar.paint();

  return () => gone.abort();
}

export default { render };
