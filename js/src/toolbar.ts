// Undo, redo, and what is taken away from a panel: its code to the clipboard, what it shows to a file. Both are asked of
// the kernel, which answers with a message.
import { explorerOf, h, icon } from "./dom";
import { Help } from "./helping";
import { follow, type Model, type Tools } from "./model";
import { FIGURE, type Figure, receiveFiles, save } from "./save";
import { Tour } from "./tour";

const UNDO = "M6 3L2.5 6.5L6 10M3 6.5h6a4 4 0 0 1 0 7H6";
const REDO = "M10 3l3.5 3.5L10 10M13 6.5H7a4 4 0 0 0 0 7h3";
const FILL = "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4";

type Answer = { type: "code"; text: string };

export function toolbar(model: Model<Tools>, el: HTMLElement, signal: AbortSignal): void {
  const undo = button(icon(UNDO), "Undo", "Select what was selected before (Alt+Z)");
  const redo = button(icon(REDO), "Redo", "Select what was selected before Undo (Alt+Shift+Z)");
  const copy = button("Code", "Copy code", "Copy the Python that makes what is shown again (Alt+C)");
  const formats = h("select", { title: "Save what is shown as (Alt+S)", "aria-label": "Save as" });
  formats.dataset.lmSuppressShortcuts = "true";
  const full = button(icon(FILL), "Full screen", "The whole explorer on the whole screen, with larger type");
  full.hidden = !document.fullscreenEnabled;
  const tour = new Tour(signal);
  const help = new Help(model, () => tour.show(0), signal);
  const ask = button("?", "Help", "What this panel shows, and how the method works");
  ask.addEventListener("click", () => help.open(), { signal });
  const message = h("span", { class: "nbv-message", role: "status", "aria-live": "polite" });
  // Where no clipboard may be had, what should be on it is here to be copied by hand.
  const text = h("textarea", {
    class: "nbv-code",
    readonly: "",
    "aria-label": "Code",
    title: "The code, to be copied by hand",
    rows: "4",
    hidden: "",
  });
  const element = h(
    "div",
    { class: "nbv-toolbar", role: "toolbar", "aria-label": "Selection and export" },
    undo,
    redo,
    copy,
    formats,
    full,
    ask,
    h("div", { class: "nbv-chip" }, message, text),
  );
  const fill = () => {
    const root = explorerOf(element);
    if (document.fullscreenElement) void document.exitFullscreen();
    else void root?.requestFullscreen().catch(() => {}); // the host may not allow it
  };
  full.addEventListener("click", fill, { signal });

  const paint = () => {
    undo.disabled = !model.get("can_undo");
    redo.disabled = !model.get("can_redo");
    formats.replaceChildren(
      h("option", { value: "" }, "Save …"),
      ...model.get("formats").map((name) => h("option", { value: name }, name.toUpperCase())),
    );
    formats.value = "";
    formats.disabled = model.get("formats").length === 0;
  };
  const request = (type: string) => model.send({ type });
  const act: Record<string, () => void> = {
    undo: () => request("undo"),
    redo: () => request("redo"),
    code: () => request("code"),
  };
  undo.addEventListener("click", act.undo, { signal });
  redo.addEventListener("click", act.redo, { signal });
  copy.addEventListener("click", act.code, { signal });
  formats.addEventListener(
    "change",
    () => {
      const format = formats.value;
      if (format && !drawnHere(element, format)) model.send({ type: "save", format });
      formats.value = "";
    },
    { signal },
  );

  const pressed = (event: KeyboardEvent) => {
    const explorer = element.closest(".nbcnnviz") ?? element;
    if (!event.altKey || event.ctrlKey || event.metaKey || !explorer.contains(event.target as Node)) return;
    const letter = event.code;
    if (letter === "KeyZ") (event.shiftKey ? act.redo : act.undo)();
    else if (letter === "KeyC") act.code();
    else if (letter === "KeyS") formats.focus();
    else if (!lead(explorer, letter.slice(3).toLowerCase())) return;
    event.preventDefault();
    event.stopPropagation();
  };
  window.addEventListener("keydown", pressed, { capture: true, signal });

  let clear = 0;
  const announce = (what: string) => {
    message.textContent = what;
    clearTimeout(clear);
    clear = window.setTimeout(() => message.replaceChildren(), 4000);
  };
  signal.addEventListener("abort", () => clearTimeout(clear));
  const answered = (answer: Answer) => {
    if (answer.type === "code") void copied(answer.text);
  };
  const copied = async (code: string) => {
    try {
      await navigator.clipboard.writeText(code);
      text.hidden = true;
      announce("Code copied");
    } catch {
      text.value = code;
      text.hidden = false;
      text.focus();
      text.select();
      announce("Copy it from here");
    }
  };
  model.on("msg:custom", answered);
  receiveFiles(model, (name) => announce(`Saved ${name}`), signal);
  signal.addEventListener("abort", () => model.off("msg:custom", answered));
  follow(model, ["can_undo", "can_redo", "formats"], paint, signal);
  element.append(tour.element, help.element);
  el.append(element);
  paint();
}

function button(face: Node | string, name: string, title: string): HTMLButtonElement {
  return h("button", { type: "button", title, "aria-label": name }, face);
}

/** Save as a picture what the panel's frames show, as their keys do: captions, scales, marks. Whether there are any. */
function drawnHere(element: Element, format: string): boolean {
  if (format !== "png" && format !== "svg") return false;
  const figures: Figure[] = [];
  for (const frame of explorerOf(element)?.querySelectorAll("[data-nbv-figure]") ?? []) {
    if (frame.checkVisibility()) frame.dispatchEvent(new CustomEvent(FIGURE, { detail: figures }));
  }
  void save(figures, format);
  return figures.some(({ pictures }) => pictures.length);
}

/** Go to the control that a letter leads to, if there is one to be seen. */
function lead(explorer: Element, letter: string): boolean {
  const within = `.nbv-key-${CSS.escape(letter)} :is(select, input, [role=slider])`;
  const itself = `.nbv-key-${CSS.escape(letter)}:is(input, [role=slider], [role=listbox])`;
  const all = [...explorer.querySelectorAll<HTMLElement>(`${within}, ${itself}`)];
  const control = all.find((one) => one.checkVisibility());
  control?.focus();
  return control !== undefined;
}
