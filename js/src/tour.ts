// The first minute: four steps through the explorer, each beside what it is about. Once closed it is not shown again,
// unless it is asked for.
import { explorerOf, h } from "./dom";
import { whenAttached } from "./schedule";

const STEPS = [
  [
    ".nbv-intake",
    "Choose a picture",
    "Click one, or drop, paste or upload your own. The camera is explained live.",
  ],
  [
    ".nbv-classes",
    "Ask why this class",
    "What the network takes the picture for. Click a class: the map shows what speaks for it. Shift-click another: why the first rather than this.",
  ],
  [
    ".nbv-depth",
    "Go through the layers",
    "One bar a layer, from the picture to the answer: as high as its maps are fine, as dark as it is active. Click one, or use the arrow keys.",
  ],
  [
    ".nbv-at-method",
    "Change the method",
    "How the map is made. The tabs below show features, weights and gradients, and make pictures; ? explains what is in front.",
  ],
] as const;
const KEPT = "nbcnnviz-tour";

export class Tour {
  private readonly heading = h("b", {});
  private readonly text = h("p", {});
  private readonly place = h("span", { class: "nbv-hint" });
  private readonly next = h("button", { type: "button", title: "The next step of the tour" }, "Next");
  private readonly close = h("button", { type: "button", title: "Close the tour, for good" }, "Skip");
  readonly element = h(
    "div",
    { class: "nbv-tour nbv-local", role: "dialog", "aria-label": "Guided tour", hidden: "" },
    this.heading,
    this.text,
    h("div", { class: "nbv-tour-foot" }, this.place, this.close, this.next),
  );
  private at = 0;
  private target: HTMLElement | null = null;
  /** The explorer grows as its parts come, and what is told of moves. */
  private readonly watched = "ResizeObserver" in window ? new ResizeObserver(() => this.move()) : null;

  /** A tour that begins by itself when the explorer is seen for the first time. */
  constructor(signal: AbortSignal) {
    this.next.addEventListener("click", () => this.show(this.at + 1), { signal });
    this.close.addEventListener("click", () => this.end(), { signal });
    this.element.addEventListener("keydown", (event) => event.key === "Escape" && this.end(), { signal });
    signal.addEventListener("abort", () => this.watched?.disconnect());
    whenAttached(this.element, () => unseen() && this.show(0), signal);
  }

  /** Show a step; behind the last one it ends. */
  show(at: number): void {
    const root = explorerOf(this.element);
    const [selector, heading, text] = STEPS[at] ?? [];
    const target = selector && root?.querySelector<HTMLElement>(selector);
    if (!selector || !root) {
      this.end();
      return;
    }
    if (!target?.checkVisibility()) {
      this.show(at + 1);
      return;
    }
    this.at = at;
    this.heading.textContent = heading as string;
    this.text.textContent = text as string;
    this.place.textContent = `${at + 1} of ${STEPS.length}`;
    this.next.textContent = at === STEPS.length - 1 ? "Done" : "Next";
    this.element.hidden = false;
    this.target = target;
    this.move();
    this.watched?.observe(root);
  }

  /** Below what it is about, within the explorer; to the left of what reaches far down. */
  private move(): void {
    const { target } = this;
    const root = explorerOf(this.element);
    const [from, all, here] = [this.element.offsetParent, root, target].map((e) =>
      e?.getBoundingClientRect(),
    );
    if (this.element.hidden || !from || !all || !here) return;
    const tall = here.height > 120;
    const left = tall ? here.left - this.element.offsetWidth - 12 : here.left;
    const within = Math.max(all.left, Math.min(all.right - this.element.offsetWidth, left));
    this.element.style.left = `${within - from.left}px`;
    this.element.style.top = `${(tall ? here.top : here.bottom + 8) - from.top}px`;
  }

  private end(): void {
    this.element.hidden = true;
    this.watched?.disconnect();
    try {
      localStorage.setItem(KEPT, "closed");
    } catch {} // a host may keep nothing
  }
}

/** Whether it was never closed here; not where that could not be kept. */
function unseen(): boolean {
  try {
    localStorage.setItem(`${KEPT}-kept`, "");
    return localStorage.getItem(KEPT) === null;
  } catch {
    return false;
  }
}
