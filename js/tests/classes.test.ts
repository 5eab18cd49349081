import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { classes } from "../src/classes";
import { as, model, press } from "./model";

const row = (index: number, name: string, value: number) => ({
  index,
  name,
  text: `${100 * value} %`,
  start: 0,
  end: value,
});
const ROWS = [row(282, "tiger cat", 0.4), row(285, "Egyptian cat", 0.36), row(7, "cock", 0)];
const CLASSES = {
  heading: "Classes",
  rows: ROWS,
  found: [],
  wanted: "",
  matches: 0,
  count: 1000,
  chosen: 282,
  against: -1,
  top: true,
  topped: true,
  note: "",
};

function shown(more: Record<string, unknown> = {}) {
  const m = model({ ...CLASSES, ...more });
  const box = document.createElement("div");
  document.body.append(box);
  const gone = new AbortController();
  classes(as(m), box, gone.signal);
  const list = box.querySelector("[role=listbox]") as HTMLElement;
  const search = box.querySelector("input") as HTMLInputElement;
  const type = (text: string) => {
    search.value = text;
    search.dispatchEvent(new Event("input"));
    vi.runAllTimers();
  };
  return { m, box, list, search, type, gone, told: () => box.querySelector("[role=status]")?.textContent };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("the list of classes", () => {
  it("is a list box of whole rows, each with its name, its value and a bar that can be seen", () => {
    const { list } = shown();
    const options = [...list.children] as HTMLElement[];
    expect(options.map((option) => option.getAttribute("aria-label"))).toEqual([
      "tiger cat, 40 %",
      "Egyptian cat, 36 %",
      "cock, 0 %",
    ]);
    const widths = options.map((option) => option.querySelector("i")?.getAttribute("style"));
    expect(widths.every((style) => style?.includes("max(2px"))).toBe(true);
    expect(options.map((option) => option.getAttribute("aria-selected"))).toEqual(["true", "false", "false"]);
  });

  it("explains the class of a row that is clicked anywhere, and holds the class against it with Shift", () => {
    const { m, list } = shown();
    (list.children[1].querySelector(".nbv-value") as HTMLElement).click();
    expect(m.send).toHaveBeenLastCalledWith({ type: "choose", index: 285 });
    list.children[2].dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true }));
    expect(m.send).toHaveBeenLastCalledWith({ type: "contrast", index: 7 });
  });

  it("does the same by keys, and keeps Shift-Enter from the notebook", () => {
    const { m, list } = shown();
    list.focus();
    press(list, "ArrowRight"); // nothing is laid out here: all rows are one
    expect(press(list, "Enter")).toBe(true);
    expect(m.send).toHaveBeenLastCalledWith({ type: "choose", index: 285 });
    expect(press(list, "Enter", { shiftKey: true })).toBe(true);
    expect(m.send).toHaveBeenLastCalledWith({ type: "contrast", index: 285 });
  });

  it("says with a sign which class is explained rather than which", () => {
    const { m, list } = shown();
    m.set("against", 285);
    const options = [...list.children] as HTMLElement[];
    expect(options.map((option) => option.dataset.sign)).toEqual(["+", "−", ""]);
    expect(options[1].getAttribute("aria-label")).toBe("Egyptian cat, 36 %, subtracted");
    m.set("against", -1);
    expect(options.map((option) => option.dataset.sign)).toEqual(["", "", ""]);
  });

  it("leaves the rows where they are when their values change: a click begun is ended on the same", () => {
    const { m, list } = shown();
    const before = [...list.children];
    m.set("rows", [row(7, "cock", 0.9), ROWS[0], ROWS[1]]);
    expect([...list.children]).toEqual(before);
    expect(before[0].textContent).toContain("cock");
    expect(before[1].getAttribute("aria-selected")).toBe("true");
  });

  it("asks for what is typed once typing rests, shows what was found and never takes back what was typed", () => {
    const { m, list, search, type, told } = shown();
    for (const text of ["c", "ca", "cat"]) {
      search.value = text;
      search.dispatchEvent(new Event("input"));
    }
    vi.runAllTimers();
    expect(m.send.mock.calls).toEqual([[{ type: "search", text: "cat" }]]);
    m.set("wanted", "cat");
    m.set("found", [ROWS[0], ROWS[1]]);
    m.set("matches", 2);
    expect(list.children).toHaveLength(2);
    expect(told()).toBe("2 found");
    press(search, "Enter");
    expect(m.send).toHaveBeenLastCalledWith({ type: "choose", index: 282 });
    expect(search.value).toBe("cat");
    type("wolf");
    m.set("wanted", "wolf");
    m.set("found", []);
    m.set("matches", 0);
    expect(told()).toContain("No class has “wolf”");
    expect(search.value).toBe("wolf");
    type("");
    expect(list.children).toHaveLength(3);
  });

  it("waits with Enter for what was typed: what was found before is not what was meant", () => {
    const { m, search, type } = shown({ wanted: "cat", found: [ROWS[0]], matches: 1 });
    type("cock");
    search.focus();
    press(search, "Enter");
    expect(m.send.mock.calls).toEqual([[{ type: "search", text: "cock" }]]);
    m.set("found", [ROWS[2]]);
    m.set("matches", 1);
    m.set("wanted", "cock");
    expect(m.send).toHaveBeenLastCalledWith({ type: "choose", index: 7 });
    m.send.mockClear();
    type("wolf");
    press(search, "Enter");
    m.set("found", []);
    m.set("matches", 0);
    m.set("wanted", "wolf");
    m.set("wanted", "cat");
    expect(m.send.mock.calls).toEqual([[{ type: "search", text: "wolf" }]]);
  });

  it("leads from the search into the list", () => {
    const { search, list } = shown();
    search.focus();
    press(search, "ArrowDown");
    expect(document.activeElement).toBe(list);
  });

  it("follows whichever class is on top when asked to", () => {
    const { m, box } = shown({ top: false });
    const button = box.querySelector("button") as HTMLButtonElement;
    expect(button.getAttribute("aria-pressed")).toBe("false");
    button.click();
    expect(m.send).toHaveBeenLastCalledWith({ type: "choose", index: null });
    m.set("topped", false);
    expect(button.disabled).toBe(true);
  });

  it("says why there are none, and listens no more once it is gone", () => {
    const { m, told, gone } = shown({ rows: [], note: "Nothing was found in this picture." });
    expect(told()).toBe("Nothing was found in this picture.");
    gone.abort();
    expect(m.listening()).toBe(0);
  });
});
