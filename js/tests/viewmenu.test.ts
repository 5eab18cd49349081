import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Comparison } from "../src/compare";
import { Views } from "../src/views";
import { Zoom } from "../src/zoom";
import { as, model } from "./model";

const ALL = ["picture", "overlay", "map", "pinned"];
const MAPS = {
  views: ALL.map((kind) => ({ kind, title: kind })),
  canvases: [],
  marks: null,
  picture: new DataView(new ArrayBuffer(0)),
  colour: new DataView(new ArrayBuffer(0)),
  regions: new DataView(new ArrayBuffer(0)),
  object: new DataView(new ArrayBuffer(0)),
  object_note: "",
  outlining: false,
  values: new DataView(new ArrayBuffer(0)),
  size: [0, 0],
  shape: [0, 0],
  boxes: [],
  box_names: [],
  box: -1,
  pickable: false,
  pinned: {},
  compare: "overlay",
  split: 0.5,
};

async function shown(more: Record<string, unknown> = {}) {
  const m = model({ ...MAPS, ...more });
  const signal = new AbortController().signal;
  const zoom = new Zoom(() => {});
  const views = new Views(as(m), zoom, signal);
  await views.start(new Comparison(as(m), zoom, () => {}, signal));
  const kinds = () =>
    [...views.element.querySelectorAll<HTMLElement>("figure")]
      .filter((figure) => !figure.hidden)
      .map((figure) => figure.dataset.view);
  const press = (kind: string) =>
    views.menu.element.querySelector<HTMLElement>(`[data-view=${kind}]`)?.click();
  return { m, views, kinds, press };
}

beforeEach(() => localStorage.clear());
afterEach(() => document.body.replaceChildren());

describe("the choice of views", () => {
  it("shows the overlay and the map at first", async () => {
    const { kinds, views } = await shown();
    expect(kinds()).toEqual(["overlay", "map"]);
    const pressed = [...views.menu.element.children].map((face) => face.getAttribute("aria-pressed"));
    expect(pressed).toEqual(["false", "true", "true"]);
  });

  it("shows and hides views, but never all, and remembers what was chosen", async () => {
    const { kinds, press } = await shown();
    press("picture");
    expect(kinds()).toEqual(["picture", "overlay", "map"]);
    for (const kind of ["overlay", "map", "picture"]) press(kind);
    expect(kinds()).toEqual(["picture"]);
    expect((await shown()).kinds()).toEqual(["picture"]);
  });

  it("puts what was pinned in the place of the map, and the map back", async () => {
    const { m, kinds, press } = await shown();
    press("map");
    press("map");
    m.set("pinned", { caption: "another" });
    expect(kinds()).toEqual(["overlay", "pinned"]);
    m.set("pinned", {});
    expect(kinds()).toEqual(["overlay", "map"]);
    m.set("pinned", { caption: "another" });
    press("map");
    expect(kinds()).toEqual(["overlay", "map", "pinned"]);
    press("picture");
    expect(kinds()).toEqual(["picture", "overlay", "map", "pinned"]);
    m.set("pinned", {});
    expect(kinds()).toEqual(["picture", "overlay", "map"]);
    expect((await shown()).kinds()).toEqual(["picture", "overlay", "map"]);
  });

  it("shows the picture where a place of it can be chosen", async () => {
    const { m, kinds } = await shown({ pickable: true });
    expect(kinds()).toEqual(["picture", "overlay", "map"]);
    m.set("pickable", false);
    expect(kinds()).toEqual(["overlay", "map"]);
  });

  it("tells the kernel that the object is looked at, and follows it", async () => {
    const views = [...ALL, "object"].map((kind) => ({ kind, title: kind }));
    const { m, kinds, press } = await shown({ views });
    expect([m.get("outlining"), m.save_changes.mock.calls.length]).toEqual([false, 0]);
    press("object");
    expect([m.get("outlining"), m.save_changes.mock.calls.length]).toEqual([true, 1]);
    expect(kinds()).toEqual(["overlay", "map", "object"]);
    const again = await shown({ views });
    expect(again.m.get("outlining")).toBe(true);
    again.m.set("outlining", false);
    expect(again.kinds()).toEqual(["overlay", "map"]);
  });

  it("is none where there are but two views", async () => {
    const { kinds, views } = await shown({
      views: [
        { kind: "overlay", title: "o" },
        { kind: "map", title: "m" },
      ],
    });
    expect(kinds()).toEqual(["overlay", "map"]);
    expect(views.menu.element.children).toHaveLength(0);
  });

  it("keeps what was chosen where nothing can be remembered", async () => {
    const kept = Object.getOwnPropertyDescriptor(window, "localStorage");
    Object.defineProperty(window, "localStorage", {
      configurable: true,
      get() {
        throw new Error("denied");
      },
    });
    try {
      const { kinds, press } = await shown();
      press("picture");
      expect(kinds()).toEqual(["picture", "overlay", "map"]);
    } finally {
      if (kept) Object.defineProperty(window, "localStorage", kept);
    }
  });
});
