// The tree of layers: the network's modules in the order of the forward pass. The bar of a row is as long as the maps are
// wide, on a scale of doublings; it is as dark as the layer is active. Above it stands the strip, see depth.ts.
import { Strip } from "./depth";
import { h } from "./dom";
import { keys } from "./keys";
import { bytes, follow, type Layers, type Model } from "./model";
import { short } from "./paint";

/** Rows that are open to begin with, about. */
const OPEN = 18;

export function layers(model: Model<Layers>, el: HTMLElement, signal: AbortSignal): void {
  const strip = new Strip(model, signal);
  const tree = new LayerTree(model, strip, signal);
  follow(model, ["names", "depths", "sizes", "kinds", "shapes"], () => tree.build(), signal);
  follow(model, ["names", "kinds", "shapes", "order", "sides"], () => strip.build(), signal);
  follow(model, ["current", "filter", "filters", "note"], () => strip.mark(), signal);
  follow(model, ["current"], () => tree.mark(), signal);
  follow(model, ["heat", "heat_title"], () => [strip, tree].map((view) => view.warm()), signal);
  el.classList.add("nbv-contents"); // strip and tree have places of their own in the explorer's layout
  el.append(strip.element, tree.element);
  strip.build();
  tree.build();
}

interface Row {
  at: number;
  name: string;
  /** Rows within it: they follow. */
  size: number;
  depth: number;
  layer: boolean;
  element: HTMLElement;
  bar: HTMLElement;
}

let maps = 0;

class LayerTree {
  private readonly id = `nbv-layers-${++maps}`;
  private readonly tree = h("div", {
    class: "nbv-layers",
    role: "tree",
    tabindex: "0",
    "aria-label": "Layers, in the order of the forward pass",
  });
  readonly element = h("section", { class: "nbv-layermap", "aria-label": "Layers as a tree" }, this.tree);
  private rows: Row[] = [];
  private open = new Set<number>();
  private active = 0;

  constructor(
    private readonly model: Model<Layers>,
    private readonly strip: Strip,
    signal: AbortSignal,
  ) {
    const { search } = strip;
    search.addEventListener("input", () => this.searched(), { signal });
    strip.opener.addEventListener("click", () => this.unfold(!this.unfolded), { signal });
    this.tree.addEventListener("click", (event) => this.clicked(event.target as Element), { signal });
    keys(this.element, (event) => this.key(event), signal);
    keys(strip.element, (event) => strip.key(event) || this.keyInSearch(event), signal);
    const leave = (event: FocusEvent) => {
      const to = event.relatedTarget as Node | null;
      const within = [this.element, strip.element].some((part) => part.contains(to));
      if (to && !within) this.unfold(false);
    };
    for (const part of [this.element, strip.element]) {
      part.addEventListener("focusout", leave, { signal });
      part.addEventListener("keydown", (event) => event.key === "Escape" && this.unfold(false), { signal });
    }
    const elsewhere = (event: Event) => {
      const within = [this.element, strip.element].some((part) => part.contains(event.target as Node));
      if (!within) this.unfold(false);
    };
    window.addEventListener("pointerdown", elsewhere, { capture: true, signal });
  }

  private get unfolded(): boolean {
    return this.element.classList.contains("nbv-unfolded");
  }

  /** Lay the tree over the panel, or put it away; where it stands beside, it is always there. */
  private unfold(open: boolean): void {
    this.element.classList.toggle("nbv-unfolded", open);
    this.strip.opener.setAttribute("aria-expanded", String(open));
    if (open) this.mark();
  }

  private get wanted(): string {
    return this.strip.search.value.trim().toLowerCase();
  }

  private searched(): void {
    this.lay();
    if (this.wanted && !this.unfolded) this.unfold(true);
  }

  private keyInSearch(event: KeyboardEvent): boolean {
    if (event.target !== this.strip.search) return false;
    const first = this.visible.find((row) => row.layer);
    if (event.key === "Enter" && this.wanted && first) this.choose(first);
    else if (event.key === "ArrowDown") {
      this.unfold(true);
      this.tree.focus();
    } else return false;
    return true;
  }

  /** Make the rows anew. */
  build(): void {
    const [names, depths, sizes] = [
      this.model.get("names"),
      this.model.get("depths"),
      this.model.get("sizes"),
    ];
    const [kinds, shapes] = [this.model.get("kinds"), this.model.get("shapes")];
    if (new Set([names, depths, sizes, kinds, shapes].map((list) => list.length)).size > 1) return; // half a message
    this.rows = names.map((name, at) => {
      const length = Math.log2(1 + (this.model.get("sides")[at] || 1));
      const bar = h("span", { class: "nbv-funnel", style: `width: ${(6 * length).toFixed(0)}px` });
      const element = h(
        "div",
        {
          class: `nbv-layer${kinds[at] ? "" : " nbv-holder"}`,
          role: "treeitem",
          id: `${this.id}-${at}`,
          "aria-level": String(depths[at] + 1),
          style: `--nbv-depth: ${depths[at]}`,
        },
        h("span", { class: "nbv-twist", "aria-hidden": "true" }),
        h(
          "span",
          { class: "nbv-called" },
          h("span", { class: "nbv-path" }, name.slice(0, name.lastIndexOf(".") + 1)),
          h("span", { class: "nbv-name" }, name.split(".").at(-1) ?? name),
        ),
        h("span", { class: "nbv-kind" }, kinds[at]),
        h("span", { class: "nbv-shape" }, shapes[at].join(" × ")),
        h("span", { class: "nbv-lane", "aria-hidden": "true" }, bar),
      );
      return { at, name, size: sizes[at], depth: depths[at], layer: kinds[at] !== "", element, bar };
    });
    this.open = this.few();
    this.warm();
    this.mark();
  }

