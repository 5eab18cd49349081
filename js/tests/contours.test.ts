import { describe, expect, it } from "vitest";
import { contour, levels } from "../src/contours";

/** The value of a field, bilinear, at a point. */
function at(field: Float32Array, width: number, x: number, y: number): number {
  const [column, row] = [Math.floor(x - 0.5), Math.floor(y - 0.5)];
  const [fx, fy] = [x - 0.5 - column, y - 0.5 - row];
  const value = (dx: number, dy: number) => field[(row + dy) * width + column + dx] || 0;
  const above = value(0, 0) * (1 - fx) + value(1, 0) * fx;
  return above * (1 - fy) + (value(0, 1) * (1 - fx) + value(1, 1) * fx) * fy;
}

describe("contour", () => {
  it("runs where the field has the level", () => {
    const [width, height] = [16, 12];
    const field = new Float32Array(width * height).map(
      (_, i) => 128 + 90 * Math.sin((i % width) / 2.3) + 30 * Math.cos(Math.floor(i / width) / 1.7),
    );
    for (const level of [64, 127.5, 191]) {
      const segments = contour(field, width, height, level);
      expect(segments.length).toBeGreaterThan(0);
      for (let i = 0; i < segments.length; i += 2) {
        expect(at(field, width, segments[i], segments[i + 1])).toBeCloseTo(level, 2);
      }
    }
  });

  it("goes round a peak: its pieces make a closed line", () => {
    const field = new Float32Array(25);
    field[12] = 100;
    const ends = new Map<string, number>();
    const segments = contour(field, 5, 5, 50);
    for (let i = 0; i < segments.length; i += 2) {
      const end = `${segments[i]},${segments[i + 1]}`;
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
    expect(ends).toEqual(
      new Map([
        ["2,2.5", 2],
        ["2.5,2", 2],
        ["3,2.5", 2],
        ["2.5,3", 2],
      ]),
    );
  });

  it("has no line in a field that does not cross the level", () => {
    expect(contour(new Float32Array(9).fill(3), 3, 3, 5)).toEqual([]);
    expect(contour(new Float32Array(9).fill(5), 3, 3, 5)).toEqual([]);
    expect(contour(new Float32Array(1), 1, 1, 5)).toEqual([]);
  });

  it.each([
    [
      [9, 0, 0, 9],
      [0, 0, 1, 1],
    ],
    [
      [0, 9, 9, 0],
      [1, 0, 0, 1],
    ],
  ])(
    "keeps a saddle together where its middle is high, apart where it is low: %j",
    (corners, [x0, y0, x1, y1]) => {
      const crossing = (level: number) => {
        const segments = contour(new Float32Array(corners), 2, 2, level);
        expect(segments).toHaveLength(8);
        // Whether the line from one high corner to the other crosses a piece: the pieces run on either side of a diagonal.
        const [dx, dy] = [x1 - x0, y1 - y0];
        const side = (x: number, y: number) => Math.sign((x - 0.5 - x0) * dy - (y - 0.5 - y0) * dx);
        return [0, 4].some(
          (i) => side(segments[i], segments[i + 1]) !== side(segments[i + 2], segments[i + 3]),
        );
      };
      expect(crossing(4)).toBe(false); // the middle, 4.5, is above: the high corners hang together
      expect(crossing(5)).toBe(true);
    },
  );
});

describe("levels", () => {
  it("are quarters of the scale's ends, on both sides of zero where it is signed", () => {
    expect(levels(false)).toEqual([63.75, 127.5, 191.25]);
    expect(levels(true).map((level) => level / 127.5 - 1)).toEqual([-0.25, 0.25, -0.5, 0.5, -0.75, 0.75]);
  });
});
