import { describe, expect, it } from "vitest";
import { distances, ink, levels } from "../src/contours";

const field = (width: number, height: number, value: (x: number, y: number) => number) =>
  new Float32Array(width * height).map((_, i) => value(i % width, Math.floor(i / width)));

describe("distances", () => {
  it("are those to a straight line, whatever its direction", () => {
    for (const [a, b] of [
      [3, 0],
      [0, -2],
      [2, 5],
    ]) {
      const far = distances(
        field(20, 20, (x, y) => 100 + a * x + b * y),
        20,
        20,
        [120],
      );
      for (const [x, y] of [
        [0, 0],
        [7, 3],
        [19, 19],
      ]) {
        const exact = Math.abs(a * x + b * y - 20) / Math.hypot(a, b);
        expect(far[20 * y + x]).toBeCloseTo(exact, 4);
      }
    }
  });

  it("are near those to a circle close to it", () => {
    const far = distances(
      field(64, 64, (x, y) => 4 * Math.hypot(x - 32, y - 32)),
      64,
      64,
      [80],
    );
    for (let i = 0; i < far.length; i++) {
      const exact = Math.abs(Math.hypot((i % 64) - 32, Math.floor(i / 64) - 32) - 20);
      if (exact < 2) expect(Math.abs(far[i] - exact)).toBeLessThan(0.1);
    }
  });

  it("are to the nearest of several lines", () => {
    const far = distances(
      field(40, 1, (x) => x),
      40,
      1,
      [10, 30],
    );
    expect([...far.slice(8, 13)]).toEqual([2, 1, 0, 1, 2]);
    expect(far[28]).toBe(2);
  });

  it("are infinite where the field is flat, even at the level", () => {
    expect([
      ...distances(
        field(3, 3, () => 5),
        3,
        3,
        [5],
      ),
    ]).toEqual(new Array(9).fill(Number.POSITIVE_INFINITY));
    expect([...distances(new Float32Array([5]), 1, 1, [5])]).toEqual([Number.POSITIVE_INFINITY]);
  });
});

describe("ink", () => {
  it("is white on a line, dark beside it, and leaves the rest", () => {
    const pixels = new Uint8ClampedArray(4 * 5).fill(100);
    ink(pixels, new Float32Array([0, 1, 1.7, 40, Number.POSITIVE_INFINITY]));
    expect([...pixels.filter((_, i) => i % 4 === 0)]).toEqual([255, 58, 100, 100, 100]);
    expect([...pixels.filter((_, i) => i % 4 === 3)]).toEqual([100, 100, 100, 100, 100]);
  });
});

describe("levels", () => {
  it("are quarters of the scale's ends, on both sides of zero where it is signed", () => {
    expect(levels(false)).toEqual([63.75, 127.5, 191.25]);
    expect(levels(true).map((level) => level / 127.5 - 1)).toEqual([-0.25, 0.25, -0.5, 0.5, -0.75, 0.75]);
  });
});
