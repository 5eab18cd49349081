// What the kernel and the front end share, one trait a line; nbcnnviz/explorer/front/ is the other side, a file a kind.
import type { AnyModel } from "@anywidget/types";

/** Which view a widget gets. */
export type Kind =
  | "maps"
  | "status"
  | "tiles"
  | "pictures"
  | "tools"
  | "layers"
  | "intake"
  | "marking"
  | "classes"
  | "files";

/** What every widget has: which view it gets, and what screen readers call it. */
export interface Front {
  kind: Kind;
  label: string;
}

/** What colours values has colour maps to choose from: names, tables one after another of 768 bytes, the one in use. */
export interface Coloured {
  colour_names: string[];
  colour_tables: DataView;
  colours: string;
}

/** front/maps.py */
export interface Maps extends Front, Coloured {
  /** References to ipycanvas canvases, one a view, and one of marks that is laid over the views. */
  canvases: string[];
  marks: string | null;
  /** What each view shows and is called. */
  views: View[];
  /** The picture as an encoded image, and its size in pixels (height, width). */
  picture: DataView;
  size: [number, number];
  /** Whether a place of the picture can be chosen; boxes on it (left, top, right, bottom, in its pixels), the chosen one. */
  pickable: boolean;
  /** An encoded picture of the same size whose grey levels are regions, or nothing; and the regions' names, by level. */
  regions: DataView;
  region_names: string[];
  boxes: [number, number, number, number][];
  box_names: string[];
  box: number;
  /** The map, a byte a value, at its own resolution (height, width); empty when there is none. */
  values: DataView;
  shape: [number, number];
  /** The map as an encoded picture of its own, or nothing. */
  colour: DataView;
  /** The values at the ends of the colour scale, and whether it was cut below the largest. */
  low: number;
  high: number;
  cut: boolean;
  opacity: number;
  threshold: number;
  /** Whether contour lines are drawn; how the overlay is compared with the picture; where a split lies, from the left. */
  contours: boolean;
  compare: string;
  split: number;
  /** What it is compared with: "picture" or "pinned". */
  compare_with: string;
  /** In words: what is shown. */
  caption: string;
  /** Another map with its picture, to be compared, or nothing; and how like it the map is, in words. */
  pinned: Partial<Pinned>;
  likeness: string;
  /** Whether the map has a standard error, and whether that is shown in its place. */
  has_error: boolean;
  of_error: boolean;
  /** Whether the view of the object is shown, and what cuts it out: "random_walker" or "grabcut". */
  outlining: boolean;
  cut_by: string;
  /** The object's mask, white on black, as an encoded picture of the same size, or nothing; and why there is none. */
  object: DataView;
  object_note: string;
}

export interface Pinned {
  picture: DataView;
  values: DataView;
  shape: [number, number];
  low: number;
  colours: string;
  caption: string;
}

export type View = { kind: "picture" | "overlay" | "map" | "object" | "pinned"; title: string };

/** front/status.py */
export interface Status extends Front {
  /** What is going on, how far it is (steps 0: nobody knows), whether it runs, and what went wrong. */
  status: string;
  step: number;
  steps: number;
  running: boolean;
  /** Whether what runs can be paused, and is. */
  pausable: boolean;
  paused: boolean;
  error: string;
  /** Whether what is on screen answers something else than what was asked last. */
  stale: boolean;
  /** Identifies the snapshot of the explorer that is saved in the notebook; "" if none is. */
  snapshot: string;
  /** Whenever it changes, each view says again whether it is visible. */
  roll_call: number;
  /** The language of the explorer, and its texts by the English; none for English. */
  language: string;
  texts: Record<string, string>;
}

/** front/tiles.py */
export interface Tiles extends Front, Coloured {
  canvases: string[];
  /** Tiles one after another, a byte a value: count, height, width, and 1 for maps or 3 for colours. */
  values: DataView;
  shape: [number, number, number, number];
  /** The ends of the scales: one for all tiles, or one each; and whether one was cut below the largest value. */
  lows: number[];
  highs: number[];
  cut: boolean;
  /** Of each tile: what it stands for, what is written under it and said of it, how many values are no numbers. */
  indices: number[];
  labels: string[];
  hints: string[];
  broken: number[];
  /** What stands in each tile, over its picture: a sentence in place of one, and a number in its corner. */
  notes: string[];
  badges: string[];
  /** The index that the chosen tile stands for, or -1. */
  chosen: number;
  /** How wide a tile is on the screen, about; whether it is scaled up smoothly, or as squares. */
  side: number;
  smooth: boolean;
  caption: string;
}

