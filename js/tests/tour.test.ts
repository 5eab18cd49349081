import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { HELP, Help } from "../src/helping";
import { help as keysDialog } from "../src/keys";
import { Tour } from "../src/tour";
import { as, model } from "./model";

const PARTS = ".nbv-intake, .nbv-classes, .nbv-depth, .nbv-at-method".split(", ");

function explorer(parts = PARTS) {
  document.body.innerHTML = `<div class="nbcnnviz">${parts.map((p) => `<div class="${p.slice(1)}"></div>`).join("")}</div>`;
  const root = document.querySelector(".nbcnnviz") as HTMLElement;
  for (const part of root.children) part.checkVisibility = () => true;
  return root;
}

beforeEach(() => {
  localStorage.clear();
  vi.useFakeTimers();
  vi.stubGlobal("requestAnimationFrame", (act: () => void) => setTimeout(act));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

describe("the tour", () => {
  function tour(parts?: string[]) {
    const root = explorer(parts);
    const made = new Tour(new AbortController().signal);
    root.append(made.element);
    vi.runAllTimers();
    const [skip, next] = made.element.querySelectorAll("button");
    const heading = () => made.element.querySelector("b")?.textContent;
    return { made, skip, next, heading };
  }

  it("goes through four steps the first time, and never again once it is closed", () => {
    const { made, next, heading } = tour();
    const seen = [];
    while (!made.element.hidden) {
      seen.push(heading());
      next.click();
    }
    expect(seen).toEqual([
      "Choose a picture",
      "Ask why this class",
      "Go through the layers",
      "Change the method",
    ]);
    expect(tour().made.element.hidden).toBe(true);
  });

  it("can be skipped at once, and taken again when asked for", () => {
    const { made, skip } = tour();
    expect(made.element.hidden).toBe(false);
    skip.click();
    expect(made.element.hidden).toBe(true);
    made.show(0);
    expect(made.element.hidden).toBe(false);
  });

  it("passes over what is not there", () => {
    const { heading, next, made } = tour([".nbv-intake", ".nbv-at-method"]);
    next.click();
    expect(heading()).toBe("Change the method");
    next.click();
    expect(made.element.hidden).toBe(true);
  });

  it("is not shown where it could not be remembered that it was closed", () => {
    vi.stubGlobal("localStorage", {
      setItem() {
        throw new Error("no storage here");
      },
    });
    expect(tour().made.element.hidden).toBe(true);
  });
});

describe("help", () => {
  function helped() {
    const root = explorer();
    const m = model({ help: [{ heading: "Explain", text: "Where it looked.\nAnd more <b>of it</b>." }] });
    const again = vi.fn();
    const help = new Help(as(m), again, new AbortController().signal);
    help.element.showModal = vi.fn();
    help.element.close = vi.fn();
    root.append(help.element);
    return { m, help, root, again };
  }

  it("says what the kernel says of the panel in front, as text", () => {
    const { m, help } = helped();
    expect([...help.element.querySelectorAll("p")].map((p) => p.textContent)).toEqual([
      "Where it looked.",
      "And more <b>of it</b>.",
    ]);
    m.set("help", [{ heading: "Weights", text: "Kernels." }]);
    expect(help.element.textContent).toContain("Kernels.");
    expect(help.element.textContent).not.toContain("Where it looked.");
  });

  it("opens with the keys of the frame in which ? was pressed, in the same explorer alone", () => {
    const { help, root } = helped();
    const keys = keysDialog(() => [{ keys: ["o"], help: "opacity" }], new AbortController().signal);
    const own = keys.element as HTMLDialogElement;
    own.showModal = vi.fn();
    keys.open();
    expect(own.showModal).toHaveBeenCalledTimes(1);
    root.append(keys.element);
    keys.open();
    expect(own.showModal).toHaveBeenCalledTimes(1);
    expect(help.element.showModal).toHaveBeenCalledTimes(1);
    expect(help.element.textContent).toContain("opacity");
    document.body.dispatchEvent(new CustomEvent(HELP, { bubbles: true }));
    expect(help.element.showModal).toHaveBeenCalledTimes(1);
  });

  it("leads to the tour", () => {
    const { help, again } = helped();
    const button = [...help.element.querySelectorAll("button")].find((b) => b.textContent === "Guided tour");
    button?.click();
    expect(again).toHaveBeenCalledTimes(1);
  });
});
