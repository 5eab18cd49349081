import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Choice } from "../src/choice";

const act = { choose: vi.fn(), moved: vi.fn() };
let choice: Choice;

/** Ten options, four a row, as if laid out. */
beforeEach(() => {
  act.choose.mockClear();
  act.moved.mockClear();
  choice = new Choice({}, act, new AbortController().signal);
  const options = Array.from({ length: 10 }, (_, i) => {
    const option = document.createElement("div");
    option.setAttribute("role", "option");
    Object.defineProperty(option, "offsetTop", { value: 50 * Math.floor(i / 4) });
    return option;
  });
  choice.offer(options);
  document.body.append(choice.element);
  choice.element.focus();
});
afterEach(() => document.body.replaceChildren());

const press = (key: string) => choice.key(new KeyboardEvent("keydown", { key }));
const active = () =>
  [...choice.element.children].findIndex(
    (o) => o.id === choice.element.getAttribute("aria-activedescendant"),
  );

describe("Choice", () => {
  it.each([
    [["ArrowRight"], 1],
    [["ArrowLeft"], 0],
    [["ArrowDown", "ArrowDown"], 8],
    [["ArrowDown", "ArrowDown", "ArrowDown"], 8],
    [["End"], 9],
    [["End", "ArrowRight"], 9],
    [["End", "Home"], 0],
    [["ArrowRight", "ArrowRight", "ArrowDown"], 6],
    [["ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"], 6],
    [["ArrowRight", "PageDown", "PageDown", "PageDown"], 9],
    [["End", "PageUp", "PageUp", "PageUp"], 1],
  ])("reaches with %j option %d", (keys, at) => {
    for (const key of keys) expect(press(key)).toBe(true);
    expect(active()).toBe(at);
    expect(act.choose).not.toHaveBeenCalled();
  });

  it("chooses by Enter, Space and click, and leaves other keys alone", () => {
    press("ArrowRight");
    press("Enter");
    press("ArrowRight");
    press(" ");
    expect(press("x")).toBe(false);
    (choice.element.children[7] as HTMLElement).click();
    expect(act.choose.mock.calls.map(([at]) => at)).toEqual([1, 2, 7]);
    expect(active()).toBe(7);
  });

  it("starts from the chosen one, unless the reader is elsewhere in it", () => {
    choice.element.blur();
    choice.mark(5);
    expect(active()).toBe(5);
    choice.element.focus();
    press("ArrowRight");
    choice.mark(0);
    expect(active()).toBe(6);
    expect([...choice.element.children].map((o) => o.getAttribute("aria-selected")).indexOf("true")).toBe(0);
  });

  it("is without an active option when it has none", () => {
    choice.offer([]);
    expect(choice.element.hasAttribute("aria-activedescendant")).toBe(false);
    expect(press("ArrowRight")).toBe(false);
  });
});