/** front/pictures.py */
export interface Pictures extends Front {
  canvases: string[];
  /** Encoded images, and their titles. */
  pictures: DataView[];
  titles: string[];
  caption: string;
  /** The place in the row of the chosen picture, or -1; whether one can be chosen at all. */
  chosen: number;
  choosable: boolean;
  /** How wide a picture is on the screen, at least. */
  width: number;
}

/** front/tools.py */
export interface Tools extends Front {
  can_undo: boolean;
  can_redo: boolean;
  /** What the panel that is turned up can be saved as; what is said of it, and of the method that it uses. */
  formats: string[];
  help: { heading: string; text: string }[];
}

/** front/layers.py */
export interface Layers extends Front {
  /** Of each row: the layer's full name, how many modules it is within, and how many of the rows that follow are in it. */
  names: string[];
  depths: number[];
  sizes: number[];
  /** The module's class, "" if it is no layer itself; the shape of what it returns. */
  kinds: string[];
  shapes: number[][];
  /** The larger side of the maps that it returns, 0 where it returns none; the rows of layers in the order in which they return. */
  sides: number[];
  order: number[];
  /** The name of the layer looked at; the channel of it that is explained, -1 for none, and how many it has. */
  current: string;
  filter: number;
  filters: number;
  /** In words, why the layer does not matter now; "" where it does. */
  note: string;
  /** A float32 a row that colours it, NaN where none is known, or nothing at all; and what that is. */
  heat: DataView;
  heat_title: string;
}

/** front/marking.py */
export interface Marking extends Front {
  canvases: string[];
  /** An encoded picture, its size in pixels (height, width), and the part marked: left, top, right, bottom, or nothing. */
  picture: DataView;
  size: [number, number];
  box: number[];
  caption: string;
}

/** front/intake.py */
export interface Intake extends Front {
  /** Samples: their names, and encoded images of them. */
  names: string[];
  thumbs: DataView[];
  /** The name of the picture in use, and an encoded image of it as it was given. */
  current: string;
  original: DataView;
  /** The name of the last picture that was no sample, "" for none, and an encoded image of it. */
  own: string;
  own_thumb: DataView;
  /** What is cropped: left, top, right, bottom, as shares of width and height; and what the network takes of that, or nothing. */
  crop: number[];
  taken: number[];
}

/** front/classes.py */
export interface Classes extends Front {
  heading: string;
  /** The best classes, and what a search found: a row each; the text that was searched, and how many it found. */
  rows: ClassRow[];
  found: ClassRow[];
  wanted: string;
  matches: number;
  /** How many classes there are. */
  count: number;
  /** The indices of the class explained and of that which it is held against, -1 for none. */
  chosen: number;
  against: number;
  /** Whether whichever class is on top is explained, and whether there is one. */
  top: boolean;
  topped: boolean;
  /** In words, why there are no rows. */
  note: string;
}

/** front/files.py */
export interface Files extends Front {
  text: string;
  error: string;
}

export interface ClassRow {
  index: number;
  name: string;
  text: string;
  /** Where the bar starts and ends, as shares of the width. */
  start: number;
  end: number;
}

export type Model<State extends object> = AnyModel<State>;

/** Call `act` when one of these traits changes, until the signal. */
export function follow<State extends object>(
  model: Model<State>,
  names: (keyof State & string)[],
  act: () => void,
  signal: AbortSignal,
): void {
  for (const name of names) model.on(`change:${name}`, act);
  signal.addEventListener("abort", () => {
    for (const name of names) model.off(`change:${name}`, act);
  });
}

export function bytes(view: DataView | null): Uint8Array<ArrayBuffer> {
  return view
    ? new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength)
    : new Uint8Array();
}
