import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { acknowledge } from "../src/schedule";
import { StatusLine, status } from "../src/status";
import { as, model, press } from "./model";

const IDLE = { status: "", step: 0, steps: 0, running: false, error: "", language: "en", texts: {} };

beforeEach(() => {
  // What is seen is for seen.test.ts.
  vi.stubGlobal(
    "IntersectionObserver",
    class {
      observe() {}
      disconnect() {}
    },
  );
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("StatusLine", () => {
  it("offers Stop only while something runs, and sends it", () => {
    const m = model(IDLE);
    const line = new StatusLine(as(m), new AbortController().signal);
    const stop = line.element.querySelector("button") as HTMLButtonElement;
    line.paint();
    expect(stop.disabled).toBe(true);
    m.set("running", true);
    m.set("step", 3);
    m.set("steps", 10);
    line.paint();
    expect(line.element.querySelector("progress")?.value).toBe(3);
    stop.click();
    expect(m.send).toHaveBeenCalledWith({ type: "stop" });
  });

  it("shows an error as text, never as markup", () => {
    const line = new StatusLine(as(model({ ...IDLE, error: "<b>no</b>" })), new AbortController().signal);
    line.paint();
    expect(line.element.querySelector("b")).toBeNull();
    expect(line.element.querySelector(".nbv-error")?.textContent).toBe("<b>no</b>");
  });
});

describe("Escape", () => {
  function explorer(running: boolean) {
    document.body.innerHTML =
      "<div class='nbcnnviz'><div id='line'></div><input><dialog></dialog></div><input id='far'>";
    const m = model({ ...IDLE, running });
    const gone = new AbortController();
    status(as(m), document.getElementById("line") as HTMLElement, gone.signal);
    return { m, gone };
  }

  it("stops what runs, from anywhere in the explorer", () => {
    const { m } = explorer(true);
    press(document.querySelector("input") as Element, "Escape");
    expect(m.send.mock.calls).toEqual([[{ type: "stop" }]]);
  });

  it("stops nothing when nothing runs, outside the explorer, in a dialog, or after the end", () => {
    const idle = explorer(false);
    press(document.querySelector("input") as Element, "Escape");
    expect(idle.m.send).not.toHaveBeenCalled();
    const { m, gone } = explorer(true);
    press(document.getElementById("far") as Element, "Escape");
    press(document.querySelector("dialog") as Element, "Escape");
    gone.abort();
    press(document.querySelector("input") as Element, "Escape");
    expect(m.send).not.toHaveBeenCalled();
    expect(m.listening()).toBe(0);
  });
});

describe("acknowledge", () => {
  it("follows a click or Enter within the explorer, but none on what answers by itself or is elsewhere", () => {
    vi.useFakeTimers();
    document.body.innerHTML =
      "<div class='nbcnnviz'><div id='root'><i></i></div><button></button><div class='nbv-local'><b></b></div></div><p></p>";
    const send = vi.fn();
    acknowledge(document.getElementById("root") as HTMLElement, send, new AbortController().signal);
    for (const elsewhere of ["i", "p", "b"]) {
      document.querySelector(elsewhere)?.dispatchEvent(new Event("click", { bubbles: true }));
    }
    press(document.querySelector("button") as Element, "ArrowUp");
    vi.runAllTimers();
    expect(send).not.toHaveBeenCalled();
    document.querySelector("button")?.dispatchEvent(new Event("click", { bubbles: true }));
    vi.runAllTimers();
    expect(send).toHaveBeenCalledTimes(3);
    press(document.querySelector("button") as Element, "Enter");
    vi.runAllTimers();
    expect(send).toHaveBeenCalledTimes(6);
  });
});
