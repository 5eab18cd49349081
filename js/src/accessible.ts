// What ipywidgets leaves out for those who do not see or do not use a mouse: it gives a control's label and tooltip to
// the label alone, names no slider's handle, and says of no button whether it is pressed.
import { explorerOf } from "./dom";
import { whenAttached } from "./schedule";

/** Name the ipywidgets controls of the explorer that `line` is in, now and whenever they change. */
export function nameControls(line: HTMLElement, signal: AbortSignal): void {
  whenAttached(
    line,
    () => {
      const root = explorerOf(line);
      if (!root || line.closest(".nbcnnviz") !== root) return; // the explorer's own line sees to its panels
      let pending = false;
      const act = () => {
        pending = false;
        if (!signal.aborted) name(root);
      };
      const observer = new MutationObserver((changes) => {
        // Charts and frames change all the time, and have no such controls.
        const there = ({ target }: MutationRecord) => !(target as Element).closest("svg, .nbv");
        if (pending || !changes.some(there)) return;
        pending = true;
        requestAnimationFrame(act);
      });
      observer.observe(root, { subtree: true, childList: true, attributeFilter: ["class", "title"] });
      signal.addEventListener("abort", () => observer.disconnect());
      const pressed = (event: KeyboardEvent) => {
        if (!root.contains(event.target as Node) || !endOfSlider(event)) return;
        event.preventDefault();
        event.stopPropagation();
      };
      window.addEventListener("keydown", pressed, { capture: true, signal });
      act();
    },
    signal,
  );
}

/**
 * Have End lead to the end that a slider has now: noUiSlider keeps the one that it was made with, so that on a slider whose
 * range has grown since, End leads to its beginning.
 */
export function endOfSlider(event: KeyboardEvent): boolean {
  const handle = event.key === "End" ? (event.target as Element).closest(".noUi-handle") : null;
  const slider = handle?.closest(".noUi-target") as Slider | null | undefined;
  const end = Number(handle?.getAttribute("aria-valuemax"));
  if (!slider?.noUiSlider || slider.querySelectorAll(".noUi-handle").length > 1 || !Number.isFinite(end))
    return false;
  slider.noUiSlider.set(end);
  return true;
}

type Slider = HTMLElement & { noUiSlider?: { set(value: number): void } };

const CONTROLS = "input, select, textarea, [role=slider], .widget-readout[contenteditable]";

/** Give the controls within `root` names and tooltips. */
export function name(root: Element): void {
  for (const label of root.querySelectorAll<HTMLElement>("label.widget-label")) {
    const words = label.textContent?.trim() ?? "";
    for (const control of label.parentElement?.querySelectorAll<HTMLElement>(CONTROLS) ?? []) {
      const help = label.title || control.title;
      const place = control.closest<HTMLElement>(".slider-container") ?? control;
      const written = control.classList.contains("widget-readout");
      if (written) put(control, "role", "textbox");
      // A label that can be seen names a field by itself.
      if (!words || written || control.matches("[role=slider]")) {
        put(control, "aria-label", `${words || help}${written ? ", as a number" : ""}`);
      }
      put(place, "title", help || words);
    }
  }
  for (const button of root.querySelectorAll(".widget-toggle-button")) {
    put(button, "aria-pressed", String(button.classList.contains("mod-active")));
  }
}

/** Set an attribute, if it is to say something else. */
function put(element: Element, attribute: string, value: string): void {
  if (value && element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}
