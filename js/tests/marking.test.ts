import { describe, expect, it } from "vitest";
import { drag } from "../src/marking";

function staged() {
  const stage = document.createElement("div");
  stage.getBoundingClientRect = () => ({ left: 10, top: 20, width: 200, height: 100 }) as DOMRect;
  const [places, done]: [number[][], number[][]] = [[], []];
  const gone = new AbortController();
  drag(
    stage,
    () => [50, 100],
    (box) => places.push(box),
    (box) => done.push(box),
    gone.signal,
  );
  const send = (name: string, clientX: number, clientY: number, button = 0) =>
    stage.dispatchEvent(Object.assign(new MouseEvent(name, { clientX, clientY, button }), { pointerId: 1 }));
  return { places, done, send, gone };
}

describe("a box that is dragged", () => {
  it("is told in pixels of the picture, whichever way it was dragged", () => {
    const { places, done, send } = staged();
    send("pointerdown", 110, 100);
    send("pointermove", 60, 60);
    send("pointerup", 30, 40);
    expect(places).toEqual([[25, 20, 50, 40]]);
    expect(done).toEqual([[10, 10, 50, 40]]);
  });

  it("ends at the picture's edges", () => {
    const { done, send } = staged();
    send("pointerdown", 110, 70);
    send("pointerup", 900, 900);
    expect(done).toEqual([[50, 25, 100, 50]]);
  });

  it("is none after a click, another button, or when the view is gone", () => {
    const { places, done, send, gone } = staged();
    send("pointerdown", 60, 60);
    send("pointerup", 61, 61);
    expect(places).toEqual([[]]);
    send("pointerdown", 60, 60, 2);
    send("pointerup", 110, 100, 2);
    gone.abort();
    send("pointerdown", 60, 60);
    send("pointerup", 110, 100);
    expect(done).toEqual([]);
  });
});
