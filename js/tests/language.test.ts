import { afterEach, describe, expect, it } from "vitest";
import cases from "../../tests/explorer/language_cases.json";
import { Language, speak, translateWithin } from "../src/language";

const language = new Language(cases.texts);
/** Changes are told after what made them. */
const told = () => new Promise((resolve) => setTimeout(resolve));

afterEach(() => document.body.replaceChildren());

describe("a language", () => {
  for (const [text, translated] of Object.entries(cases.cases)) {
    it(`has for “${text}” what Python has`, () => expect(language.translate(text)).toBe(translated));
  }

  it("keeps the spaces around a text, and takes those that ipywidgets puts into a menu for spaces", () => {
    expect(language.translate("  Page\n")).toBe("  页\n");
    expect(language.translate("Page\u00a01 of 2")).toBe("第 1 页，共 2 页");
  });
});

describe("what is translated", () => {
  function root(html: string): HTMLElement {
    document.body.innerHTML = `<div class="nbcnnviz">${html}</div>`;
    return document.body.firstElementChild as HTMLElement;
  }

  it("is texts, tooltips and placeholders, now and when they change; not code and names", async () => {
    const gone = new AbortController();
    const at = root(
      "<b title='Page'>Page</b><code>Page</code><span class='nbv-name'>Page</span><input placeholder='Page'>",
    );
    translateWithin(at, language, gone.signal);
    const bold = at.querySelector("b") as HTMLElement;
    expect([bold.textContent, bold.title, at.querySelector("input")?.placeholder]).toEqual([
      "页",
      "页",
      "页",
    ]);
    expect([at.querySelector("code")?.textContent, at.querySelector("span")?.textContent]).toEqual([
      "Page",
      "Page",
    ]);
    bold.textContent = "Page 1 of 2";
    bold.title = "Page 3 of 4";
    at.insertAdjacentHTML("beforeend", "<p><i>Page</i></p>");
    await told();
    expect([bold.textContent, bold.title]).toEqual(["第 1 页，共 2 页", "第 3 页，共 4 页"]);
    expect(at.querySelector("i")?.textContent).toBe("页");
    gone.abort();
    bold.textContent = "Page";
    await told();
    expect(bold.textContent).toBe("Page");
  });

  it("is a menu's label and not its value", () => {
    const at = root("<select><option value='Page' data-value='Page'>Page</option></select>");
    translateWithin(at, language, new AbortController().signal);
    const option = at.querySelector("option") as HTMLOptionElement;
    expect([option.text, option.value, option.dataset.value]).toEqual(["页", "Page", "Page"]);
  });

  it("is nothing without a catalogue", () => {
    const at = root("<b>Page</b>");
    speak(at.firstElementChild as HTMLElement, "en", {}, new AbortController().signal);
    expect([at.lang, at.textContent]).toEqual(["", "Page"]);
  });
});
