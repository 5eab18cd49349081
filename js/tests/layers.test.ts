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
  sides: [16, 0, 8, 8, 4, 4, 0],
  order: [0, 3, 2, 5, 4, 6],
  filter: -1,
  filters: 5,
  note: "",
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
  const names = () => [...tree.querySelectorAll(".nbv-name")].map((name) => name.textContent);
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
      sides: Array(count + 1).fill(2),
      order: Array.from({ length: count + 1 }, (_, i) => (i + 1) % (count + 1)),
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
    const search = box.querySelector("input[type=search]") as HTMLInputElement;
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
    const another = {
      names: ["a"],
      depths: [0],
      sizes: [0],
      kinds: ["Conv2d"],
      shapes: [[1, 2, 2]],
      sides: [2],
      order: [0],
    };
    for (const [name, value] of Object.entries(another)) m.set(name, value);
    expect(names()).toEqual(["a"]);
    gone.abort();
    expect(m.listening()).toBe(0);
  });
});

describe("the strip of layers", () => {
  function strip(more: Record<string, unknown> = {}) {
    const all = shown(more);
    const bars = all.box.querySelector<HTMLElement>(".nbv-bars") as HTMLElement;
    const sent = () => all.m.send.mock.calls.map(([message]) => message);
    const press = (key: string) => {
      bars.focus();
      bars.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    };
    const layers = () => sent().map((message) => message.layer);
    return { ...all, bars, sent, press, layers };
  }

  it("has a bar a layer in the order of the forward pass, as high as its maps are large", () => {
    const { bars } = strip();
    const heights = [...bars.children].map((bar) => Number.parseFloat((bar as HTMLElement).style.height));
    expect(heights).toHaveLength(6);
    expect(heights[0]).toBe(100);
    expect(heights[1]).toBe(heights[2]);
    expect(heights[2]).toBeGreaterThan(heights[3]);
    expect(bars.children[5].classList).toContain("nbv-flat");
  });

  it("says the whole path, the kind and the shape of the layer", () => {
    const { box, bars, m } = strip({ current: "blocks.0.conv" });
    const line = () => box.querySelector(".nbv-depth-name")?.textContent;
    expect(line()).toBe("blocks.0.conv Conv2d · 8 × 8 × 8");
    expect(bars.getAttribute("aria-valuetext")).toBe("blocks.0.conv · Conv2d · 8 × 8 × 8");
    expect([bars.getAttribute("aria-valuenow"), bars.getAttribute("aria-valuemax")]).toEqual(["2", "6"]);
    m.set("note", "not used by this method");
    expect(line()).toContain("not used by this method");
  });

  it("goes by keys from layer to layer with maps, further than the kernel has answered", () => {
    const { press, layers, m } = strip({ current: "stem" });
    for (const key of ["ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"]) press(key);
    expect(layers()).toEqual(["blocks.0.conv", "blocks.0", "blocks.1", "blocks.1.conv", "stem"]);
    m.set("current", "head"); // which has none
    m.send.mockClear();
    press("ArrowLeft");
    expect(layers()).toEqual(["blocks.1.conv"]);
  });

  it("goes from layer to layer where none has maps", () => {
    const { press, layers } = strip({ sides: [0, 0, 0, 0, 0, 0, 0], current: "stem" });
    press("End");
    expect(layers()).toEqual(["head"]);
  });

  it("chooses the layer under the mouse, and another one on the way of a drag", () => {
    const { bars, layers } = strip({ current: "stem" });
    bars.getBoundingClientRect = () => ({ left: 0, width: 60 }) as DOMRect;
    let held = false;
    Object.assign(bars, { setPointerCapture: () => (held = true), hasPointerCapture: () => held });
    const at = (type: string, x: number) =>
      bars.dispatchEvent(new MouseEvent(type, { clientX: x, button: 0, bubbles: true }));
    at("pointermove", 25);
    expect(layers()).toEqual([]);
    at("pointerdown", 25);
    at("pointermove", 26);
    at("pointermove", 45);
    expect(layers()).toEqual(["blocks.0", "blocks.1"]);
  });

  it("asks for a filter, and for none where the field is emptied", () => {
    const { box, m, sent } = strip({ filter: 3 });
    const field = box.querySelector("input[type=number]") as HTMLInputElement;
    expect([field.value, field.max]).toEqual(["3", "4"]);
    for (const value of ["2", ""]) {
      field.value = value;
      field.dispatchEvent(new Event("change"));
    }
    expect(sent()).toEqual([
      { type: "filter", filter: 2 },
      { type: "filter", filter: null },
    ]);
    m.set("filter", -1);
    expect(field.value).toBe("");
    field.value = "4";
    field.dispatchEvent(new Event("change"));
    m.set("filter", 1); // an older answer
    expect(field.value).toBe("4");
    field.dispatchEvent(new Event("blur"));
    expect(field.value).toBe("1");
  });

  it("opens the tree, which closes when a layer is chosen", () => {
    const { box, tree, m } = strip();
    const opener = box.querySelector(".nbv-opener") as HTMLElement;
    const open = () => box.querySelector(".nbv-layermap")?.classList.contains("nbv-unfolded");
    expect(open()).toBe(false);
    opener.click();
    expect([open(), opener.getAttribute("aria-expanded")]).toEqual([true, "true"]);
    (tree.children[0] as HTMLElement).click();
    expect([open(), opener.getAttribute("aria-expanded")]).toEqual([false, "false"]);
    expect(m.send).toHaveBeenLastCalledWith({ type: "choose", layer: "stem" });
  });

  it("finds layers as it is typed into, by whole paths, and chooses the first by Enter", () => {
    const { box, m } = strip();
    const search = box.querySelector("input[type=search]") as HTMLInputElement;
    search.value = "conv";
    search.dispatchEvent(new Event("input"));
    const paths = [...box.querySelectorAll("[role=treeitem] .nbv-called")].map(
      (called) => called.textContent,
    );
    expect(paths).toEqual(["stem", "blocks.0.conv", "blocks.1.conv"]);
    search.focus();
    search.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
    expect(m.send).toHaveBeenLastCalledWith({ type: "choose", layer: "stem" });
  });
});

describe("the toolbar", () => {
  function made(formats = ["png"]) {
    const m = model({
      can_undo: true,
      can_redo: false,
      formats,
      help: [{ heading: "Explain", text: "Where it looked." }],
    });
    const gone = new AbortController();
    const box = document.createElement("div");
    box.className = "nbcnnviz";
    document.body.append(box);
    toolbar(m as never, box, gone.signal);
    const button = (name: string) =>
      [...box.querySelectorAll("button")].find(
        (b) => b.getAttribute("aria-label") === name,
      ) as HTMLButtonElement;
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
