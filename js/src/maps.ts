// Three views of one map, with what a canvas lacks: colour bar, opacity, threshold, the value under the cursor.
import { ColourBar, coloursMenu, table } from "./colours";
import { h } from "./dom";
import { keys } from "./keys";
import { follow, type Maps, type Model } from "./model";
import { repainter } from "./schedule";
import { Views } from "./views";

export async function maps(model: Model<Maps>, el: HTMLElement, signal: AbortSignal): Promise<void> {
  const views = new Views(model, signal);
  const bar = new ColourBar();
  const repaint = repainter(() => {
    views.paint();
    bar.paint(table(model), { low: model.get("low"), high: model.get("high"), cut: model.get("cut") });
  }, signal);
  const caption = h("div", { class: "nbv-caption" });
  const tell = () => {
    caption.textContent = model.get("caption");
    views.element.setAttribute("aria-label", model.get("caption"));
  };
  follow(model, ["picture"], () => void views.decode().then(repaint), signal);
  follow(
    model,
    ["values", "shape", "size"],
    () => {
      views.outdate();
      repaint();
    },
    signal,
  );
  follow(model, ["low", "high", "cut", "colours", "opacity", "threshold"], repaint, signal);
  follow(model, ["caption"], tell, signal);

  const root = h(
    "section",
    { class: "nbv-frame", "aria-label": model.get("label") || "Explanation" },
    caption,
    views.element,
    h("div", { class: "nbv-scale" }, bar.element, views.reader),
    controls(model, repaint, signal),
  );
  keys(root, () => false, signal);
  el.append(root);
  tell();
  await views.start();
  repaint();
}

/** Controls that work in the browser alone: opacity, threshold, colours. The kernel is told when a drag has ended. */
export function controls(model: Model<Maps>, changed: () => void, signal: AbortSignal): HTMLElement {
  const slider = (name: "opacity" | "threshold", label: string, title: string) => {
    const input = h("input", { type: "range", min: "0", max: "1", step: "0.01" });
    const value = h("span", { class: "nbv-number" });
    const show = () => {
      input.value = String(model.get(name));
      value.textContent = `${Math.round(model.get(name) * 100)} %`;
    };
    input.addEventListener(
      "input",
      () => {
        model.set(name, Number(input.value));
        changed();
      },
      { signal },
    );
    input.addEventListener("change", () => model.save_changes(), { signal });
    follow(model, [name], show, signal);
    show();
    return h("label", { title }, h("span", {}, label), input, value);
  };
  return h(
    "div",
    { class: "nbv-controls nbv-local" },
    slider("opacity", "Opacity", "How strongly the map covers the picture"),
    slider("threshold", "Threshold", "Hide the map where it is weaker than this"),
    coloursMenu(model, signal),
  );
}
