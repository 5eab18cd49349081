// The picture of an explorer that is kept in the notebook beside it, for where no kernel runs: hidden while the explorer
// itself is here. A notebook that is opened again without its kernel has none of this, and so shows the picture.
import { h } from "./dom";

export function hideStill(id: string, signal: AbortSignal): void {
  if (!id) return;
  const still = `.nbv-still-${id}`;
  // JupyterLab leaves room for an output however little is in it.
  const style = h("style", {}, `${still}, .jp-OutputArea-child:has(${still}) { display: none; }`);
  document.head.append(style);
  signal.addEventListener("abort", () => style.remove());
}
