// From bytes to pixels. A map comes at its native resolution, a byte a value; it is scaled up here as values, and only
// then coloured, so that the picture is the one that Python's export makes.

/** A map as the kernel sends it: `height` x `width` places on a colour scale, 0 to 255. */
export interface ByteMap {
  values: Uint8Array;
  width: number;
  height: number;
}

/** Scale a map up (or down) bilinearly with pixel centres aligned, as `align_corners=False`; places stay fractional. */
export function upscale(map: ByteMap, width: number, height: number): Float32Array {
  const out = new Float32Array(width * height);
  const columns = weights(map.width, width);
  const rows = weights(map.height, height);
  for (let y = 0; y < height; y++) {
    const top = rows.low[y] * map.width;
    const bottom = rows.high[y] * map.width;
    const fy = rows.fraction[y];
    for (let x = 0; x < width; x++) {
      const left = columns.low[x];
      const right = columns.high[x];
      const fx = columns.fraction[x];
      const above = map.values[top + left] * (1 - fx) + map.values[top + right] * fx;
      const below = map.values[bottom + left] * (1 - fx) + map.values[bottom + right] * fx;
      out[y * width + x] = above * (1 - fy) + below * fy;
    }
  }
  return out;
}

/** A map at another size: smaller by the mean of what falls together, larger bilinearly if smooth, else as squares. */
export function fitted(map: ByteMap, width: number, height: number, smooth: boolean): Float32Array {
  if (smooth && width >= map.width && height >= map.height) return upscale(map, width, height);
  const out = new Float32Array(width * height);
  const columns = spans(map.width, width);
  const rows = spans(map.height, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let row = rows.from[y]; row < rows.to[y]; row++) {
        for (let column = columns.from[x]; column < columns.to[x]; column++) {
          sum += map.values[row * map.width + column];
        }
      }
      out[y * width + x] = sum / ((rows.to[y] - rows.from[y]) * (columns.to[x] - columns.from[x]));
    }
  }
  return out;
}

/** For each place of an axis, the places of another that it covers: one at least. */
function spans(from: number, to: number) {
  const starts = new Int32Array(to);
  const ends = new Int32Array(to);
  for (let i = 0; i < to; i++) {
    // Of a finer axis, the place under its middle.
    starts[i] = Math.floor(from > to ? (i * from) / to : ((i + 0.5) * from) / to);
    ends[i] = Math.max(starts[i] + 1, from > to ? Math.floor(((i + 1) * from) / to) : 0);
  }
  return { from: starts, to: ends };
}

/** For each place of the finer axis: its two neighbours on the coarser one, and how far it is towards the second. */
function weights(from: number, to: number) {
  const low = new Int32Array(to);
  const high = new Int32Array(to);
  const fraction = new Float32Array(to);
  for (let i = 0; i < to; i++) {
    const at = Math.max(0, ((i + 0.5) * from) / to - 0.5);
    low[i] = Math.min(from - 1, Math.floor(at));
    high[i] = Math.min(from - 1, low[i] + 1);
    fraction[i] = at - low[i];
  }
  return { low, high, fraction };
}

/** How strong a place is, from 0 to 1: its distance from zero, which on a signed scale is either place in the middle. */
export function magnitude(place: number, signed: boolean): number {
  if (!signed) return place / 255;
  const off = Math.abs(place - 127.5);
  return off <= 0.5 ? 0 : off / 127.5;
}

/** Colour places with a table of 256 RGB colours into opaque RGBA pixels. */
export function colour(places: Float32Array, table: Uint8Array, out: Uint8ClampedArray): void {
  for (let i = 0, to = 0; i < places.length; i++) {
    const at = 3 * ((places[i] + 0.5) | 0);
    out[to++] = table[at];
    out[to++] = table[at + 1];
    out[to++] = table[at + 2];
    out[to++] = 255;
  }
}

/**
 * Lay coloured places over RGBA pixels. The map is as opaque as it is strong, `opacity` at its strongest, so that where
 * it is zero the picture shows unchanged. Places weaker than `threshold` are left out.
 */
export function blend(
  pixels: Uint8ClampedArray,
  places: Float32Array,
  table: Uint8Array,
  signed: boolean,
  opacity: number,
  threshold: number,
): void {
  for (let i = 0; i < places.length; i++) {
    const strength = magnitude(places[i], signed);
    if (strength < threshold) continue;
    const alpha = strength * opacity;
    const at = 3 * ((places[i] + 0.5) | 0);
    for (let c = 0; c < 3; c++) {
      pixels[4 * i + c] = pixels[4 * i + c] * (1 - alpha) + table[at + c] * alpha;
    }
  }
}

/** A number in three significant digits, as short as it reads well. */
export function short(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e4 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}
