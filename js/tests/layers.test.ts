import { afterEach, describe, expect, it, vi } from "vitest";
import { layers } from "../src/layers";
import type { Layers, Model } from "../src/model";
import { toolbar } from "../src/toolbar";

function model(state: Record<string, unknown>) {
  const listeners = new Map<string, Set<(...args: unknown[]) => void>>();
  const emit = (name: string, ...args: unknown[]) => {
    for (const act of listeners.get(name) ?? []) act(...args);
  };
  return {
    get: (name: string) => state[name],
    set(name: string, value: unknown) {
      state[name] = value;
      emit(`change:${name}`);
    },
    on: (name: string, act: () => void) => listeners.set(name, (listeners.get(name) ?? new Set()).add(act)),
    off: (name: string, act: () => void) => listeners.get(name)?.delete(act),
    send: vi.fn(),
    save_changes: vi.fn(),
    emit,
    listening: () => [...listeners.values()].reduce((sum, acts) => sum + acts.size, 0),
  };
}

const TREE = {
  names: ["stem", "blocks", "blocks.0", "blocks.0.conv", "blocks.1", "blocks.1.conv", "head"],
  depths: [0, 0, 1, 2, 1, 2, 0],
  sizes: [0, 4, 1, 0, 1, 0, 0],
  kinds: ["Conv2d", "", "Sequential", "Conv2d", "Sequential", "Conv2d", "Linear"],
  shapes: [[8, 16, 16], [], [8, 8, 8], [8, 8, 8], [9, 4, 4], [9, 4, 4], [5]],
  current: "head",
  heat: new DataView(new ArrayBuffer(0)),
  heat_title: "",
};

function shown(more: Record<string, unknown> = {}) {
  const m = model({ ...TREE, ...more });
  const gone = new AbortController();
  const box = document.createElement("div");
  document.body.append(box);
  layers(m as unknown as Model<Layers>, box, gone.signal);
  const tree = box.querySelector<HTMLElement>("[role=tree]") as HTMLElement;
  const names = () => [...tree.children].map((row) => row.querySelector(".nbv-name")?.textContent);
  const press = (key: string) => {
    tree.focus();
    const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
    tree.dispatchEvent(event);
    return event;
  };
  const active = () => box.querySelector(".nbv-active .nbv-name")?.textContent;
  return { m, box, tree, names, press, active, gone };
}

afterEach(() => document.body.replaceChildren());

