// A line that says what was done or what went wrong, and gives the reader the files that the kernel hands over.

import { h } from "./dom";
import { type Files, follow, type Model } from "./model";
import { receiveFiles } from "./save";

export function files(model: Model<Files>, el: HTMLElement, signal: AbortSignal): void {
  const text = h("span", { class: "nbv-text", role: "status", "aria-live": "polite" });
  const error = h("div", { class: "nbv-error", role: "alert" });
  const show = () => {
    text.textContent = model.get("text");
    error.textContent = model.get("error");
    error.hidden = !model.get("error");
  };
  follow(model, ["text", "error"], show, signal);
  receiveFiles(model, () => {}, signal);
  el.append(text, error);
  show();
}
