// The snapshot of an explorer that is saved in the notebook beside it, for where no kernel runs: hidden while the
// explorer itself is shown. A notebook that is opened again without its kernel runs none of this, and shows the snapshot.
import { h } from "./dom";

export function hideSnapshot(id: string, signal: AbortSignal): void {
  if (!id) return;
  const snapshot = `.nbv-snapshot-${id}`;
  // JupyterLab leaves room for an output however little is in it.
  const style = h("style", {}, `${snapshot}, .jp-OutputArea-child:has(${snapshot}) { display: none; }`);
  document.head.append(style);
  signal.addEventListener("abort", () => style.remove());
}
