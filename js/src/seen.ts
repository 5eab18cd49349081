// Whether anyone can see what a status line belongs to.
import { placed } from "./schedule";

let views = 0;

/**
 * Tell by `say` whether the explorer or panel that `line` is in can be seen, first and whenever that changes: it cannot in
 * a hidden tab, on a page that is not looked at, or scrolled away. A view that is closed says `null`.
 */
export function onScreen(
  line: HTMLElement,
  say: (view: string, seen: boolean | null) => void,
  signal: AbortSignal,
): void {
  const view = `${Date.now()}-${++views}`;
  let within = true;
  let said: boolean | null = null;
  const tell = () => {
    const seen = within && !document.hidden;
    if (seen !== said) say(view, (said = seen));
  };
  const observer = new IntersectionObserver((entries) => {
    within = entries[entries.length - 1].isIntersecting; // of several entries the last is how it is now
    tell();
  });
  placed(line, () => observer.observe(line.closest(".nbcnnviz") ?? line), signal);
  document.addEventListener("visibilitychange", tell, { signal });
  const leave = () => {
    observer.disconnect();
    if (said !== null) say(view, (said = null));
  };
  window.addEventListener("pagehide", leave, { signal });
  signal.addEventListener("abort", leave);
}
