// Contour lines: where a map crosses a level, by marching squares over the centres of its pixels.

/** The shares of a scale's end at which lines are drawn. */
export const LEVELS = [0.25, 0.5, 0.75];

/** The places of the contour lines on a scale from 0 to 255; of a signed one on either side of its middle. */
export function levels(signed: boolean): number[] {
  return signed
    ? LEVELS.flatMap((share) => [127.5 * (1 - share), 127.5 * (1 + share)])
    : LEVELS.map((share) => 255 * share);
}

/** Line segments, four numbers each (from x, y to x, y), along which a field of width x height crosses a level. */
export function contour(field: Float32Array, width: number, height: number, level: number): number[] {
  const segments: number[] = [];
  for (let y = 0; y + 1 < height; y++) {
    for (let x = 0; x + 1 < width; x++) {
      const at = y * width + x;
      const [a, b, c, d] = [field[at], field[at + 1], field[at + width + 1], field[at + width]];
      const above = +(a >= level) | (+(b >= level) << 1) | (+(c >= level) << 2) | (+(d >= level) << 3);
      if (above === 0 || above === 15) continue;
      // Where the level is crossed on the way along each side of the square: top, right, bottom, left.
      const top = [x + 0.5 + (level - a) / (b - a), y + 0.5];
      const right = [x + 1.5, y + 0.5 + (level - b) / (c - b)];
      const bottom = [x + 0.5 + (level - d) / (c - d), y + 1.5];
      const left = [x + 0.5, y + 0.5 + (level - a) / (d - a)];
      const join = (...sides: number[][]) => segments.push(...sides.flat());
      switch (above) {
        case 1:
        case 14:
          join(left, top);
          break;
        case 2:
        case 13:
          join(top, right);
          break;
        case 3:
        case 12:
          join(left, right);
          break;
        case 4:
        case 11:
          join(right, bottom);
          break;
        case 6:
        case 9:
          join(top, bottom);
          break;
        case 7:
        case 8:
          join(left, bottom);
          break;
        default: {
          // Opposite corners are above: the middle says whether they hang together.
          const together = (a + b + c + d) / 4 >= level;
          if ((above === 5) === together) {
            join(top, right);
            join(left, bottom);
          } else {
            join(left, top);
            join(right, bottom);
          }
        }
      }
    }
  }
  return segments;
}

/** Draw segments, white within black, to be seen on any colours. */
export function draw(context: CanvasRenderingContext2D, segments: number[]): void {
  context.save();
  context.beginPath();
  for (let i = 0; i < segments.length; i += 4) {
    context.moveTo(segments[i], segments[i + 1]);
    context.lineTo(segments[i + 2], segments[i + 3]);
  }
  context.lineCap = "round";
  for (const [style, width] of [
    ["rgb(0 0 0 / 0.6)", 2.4],
    ["#fff", 1],
  ] as const) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke();
  }
  context.restore();
}
