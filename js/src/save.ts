// What is shown, as a file: composed as SVG, with the canvases as images in it; a PNG is that SVG, drawn.

import type { Front, Model } from "./model";

/** What a frame shows: pictures under their titles, in rows; a colour scale with its numbers. */
export interface Figure {
  caption: string;
  pictures: Shown[];
  scale?: { canvas: HTMLCanvasElement; ticks: string[] };
}

/** A picture: its pixels, how large it is shown, what is written on or under it, with places within it. */
export interface Shown {
  title: string;
  canvas: HTMLCanvasElement;
  width: number;
  height: number;
  labels?: { x: number; y: number; text: string }[];
}

const EDGE = 16;
const LINE = 20;
const WIDE = 1100;
/** Pixels of a PNG for one of the page. */
const FINE = 2;

/** Asks a frame that is marked `data-nbv-figure` for its figure, which it puts into the event's list. */
export const FIGURE = "nbv-figure";

/** Have an element give its figure whenever it is asked. */
export function offerFigure(element: HTMLElement, figure: () => Figure, signal: AbortSignal): void {
  element.dataset.nbvFigure = "";
  element.addEventListener(FIGURE, (event) => (event as CustomEvent<Figure[]>).detail.push(figure()), {
    signal,
  });
}

/** Save figures, one under another, as a download. */
export async function save(all: Figure[], format: "png" | "svg"): Promise<void> {
  const figures = all.filter(({ pictures }) => pictures.length);
  if (!figures.length) return;
  const { text, width, height } = compose(...figures);
  const whole = new Blob([text], { type: "image/svg+xml" });
  const blob = format === "svg" ? whole : await drawn(text, width, height);
  if (blob) download(blob, `${fileName(figures[0].caption)}.${format}`);
}

/** Figures, one under another, as SVG text, with its size. */
export function compose(...figures: Figure[]): { text: string; width: number; height: number } {
  const parts: string[] = [];
  let [width, height] = [0, 0];
  for (const figure of figures) {
    const part = arranged(figure);
    parts.push(height ? `<g transform="translate(0 ${height})">${part.text}</g>` : part.text);
    width = Math.max(width, part.width);
    height += part.height;
  }
  const text = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>${parts.join("")}</svg>`;
  return { text, width, height };
}

/** One figure as SVG elements. */
function arranged(figure: Figure): { text: string; width: number; height: number } {
  const parts: string[] = [];
  let [x, y, tallest, widest] = [EDGE, EDGE, 0, 0];
  const write = (text: string, at: number, down: number, more = "") => {
    parts.push(`<text x="${at}" y="${down}" ${more}>${escaped(text)}</text>`);
  };
  if (figure.caption) {
    write(figure.caption, x, y + 13, 'font-weight="600"');
    y += LINE + 4;
  }
  for (const shown of figure.pictures) {
    if (x > EDGE && x + shown.width > WIDE) {
      [x, y, tallest] = [EDGE, y + tallest + 12, 0];
    }
    const top = shown.title ? y + LINE : y;
    if (shown.title) write(shown.title, x, y + 13, 'fill="#555"');
    const href = shown.canvas.toDataURL();
    parts.push(
      `<image x="${x}" y="${top}" width="${shown.width}" height="${shown.height}" preserveAspectRatio="none" href="${href}"/>`,
    );
    for (const label of shown.labels ?? []) {
      write(label.text, x + label.x, top + label.y, 'font-size="11" fill="#555" text-anchor="middle"');
    }
    tallest = Math.max(tallest, top + shown.height - y);
    x += shown.width + 12;
    widest = Math.max(widest, x - 12);
  }
  y += tallest;
  if (figure.scale) {
    y += 12;
    parts.push(
      `<image x="${EDGE}" y="${y}" width="256" height="10" preserveAspectRatio="none" href="${figure.scale.canvas.toDataURL()}"/>`,
    );
    const anchors = ["start", "middle", "end"];
    for (const [i, tick] of figure.scale.ticks.entries()) {
      write(tick, EDGE + 128 * i, y + 24, `font-size="11" text-anchor="${anchors[i]}"`);
    }
    y += 28;
    widest = Math.max(widest, EDGE + 256);
  }
  // A caption may be longer than the pictures are wide; seven pixels a letter are enough.
  const width = Math.ceil(Math.max(widest, EDGE + 7 * figure.caption.length) + EDGE);
  const height = Math.ceil(y + EDGE);
  return { text: parts.join(""), width, height };
}

async function drawn(text: string, width: number, height: number): Promise<Blob | null> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = FINE * width;
  canvas.height = FINE * height;
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve));
}

/** Give each file that the kernel hands over to the reader, and say so. */
export function receiveFiles(
  model: Pick<Model<Front>, "on" | "off">,
  received: (name: string) => void,
  signal: AbortSignal,
): void {
  const answered = (message: { type: string; name: string }, buffers: DataView[]) => {
    if (message.type !== "file") return;
    download(new Blob([buffers[0] as unknown as BlobPart]), message.name);
    received(message.name);
  };
  model.on("msg:custom", answered);
  signal.addEventListener("abort", () => model.off("msg:custom", answered));
}

function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the browser reads it after the click
}

/** A caption as the name of a file. */
export function fileName(caption: string): string {
  const name = caption.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  return name.slice(0, 80) || "nbcnnviz";
}

function escaped(text: string): string {
  const codes: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (letter) => codes[letter]);
}
