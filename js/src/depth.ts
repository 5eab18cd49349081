// The strip of layers: one bar a layer in the order of the forward pass, as high as its maps are large, as dark as it is
// active. A click, a drag or the arrows choose a layer; under it stand its full path, kind and shape, and its filter.
import { h, icon } from "./dom";
import { bytes, type Layers, type Model } from "./model";
import { short } from "./paint";

const TREE = "M3 3h5M6 8h7M6 13h7M3 3v10h3M3 8h3";
/** Layers that PageUp and PageDown go. */
const PAGE = 10;

export class Strip {
  readonly search = h("input", {
    type: "search",
    class: "nbv-key-l",
    placeholder: "Search layers",
    "aria-label": "Search layers",
    autocomplete: "off",
    spellcheck: "false",
    title: "Show only layers whose name or kind holds this; Enter chooses the first one (Alt+L)",
  });
  readonly opener = h(
    "button",
    {
      type: "button",
      class: "nbv-opener",
      title: "All layers as a tree",
      "aria-label": "All layers as a tree",
    },
    icon(TREE),
  );
  private readonly bars = h("div", {
    class: "nbv-bars nbv-key-d",
    role: "slider",
    tabindex: "0",
    "aria-label": "Layer, in the order of the forward pass",
    "aria-valuemin": "1",
  });
  private readonly path = h("b", { class: "nbv-depth-path" });
  private readonly about = h("span", { class: "nbv-depth-about" });
  private readonly filter = h("input", {
    type: "number",
    class: "nbv-key-f",
    min: "0",
    placeholder: "none",
    "aria-label": "Filter of this layer",
    title: "Explain one filter (channel) of this layer in place of a class; empty: the class (Alt+F)",
  });
  private readonly filters = h("span", { class: "nbv-hint" });
  readonly element = h(
    "section",
    { class: "nbv-depth", "aria-label": "Layer" },
    this.bars,
    h(
      "div",
      { class: "nbv-depth-line" },
      h("div", { class: "nbv-depth-name" }, this.path, " ", this.about),
      h("label", { class: "nbv-depth-filter" }, h("span", {}, "Filter"), this.filter, this.filters),
      this.search,
      this.opener,
    ),
  );
  /** The layers that have a bar: their places among the rows. */
  private at: number[] = [];
  /** What was asked for and is not answered yet, in order. */
  private asked: number[] = [];
  private marked = -1;
  /** The filter that was asked for while the field has the focus; what is answered meanwhile is older. */
  private typed: number | null = null;

  constructor(
    private readonly model: Model<Layers>,
    signal: AbortSignal,
  ) {
    for (const input of [this.search, this.filter]) input.dataset.lmSuppressShortcuts = "true";
    this.opener.setAttribute("aria-expanded", "false");
    const { bars } = this;
    bars.addEventListener(
      "pointerdown",
      (event) => {
        if (event.button !== 0) return;
        bars.setPointerCapture?.(event.pointerId);
        this.asked = [];
        this.ask(this.under(event));
      },
      { signal },
    );
    bars.addEventListener(
      "pointermove",
      (event) => {
        const bar = this.under(event);
        if (bars.hasPointerCapture?.(event.pointerId)) this.ask(bar);
        this.tell(this.at[bar] ?? -1);
      },
      { signal },
    );
    bars.addEventListener("blur", () => (this.asked = []), { signal });
    bars.addEventListener("pointerleave", () => this.tell(this.current), { signal });
    const chosen = () => {
      const text = this.filter.value.trim();
      this.typed = text === "" ? -1 : Number(text);
      model.send({ type: "filter", filter: text === "" ? null : this.typed });
    };
    this.filter.addEventListener("change", chosen, { signal });
    const left = () => {
      this.typed = null;
      this.mark();
    };
    this.filter.addEventListener("blur", left, { signal });
  }

  focus(): void {
    this.bars.focus({ preventScroll: true });
  }

  private get current(): number {
    return this.model.get("names").indexOf(this.model.get("current"));
  }

  /** Put up the bars anew. */
  build(): void {
    this.at = [...this.model.get("order")];
    const sides = this.at.map((at) => Math.log2(1 + (this.model.get("sides")[at] ?? 0)));
    const most = Math.max(1, ...sides);
    this.bars.replaceChildren(
      ...sides.map((length) => {
        const height = length ? 12 + (88 * length) / most : 8;
        return h("i", { class: length ? "" : "nbv-flat", style: `height: ${height.toFixed(0)}%` });
      }),
    );
    this.bars.setAttribute("aria-valuemax", String(this.at.length));
    this.warm();
    this.mark();
  }

