import { afterEach, describe, expect, it, vi } from "vitest";
import { ColourBar } from "../src/colours";
import { Comparison } from "../src/compare";
import { bind } from "../src/keys";
import { controls, errorSwitch, keysOf } from "../src/maps";
import { Zoom } from "../src/zoom";
import { as, model } from "./model";

const MAPS = {
  opacity: 0.7,
  threshold: 0,
  contours: false,
  compare: "overlay",
  split: 0.5,
  compare_with: "picture",
  pinned: {},
  likeness: "",
  views: [{ kind: "overlay", title: "Overlay" }],
  colours: "grey",
  colour_names: ["grey", "other"],
  colour_tables: new DataView(new ArrayBuffer(1536)),
};
const forever = new AbortController().signal;

function comparison(m: ReturnType<typeof model>, changed = () => {}, signal = forever) {
  return new Comparison(as(m), new Zoom(() => {}), changed, signal);
}

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

describe("controls", () => {
  it("change the model on every step of a drag and tell the kernel once, at its end", () => {
    const m = model(MAPS);
    const slider = controls(as(m), comparison(m), forever).querySelector("input") as HTMLInputElement;
    const seen: unknown[] = [];
    m.on("change:opacity", () => seen.push(m.get("opacity")));
    for (const value of ["0.6", "0.5", "0.4"]) {
      slider.value = value;
      slider.dispatchEvent(new Event("input"));
    }
    expect(seen).toEqual([0.6, 0.5, 0.4]);
    expect(m.save_changes).not.toHaveBeenCalled();
    slider.dispatchEvent(new Event("change"));
    expect(m.save_changes).toHaveBeenCalledTimes(1);
  });

  it("follow the kernel, and listen no more once they are gone", () => {
    const m = model(MAPS);
    const gone = new AbortController();
    const bar = controls(
      as(m),
      comparison(m, () => {}, gone.signal),
      gone.signal,
    );
    m.set("opacity", 0.25);
    m.set("contours", true);
    expect(bar.querySelector("input")?.value).toBe("0.25");
    expect(bar.querySelector<HTMLInputElement>("input[type=checkbox]")?.checked).toBe(true);
    expect(bar.textContent).toContain("25 %");
    gone.abort();
    expect(m.listening()).toBe(0);
  });

  it("have a name each, and a tooltip with its key", () => {
    const m = model(MAPS);
    for (const label of controls(as(m), comparison(m), forever).querySelectorAll("label")) {
      expect(label.textContent?.trim()).not.toBe("");
      expect(label.title).toMatch(/\(\w(, \w)?\)$/);
      expect(label.querySelector("input, select")).not.toBeNull();
    }
  });
});

describe("the standard error", () => {
  it("is offered where the map has one, and shown in its place until it is turned off", () => {
    const m = model({ ...MAPS, has_error: false, of_error: false });
    const face = errorSwitch(as(m), () => m.save_changes(), forever);
    expect(face.hidden).toBe(true);
    m.set("has_error", true);
    expect([face.hidden, face.getAttribute("aria-pressed")]).toEqual([false, "false"]);
    face.click();
    expect([m.get("of_error"), face.getAttribute("aria-pressed")]).toEqual([true, "true"]);
    expect(m.save_changes).toHaveBeenCalledTimes(1);
    face.click();
    expect(m.get("of_error")).toBe(false);
  });
});