  /** Open level after level, while the map stays short. */
  private few(): Set<number> {
    const open = new Set<number>();
    const deepest = Math.max(0, ...this.rows.map((row) => row.depth));
    for (let depth = 0; depth < deepest; depth++) {
      const level = this.rows.filter((row) => row.depth === depth && row.size > 0);
      if (this.rows.filter((row) => row.depth <= depth + 1).length > OPEN) break;
      for (const row of level) open.add(row.at);
    }
    return open;
  }

  /** Say which layer is looked at, and open what it is within. */
  mark(): void {
    const current = this.rows.findIndex((row) => row.name === this.model.get("current"));
    for (const row of this.rows) {
      row.element.setAttribute("aria-selected", String(row.at === current));
      if (row.at < current && current <= row.at + row.size) this.open.add(row.at);
    }
    if (current >= 0) this.active = current;
    this.lay();
    if (current >= 0) this.reveal(this.rows[current].element);
  }

  /** Colour the rows by what is known of the layers. */
  warm(): void {
    const view = bytes(this.model.get("heat"));
    const heat = new Float32Array(view.slice().buffer);
    const known = heat.length === this.rows.length;
    const most = known ? Math.max(...heat.filter(Number.isFinite), 0) : 0;
    for (const row of this.rows) {
      const value = known ? heat[row.at] : Number.NaN;
      const strength = Number.isFinite(value) && most > 0 ? 0.15 + (0.85 * value) / most : 0;
      row.bar.style.setProperty("--nbv-heat", `${Math.round(100 * strength)}%`);
      const activity = Number.isFinite(value) ? `, ${this.model.get("heat_title")} ${short(value)}` : "";
      row.element.title = `${row.name}${activity}`;
    }
  }

  /** Put up the rows that are to be seen. */
  private lay(): void {
    const { wanted } = this;
    this.tree.classList.toggle("nbv-searched", wanted !== ""); // each by its whole path then
    const visible: Row[] = [];
    for (let at = 0; at < this.rows.length; ) {
      const row = this.rows[at];
      const open = wanted !== "" || this.open.has(at);
      if (!wanted || `${row.name} ${this.model.get("kinds")[at]}`.toLowerCase().includes(wanted))
        visible.push(row);
      if (row.size > 0) {
        row.element.setAttribute("aria-expanded", String(open));
      }
      at += open ? 1 : row.size + 1;
    }
    this.tree.replaceChildren(...visible.map((row) => row.element));
    if (!visible.length)
      this.tree.append(h("p", { class: "nbv-hint" }, `No layer has “${wanted}” in its name or kind.`));
    if (!visible.some((row) => row.at === this.active)) this.active = visible[0]?.at ?? 0;
    this.reach(this.active);
  }

  private get visible(): Row[] {
    return [...this.tree.querySelectorAll("[role=treeitem]")].map(
      (element) => this.rows[Number(element.id.split("-").at(-1))],
    );
  }

  private clicked(target: Element): void {
    const element = target.closest("[role=treeitem]");
    const row = element && this.rows[Number(element.id.split("-").at(-1))];
    if (!row) return;
    this.active = row.at;
    if (target.closest(".nbv-twist") || !row.layer) this.toggle(row);
    else this.choose(row);
  }

  private choose(row: Row): void {
    this.reach(row.at);
    if (!row.layer) return;
    this.model.send({ type: "choose", layer: row.name });
    if (!this.unfolded) return;
    this.unfold(false);
    this.strip.focus();
  }

  private toggle(row: Row, open = !this.open.has(row.at)): void {
    if (open) this.open.add(row.at);
    else this.open.delete(row.at);
    this.lay();
  }

  private key(event: KeyboardEvent): boolean {
    if (document.activeElement !== this.tree) return false;
    const visible = this.visible;
    const place = visible.findIndex((row) => row.at === this.active);
    const row = visible[place];
    if (!row) return false;
    const within = row.size > 0;
    switch (event.key) {
      case "Enter":
      case " ":
        if (row.layer) this.choose(row);
        else this.toggle(row);
        return true;
      case "ArrowRight":
        if (within && !this.open.has(row.at)) this.toggle(row, true);
        else this.reach(visible[place + 1]?.at ?? row.at);
        return true;
      case "ArrowLeft":
        if (within && this.open.has(row.at)) this.toggle(row, false);
        else
          this.reach(
            visible
              .slice(0, place)
              .reverse()
              .find((r) => r.depth < row.depth)?.at ?? row.at,
          );
        return true;
      case "ArrowDown":
        this.reach(visible[place + 1]?.at ?? row.at);
        return true;
      case "ArrowUp":
        this.reach(visible[place - 1]?.at ?? row.at);
        return true;
      case "Home":
        this.reach(visible[0].at);
        return true;
      case "End":
        this.reach(visible[visible.length - 1].at);
        return true;
      default:
        return false;
    }
  }

  private reach(at: number): void {
    this.rows[this.active]?.element.classList.remove("nbv-active");
    this.active = at;
    const row = this.rows[at];
    if (!row) {
      this.tree.removeAttribute("aria-activedescendant");
      return;
    }
    row.element.classList.add("nbv-active");
    this.tree.setAttribute("aria-activedescendant", row.element.id);
    if (document.activeElement === this.tree) this.reveal(row.element);
  }

  /** Scroll the map, and nothing around it, so that a row can be seen. */
  private reveal(element: HTMLElement): void {
    const [above, below] = [element.offsetTop, element.offsetTop + element.offsetHeight];
    if (above < this.tree.scrollTop) this.tree.scrollTop = above;
    else if (below > this.tree.scrollTop + this.tree.clientHeight)
      this.tree.scrollTop = below - this.tree.clientHeight;
  }
}
