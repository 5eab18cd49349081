import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { observeVisibility } from "../src/visibility";

let report: (isIntersecting: boolean) => void;
let watched: Element[];

beforeEach(() => {
  watched = [];
  vi.stubGlobal(
    "IntersectionObserver",
    class {
      constructor(hear: (entries: { isIntersecting: boolean }[]) => void) {
        report = (isIntersecting) => hear([{ isIntersecting }]);
      }
      observe(element: Element) {
        watched.push(element);
      }
      disconnect() {
        watched = [];
      }
    },
  );
  vi.stubGlobal("requestAnimationFrame", (act: () => void) => act());
});

afterEach(() => {
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

function hide(hidden: boolean): void {
  vi.spyOn(document, "hidden", "get").mockReturnValue(hidden);
  document.dispatchEvent(new Event("visibilitychange"));
}

function shown() {
  document.body.innerHTML = "<div class='nbcnnviz'><div id='line'></div></div>";
  const line = document.getElementById("line") as HTMLElement;
  const say = vi.fn();
  const gone = new AbortController();
  const again = observeVisibility(line, say, gone.signal);
  const seen = () => say.mock.calls.map(([, seen]) => seen);
  return { seen, gone, say, again };
}

describe("observeVisibility", () => {
  it("watches the whole that the line is in, and says once what it is", () => {
    const { seen } = shown();
    expect(watched).toEqual([document.querySelector(".nbcnnviz")]);
    report(true);
    report(true);
    expect(seen()).toEqual([true]);
  });

  it("says so when it is scrolled away, in a hidden tab, or on a page nobody looks at", () => {
    const { seen } = shown();
    report(true);
    report(false);
    hide(true);
    report(true);
    hide(false);
    expect(seen()).toEqual([true, false, true]);
  });

  it("takes its leave once, under the name it had", () => {
    const { seen, gone, say } = shown();
    report(true);
    window.dispatchEvent(new Event("pagehide"));
    gone.abort();
    expect(seen()).toEqual([true, null]);
    expect(new Set(say.mock.calls.map(([view]) => view)).size).toBe(1);
    expect(watched).toEqual([]);
  });

  it("says once more what it is when it is asked, and nothing when it knows nothing or is gone", () => {
    const { seen, gone, again } = shown();
    again();
    expect(seen()).toEqual([]);
    report(true);
    again();
    report(false);
    again();
    expect(seen()).toEqual([true, true, false, false]);
    gone.abort();
    again();
    expect(seen()).toEqual([true, true, false, false, null]);
  });

  it("gives every view a name of its own", () => {
    const first = shown();
    report(true);
    const second = shown();
    report(true);
    expect(first.say.mock.calls[0][0]).not.toBe(second.say.mock.calls[0][0]);
  });
});
