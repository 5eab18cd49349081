// The pixels of many tiles on one canvas.
import { fitted } from "./paint";

/** Tiles as the kernel sends them, one after another: a byte a value, of one channel to be coloured or of three colours. */
export interface Bytes {
  values: Uint8Array;
  count: number;
  height: number;
  width: number;
  channels: number;
}

/** Where the pixels of each tile go: at `left` and `top` of the i-th, all of one size. */
export interface Spots {
  width: number;
  height: number;
  left: (i: number) => number;
  top: (i: number) => number;
}

/** Paint tiles into pixels, which are clear elsewhere. */
export function mosaic(
  pixels: ImageData,
  tiles: Bytes,
  spots: Spots,
  table: Uint8Array,
  smooth: boolean,
): void {
  const all = new Uint32Array(pixels.data.buffer);
  all.fill(0);
  const size = tiles.height * tiles.width * tiles.channels;
  const squares = !smooth && spots.width >= tiles.width && spots.height >= tiles.height;
  // As squares, a tile is coloured at its own size; else it is scaled as values first.
  const [width, height] = squares ? [tiles.width, tiles.height] : [spots.width, spots.height];
  const colours = words(table);
  const tile = new Uint32Array(width * height);
  const columns = nearest(width, spots.width);
  const rows = nearest(height, spots.height);
  for (let i = 0; i < tiles.count; i++) {
    const values = tiles.values.subarray(i * size, (i + 1) * size);
    const plane = (c: number) =>
      squares ? channel(values, tiles, c) : scaled(values, tiles, c, width, height, smooth);
    if (tiles.channels === 1) {
      const places = plane(0);
      for (let at = 0; at < tile.length; at++) tile[at] = colours[(places[at] + 0.5) | 0];
    } else {
      const rgba = new Uint8ClampedArray(tile.buffer).fill(255);
      for (let c = 0; c < 3; c++) {
        const places = plane(c);
        for (let at = 0; at < places.length; at++) rgba[4 * at + c] = places[at];
      }
    }
    const [left, top] = [spots.left(i), spots.top(i)];
    const right = Math.min(spots.width, pixels.width - left);
    let before = -1;
    for (let y = 0; y < spots.height && top + y < pixels.height; y++) {
      const to = (top + y) * pixels.width + left;
      if (rows[y] === before) {
        all.copyWithin(to, to - pixels.width, to - pixels.width + right);
        continue;
      }
      before = rows[y];
      const from = before * width;
      for (let x = 0; x < right; x++) all[to + x] = tile[from + columns[x]];
    }
  }
}

/** The colours of a table as pixels, a word each. */
function words(table: Uint8Array): Uint32Array {
  const bytes = new Uint8Array(1024).fill(255);
  for (let i = 0; 3 * i < Math.min(768, table.length); i++)
    bytes.set(table.subarray(3 * i, 3 * i + 3), 4 * i);
  return new Uint32Array(bytes.buffer);
}

/** For each place of an axis, the one of a coarser axis that it lies on. */
function nearest(from: number, to: number): Int32Array {
  return new Int32Array(to).map((_, i) => Math.floor(((i + 0.5) * from) / to));
}

/** One channel of a tile. */
function channel(values: Uint8Array, { channels }: Bytes, c: number): Uint8Array {
  if (channels === 1) return values;
  return new Uint8Array(values.length / channels).map((_, i) => values[i * channels + c]);
}

function scaled(values: Uint8Array, tiles: Bytes, c: number, width: number, height: number, smooth: boolean) {
  const map = { values: channel(values, tiles, c), width: tiles.width, height: tiles.height };
  return fitted(map, width, height, smooth);
}
