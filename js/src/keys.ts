// The keyboard.

/**
 * Give keys pressed within `root` to `act`, which says whether it took them.
 *
 * JupyterLab listens on the document and would take letters, arrows and Enter for its notebook; here they are taken on
 * the window, ahead of it. What is never ours goes on its way: Tab, Shift-Enter, and all with Ctrl, Alt or Meta.
 */
export function keys(root: HTMLElement, act: (event: KeyboardEvent) => boolean, signal: AbortSignal): void {
  const pressed = (event: KeyboardEvent) => {
    if (!root.contains(event.target as Node)) return;
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.key === "Tab" || event.key === "Escape" || (event.shiftKey && event.key === "Enter")) return;
    if (act(event)) event.preventDefault();
    event.stopPropagation();
  };
  window.addEventListener("keydown", pressed, { capture: true, signal });
}
