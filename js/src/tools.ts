// What every frame can do beside showing: save what it shows, fill the screen, list its keys.
import { button, h, icon } from "./dom";
import { type Binding, bind, help, keys } from "./keys";
import { type Figure, offerFigure, save } from "./save";

const FILL = "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4";

/** The buttons for `root`, which take its keys as well; `more` are the frame's own keys, `others` takes what is left. */
export function tools(
  root: HTMLElement,
  figure: () => Figure,
  more: Binding[],
  others: (event: KeyboardEvent) => boolean,
  signal: AbortSignal,
): HTMLElement {
  const fill = () => {
    if (document.fullscreenElement === root) void document.exitFullscreen();
    else void root.requestFullscreen().catch(() => {}); // the host may not allow it
  };
  const png = () => void save([figure()], "png");
  const svg = () => void save([figure()], "svg");
  const bindings: Binding[] = [
    ...more,
    { keys: ["p"], help: "save as PNG", act: png },
    { keys: ["P"], help: "save as SVG", act: svg },
    { keys: ["f"], help: "full screen, and back", act: fill },
    { keys: ["?"], help: "these keys", act: () => list.open() },
    {
      keys: ["N", "P", "M", "K", "L", "D", "F"].map((letter) => `Alt+${letter}`),
      help: "go to network, pictures, method, class, search of layers, layers in depth, filter",
    },
    {
      keys: ["Alt+Z", "Alt+Shift+Z", "Alt+C", "Alt+S"],
      help: "undo, redo, copy the code, save",
    },
  ];
  const list = help(() => bindings, signal);
  const act = bind(bindings);
  keys(root, (event) => act(event) || others(event), signal);
  offerFigure(root, figure, signal);
  const full = button(icon(FILL), "Full screen", "f", fill, signal);
  full.hidden = !document.fullscreenEnabled;
  return h(
    "div",
    { class: "nbv-tools nbv-local", role: "group", "aria-label": "Tools" },
    full,
    button("?", "Keys", "?", list.open, signal),
    list.element,
  );
}