describe("pinning", () => {
  const PINNABLE = { ...MAPS, views: [...MAPS.views, { kind: "pinned", title: "Pinned" }] };
  const found = (bar: HTMLElement) => ({
    pin: bar.querySelector<HTMLElement>("[aria-label^=Keep]") as HTMLElement,
    unpin: bar.querySelector<HTMLElement>("[aria-label^=Let]") as HTMLElement,
    other: bar.querySelector<HTMLSelectElement>("[aria-label='Against']") as HTMLSelectElement,
  });

  it("is offered where there is a view for it, and what is pinned can be let go", () => {
    const plain = model(MAPS);
    expect(found(controls(as(plain), comparison(plain), forever)).pin.hidden).toBe(true);
    const m = model(PINNABLE);
    const { pin, unpin } = found(controls(as(m), comparison(m), forever));
    expect([pin.hidden, unpin.hidden]).toEqual([false, true]);
    pin.click();
    m.set("pinned", { caption: "a map" });
    expect(unpin.hidden).toBe(false);
    unpin.click();
    expect(m.send.mock.calls).toEqual([[{ type: "pin" }], [{ type: "unpin" }]]);
  });

  it("lets the reader choose what to compare with, once there is a choice", () => {
    const m = model({ ...PINNABLE, compare: "split" });
    const { other } = found(controls(as(m), comparison(m), forever));
    expect(other.hidden).toBe(true);
    m.set("pinned", { caption: "a map" });
    m.set("compare_with", "pinned");
    expect([other.hidden, other.value]).toEqual([false, "pinned"]);
    other.value = "picture";
    other.dispatchEvent(new Event("change"));
    expect(m.get("compare_with")).toBe("picture");
    m.set("compare", "overlay");
    expect(other.hidden).toBe(true);
  });

  it("has keys, but not where there is no view for it", () => {
    const keysOn = (m: ReturnType<typeof model>) => {
      const act = bind(keysOf(as(m), new Zoom(() => {}), comparison(m), () => {}));
      for (const key of ["k", "K"]) act(new KeyboardEvent("keydown", { key }));
      return m.send.mock.calls.map(([{ type }]) => type);
    };
    expect(keysOn(model(PINNABLE))).toEqual(["pin", "unpin"]);
    expect(keysOn(model(MAPS))).toEqual([]);
  });
});

describe("keys of a map", () => {
  function pressed(m: ReturnType<typeof model>, ...keys: string[]) {
    const save = vi.fn();
    const zoom = new Zoom(() => {});
    const act = bind(keysOf(as(m), zoom, comparison(m), save));
    for (const key of keys) act(new KeyboardEvent("keydown", { key }));
    return { save, zoom };
  }

  it.each([
    [["o"], "opacity", 0.8],
    [["o", "o", "o", "o", "o"], "opacity", 1],
    [["O", "O"], "opacity", 0.5],
    [["t", "t", "T"], "threshold", 0.05],
    [["T"], "threshold", 0],
    [["l"], "contours", true],
    [["l", "l"], "contours", false],
    [["v"], "compare", "blink"],
    [["v", "v", "v"], "compare", "overlay"],
    [["c"], "colours", "other"],
    [["c", "c"], "colours", "grey"],
    [["C"], "colours", "other"],
  ])("%j makes %s %s", (keys, trait, value) => {
    const m = model(MAPS);
    const { save } = pressed(m, ...keys);
    expect(m.get(trait)).toBe(value);
    expect(save).toHaveBeenCalledTimes(keys.length);
    expect(m.save_changes).not.toHaveBeenCalled();
  });

  it("zoom in, out and back", () => {
    expect(pressed(model(MAPS), "+", "+").zoom.scale).toBe(2.25);
    expect(pressed(model(MAPS), "+", "-").zoom.scale).toBe(1);
    expect(pressed(model(MAPS), "+", "+", "0").zoom.scale).toBe(1);
  });
});

