// Another language than English: each text of the explorer is replaced as it is drawn, by what the catalogue has for it.
// The catalogue is nbcnnviz/explorer/languages/*.po. What it does not have stays English.
import { explorerOf } from "./dom";
import { whenAttached } from "./schedule";

const ATTRIBUTES = ["title", "aria-label", "placeholder"];
/** What is no text of ours: code, what the reader writes, the names of classes and layers. */
const VERBATIM = "code, pre, script, style, textarea, .nbv-name, [contenteditable=true]";
/** More texts than this are on no screen: the numbers in them change all the time. */
const KEPT = 4000;

/** Between what is translated by itself where the whole is not known: sentences, then their parts. */
const SEPARATORS: [RegExp, string][] = [
  [/ · /, " · "],
  [/(?<=[.?!])\s+(?=[^a-z0-9])/, " "],
  [/(?<=;)\s+/, " "],
  [/, /, "，"],
];

/** What the fields of a text stand for, by their names; any other stands for what is within one sentence. */
const FIELDS: [RegExp, string][] = [
  [/^n\d*$/, "([-−+]?[\\d.,]*\\d(?:e[-+]?\\d+)?)"],
  [/^text\d*$/, "(.+?)"],
  [/^in\d*$/, "([^()]+?)"],
  [/./, "((?:(?![.?!;]\\s).)+?)"],
];

type Pattern = { shape: RegExp; fields: string[]; text: string };

/**
 * The texts of a language, by the English.
 *
 * `{name}` in a text stands for any other, which is translated by itself (see `FIELDS`). What is not there as a whole is
 * translated sentence by sentence.
 */
export class Language {
  private readonly patterns: Pattern[];
  private readonly known = new Map<string, string>();

  constructor(private readonly texts: Record<string, string>) {
    // The one that says most comes first.
    const length = (text: string) => text.replace(/\{\w+\}/g, "").length;
    const templates = Object.keys(texts).filter((text) => /\{\w+\}/.test(text));
    this.patterns = templates.sort((a, b) => length(b) - length(a)).map((from) => pattern(from, texts[from]));
  }

  translate(text: string): string {
    let found = this.known.get(text);
    if (found === undefined) {
      if (this.known.size > KEPT) this.known.clear();
      const said = text.replace(/\s+/g, " ").trim();
      found = /[A-Za-z]/.test(said) ? this.find(said) : said;
      if (found === said) found = text;
      else found = (/^\s+/.exec(text)?.[0] ?? "") + found + (/\s+$/.exec(text)?.[0] ?? "");
      this.known.set(text, found);
    }
    return found;
  }

  private find(text: string): string {
    if (Object.hasOwn(this.texts, text)) return this.texts[text];
    for (const { shape, fields, text: template } of this.patterns) {
      const match = shape.exec(text);
      if (!match) continue;
      const filled = new Map(fields.map((field, at) => [field, this.translate(match[at + 1])]));
      return closed(template.replace(/\{(\w+)\}/g, (whole, field) => filled.get(field) ?? whole));
    }
    for (const [between, joined] of SEPARATORS) {
      const parts = text.split(between);
      if (parts.length < 2) continue;
      const found = parts.map((part) => this.translate(part));
      if (found.some((part, at) => part !== parts[at])) return closed(found.join(joined));
    }
    return text;
  }
}

/** Without spaces beside full-width marks. */
const closed = (text: string) => text.replace(/([。；：？！，）]) | (?=（)/g, "$1");

function pattern(from: string, text: string): Pattern {
  const fields: string[] = [];
  const shape = from.split(/\{(\w+)\}/).map((part, at) => {
    if (at % 2 === 0) return part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    fields.push(part);
    return FIELDS.find(([name]) => name.test(part))?.[1];
  });
  return { shape: new RegExp(`^${shape.join("")}$`), fields, text };
}

/** Translate what is within `root`, now and whenever it changes; a change of ours is no text of the catalogue any more. */
export function translateWithin(root: HTMLElement, language: Language, signal: AbortSignal): void {
  const element = (at: Element) => {
    for (const name of ATTRIBUTES) {
      const text = at.getAttribute(name);
      const found = text ? language.translate(text) : text;
      if (found && found !== text) at.setAttribute(name, found);
    }
  };
  const text = (at: Text) => {
    const found = at.parentElement?.closest(VERBATIM) ? at.data : language.translate(at.data);
    if (found !== at.data) at.data = found;
  };
  const all = (node: Node) => {
    if (node instanceof Text) text(node);
    if (!(node instanceof Element)) return;
    element(node);
    for (const within of node.querySelectorAll(ATTRIBUTES.map((name) => `[${name}]`).join())) element(within);
    const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) text(walker.currentNode as Text);
  };
  const observer = new MutationObserver((changes) => {
    for (const { type, target, addedNodes } of changes) {
      if (type === "attributes") element(target as Element);
      else if (type === "characterData") text(target as Text);
      else for (const node of addedNodes) all(node);
    }
  });
  all(root);
  observer.observe(root, {
    subtree: true,
    childList: true,
    characterData: true,
    attributeFilter: ATTRIBUTES,
  });
  signal.addEventListener("abort", () => observer.disconnect());
}

/** Have the explorer that `line` is in speak a language; English, without a catalogue, is what it is made in. */
export function speak(
  line: HTMLElement,
  code: string,
  texts: Record<string, string>,
  signal: AbortSignal,
): void {
  if (Object.keys(texts).length === 0) return;
  const language = new Language(texts);
  whenAttached(
    line,
    () => {
      const root = explorerOf(line);
      if (!root) return;
      root.lang = code.replace("_", "-");
      translateWithin(root, language, signal);
    },
    signal,
  );
}
