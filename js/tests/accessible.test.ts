import { afterEach, describe, expect, it, vi } from "vitest";
import { name, nameControls } from "../src/accessible";
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
