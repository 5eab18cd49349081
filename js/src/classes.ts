// The list of classes: a row each, with its name, its value and a bar. A click explains a class, a shift-click holds the
// one explained against it; the search finds any class by number or part of its name.
import { Choice } from "./choice";
import { h } from "./dom";
import { keys } from "./keys";
import { type Classes, type ClassRow, follow, type Model } from "./model";

/** Milliseconds that typing rests before it is searched. */
const REST = 60;

export function classes(model: Model<Classes>, el: HTMLElement, signal: AbortSignal): void {
  const list = new ClassList(model, signal);
  follow(model, ["rows", "found", "wanted", "matches"], () => list.offer(), signal);
  follow(model, ["chosen", "against", "top", "topped"], () => list.mark(), signal);
  follow(model, ["heading", "count", "note"], () => list.title(), signal);
  el.append(list.element);
  list.title();
  list.offer();
}

class ClassList {
  private readonly heading = h("b", {});
  private readonly top = h(
    "button",
    {
      type: "button",
      title: "Explain whichever class is on top, of this picture and of the next ones",
      "aria-label": "Explain the top class",
    },
    "Top class",
  );
  private readonly search = h("input", {
    type: "search",
    class: "nbv-key-k",
    autocomplete: "off",
    spellcheck: "false",
    title: "Find a class by its number or part of its name; Enter explains the first one (Alt+K)",
  });
  private readonly told = h("div", { class: "nbv-hint nbv-tally", role: "status", "aria-live": "polite" });
  private readonly choice: Choice;
  private pool: HTMLElement[] = [];
  private shown: ClassRow[] = [];
  private waiting = 0;
  /** Enter was pressed before what was typed was answered: what is done when it is; whether with Shift. */
  private entered: { shift: boolean } | null = null;
  readonly element: HTMLElement;

  constructor(
    private readonly model: Model<Classes>,
    signal: AbortSignal,
  ) {
    this.choice = new Choice(
      { class: "nbv-classlist nbv-scroll", "aria-label": "Classes" },
      { choose: (at, event) => this.choose(at, event.shiftKey), moved: () => {} },
      signal,
    );
    this.search.dataset.lmSuppressShortcuts = "true";
    this.search.addEventListener("input", () => this.find(), { signal });
    this.top.addEventListener("click", () => model.send({ type: "choose", index: null }), { signal });
    // Text is not marked by a shift-click.
    this.choice.element.addEventListener("mousedown", (e) => e.shiftKey && e.preventDefault(), { signal });
    this.element = h(
      "section",
      { class: "nbv-classes", "aria-label": "Classes and their search", "data-nbv-shift-enter": "" },
      h("div", { class: "nbv-side-head" }, this.heading, this.top),
      this.search,
      this.choice.element,
      this.told,
    );
    keys(this.element, (event) => this.key(event), signal);
    signal.addEventListener("abort", () => clearTimeout(this.waiting));
  }

  private get wanted(): string {
    return this.search.value.trim();
  }

  private find(): void {
    clearTimeout(this.waiting);
    this.entered = null;
    const ask = () => this.model.send({ type: "search", text: this.search.value });
    this.waiting = window.setTimeout(ask, REST);
    if (this.wanted) this.tell();
    else this.offer();
  }

  title(): void {
    this.heading.textContent = this.model.get("heading");
    const count = this.model.get("count");
    this.search.placeholder = count ? `Search ${count} by name or number` : "Search";
    this.search.setAttribute("aria-label", `Search ${count} classes by name or number`);
    this.tell();
  }

  /** Put up what was found, or else the best. What was found for another text stays until its own is there. */
  offer(): void {
    this.shown =
      this.wanted && this.model.get("wanted").trim() ? this.model.get("found") : this.model.get("rows");
    while (this.pool.length < this.shown.length) this.pool.push(option());
    for (const [at, row] of this.shown.entries()) write(this.pool[at], row);
    this.choice.offer(this.pool.slice(0, this.shown.length));
    this.mark();
    this.tell();
    if (this.entered && this.answered) this.enter(this.entered.shift);
  }

  /** Whether what was found is for what stands in the field. */
  private get answered(): boolean {
    return this.model.get("wanted").trim() === this.wanted;
  }

  /** Choose the first of what was found, or as soon as it is found. */
  private enter(shift: boolean): void {
    this.entered = this.answered ? null : { shift };
    if (this.answered) this.choose(0, shift);
  }

  mark(): void {
    const [chosen, against] = [this.model.get("chosen"), this.model.get("against")];
    for (const [at, { index, name, text }] of this.shown.entries()) {
      const sign = against < 0 ? "" : index === chosen ? "+" : index === against ? "−" : "";
      const row = this.pool[at];
      row.dataset.sign = sign;
      row.classList.toggle("nbv-against", against >= 0 && index === against);
      const role = sign === "+" ? ", explained" : sign ? ", subtracted" : "";
      row.setAttribute("aria-label", `${name}, ${text}${role}`);
      row.title = `${name} (${index}): ${text}. Click explains it; Shift-click: why ${
        chosen < 0 ? "another" : (this.shown.find((r) => r.index === chosen)?.name ?? "the one explained")
      } rather than this.`;
    }
    this.choice.mark(this.shown.findIndex(({ index }) => index === chosen));
    this.top.setAttribute("aria-pressed", String(this.model.get("top")));
    this.top.disabled = !this.model.get("topped");
  }

  private tell(): void {
    const [matches, found] = [this.model.get("matches"), this.model.get("found").length];
    if (!this.wanted)
      this.told.textContent = this.model.get("note") || "Click: explain · Shift-click: rather than this";
    else if (!this.answered) this.told.textContent = "Searching ...";
    else if (!matches) this.told.textContent = `No class has “${this.wanted}” in its name, or as its number.`;
    else
      this.told.textContent = matches > found ? `The first ${found} of ${matches} found` : `${matches} found`;
  }

  private choose(at: number, contrast: boolean): void {
    const row = this.shown[at];
    if (!row) return;
    const { index } = row;
    this.model.send(contrast ? { type: "contrast", index } : { type: "choose", index });
  }

  private key(event: KeyboardEvent): boolean {
    if (event.target !== this.search) return this.choice.key(event);
    if (event.key === "Enter" && this.wanted) this.enter(event.shiftKey);
    else if (event.key === "ArrowDown") this.choice.element.focus();
    else return false;
    return true;
  }
}

function option(): HTMLElement {
  const bar = h("span", { class: "nbv-bar", "aria-hidden": "true" }, h("i", {}));
  return h(
    "div",
    { role: "option", class: "nbv-class" },
    h("span", { class: "nbv-name" }),
    h("span", { class: "nbv-value" }),
    bar,
  );
}

function write(element: HTMLElement, { index, name, text, start, end }: ClassRow): void {
  const [called, value, bar] = [...element.children] as HTMLElement[];
  called.textContent = name;
  value.textContent = text;
  element.dataset.index = String(index);
  const fill = bar.firstElementChild as HTMLElement;
  fill.style.marginLeft = `${100 * start}%`;
  fill.style.width = `max(2px, ${100 * (end - start)}%)`;
}
