import { afterEach, describe, expect, it, vi } from "vitest";
import { bind, help, keys } from "../src/keys";
import { press } from "./model";

const forever = new AbortController().signal;
const find = (selector: string) => document.querySelector(selector) as HTMLElement;

afterEach(() => document.body.replaceChildren());

function page() {
  document.body.innerHTML =
    "<main><section tabindex='0'><select></select><input type='range'><button></button><dialog><button id='in'></button></dialog></section><p></p></main>";
  const act = vi.fn(() => true);
  const host = vi.fn();
  const gone = new AbortController();
  keys(find("section"), act, gone.signal);
  document.addEventListener("keydown", host, { capture: true, signal: gone.signal });
  return { act, host, gone };
}

describe("keys", () => {
  it("are taken within the frame, ahead of the host", () => {
    const { act, host, gone } = page();
    expect(press(find("section"), "o")).toBe(true);
    expect(act).toHaveBeenCalledTimes(1);
    expect(host).not.toHaveBeenCalled();
    press(find("p"), "o");
    expect(act).toHaveBeenCalledTimes(1);
    expect(host).toHaveBeenCalledTimes(1);
    gone.abort();
    press(find("section"), "o");
    expect(act).toHaveBeenCalledTimes(1);
  });

  it.each([
    ["Tab", {}],
    ["Escape", {}],
    ["Enter", { shiftKey: true }],
    ["s", { ctrlKey: true }],
    ["s", { metaKey: true }],
    ["o", { altKey: true }],
  ])("leave %s %j to the host", (key, more) => {
    const { act, host, gone } = page();
    expect(press(find("section"), key, more)).toBe(false);
    expect(act).not.toHaveBeenCalled();
    expect(host).toHaveBeenCalledTimes(1);
    gone.abort();
  });

  it.each([
    ["select", "o", false],
    ["select", "ArrowDown", false],
    ["select", "?", true],
    ["input", "ArrowLeft", false],
    ["input", "Home", false],
    ["input", "o", true],
    ["button", "Enter", false],
    ["button", " ", false],
    ["button", "o", true],
    ["#in", "o", false],
  ])("leave a control its own: on %s, %s", (selector, key, taken) => {
    const { act, host, gone } = page();
    expect(press(find(selector), key)).toBe(taken);
    expect(act).toHaveBeenCalledTimes(taken ? 1 : 0);
    expect(host).not.toHaveBeenCalled(); // nor are they JupyterLab's
    gone.abort();
  });
});

describe("bind", () => {
  it("acts on a binding's keys, and takes no others nor those that are only described", () => {
    const seen: string[] = [];
    const act = bind([
      { keys: ["a", "A"], help: "", act: (event) => seen.push(event.key) },
      { keys: ["x"], help: "" },
    ]);
    const taken = ["a", "A", "b", "x"].map((key) => act(new KeyboardEvent("keydown", { key })));
    expect(taken).toEqual([true, true, false, false]);
    expect(seen).toEqual(["a", "A"]);
  });
});

describe("help", () => {
  it("lists the keys as they are when it opens", () => {
    const bindings = [{ keys: ["o", "O"], help: "opacity" }];
    const { element, open } = help(() => bindings, forever);
    const dialog = element as HTMLDialogElement;
    dialog.showModal = vi.fn();
    bindings.push({ keys: [" "], help: "choose" });
    open();
    expect(dialog.showModal).toHaveBeenCalled();
    expect([...dialog.querySelectorAll("dt")].map((dt) => dt.textContent)).toEqual(["oO", "Space"]);
    expect([...dialog.querySelectorAll("dd")].map((dd) => dd.textContent)).toEqual(["opacity", "choose"]);
  });
});
