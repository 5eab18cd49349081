// Contour lines, as nbcnnviz/render/contours.py draws them: a place's distance from the line where the map has a level is,
// near by, how far its value is from the level over how fast the values change there.

/** The shares of a scale's end at which lines are drawn. */
export const LEVELS = [0.25, 0.5, 0.75];

/** Half the widths in pixels of a white line, and of the black one under it, and how dark that is. */
const [LINE, EDGE, DARK] = [0.5, 1.2, 0.6];

/** The places of the contour lines on a scale from 0 to 255; of a signed one on either side of its middle. */
export function levels(signed: boolean): number[] {
  return signed
    ? LEVELS.flatMap((share) => [127.5 * (1 - share), 127.5 * (1 + share)])
    : LEVELS.map((share) => 255 * share);
}

/** How far each pixel of a field of width x height is from the nearest line, in pixels; infinite where it is flat. */
export function distances(
  field: Float32Array,
  width: number,
  height: number,
  lines: readonly number[],
): Float32Array {
  const out = new Float32Array(field.length);
  const slope = (at: number, step: number, first: boolean, last: boolean) => {
    const before = first ? at : at - step;
    const after = last ? at : at + step;
    return before === after ? 0 : (field[after] - field[before]) / ((after - before) / step);
  };
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const across = slope(at, 1, x === 0, x === width - 1);
      const down = slope(at, width, y === 0, y === height - 1);
      let off = Number.POSITIVE_INFINITY;
      for (const level of lines) off = Math.min(off, Math.abs(field[at] - level));
      const steep = Math.sqrt(across * across + down * down);
      out[at] = steep > 0 ? off / steep : Number.POSITIVE_INFINITY;
    }
  }
  return out;
}

/** Draw lines on RGBA pixels where `far` help, white within black to be seen on any colours. */
export function ink(pixels: Uint8ClampedArray, far: Float32Array): void {
  const cover = (half: number, distance: number) => Math.min(1, Math.max(0, half + 0.5 - distance));
  for (let at = 0; at < far.length; at++) {
    if (far[at] >= EDGE + 0.5) continue;
    const [white, light] = [cover(LINE, far[at]), 1 - DARK * cover(EDGE, far[at])];
    for (let i = 4 * at; i < 4 * at + 3; i++) pixels[i] = pixels[i] * light * (1 - white) + 255 * white;
  }
}
