// What the kernel and the frame share, one trait a line; nbcnnviz/explorer/frame.py is the other side.
import type { AnyModel } from "@anywidget/types";

export interface State {
  /** References to ipycanvas canvases, one a view, and one of marks that is laid over the views. */
  surfaces: string[];
  marks: string | null;
  /** What each view shows and is called. */
  views: View[];
  /** The picture as an encoded image, and its size in pixels. */
  picture: DataView;
  size: [number, number];
  /** The map, a byte a value, at its own resolution (height, width); empty when there is none. */
  values: DataView;
  shape: [number, number];
  /** The values at the ends of the colour scale, and whether it was cut below the largest. */
  low: number;
  high: number;
  cut: boolean;
  /** Names of the colour maps and their tables one after another, 768 bytes each; the one in use. */
  colour_names: string[];
  colour_tables: DataView;
  colours: string;
  opacity: number;
  threshold: number;
  /** In words: what is shown, for captions and screen readers. */
  caption: string;
  /** The line of status: what is going on, how far it is, whether it runs, and what went wrong. */
  status: string;
  step: number;
  steps: number;
  running: boolean;
  error: string;
}

export type View = { kind: "picture" | "overlay" | "map"; title: string };
export type Model = AnyModel<State>;

export function bytes(view: DataView | null): Uint8Array<ArrayBuffer> {
  return view
    ? new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength)
    : new Uint8Array();
}
