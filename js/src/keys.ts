// The keyboard: which keys do what while the focus is in a frame, and the list of them that `?` opens.
import { h } from "./dom";
import { HELP } from "./helping";

/** What keys do; without `act`, they are described here and taken elsewhere. */
export interface Binding {
  keys: string[];
  help: string;
  act?: (event: KeyboardEvent) => void;
}

/**
 * Give keys pressed within `root` to `act`, which tells whether it handled them.
 *
 * JupyterLab listens on the document and would take letters, arrows and Enter for its notebook; here they are taken on
 * the window, ahead of it. What is never ours goes on its way: Tab, Escape, Shift-Enter (but in the list of classes), and
 * all with Ctrl, Alt or Meta.
 */
export function keys(root: HTMLElement, act: (event: KeyboardEvent) => boolean, signal: AbortSignal): void {
  const pressed = (event: KeyboardEvent) => {
    if (!root.contains(event.target as Node)) return;
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.key === "Tab" || event.key === "Escape") return;
    if (event.shiftKey && event.key === "Enter" && !(event.target as Element).closest(SHIFTED)) return;
    if (!isNative(event) && act(event)) event.preventDefault();
    event.stopPropagation();
  };
  window.addEventListener("keydown", pressed, { capture: true, signal });
}

/** Where Shift-Enter has a use of its own: elsewhere it runs the cell. */
const SHIFTED = "[data-nbv-shift-enter]";

/** Whether the focused control, or a dialog, has a use of its own for a key. */
function isNative({ target, key }: KeyboardEvent): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.closest("dialog")) return true;
  if (target instanceof HTMLSelectElement) return key !== "?"; // letters search in it
  if (target instanceof HTMLInputElement && target.type === "range") return key.length > 1; // arrows and their like
  if (target instanceof HTMLInputElement && target.type === "search")
    return key !== "Enter" && key.length === 1;
  return target instanceof HTMLButtonElement || target instanceof HTMLInputElement
    ? key === "Enter" || key === " "
    : false;
}

/** Act on the bindings' keys. */
export function bind(bindings: Binding[]): (event: KeyboardEvent) => boolean {
  return (event) => {
    const bound = bindings.find((binding) => binding.act && binding.keys.includes(event.key));
    bound?.act?.(event);
    return bound !== undefined;
  };
}

/** A dialog that lists the keys. */
export function help(
  bindings: () => Binding[],
  signal: AbortSignal,
): { element: HTMLElement; open: () => void } {
  const list = h("dl", {});
  const close = h("button", { type: "button", title: "Close the list (Escape)" }, "Close");
  const element = h(
    "dialog",
    { class: "nbv-keys", "aria-label": "Keys" },
    h("strong", {}, "Keys"),
    list,
    close,
  );
  close.addEventListener("click", () => element.close(), { signal });
  // A click beside it closes it: the dialog itself is hit only at its edge and on what lies behind it.
  element.addEventListener("click", (event) => event.target === element && element.close(), { signal });
  const open = () => {
    const rows = bindings().map(({ keys, help }) => {
      const named = keys.map((key) => h("kbd", {}, NAMES[key] ?? key));
      return h("div", {}, h("dt", {}, ...named), h("dd", {}, help));
    });
    // In an explorer they stand under what it has to say of the panel.
    const asked = new CustomEvent(HELP, { bubbles: true, cancelable: true, detail: h("dl", {}, ...rows) });
    if (!element.dispatchEvent(asked)) return;
    list.replaceChildren(...rows);
    element.showModal();
  };
  return { element, open };
}

const NAMES: Record<string, string> = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  " ": "Space",
  "-": "−",
};
