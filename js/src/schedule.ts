// When to paint, and how to be answered soon.

/** Milliseconds between two frames of a usual display, and a little less: a frame that comes early is none too many. */
const FRAME = 12;

/**
 * A function that calls `paint` soon, however often it is called meanwhile: at once, after the changes of the same
 * message, if the display has shown the last painting; else with its next frame, and not while the page is hidden.
 */
export function repainter(paint: () => void, signal: AbortSignal): () => void {
  let due = false;
  let painted = Number.NEGATIVE_INFINITY;
  const act = () => {
    due = false;
    if (signal.aborted) return;
    painted = performance.now();
    paint();
  };
  return () => {
    if (due) return;
    due = true;
    if (document.hidden || performance.now() - painted < FRAME) requestAnimationFrame(act);
    else queueMicrotask(act);
  };
}

/**
 * Call `send` a few times after a click or a choice within the explorer, which the kernel is about to be told of.
 *
 * Jupyter's server sends a small message only when the page has acknowledged the one before, and a page that says
 * nothing acknowledges after 40 ms: the kernel's "busy" would hold back its answer for so long. Whatever the page sends
 * acknowledges at once. `root`'s own clicks, and those on controls that work in the browser alone, await no answer.
 */
export function acknowledge(root: HTMLElement, send: () => void, signal: AbortSignal): void {
  const asked = (event: Event) => {
    const target = event.target as Element;
    if (event instanceof KeyboardEvent && event.key !== "Enter" && event.key !== " ") return;
    if (!root.closest(".nbcnnviz")?.contains(target) || root.contains(target)) return;
    if (target.closest(".nbv-local")) return;
    for (const delay of [8, 16, 28]) setTimeout(() => signal.aborted || send(), delay);
  };
  for (const name of ["click", "change", "keydown"]) {
    window.addEventListener(name, asked, { capture: true, signal });
  }
}

/** When the page is seen: now, or once its tab is chosen. */
export function visible(signal: AbortSignal): Promise<void> {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", () => resolve(), { once: true, signal });
    signal.addEventListener("abort", () => resolve());
  });
}

/** Call `act` once an element is in the page: a view is put there some time after it is made. */
export function whenAttached(element: Element, act: () => void, signal: AbortSignal): void {
  const look = () => {
    if (signal.aborted) return;
    if (element.isConnected) act();
    else setTimeout(look, 100);
  };
  requestAnimationFrame(look);
}

/** A function that calls `act` when it has not been called for a while. */
export function debounced(act: () => void, after = 300): () => void {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(act, after);
  };
}

/** A function that has `work` done: at once, or again as soon as what is being done is done, once for all calls meanwhile. */
export function latest(work: () => Promise<void>, signal: AbortSignal): () => Promise<void> {
  let wanted = false;
  let busy: Promise<void> | null = null;
  const run = async () => {
    while (wanted && !signal.aborted) {
      wanted = false;
      await work();
      await visible(signal);
    }
    busy = null;
  };
  return () => {
    wanted = true;
    busy ??= run();
    return busy;
  };
}
