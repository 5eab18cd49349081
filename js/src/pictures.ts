// Pictures side by side, each on a canvas of its own, as they change. What comes while one lot is decoded waits, and only
// the newest of it: the screen lags behind the kernel by no more than one decoding.

import { CanvasHost } from "./canvas";
import { CHOICE_KEYS, Choice } from "./choice";
import { h } from "./dom";
import { bytes, follow, type Model, type Pictures } from "./model";
import { type Figure, receiveFiles } from "./save";
import { latest } from "./schedule";
import { tools } from "./tools";

/** A single picture is shown as large as this. */
const LARGE = 448;
/** Pictures of fewer pixels are scaled up as squares. */
const SMALL = 96;

export async function pictures(model: Model<Pictures>, el: HTMLElement, signal: AbortSignal): Promise<void> {
  const row = new Row(model, signal);
  el.append(row.element);
  receiveFiles(model, () => {}, signal);
  await row.show();
}

interface Place {
  reference: string;
  host: CanvasHost;
  box: HTMLElement;
  title: HTMLElement;
  element: HTMLElement;
}

class Row {
  private readonly head: HTMLElement;
  private readonly caption = h("div", { class: "nbv-heading" });
  private readonly list = h("div", { class: "nbv-row", role: "group" });
  private readonly choice: Choice;
  readonly element: HTMLElement;
  private places: Place[] = [];
  /** Show what the model has now; at once, or as soon as what it had before is shown. */
  readonly show: () => Promise<void>;

  constructor(
    private readonly model: Model<Pictures>,
    private readonly signal: AbortSignal,
  ) {
    this.show = latest(() => this.work(), signal);
    const choose = (at: number) => model.send({ type: "choose", at });
    this.choice = new Choice({ class: "nbv-row" }, { choose, moved: () => {} }, signal);
    this.element = h("section", { class: "nbv-pictures", "aria-label": model.get("label") || "Pictures" });
    const key = (event: KeyboardEvent) => this.choice.key(event);
    const buttons = tools(this.element, () => this.figure(), CHOICE_KEYS, key, signal);
    this.head = h("div", { class: "nbv-head" }, this.caption, buttons);
    follow(model, ["pictures", "canvases"], () => void this.show(), signal);
    follow(model, ["titles", "caption", "chosen", "choosable", "width"], () => this.label(), signal);
    signal.addEventListener("abort", () => {
      for (const place of this.places) place.host.remove();
    });
  }

  private async work(): Promise<void> {
    const encoded = this.model.get("pictures");
    const references = this.model.get("canvases").slice(0, encoded.length);
    const decoding = encoded.map((picture) =>
      createImageBitmap(new Blob([bytes(picture)])).catch(() => null),
    );
    await this.host(references);
    const bitmaps = await Promise.all(decoding);
    if (!this.signal.aborted) this.label();
    for (const [i, bitmap] of bitmaps.entries()) {
      if (bitmap && this.places[i] && !this.signal.aborted) paint(this.places[i], bitmap);
      bitmap?.close();
    }
  }

  /** Have a host for each picture: those that are there stay, others come and go. */
  private async host(references: string[]): Promise<void> {
    const kept = this.places.map((place) => place.reference);
    if (kept.length === references.length && kept.every((reference, i) => reference === references[i]))
      return;
    const before = new Map(this.places.map((place) => [place.reference, place]));
    const places: Place[] = [];
    for (const reference of references) {
      const place = before.get(reference) ?? (await this.place(reference));
      before.delete(reference);
      places.push(place);
    }
    for (const place of before.values()) place.host.remove();
    this.places = places;
    if (this.signal.aborted) for (const place of places) place.host.remove();
  }

  private async place(reference: string): Promise<Place> {
    const box = h("div", { class: "nbv-canvas" });
    const title = h("div", { class: "nbv-title" });
    const host = await CanvasHost.host(this.model.widget_manager, reference, box);
    return { reference, host, box, title, element: h("div", { class: "nbv-picture" }, box, title) };
  }

  /** Put the pictures into the row, with titles; as options where one can be chosen. */
  private label(): void {
    const model = this.model;
    this.caption.textContent = model.get("caption");
    const choosable = model.get("choosable");
    const list = choosable ? this.choice.element : this.list;
    const name = model.get("caption") || model.get("label") || "Pictures";
    list.setAttribute("aria-label", name);
    for (const [i, place] of this.places.entries()) {
      const title = model.get("titles")[i] ?? "";
      place.title.textContent = title;
      place.title.hidden = !title;
      const words = title || `${name}, ${i + 1} of ${this.places.length}`;
      place.element.title = title;
      const [named, plain] = choosable ? [place.element, place.box] : [place.box, place.element];
      for (const attribute of ["role", "aria-label", "aria-selected"]) plain.removeAttribute(attribute);
      named.setAttribute("role", choosable ? "option" : "img");
      named.setAttribute("aria-label", words);
    }
    const elements = this.places.map((place) => place.element);
    if (list.children.length !== elements.length || elements.some((e, i) => e !== list.children[i])) {
      if (choosable) this.choice.offer(elements);
      else list.replaceChildren(...elements);
    }
    if (choosable) this.choice.mark(model.get("chosen"));
    if (list.parentElement !== this.element) this.element.replaceChildren(this.head, list);
    const width = model.get("width");
    const alone = this.places.length === 1;
    list.style.setProperty("--nbv-width", `${alone ? Math.max(LARGE, width) : width}px`);
    list.classList.toggle("nbv-alone", alone);
  }

  /** What is shown, to be saved. */
  private figure(): Figure {
    const pictures = this.places.map(({ host: { canvas }, title }) => {
      const width = Math.max(this.model.get("width"), canvas.width);
      return {
        title: title.textContent ?? "",
        canvas,
        width,
        height: (width * canvas.height) / canvas.width,
      };
    });
    return { caption: this.model.get("caption"), pictures };
  }
}

function paint(place: Place, bitmap: ImageBitmap): void {
  place.box.classList.toggle("nbv-squares", bitmap.width < SMALL);
  place.host.paint(bitmap.width, bitmap.height, (context) => {
    context.clearRect(0, 0, bitmap.width, bitmap.height);
    context.drawImage(bitmap, 0, 0);
  });
}
