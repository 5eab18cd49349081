import { afterEach, describe, expect, it, vi } from "vitest";
import { debounced, latest, repainter } from "../src/schedule";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const shown = () => vi.spyOn(document, "hidden", "get").mockReturnValue(false);

describe("repainter", () => {
  it("paints the changes of one message once, and the next with the display", async () => {
    const frames: FrameRequestCallback[] = [];
    vi.spyOn(window, "requestAnimationFrame").mockImplementation((act) => frames.push(act));
    shown();
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

describe("latest", () => {
  it("works at once, and once more for all that was asked meanwhile", async () => {
    shown();
    const ends: (() => void)[] = [];
    const work = vi.fn(() => new Promise<void>((resolve) => ends.push(resolve)));
    const ask = latest(work, new AbortController().signal);
    const done = ask();
    for (let i = 0; i < 10; i++) ask();
    expect(work).toHaveBeenCalledTimes(1);
    ends[0]();
    await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(2));
    ends[1]();
    await done;
    expect(work).toHaveBeenCalledTimes(2);
    void ask();
    expect(work).toHaveBeenCalledTimes(3);
  });

  it("waits while the page is hidden", async () => {
    const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
    const work = vi.fn(() => Promise.resolve());
    const ask = latest(work, new AbortController().signal);
    void ask();
    void ask();
    await Promise.resolve();
    expect(work).toHaveBeenCalledTimes(1);
    hidden.mockReturnValue(false);
    document.dispatchEvent(new Event("visibilitychange"));
    await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(2));
  });

  it("works no more after the end", async () => {
    shown();
    const gone = new AbortController();
    const work = vi.fn(() => Promise.resolve());
    const ask = latest(work, gone.signal);
    gone.abort();
    await ask();
    expect(work).not.toHaveBeenCalled();
  });
});

describe("debounced", () => {
  it("acts once, after the last call", () => {
    vi.useFakeTimers();
    const act = vi.fn();
    const call = debounced(act, 100);
    for (let i = 0; i < 5; i++) {
      call();
      vi.advanceTimersByTime(60);
    }
    expect(act).not.toHaveBeenCalled();
    vi.advanceTimersByTime(60);
    expect(act).toHaveBeenCalledTimes(1);
  });
});
