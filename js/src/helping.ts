// Help for the panel in front: what it shows, the method chosen with its formula and source, words, keys.
import { explorerOf, h } from "./dom";
import { follow, type Model, type Tools } from "./model";

/** What a frame asks the explorer for when `?` is pressed in it: the event's detail is its list of keys. */
export const HELP = "nbv-help";

export class Help {
  private readonly parts = h("div", {});
  private readonly keys = h("div", {});
  private readonly shut = h("button", { type: "button", title: "Close the help (Escape)" }, "Close");
  private readonly again = h("button", { type: "button", title: "The first steps, again" }, "Guided tour");
  readonly element = h(
    "dialog",
    { class: "nbv-keys nbv-help", "aria-label": "Help and keys" },
    this.parts,
    this.keys,
    h("div", { class: "nbv-tour-foot" }, this.again, this.shut),
  );

  constructor(
    private readonly model: Model<Tools>,
    tour: () => void,
    signal: AbortSignal,
  ) {
    const { element } = this;
    this.shut.addEventListener("click", () => element.close(), { signal });
    this.again.addEventListener(
      "click",
      () => {
        element.close();
        tour();
      },
      { signal },
    );
    // A click beside it closes it: the dialog itself is hit only at its edge and on what lies behind it.
    element.addEventListener("click", (event) => event.target === element && element.close(), { signal });
    const asked = (event: Event) => {
      const explorer = explorerOf(element);
      if (!explorer || explorerOf(event.target as Element) !== explorer) return;
      event.preventDefault();
      this.open((event as CustomEvent<HTMLElement>).detail);
    };
    document.addEventListener(HELP, asked, { signal });
    follow(model, ["help"], () => this.fill(), signal);
    this.fill();
  }

  private fill(): void {
    this.parts.replaceChildren(
      ...this.model
        .get("help")
        .flatMap(({ heading, text }) => [
          h("strong", {}, heading),
          ...text.split("\n").map((line) => h("p", {}, line)),
        ]),
    );
  }

  /** Open it, with a list of keys where there is one. */
  open(keys?: HTMLElement): void {
    this.keys.replaceChildren(...(keys ? [h("strong", {}, "Keys"), keys] : []));
    this.element.showModal();
    this.element.scrollTop = 0;
  }
}
