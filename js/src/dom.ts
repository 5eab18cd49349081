// Making elements.

type Child = Node | string;

/** An element with attributes and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The explorer that an element is in, or the panel, where it stands alone: the outermost of ours. */
export function explorerOf(element: Element): HTMLElement | null {
  let root: HTMLElement | null = null;
  for (let at = element.closest<HTMLElement>(".nbcnnviz"); at; ) {
    root = at;
    at = at.parentElement?.closest<HTMLElement>(".nbcnnviz") ?? null;
  }
  return root;
}

/** A button: what stands on it, what it does in words, and its key. */
export function button(
  face: Child,
  help: string,
  key: string,
  act: () => void,
  signal: AbortSignal,
): HTMLButtonElement {
  const title = key ? `${help} (${key})` : help;
  const element = h("button", { type: "button", title, "aria-label": help }, face);
  element.addEventListener("click", act, { signal });
  return element;
}

/** A line drawing in a square of 16. */
export function icon(path: string): SVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(space, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** Put encoded bytes into an image, by a URL that is let go at once. */
export async function show(image: HTMLImageElement, encoded: Uint8Array<ArrayBuffer>): Promise<void> {
  const url = URL.createObjectURL(new Blob([encoded]));
  image.src = url;
  await image.decode().catch(() => {});
  URL.revokeObjectURL(url);
}
