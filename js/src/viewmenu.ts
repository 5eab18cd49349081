// Which of a map's views are shown: a button for each, and what the reader chose is remembered.

import { button, h } from "./dom";
import { follow, type Maps, type Model, type View } from "./model";
import { OBJECT } from "./object";

type Kind = View["kind"];

const NAMES = { picture: "Picture", overlay: "Overlay", map: "Map", object: "Object", pinned: "Pinned" };
const REMEMBERED = "nbcnnviz-views";

export class ViewMenu {
  readonly element = h("div", { class: "nbv-menu nbv-local", role: "group", "aria-label": "Views" });
  /** The kinds of views that the reader chose; null where all are shown. */
  private chosen: Set<Kind> | null = null;
  /** Whether the map was asked for beside what was pinned. */
  private mapToo = false;

  /** `show` is told which kinds are to be shown, whenever that changes. */
  constructor(
    private readonly model: Model<Maps>,
    private readonly show: (kinds: Set<Kind>) => void,
    private readonly signal: AbortSignal,
  ) {}

  /** Whether there is a choice. */
  get offered(): boolean {
    return this.chosen !== null;
  }

  /** Offer the views, where there are more than two to choose from. */
  offer(): void {
    const kinds = this.model.get("views").map((view) => view.kind);
    this.chosen = kinds.includes("picture") ? remembered(kinds) : null;
    if (!this.chosen) return;
    for (const kind of kinds.filter((one) => one !== "pinned")) {
      const help = `Show or hide: ${kind === "object" ? OBJECT : NAMES[kind].toLowerCase()}`;
      const face = button(NAMES[kind], help, "", () => this.turn(kind), this.signal);
      face.dataset.view = kind;
      this.element.append(face);
    }
    follow(this.model, ["pinned", "pickable"], () => this.update(), this.signal);
    follow(this.model, ["outlining"], () => this.followOutlining(), this.signal);
    this.update();
  }

  /** Show the view of the object, or hide it, as Python says. */
  private followOutlining(): void {
    if (this.shown().has("object") !== this.model.get("outlining")) this.turn("object");
  }

  /** Show a view, or hide it, unless it is the last one. */
  private turn(kind: Kind): void {
    const chosen = new Set(this.chosen);
    const shown = this.shown();
    if (!shown.has(kind)) chosen.add(kind);
    else if (shown.size > 1) chosen.delete(kind);
    if (kind === "map") this.mapToo = shown.has("pinned") && !shown.has(kind);
    this.chosen = chosen;
    try {
      localStorage.setItem(REMEMBERED, [...chosen].join());
    } catch {} // a host may keep nothing
    this.update();
  }

  /** Those that the reader chose; what was pinned stands in the map's place, so that all keep their size. */
  private shown(): Set<Kind> {
    const shown = new Set(this.chosen);
    if (this.model.get("pickable")) shown.add("picture"); // where a place of it can be chosen
    if (this.model.get("pinned").caption === undefined) {
      this.mapToo = false;
      return shown;
    }
    if (shown.has("map") && shown.size === 2 && !this.mapToo) shown.delete("map");
    return shown.add("pinned");
  }

  private update(): void {
    const shown = this.shown();
    for (const face of this.element.children as HTMLCollectionOf<HTMLElement>) {
      face.setAttribute("aria-pressed", String(shown.has(face.dataset.view as Kind)));
    }
    this.show(shown);
    if (this.model.get("outlining") === shown.has("object")) return;
    this.model.set("outlining", shown.has("object")); // it is cut out while somebody looks
    this.model.save_changes();
  }
}

/** The views that the reader chose last, of these; the overlay and the map, if none. */
function remembered(kinds: Kind[]): Set<Kind> {
  let kept: string[] = [];
  try {
    kept = localStorage.getItem(REMEMBERED)?.split(",") ?? [];
  } catch {} // a host may keep nothing
  const known = kinds.filter((kind) => kept.includes(kind));
  return new Set(known.length ? known : ["overlay", "map"]);
}
