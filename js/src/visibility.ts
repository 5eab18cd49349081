// Whether the explorer that a status line belongs to is visible.
import { whenAttached } from "./schedule";

let views = 0;

/**
 * Report whether the explorer or panel that `line` is in is visible, first and whenever that changes: it is not in a
 * hidden tab, on a hidden page, or scrolled away. A view that is closed reports `null`. What is returned reports once more.
 */
export function observeVisibility(
  line: HTMLElement,
  report: (view: string, visible: boolean | null) => void,
  signal: AbortSignal,
): () => void {
  const view = `${Date.now()}-${++views}`;
  let intersecting = true;
  let reported: boolean | null = null;
  const update = (visible: boolean | null) => {
    if (visible === reported) return;
    reported = visible;
    report(view, visible);
  };
  const look = () => update(intersecting && !document.hidden);
  const observer = new IntersectionObserver((entries) => {
    intersecting = entries[entries.length - 1].isIntersecting; // of several entries the last is how it is now
    look();
  });
  whenAttached(line, () => observer.observe(line.closest(".nbcnnviz") ?? line), signal);
  document.addEventListener("visibilitychange", look, { signal });
  const leave = () => {
    observer.disconnect();
    update(null);
  };
  window.addEventListener("pagehide", leave, { signal });
  signal.addEventListener("abort", leave);
  return () => {
    if (reported !== null) report(view, reported);
  };
}