  warm(): void {
    const heat = new Float32Array(bytes(this.model.get("heat")).slice().buffer);
    const known = heat.length === this.model.get("names").length;
    const values = this.at.map((at) => (known ? heat[at] : Number.NaN));
    const most = Math.max(0, ...values.filter(Number.isFinite));
    for (const [bar, value] of values.entries()) {
      const strength = Number.isFinite(value) && most > 0 ? 0.15 + (0.85 * value) / most : 0;
      this.bar(bar)?.style.setProperty("--nbv-heat", `${Math.round(100 * strength)}%`);
    }
    this.tell(this.current);
  }

  private bar(bar: number): HTMLElement | undefined {
    return this.bars.children[bar] as HTMLElement | undefined;
  }

  /** Say which layer is looked at. */
  mark(): void {
    const { current } = this;
    // What is answered is waited for no longer; what nobody here asked for ends all waiting.
    const answered = this.asked.indexOf(current);
    if (current !== this.marked) this.asked = answered < 0 ? [] : this.asked.slice(answered + 1);
    this.marked = current;
    const here = this.at.indexOf(current);
    for (const [bar, element] of [...this.bars.children].entries()) {
      element.classList.toggle("nbv-here", bar === here);
    }
    this.bars.setAttribute("aria-valuenow", String(here + 1));
    this.bars.classList.toggle("nbv-resting", this.model.get("note") !== "");
    const [filter, filters] = [this.model.get("filter"), this.model.get("filters")];
    if (this.typed === null || this.typed === filter) this.filter.value = filter < 0 ? "" : String(filter);
    this.filter.max = String(Math.max(0, filters - 1));
    this.filter.disabled = !filters;
    this.filters.textContent = filters ? `of ${filters}` : "";
    this.tell(current);
  }

  /** Write a layer's path, kind, shape and activity under the strip. */
  private tell(row: number): void {
    const name = this.model.get("names")[row];
    const note = this.model.get("note");
    this.path.textContent = name ?? "no layer";
    const shape = this.model.get("shapes")[row]?.join(" × ");
    const heat = new Float32Array(bytes(this.model.get("heat")).slice().buffer)[row];
    const active = Number.isFinite(heat) ? `activity ${short(heat)}` : "";
    const facts = name === undefined ? [] : [this.model.get("kinds")[row], shape, active];
    const text = [...facts, row === this.current ? note : ""].filter(Boolean).join(" · ");
    this.about.textContent = text;
    const whole = [name ?? "no layer", text].join(" · ");
    (this.path.parentElement as HTMLElement).title = whole;
    this.bars.title = whole;
    if (row === this.current) this.bars.setAttribute("aria-valuetext", whole);
  }

  /** The bar under the mouse. */
  private under(event: MouseEvent): number {
    const frame = this.bars.getBoundingClientRect();
    const share = frame.width ? (event.clientX - frame.left) / frame.width : 0;
    return Math.max(0, Math.min(this.at.length - 1, Math.floor(share * this.at.length)));
  }

  private ask(bar: number): void {
    const row = this.at[bar];
    if (row === undefined || row === this.asked.at(-1)) return;
    this.asked.push(row);
    this.model.send({ type: "choose", layer: this.model.get("names")[row] });
  }

  /** Arrows go from layer to layer with maps; where none has any, from layer to layer. */
  key(event: KeyboardEvent): boolean {
    if (document.activeElement !== this.bars) return false;
    const steps: Record<string, number> = {
      ArrowLeft: -1,
      ArrowDown: -1,
      ArrowRight: 1,
      ArrowUp: 1,
      PageDown: -PAGE,
      PageUp: PAGE,
      Home: Number.NEGATIVE_INFINITY,
      End: Number.POSITIVE_INFINITY,
    };
    const step = steps[event.key];
    if (step === undefined) return false;
    const mapped = this.at.filter((at) => this.model.get("sides")[at]);
    const stops = mapped.length ? mapped : this.at;
    // From the layer that was asked for last, which the kernel may not have answered yet.
    const from = this.asked.at(-1) ?? this.current;
    const place = this.at.indexOf(from);
    const before = stops.filter((at) => this.at.indexOf(at) <= place).length - 1;
    const to = Math.max(0, Math.min(stops.length - 1, before + step));
    this.ask(this.at.indexOf(stops[to]));
    return true;
  }
}
