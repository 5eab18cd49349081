import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { linked, Zoom } from "../src/zoom";

beforeEach(() => {
  vi.stubGlobal("requestAnimationFrame", (act: () => void) => queueMicrotask(act));
});
afterEach(() => {
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

const forever = new AbortController().signal;

function frame(root: HTMLElement, signal = forever): { zoom: Zoom; looks: () => number } {
  const element = document.createElement("section");
  root.append(element);
  let looks = 0;
  const zoom = new Zoom(() => {
    looks += 1;
    tell();
  });
  const tell = linked(element, zoom, signal);
  return { zoom, looks: () => looks };
}

function explorer(): HTMLElement {
  const root = document.createElement("div");
  root.className = "nbcnnviz";
  document.body.append(root);
  return root;
}

const part = ({ zoom }: { zoom: Zoom }) => [zoom.scale, zoom.x, zoom.y];

describe("linked", () => {
  it("shows the same part in all the frames of an explorer, whichever is zoomed", () => {
    const root = explorer();
    const panel = document.createElement("div");
    panel.className = "nbcnnviz";
    root.append(panel);
    const [first, second] = [frame(root), frame(panel)];
    first.zoom.by(4, 0.25, 0.75);
    expect(part(second)).toEqual(part(first));
    second.zoom.pan(0.1, 0.1);
    expect(part(first)).toEqual(part(second));
    second.zoom.reset();
    expect(part(first)).toEqual([1, 0, 0]);
    expect([first.looks(), second.looks()]).toEqual([3, 3]);
  });

  it("leaves other explorers alone", () => {
    const [first, other] = [frame(explorer()), frame(explorer())];
    first.zoom.by(2);
    expect(part(other)).toEqual([1, 0, 0]);
  });

  it("tells a frame that comes later, and none that is gone", async () => {
    const root = explorer();
    const gone = new AbortController();
    const [first, left] = [frame(root), frame(root, gone.signal)];
    gone.abort();
    first.zoom.by(2);
    const late = frame(root);
    await Promise.resolve();
    expect(part(late)).toEqual(part(first));
    expect(part(left)).toEqual([1, 0, 0]);
  });
});
