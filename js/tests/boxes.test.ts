import { describe, expect, it } from "vitest";
import { Boxes } from "../src/boxes";
import { Zoom } from "../src/zoom";
import { as, model } from "./model";

const BOXES = {
  size: [100, 200],
  boxes: [
    [0, 0, 200, 100],
    [20, 10, 60, 50],
  ],
  box_names: ["room 99 %", "cat 80 %"],
  box: -1,
};

function shown(zoom = new Zoom(() => {}), signal = new AbortController().signal) {
  const m = model(BOXES);
  const boxes = new Boxes(as(m), zoom, signal);
  return { m, boxes, buttons: () => [...boxes.element.querySelectorAll("button")] };
}

describe("boxes", () => {
  it("lie where they are on the picture, and go along when it is zoomed", () => {
    const zoom = new Zoom(() => {});
    const { boxes, buttons } = shown(zoom);
    const place = () => (({ left, top, width, height }) => [left, top, width, height])(buttons()[1].style);
    expect(place()).toEqual(["10%", "10%", "20%", "40%"]);
    zoom.by(2, 0, 0);
    boxes.place();
    expect(place()).toEqual(["20%", "20%", "40%", "80%"]);
  });

  it("say what they are, and which is chosen", () => {
    const { m, buttons } = shown();
    expect(buttons().map((b) => b.getAttribute("aria-label"))).toEqual([
      "Explain room 99 %",
      "Explain cat 80 %",
    ]);
    m.set("box", 1);
    expect(buttons().map((b) => b.getAttribute("aria-pressed"))).toEqual(["false", "true"]);
  });

  it("tell the kernel which was chosen by keys", () => {
    const { m, buttons } = shown();
    buttons()[1].click();
    expect(m.send).toHaveBeenCalledWith({ type: "box", at: 1 });
  });

  it("have the name of the smallest around a pixel", () => {
    const { boxes } = shown();
    expect([boxes.name(30, 20), boxes.name(150, 90), boxes.name(60, 20)]).toEqual([
      "cat 80 %",
      "room 99 %",
      "room 99 %",
    ]);
  });

  it("are drawn to be saved as they are shown: zoomed, with their names, the chosen one last and in amber", () => {
    const zoom = new Zoom(() => {});
    const { m, boxes } = shown(zoom);
    m.set("box", 0);
    zoom.by(2, 0, 0);
    const drawn: unknown[] = [];
    const context = {
      canvas: { width: 400, height: 200 },
      measureText: () => ({ width: 50 }),
      strokeRect: (...box: number[]) => drawn.push([context.strokeStyle, context.lineWidth, ...box]),
      fillRect: () => {},
      fillText: (name: string, x: number, y: number) => drawn.push([name, x, y]),
      strokeStyle: "",
      lineWidth: 0,
    };
    boxes.draw(context as never, 2);
    expect(drawn).toEqual([
      ["#000", 4, 80, 40, 160, 160],
      ["#fff", 2, 80, 40, 160, 160],
      ["cat 80 %", 86, 53],
      ["#000", 8, 0, 0, 800, 400],
      ["#ffb000", 4, 0, 0, 800, 400],
      ["room 99 %", 6, 13],
    ]);
  });

  it("are gone where there are none, and listen no more once they are gone", () => {
    const gone = new AbortController();
    const { m, boxes, buttons } = shown(new Zoom(() => {}), gone.signal);
    m.set("boxes", []);
    expect(boxes.element.hidden).toBe(true);
    expect(buttons()).toEqual([]);
    expect(boxes.name(30, 20)).toBe("");
    gone.abort();
    expect(m.listening()).toBe(0);
  });
});
