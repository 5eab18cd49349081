// Three views of one map, with what a canvas lacks: colour bar, opacity, threshold, comparing, zoom, the value under the
// cursor. All of it is worked out here; the kernel is told of a setting when a drag has ended.
import { ColourBar, coloursMenu, nextColours, table } from "./colours";
import { COMPARE, Comparison } from "./compare";
import { button, h } from "./dom";
import type { Binding } from "./keys";
import { follow, type Maps, type Model } from "./model";
import { cutBy, cutting } from "./object";
import { debounced, repainter } from "./schedule";
import { tools } from "./tools";
import { Views } from "./views";
import { linked, Zoom } from "./zoom";

export async function maps(model: Model<Maps>, el: HTMLElement, signal: AbortSignal): Promise<void> {
  const bar = new ColourBar();
  const zoom = new Zoom(() => {
    look();
    syncLinked();
  });
  const views = new Views(model, zoom, signal);
  const repaint = repainter(() => {
    views.paint(comparison);
    bar.paint(table(model), { low: model.get("low"), high: model.get("high"), cut: model.get("cut") });
  }, signal);
  const comparison = new Comparison(model, zoom, repaint, signal);
  const share = h("button", { type: "button", class: "nbv-share", title: "Show all of it (0)" });
  share.addEventListener("click", () => zoom.reset(), { signal });
  const look = () => {
    views.element.style.setProperty("--nbv-zoom", zoom.css);
    views.element.classList.toggle("nbv-zoomed", zoom.scale > 1);
    views.element.classList.toggle("nbv-squares", zoom.scale >= 4);
    share.textContent = `${Math.round(100 * zoom.scale)} %`;
    share.setAttribute("aria-label", `Zoom ${share.textContent}: show all of it`);
    views.frame();
    comparison.place();
  };
  const root = h("section", { class: "nbv-frame", "aria-label": model.get("label") || "Explanation" });
  const syncLinked = linked(root, zoom, signal);
  const caption = h("div", { class: "nbv-caption" });
  const likeness = h("div", { class: "nbv-likeness" });
  const showCaption = () => {
    caption.textContent = caption.title = model.get("caption");
    likeness.textContent = model.get("likeness");
    views.element.setAttribute("aria-label", model.get("caption") || "Map");
  };
  const remap = () => {
    views.outdate();
    repaint();
  };
  follow(model, ["picture", "pinned"], () => void views.decode().then(repaint), signal);
  follow(
    model,
    ["colour", "regions", "object", "object_note"],
    () => void views.decodeBeside().then(repaint),
    signal,
  );
  follow(model, ["values", "shape", "size", "low", "pinned"], remap, signal);
  const looks = [
    "high",
    "cut",
    "colours",
    "opacity",
    "threshold",
    "contours",
    "split",
    "compare_with",
  ] as const;
  follow(model, [...looks], repaint, signal);
  follow(model, ["caption", "likeness"], showCaption, signal);

  const figure = () => ({
    caption: model.get("caption"),
    pictures: views.shown(),
    scale: bar.element.hidden ? undefined : bar.shown(),
  });
  const others = (event: KeyboardEvent) => comparison.key(event) || views.pointer.key(event);
  const save = debounced(() => model.save_changes());
  const bindings = keysOf(model, zoom, comparison, save);
  const zooming = h(
    "div",
    { class: "nbv-tools nbv-local", role: "group", "aria-label": "Zoom" },
    button("−", "Zoom out", "−", () => zoom.by(1 / 1.5), signal),
    share,
    button("+", "Zoom in; also Ctrl and the wheel, and drag to move", "+", () => zoom.by(1.5), signal),
  );
  const beside = h("div", { class: "nbv-beside" }, zooming, tools(root, figure, bindings, others, signal));
  root.append(
    h("div", { class: "nbv-head" }, caption, views.menu.element, beside),
    views.element,
    h(
      "div",
      { class: "nbv-scale" },
      bar.element,
      coloursMenu(model, signal),
      errorSwitch(model, save, signal),
      h("div", { class: "nbv-told" }, likeness, views.pointer.readout),
    ),
    controls(model, comparison, signal),
  );
  el.append(root);
  showCaption();
  look();
  await views.start(comparison);
  repaint();
}

