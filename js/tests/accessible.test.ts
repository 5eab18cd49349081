import { afterEach, describe, expect, it, vi } from "vitest";
import { endOfSlider, name, nameControls } from "../src/accessible";
import { hideSnapshot } from "../src/snapshot";

afterEach(() => {
  vi.unstubAllGlobals();
  document.body.replaceChildren();
  document.head.replaceChildren();
});

const SLIDER = `<div class="slider-container"><div role="slider" tabindex="0"></div></div>
  <div class="widget-readout" contenteditable="true">3</div>`;

function box(label: string, control: string): HTMLElement {
  document.body.innerHTML = `<div class="nbcnnviz"><span id="line"></span><div>${label}${control}</div></div>`;
  return document.querySelector(".nbcnnviz") as HTMLElement;
}

const get = (selector: string, attribute: string) =>
  document.querySelector(selector)?.getAttribute(attribute) ?? null;

describe("name", () => {
  it("names a slider's handle and its number, and gives the slider the tooltip", () => {
    name(box(`<label class="widget-label" title="How far a step goes">Rate</label>`, SLIDER));
    expect(get("[role=slider]", "aria-label")).toBe("Rate");
    expect(get(".slider-container", "title")).toBe("How far a step goes");
    expect(get(".widget-readout", "aria-label")).toBe("Rate, as a number");
    expect(get(".widget-readout", "role")).toBe("textbox");
  });

  it("calls what has no label by its tooltip, its own or its label's", () => {
    name(box(`<label class="widget-label" title="Dead filters"></label>`, "<select></select>"));
    expect(get("select", "aria-label")).toBe("Dead filters");
    name(box(`<label class="widget-label"></label>`, `<input title="The class">`));
    expect(get("input", "aria-label")).toBe("The class");
  });

  it("leaves a field to the label that can be seen", () => {
    name(box(`<label class="widget-label" title="How many">Steps</label>`, "<input>"));
    expect(get("input", "aria-label")).toBeNull();
    expect(get("input", "title")).toBe("How many");
  });

  it("says which buttons are pressed", () => {
    name(
      box(
        "",
        `<button class="widget-toggle-button mod-active"></button><b class="widget-toggle-button"></b>`,
      ),
    );
    expect(get("button", "aria-pressed")).toBe("true");
    expect(get("b", "aria-pressed")).toBe("false");
  });
});

describe("nameControls", () => {
  it("names what comes later too, until the line is gone", async () => {
    vi.stubGlobal("requestAnimationFrame", (act: () => void) => setTimeout(act));
    const root = box(`<label class="widget-label">Depth</label>`, SLIDER);
    const gone = new AbortController();
    nameControls(document.getElementById("line") as HTMLElement, gone.signal);
    await vi.waitFor(() => expect(get("[role=slider]", "aria-label")).toBe("Depth"));
    const anew = () => {
      root.querySelector("[role=slider]")?.replaceWith(document.createElement("i"));
      (root.querySelector("i") as HTMLElement).outerHTML = "<div role='slider'></div>";
    };
    anew();
    await vi.waitFor(() => expect(get("[role=slider]", "aria-label")).toBe("Depth"));
    gone.abort();
    anew();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(get("[role=slider]", "aria-label")).toBeNull();
  });
});

describe("hideSnapshot", () => {
  it("hides the picture that is kept of this explorer, and of no other, while it is shown", () => {
    document.body.innerHTML =
      "<i class='nbv-snapshot nbv-snapshot-ab1'></i><b class='nbv-snapshot nbv-snapshot-cd2'></b>";
    const hidden = (selector: string) =>
      getComputedStyle(document.querySelector(selector) as Element).display === "none";
    const gone = new AbortController();
    hideSnapshot("ab1", gone.signal);
    expect([hidden("i"), hidden("b")]).toEqual([true, false]);
    gone.abort();
    expect(hidden("i")).toBe(false);
  });
});

describe("End on a slider", () => {
  it("leads to the end that it has now, and other keys do as they did", () => {
    document.body.innerHTML =
      '<div class="noUi-target"><div class="noUi-handle" role="slider" aria-valuemax="511.0"></div></div>';
    const set = vi.fn();
    Object.assign(document.querySelector(".noUi-target") as object, { noUiSlider: { set } });
    const handle = document.querySelector(".noUi-handle") as HTMLElement;
    const pressed: boolean[] = [];
    handle.addEventListener("keydown", (event) => pressed.push(endOfSlider(event)));
    for (const key of ["Home", "End", "ArrowRight"])
      handle.dispatchEvent(new KeyboardEvent("keydown", { key }));
    expect(pressed).toEqual([false, true, false]);
    expect(set.mock.calls).toEqual([[511]]);
  });

  it("is not for sliders of two handles", () => {
    const handle = '<div class="noUi-handle" aria-valuemax="5"></div>';
    document.body.innerHTML = `<div class="noUi-target">${handle}${handle}</div>`;
    const set = vi.fn();
    Object.assign(document.querySelector(".noUi-target") as object, { noUiSlider: { set } });
    const found: boolean[] = [];
    const one = document.querySelector(".noUi-handle") as HTMLElement;
    one.addEventListener("keydown", (event) => found.push(endOfSlider(event)));
    one.dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
    expect(found).toEqual([false]);
    expect(set).not.toHaveBeenCalled();
  });
});