describe("Comparison", () => {
  const motion = (matches: boolean) =>
    vi.stubGlobal("matchMedia", () => ({ matches, addEventListener: () => {} }));

  it("blinks by itself, and ends with its view", () => {
    vi.useFakeTimers();
    vi.spyOn(document, "hidden", "get").mockReturnValue(false);
    motion(false);
    const gone = new AbortController();
    const changed = vi.fn();
    const both = comparison(model({ ...MAPS, compare: "blink" }), changed, gone.signal);
    changed.mockClear();
    vi.advanceTimersByTime(1500);
    expect(changed).toHaveBeenCalledTimes(2);
    expect(both.flipped).toBe(false);
    gone.abort();
    vi.advanceTimersByTime(5000);
    expect(changed).toHaveBeenCalledTimes(2);
  });

  it("does not blink by itself for who wants less motion, but flips by hand", () => {
    vi.useFakeTimers();
    motion(true);
    const both = comparison(model({ ...MAPS, compare: "blink" }));
    vi.advanceTimersByTime(5000);
    expect(both.flipped).toBe(false);
    both.flip();
    expect(both.flipped).toBe(true);
  });

  it("shows the overlay again when blinking ends", () => {
    const m = model({ ...MAPS, compare: "blink" });
    const both = comparison(m);
    both.flip();
    m.set("compare", "overlay");
    expect(both.flipped).toBe(false);
  });

  it("splits only when asked, at a line that keys move within the picture", () => {
    const m = model(MAPS);
    const both = comparison(m);
    expect(both.split).toBe(0);
    expect(both.divider.hidden).toBe(true);
    m.set("compare", "split");
    expect(both.split).toBe(0.5);
    const key = (key: string) => {
      const event = new KeyboardEvent("keydown", { key });
      Object.defineProperty(event, "target", { value: both.divider });
      return both.key(event);
    };
    expect(key("ArrowRight")).toBe(true);
    expect(both.split).toBeCloseTo(0.52);
    key("End");
    expect(both.split).toBe(1);
    expect(both.divider.getAttribute("aria-valuenow")).toBe("100");
    expect(key("x")).toBe(false);
  });
});

describe("Zoom", () => {
  it("leaves in place what is under the cursor", () => {
    const zoom = new Zoom(() => {});
    for (const factor of [2, 1.5, 0.8]) {
      const before = zoom.under(0.3, 0.6);
      zoom.by(factor, 0.3, 0.6);
      expect(zoom.under(0.3, 0.6)[0]).toBeCloseTo(before[0]);
      expect(zoom.under(0.3, 0.6)[1]).toBeCloseTo(before[1]);
    }
  });

  it("never shows what lies beside the picture", () => {
    const zoom = new Zoom(() => {});
    zoom.by(4);
    zoom.pan(9, -9);
    expect([zoom.x, zoom.y]).toEqual([0, 0.75]);
    zoom.by(0.01);
    expect([zoom.scale, zoom.x, zoom.y]).toEqual([1, 0, 0]);
    expect(zoom.css).toBe("none");
  });

  it("finds a place again where it shows it", () => {
    const zoom = new Zoom(() => {});
    zoom.by(3, 0.9, 0.2);
    const [x, y] = zoom.under(0.25, 0.75);
    expect(zoom.over(x, y)[0]).toBeCloseTo(0.25);
    expect(zoom.over(x, y)[1]).toBeCloseTo(0.75);
  });

  it("moves to a place that is out of sight, and not for one that is in sight", () => {
    const zoom = new Zoom(() => {});
    zoom.by(4, 0, 0);
    zoom.reveal(0.1, 0.1);
    expect([zoom.x, zoom.y]).toEqual([0, 0]);
    zoom.reveal(0.95, 0.5);
    const [u, v] = zoom.over(0.95, 0.5);
    expect(Math.max(u, v)).toBeLessThan(1);
    expect(Math.min(u, v)).toBeGreaterThan(0);
  });
});

describe("ColourBar", () => {
  it("tells its ends to screen readers", () => {
    const bar = new ColourBar();
    // jsdom draws nothing; what is drawn is looked at in a real browser.
    vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
    bar.paint(new Uint8Array(768), { low: -2, high: 2, cut: true });
    expect(bar.element.getAttribute("aria-label")).toBe("colour scale from -2 to 2");
    expect([...bar.element.querySelectorAll("span")].map((s) => s.textContent)).toEqual(["≤ -2", "0", "≥ 2"]);
  });
});

describe("a flip by hand", () => {
  it("ends with the next map: what was flipped was the one before", () => {
    const m = model({ ...MAPS, values: 1, picture: 1 });
    const made = comparison(m);
    made.flip();
    expect(made.flipped).toBe(true);
    m.set("values", 2);
    expect(made.flipped).toBe(false);
  });
});