/** The frame's own keys. What they change is saved when they come to rest. */
export function keysOf(model: Model<Maps>, zoom: Zoom, comparison: Comparison, save: () => void): Binding[] {
  const change = (name: "opacity" | "threshold", by: number) => {
    model.set(name, Math.min(1, Math.max(0, Math.round(100 * (model.get(name) + by)) / 100)));
    save();
  };
  const compare = () => {
    model.set("compare", COMPARE[(COMPARE.indexOf(model.get("compare")) + 1) % COMPARE.length]);
    save();
  };
  const contours = () => {
    model.set("contours", !model.get("contours"));
    save();
  };
  return [
    {
      keys: ["o", "O"],
      help: "opacity: more, less",
      act: (e) => change("opacity", e.key === "o" ? 0.1 : -0.1),
    },
    {
      keys: ["t", "T"],
      help: "threshold: higher, lower",
      act: (e) => change("threshold", e.key === "t" ? 0.05 : -0.05),
    },
    {
      keys: ["c", "C"],
      help: "colours: next, previous",
      act: (e) => nextColours(model, e.key === "c" ? 1 : -1, save),
    },
    { keys: ["l"], help: "contour lines", act: contours },
    { keys: ["v"], help: "compare: overlay, blink, split", act: compare },
    {
      keys: ["b"],
      help: "flip between the overlay and what it is compared with",
      act: () => comparison.flip(),
    },
    ...(pinnable(model)
      ? [
          {
            keys: ["k"],
            help: "pin this map, to be compared with others",
            act: () => model.send({ type: "pin" }),
          },
          { keys: ["K"], help: "unpin it", act: () => model.send({ type: "unpin" }) },
          {
            keys: ["e"],
            help: "the standard error in place of the map, where it has one",
            act: () => model.get("has_error") && turnError(model, save),
          },
        ]
      : []),
    ...(model.get("views").some((view) => view.kind === "object")
      ? [
          {
            keys: ["g"],
            help: "cut the object out by the other algorithm, while its view is shown",
            act: () => model.get("outlining") && cutBy(model),
          },
        ]
      : []),
    { keys: ["+", "="], help: "zoom in", act: () => zoom.by(1.5) },
    { keys: ["-"], help: "zoom out", act: () => zoom.by(1 / 1.5) },
    { keys: ["0"], help: "show all of it", act: () => zoom.reset() },
    {
      keys: ["ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"],
      help: "on the views: read the map, with Shift ten times as far",
    },
    { keys: ["Enter"], help: "on the views: choose the place that is read" },
  ];
}

function turnError(model: Model<Maps>, save: () => void): void {
  model.set("of_error", !model.get("of_error"));
  save();
}

/** What shows the map's standard error in its place; hidden where it has none. */
export function errorSwitch(model: Model<Maps>, save: () => void, signal: AbortSignal): HTMLElement {
  const face = button(
    "Standard error",
    "Standard error in place of the map",
    "e",
    () => turnError(model, save),
    signal,
  );
  face.classList.add("nbv-local");
  const show = () => {
    face.hidden = !model.get("has_error");
    face.setAttribute("aria-pressed", String(model.get("of_error")));
  };
  follow(model, ["has_error", "of_error"], show, signal);
  show();
  return face;
}

/** Whether a map can be pinned: whether there is a view for it. */
function pinnable(model: Model<Maps>): boolean {
  return model.get("views").some((view) => view.kind === "pinned");
}

/** Controls that work in the browser alone; but for pinning, which the kernel does. */
export function controls(model: Model<Maps>, comparison: Comparison, signal: AbortSignal): HTMLElement {
  const slider = (name: "opacity" | "threshold", label: string, title: string) => {
    const input = h("input", { type: "range", min: "0", max: "1", step: "0.01" });
    const value = h("span", { class: "nbv-number" });
    const show = () => {
      input.value = String(model.get(name));
      value.textContent = `${Math.round(model.get(name) * 100)} %`;
    };
    input.addEventListener("input", () => model.set(name, Number(input.value)), { signal });
    input.addEventListener("change", () => model.save_changes(), { signal });
    follow(model, [name], show, signal);
    show();
    return h("label", { title }, h("span", {}, label), input, value);
  };
  const compare = h("select", {}, ...COMPARE.map((name) => h("option", { value: name }, name)));
  const lines = h("input", { type: "checkbox" });
  const flip = button("Flip", "Flip between the two", "b", () => comparison.flip(), signal);
  const other = h(
    "select",
    { "aria-label": "Against", title: "What the overlay is compared with" },
    h("option", { value: "picture" }, "the picture"),
    h("option", { value: "pinned" }, "the pinned map"),
  );
  const pin = button(
    "Pin",
    "Keep this map beside those to come",
    "k",
    () => model.send({ type: "pin" }),
    signal,
  );
  const unpin = button("Unpin", "Let the pinned map go", "K", () => model.send({ type: "unpin" }), signal);
  const show = () => {
    compare.value = model.get("compare");
    lines.checked = model.get("contours");
    flip.hidden = model.get("compare") !== "blink";
    const pinned = model.get("pinned").caption !== undefined;
    other.value = model.get("compare_with");
    other.hidden = !pinned || model.get("compare") === "overlay";
    pin.hidden = pinned || !pinnable(model);
    unpin.hidden = !pinned;
  };
  const save = (name: "compare" | "compare_with" | "contours", value: string | boolean) => {
    model.set(name, value as never);
    model.save_changes();
  };
  compare.addEventListener("change", () => save("compare", compare.value), { signal });
  other.addEventListener("change", () => save("compare_with", other.value), { signal });
  lines.addEventListener("change", () => save("contours", lines.checked), { signal });
  follow(model, ["compare", "compare_with", "contours", "pinned"], show, signal);
  show();
  return h(
    "div",
    { class: "nbv-controls nbv-local" },
    slider("opacity", "Opacity", "How strongly the map covers the picture (o, O)"),
    slider("threshold", "Threshold", "Hide the map where it is weaker than this (t, T)"),
    h(
      "label",
      { title: "How the overlay is compared with the picture, or with a map that was pinned (v)" },
      h("span", {}, "Compare"),
      compare,
    ),
    other,
    flip,
    h(
      "label",
      { title: "Lines where the map is a quarter, half and three quarters of its scale's end (l)" },
      lines,
      h("span", {}, "Contours"),
    ),
    cutting(model, signal),
    pin,
    unpin,
  );
}
