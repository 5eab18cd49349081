// What is going on, how far it is, a button to stop it; and what went wrong. One for each explorer.

import { nameControls } from "./accessible";
import { h } from "./dom";
import { keys } from "./keys";
import { speak } from "./language";
import { follow, type Model, type Status } from "./model";
import { acknowledge } from "./schedule";
import { hideSnapshot } from "./snapshot";
import { observeVisibility } from "./visibility";

export function status(model: Model<Status>, el: HTMLElement, signal: AbortSignal): void {
  const line = new StatusLine(model, signal);
  follow(
    model,
    ["status", "step", "steps", "running", "pausable", "paused", "error", "stale"],
    () => line.paint(),
    signal,
  );
  keys(line.element, () => false, signal);
  onEscape(line.element, () => line.requestStop(), signal);
  acknowledge(line.element, () => model.send({ type: "here" }), signal);
  const again = observeVisibility(
    line.element,
    (view, visible) => model.send({ type: "visibility", view, visible }),
    signal,
  );
  follow(model, ["roll_call"], again, signal);
  speak(line.element, model.get("language"), model.get("texts"), signal);
  nameControls(line.element, signal);
  hideSnapshot(model.get("snapshot"), signal);
  el.append(line.element);
  line.paint();
}

export class StatusLine {
  private readonly text = h("span", { class: "nbv-text", role: "status", "aria-live": "polite" });
  private readonly progress = h("progress", { "aria-label": "progress" });
  private readonly stop = h(
    "button",
    { type: "button", title: "Stop what is being computed (Escape)" },
    "Stop",
  );
  private readonly pause = h("button", { type: "button", title: "Pause, and go on" }, "Pause");
  /** In the place of the text, so that nothing moves; what is longer than the line is read in full when it has the focus. */
  private readonly error = h("div", { class: "nbv-error", role: "alert", tabindex: "0" });
  readonly element = h(
    "div",
    { class: "nbv-status" },
    h(
      "div",
      { class: "nbv-line" },
      this.progress,
      this.stop,
      this.pause,
      h("div", { class: "nbv-said" }, this.text, this.error),
    ),
  );

  constructor(
    private readonly model: Model<Status>,
    signal: AbortSignal,
  ) {
    this.stop.addEventListener("click", () => this.requestStop(), { signal });
    this.pause.addEventListener("click", () => this.model.send({ type: "pause" }), { signal });
  }

  /** Ask for a stop, if there is something to be stopped. */
  requestStop(): void {
    if (this.model.get("running")) this.model.send({ type: "stop" });
  }

  paint(): void {
    const running = this.model.get("running");
    const [step, steps] = [this.model.get("step"), this.model.get("steps")];
    this.progress.max = Math.max(1, steps);
    if (running && steps === 0) this.progress.removeAttribute("value");
    else this.progress.value = step;
    this.progress.classList.toggle("nbv-idle", !running);
    this.stop.disabled = !running;
    this.pause.disabled = !this.model.get("pausable"); // there all the same: the others keep their places
    this.pause.textContent = this.model.get("paused") ? "Resume" : "Pause";
    const error = this.model.get("error");
    this.text.textContent = this.text.title = this.model.get("status");
    this.error.textContent = this.error.title = error;
    this.error.hidden = !error;
    this.text.hidden = error !== "";
    const explorer = this.element.closest(".nbcnnviz");
    explorer?.classList.toggle("nbv-stale", this.model.get("stale"));
  }
}

/** Escape pressed anywhere in the explorer, but in a dialog, which it closes. On the window: ahead of JupyterLab. */
function onEscape(element: HTMLElement, act: () => void, signal: AbortSignal): void {
  const pressed = (event: KeyboardEvent) => {
    const target = event.target as Element;
    const explorer = element.closest(".nbcnnviz") ?? element;
    if (event.key === "Escape" && explorer.contains(target) && !target.closest("dialog")) act();
  };
  window.addEventListener("keydown", pressed, { capture: true, signal });
}
