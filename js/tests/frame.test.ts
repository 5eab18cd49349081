import { afterEach, describe, expect, it, vi } from "vitest";
import { ColourBar } from "../src/colours";
import { controls } from "../src/maps";
import type { Model } from "../src/model";
import { acknowledge, repainter } from "../src/schedule";
import { StatusLine } from "../src/status";

/** A model that behaves as anywidget's: it holds traits, tells listeners, and counts what is sent. */
function model(traits: Record<string, unknown> = {}) {
  const state: Record<string, unknown> = {
    opacity: 0.7,
    threshold: 0,
    colours: "grey",
    colour_names: ["grey", "other"],
    colour_tables: new DataView(new ArrayBuffer(1536)),
    low: 0,
    high: 2,
    cut: false,
    status: "",
    step: 0,
    steps: 0,
    running: false,
    error: "",
    ...traits,
  };
  const listeners = new Map<string, Set<() => void>>();
  return {
    get: (name: string) => state[name],
    set(name: string, value: unknown) {
      state[name] = value;
      for (const act of listeners.get(`change:${name}`) ?? []) act();
    },
    on: (name: string, act: () => void) => listeners.set(name, (listeners.get(name) ?? new Set()).add(act)),
    off: (name: string, act: () => void) => listeners.get(name)?.delete(act),
    save_changes: vi.fn(),
    send: vi.fn(),
    listening: () => [...listeners.values()].reduce((sum, acts) => sum + acts.size, 0),
  };
}
const as = (m: ReturnType<typeof model>) => m as unknown as Model<any>;

afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("controls", () => {
  it("repaints on every step of a drag and tells the kernel once, at its end", () => {
    const m = model();
    const changed = vi.fn();
    const bar = controls(as(m), changed, new AbortController().signal);
    const slider = bar.querySelector("input") as HTMLInputElement;
    for (const value of ["0.6", "0.5", "0.4"]) {
      slider.value = value;
      slider.dispatchEvent(new Event("input"));
    }
    expect(changed).toHaveBeenCalledTimes(3);
    expect(m.get("opacity")).toBe(0.4);
    expect(m.save_changes).not.toHaveBeenCalled();
    slider.dispatchEvent(new Event("change"));
    expect(m.save_changes).toHaveBeenCalledTimes(1);
  });

  it("follows the kernel, and listens no more once it is gone", () => {
    const m = model();
    const gone = new AbortController();
    const bar = controls(as(m), () => {}, gone.signal);
    m.set("opacity", 0.25);
    expect(bar.querySelector("input")?.value).toBe("0.25");
    expect(bar.textContent).toContain("25 %");
    gone.abort();
    expect(m.listening()).toBe(0);
  });
});

describe("StatusLine", () => {
  it("offers Stop only while something runs, and sends it", () => {
    const m = model();
    const status = new StatusLine(as(m), new AbortController().signal);
    const stop = status.element.querySelector("button") as HTMLButtonElement;
    status.paint();
    expect(stop.disabled).toBe(true);
    m.set("running", true);
    m.set("step", 3);
    m.set("steps", 10);
    status.paint();
    expect(status.element.querySelector("progress")?.value).toBe(3);
    stop.click();
    expect(m.send).toHaveBeenCalledWith({ type: "stop" });
  });

  it("shows an error as text, never as markup", () => {
    const m = model({ error: "<b>no</b>" });
    const status = new StatusLine(as(m), new AbortController().signal);
    status.paint();
    expect(status.element.querySelector("b")).toBeNull();
    expect(status.element.querySelector(".nbv-error")?.textContent).toBe("<b>no</b>");
  });
});

describe("ColourBar", () => {
  it("tells its ends to screen readers", () => {
    const bar = new ColourBar();
    // jsdom draws nothing; what is drawn is looked at in a real browser.
    vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue({
      createImageData: () => ({ data: new Uint8ClampedArray(1024) }),
      putImageData: () => {},
    } as unknown as CanvasRenderingContext2D);
    bar.paint(new Uint8Array(768), { low: -2, high: 2, cut: true });
    expect(bar.element.getAttribute("aria-label")).toBe("colour scale from -2 to 2");
    expect([...bar.element.querySelectorAll("span")].map((s) => s.textContent)).toEqual(["≤ -2", "0", "≥ 2"]);
  });
});

describe("repainter", () => {
  it("paints the changes of one message once, and the next with the display", async () => {
    const frames: FrameRequestCallback[] = [];
    vi.spyOn(window, "requestAnimationFrame").mockImplementation((act) => frames.push(act));
    vi.spyOn(document, "hidden", "get").mockReturnValue(false);
    const paint = vi.fn();
    const repaint = repainter(paint, new AbortController().signal);
    repaint();
    repaint();
    await Promise.resolve();
    expect(paint).toHaveBeenCalledTimes(1);
    repaint();
    repaint();
    await Promise.resolve();
    expect(paint).toHaveBeenCalledTimes(1);
    frames[0](0);
    expect(paint).toHaveBeenCalledTimes(2);
    expect(frames).toHaveLength(1);
  });

  it("paints nothing after the end", async () => {
    const gone = new AbortController();
    const paint = vi.fn();
    repainter(paint, gone.signal)();
    gone.abort();
    await Promise.resolve();
    expect(paint).not.toHaveBeenCalled();
  });
});

describe("acknowledge", () => {
  it("follows a click within the explorer, but none in the frame or elsewhere", () => {
    vi.useFakeTimers();
    document.body.innerHTML =
      "<div class='nbcnnviz'><div id='root'><i></i></div><button></button></div><p></p>";
    const send = vi.fn();
    acknowledge(document.getElementById("root") as HTMLElement, send, new AbortController().signal);
    document.querySelector("i")?.dispatchEvent(new Event("click", { bubbles: true }));
    document.querySelector("p")?.dispatchEvent(new Event("click", { bubbles: true }));
    vi.runAllTimers();
    expect(send).not.toHaveBeenCalled();
    document.querySelector("button")?.dispatchEvent(new Event("click", { bubbles: true }));
    vi.runAllTimers();
    expect(send).toHaveBeenCalledTimes(3);
  });
});
