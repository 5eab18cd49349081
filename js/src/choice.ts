// A list box whose options are laid out in rows: one tab stop, arrows and their like inside, Enter or Space chooses.
import { h } from "./dom";
import type { Binding } from "./keys";

/** The keys of such a box, to be listed. */
export const CHOICE_KEYS: Binding[] = [
  { keys: ["ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"], help: "the next one in that direction" },
  { keys: ["Home", "End", "PageUp", "PageDown"], help: "the first, the last, a page up or down" },
  { keys: ["Enter", " "], help: "choose it" },
];

let boxes = 0;

export class Choice {
  readonly element: HTMLElement;
  private readonly id = `nbv-choice-${++boxes}`;
  private active = 0;
  private options: HTMLElement[] = [];

  /** `choose` is told the place of an option that was clicked or chosen by key, `moved` that of one that was reached. */
  constructor(
    attributes: Record<string, string>,
    private readonly act: {
      choose: (at: number, event: MouseEvent | KeyboardEvent) => void;
      moved: (at: number) => void;
    },
    signal: AbortSignal,
  ) {
    this.element = h("div", { role: "listbox", tabindex: "0", ...attributes });
    this.element.addEventListener(
      "click",
      (event) => {
        const at = this.at(event.target as Element);
        if (at < 0) return;
        this.move(at);
        act.choose(at, event);
      },
      { signal },
    );
    this.element.addEventListener("focus", () => this.move(this.active), { signal });
  }

  /** The place of the option that an element belongs to, or -1. */
  at(element: Element): number {
    const option = element.closest<HTMLElement>("[role=option]");
    return option ? this.options.indexOf(option) : -1;
  }

  /** Show these options; what was reached stays reached, as far as it goes. */
  offer(options: HTMLElement[]): void {
    const same = options.length === this.options.length && options.every((o, i) => o === this.options[i]);
    if (same) return; // what is under the cursor stays there, and a click on it is one
    this.options = options;
    for (const [i, option] of options.entries()) option.id = `${this.id}-${i}`;
    this.element.replaceChildren(...options);
    this.reach(Math.min(this.active, options.length - 1));
  }

  /** Say which option is chosen, by its place; -1 for none. */
  mark(chosen: number): void {
    for (const [i, option] of this.options.entries())
      option.setAttribute("aria-selected", String(i === chosen));
    if (chosen < 0 || document.activeElement === this.element) return;
    this.reach(chosen);
    this.reveal(this.options[chosen]);
  }

  /** Scroll an option into sight within what scrolls here; the page stays where the reader has it. */
  private reveal(option: HTMLElement | undefined): void {
    const scroll = this.element.closest(".nbv-scroll");
    if (!scroll || !option) return;
    const [inner, outer] = [option.getBoundingClientRect(), scroll.getBoundingClientRect()];
    const [above, below] = [inner.top - 8 - outer.top, inner.bottom + 8 - outer.bottom];
    if (above < 0) scroll.scrollTop += above;
    else if (below > 0) scroll.scrollTop += below;
  }

  /** Take a key pressed while the box has the focus. */
  key(event: KeyboardEvent): boolean {
    if (document.activeElement !== this.element || this.options.length === 0) return false;
    if (event.key === "Enter" || event.key === " ") {
      this.act.choose(this.active, event);
      return true;
    }
    const to = this.after(event.key);
    if (to === null) return false;
    this.move(Math.min(this.options.length - 1, Math.max(0, to)));
    return true;
  }

  private after(key: string): number | null {
    const columns = this.columns();
    const rowHeight = this.options[columns]
      ? this.options[columns].offsetTop - this.options[0].offsetTop
      : Number.POSITIVE_INFINITY;
    const page = columns * Math.max(1, Math.floor(this.visibleHeight() / rowHeight) || 1);
    const column = this.active % columns;
    const last = this.options.length - 1;
    switch (key) {
      case "ArrowLeft":
        return this.active - 1;
      case "ArrowRight":
        return this.active + 1;
      case "ArrowUp":
        return this.active < columns ? this.active : this.active - columns;
      case "ArrowDown":
        return this.active + columns > last ? this.active : this.active + columns;
      case "PageUp":
        return this.active - page < 0 ? column : this.active - page;
      case "PageDown":
        return this.active + page > last ? last - ((last - column) % columns) : this.active + page;
      case "Home":
        return 0;
      case "End":
        return last;
      default:
        return null;
    }
  }

  /** How many options are in a row: as many as are no lower than the first. */
  private columns(): number {
    const lower = this.options.findIndex((option) => option.offsetTop > this.options[0].offsetTop);
    return lower < 0 ? this.options.length : lower;
  }

  /** The height of the visible part of what scrolls. */
  private visibleHeight(): number {
    return (this.element.closest(".nbv-scroll") ?? this.element).clientHeight;
  }

  private move(at: number): void {
    this.reach(at);
    this.options[at]?.scrollIntoView?.({ block: "nearest" });
    if (this.options[at]) this.act.moved(at);
  }

  private reach(at: number): void {
    this.options[this.active]?.classList.remove("nbv-active");
    this.active = Math.max(0, at);
    const option = this.options[this.active];
    option?.classList.add("nbv-active");
    if (option) this.element.setAttribute("aria-activedescendant", option.id);
    else this.element.removeAttribute("aria-activedescendant");
  }
}