describe("the layer map", () => {
  it("is a tree that screen readers can read", () => {
    const { tree } = shown({ current: "stem" });
    const levels = [...tree.children].map((row) => row.getAttribute("aria-level"));
    expect(levels).toEqual(["1", "1", "2", "3", "2", "3", "1"]);
    expect(tree.querySelector("[aria-selected=true]")?.textContent).toContain("stem");
    expect(tree.children[1].getAttribute("aria-expanded")).toBe("true");
    expect(tree.children[0].hasAttribute("aria-expanded")).toBe(false);
  });

  it("keeps long networks short, but opens what the current layer is within", () => {
    const count = 40;
    const many = {
      names: ["features", ...Array.from({ length: count }, (_, i) => `features.${i}`)],
      depths: [0, ...Array(count).fill(1)],
      sizes: [count, ...Array(count).fill(0)],
      kinds: Array(count + 1).fill("Conv2d"),
      shapes: Array(count + 1).fill([1, 2, 2]),
    };
    const { m, names } = shown({ ...many, current: "" });
    expect(names()).toEqual(["features"]);
    m.set("current", "features.7");
    expect(names()).toHaveLength(count + 1);
  });

  it("chooses a layer by a click, and opens and closes what is no layer", () => {
    const { m, tree, names } = shown();
    (tree.children[0] as HTMLElement).click();
    expect(m.send).toHaveBeenLastCalledWith({ type: "choose", layer: "stem" });
    (tree.children[1] as HTMLElement).click();
    expect(m.send).toHaveBeenCalledTimes(1);
    expect(names()).toEqual(["stem", "blocks", "head"]);
    (tree.children[1].querySelector(".nbv-twist") as HTMLElement).click();
    expect(names()).toHaveLength(7);
  });

  it("is walked, opened, closed and chosen from by keys", () => {
    const { m, press, active, names } = shown();
    for (const key of ["Home", "ArrowDown", "ArrowLeft"]) expect(press(key).defaultPrevented).toBe(true);
    expect(names()).toEqual(["stem", "blocks", "head"]);
    press("ArrowRight");
    expect(names()).toHaveLength(7);
    press("ArrowRight");
    press("ArrowRight");
    expect(active()).toBe("conv");
    press("Enter");
    expect(m.send).toHaveBeenLastCalledWith({ type: "choose", layer: "blocks.0.conv" });
    press("ArrowLeft");
    expect(active()).toBe("0");
    press("End");
    expect(active()).toBe("head");
    press("ArrowDown");
    expect(active()).toBe("head");
    expect(press("x").defaultPrevented).toBe(false);
  });

  it("finds layers by name or kind, closed or not", () => {
    const { box, names } = shown();
    const search = box.querySelector("input") as HTMLInputElement;
    search.value = "LINEAR";
    search.dispatchEvent(new Event("input"));
    expect(names()).toEqual(["head"]);
    search.value = "blocks.1";
    search.dispatchEvent(new Event("input"));
    expect(names()).toEqual(["1", "conv"]);
    search.value = "nothing of the kind";
    search.dispatchEvent(new Event("input"));
    expect(names()).toEqual([]);
    search.value = "";
    search.dispatchEvent(new Event("input"));
    expect(names()).toHaveLength(7);
  });

  it("colours rows by what is known of them, and says it", () => {
    const { m, tree } = shown();
    m.set("heat_title", "activity");
    m.set("heat", new DataView(new Float32Array([3, Number.NaN, 1, 1, 4, 4, 0]).buffer));
    const row = (at: number) => tree.children[at] as HTMLElement;
    const heat = (at: number) =>
      row(at).querySelector<HTMLElement>(".nbv-funnel")?.style.getPropertyValue("--nbv-heat");
    expect([heat(0), heat(1), heat(4), heat(6)]).toEqual(["79%", "0%", "100%", "15%"]);
    expect(row(0).title).toBe("stem, activity 3");
    expect(row(1).title).toBe("blocks");
  });

  it("follows another network, and listens no more once it is gone", () => {
    const { m, names, gone } = shown();
    const another = { names: ["a"], depths: [0], sizes: [0], kinds: ["Conv2d"], shapes: [[1, 2, 2]] };
    for (const [name, value] of Object.entries(another)) m.set(name, value);
    expect(names()).toEqual(["a"]);
    gone.abort();
    expect(m.listening()).toBe(0);
  });
});

describe("the toolbar", () => {
  function made(formats = ["png"]) {
    const m = model({ can_undo: true, can_redo: false, formats });
    const gone = new AbortController();
    const box = document.createElement("div");
    box.className = "nbcnnviz";
    document.body.append(box);
    toolbar(m as never, box, gone.signal);
    const button = (name: string) =>
      [...box.querySelectorAll("button")].find((b) => b.textContent === name) as HTMLButtonElement;
    return { m, box, button, gone };
  }

  it("offers what can be done, and asks the kernel for it", () => {
    const { m, box, button, gone } = made(["png", "npz"]);
    expect([button("Undo").disabled, button("Redo").disabled]).toEqual([false, true]);
    button("Undo").click();
    button("Copy code").click();
    const formats = box.querySelector("select") as HTMLSelectElement;
    formats.value = "npz";
    formats.dispatchEvent(new Event("change"));
    expect(m.send.mock.calls.map(([message]) => message)).toEqual([
      { type: "undo" },
      { type: "code" },
      { type: "save", format: "npz" },
    ]);
    expect(formats.value).toBe("");
    gone.abort();
    expect(m.listening()).toBe(0);
  });

  it("takes its keys from anywhere in the explorer and from nowhere else", () => {
    const { m, box } = made();
    const press = (on: Element, init: KeyboardEventInit) =>
      on.dispatchEvent(
        new KeyboardEvent("keydown", { bubbles: true, cancelable: true, altKey: true, ...init }),
      );
    press(document.body, { code: "KeyZ" });
    expect(m.send).not.toHaveBeenCalled();
    press(box, { code: "KeyZ" });
    press(box, { code: "KeyZ", shiftKey: true });
    press(box, { code: "KeyC" });
    press(box, { code: "KeyZ", ctrlKey: true });
    expect(m.send.mock.calls.map(([message]) => message.type)).toEqual(["undo", "redo", "code"]);
  });

  it("shows the code where there is no clipboard", async () => {
    const { m, box } = made();
    m.emit("msg:custom", { type: "code", text: "import nbcnnviz as nv" }, []);
    const text = box.querySelector("textarea") as HTMLTextAreaElement;
    await vi.waitFor(() => expect(text.hidden).toBe(false));
    expect(text.value).toBe("import nbcnnviz as nv");
  });
});
