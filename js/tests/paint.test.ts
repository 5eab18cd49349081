import { describe, expect, it } from "vitest";
import { blend, colour, fitted, magnitude, short, upscale } from "../src/paint";

const grey = new Uint8Array(768).map((_, i) => Math.floor(i / 3));

describe("upscale", () => {
  it("leaves a map of the same size as it is", () => {
    const map = { values: new Uint8Array([0, 50, 100, 255]), width: 2, height: 2 };
    expect([...upscale(map, 2, 2)]).toEqual([0, 50, 100, 255]);
  });

  it("aligns pixel centres, as align_corners=False", () => {
    // numpy: centres of four at -0.25, 0.25, 0.75, 1.25 of two, held at the edges
    const map = { values: new Uint8Array([0, 100]), width: 2, height: 1 };
    expect([...upscale(map, 4, 1)]).toEqual([0, 25, 75, 100]);
  });

  it("keeps rows and columns apart", () => {
    const map = { values: new Uint8Array([10, 20, 30, 40, 50, 60]), width: 3, height: 2 };
    const out = upscale(map, 3, 4);
    expect([...out.slice(0, 3)]).toEqual([10, 20, 30]);
    expect([...out.slice(3, 6)]).toEqual([17.5, 27.5, 37.5]);
    expect([...out.slice(9)]).toEqual([40, 50, 60]);
  });

  it("has no places for a map without any", () => {
    expect(upscale({ values: new Uint8Array(), width: 0, height: 0 }, 0, 0)).toHaveLength(0);
  });
});

describe("fitted", () => {
  const map = { values: new Uint8Array([0, 40, 80, 120, 20, 60, 100, 140]), width: 4, height: 2 };

  it("scales up as squares where it is not smooth", () => {
    expect([...fitted(map, 8, 4, false).slice(0, 16)]).toEqual([
      0, 0, 40, 40, 80, 80, 120, 120, 0, 0, 40, 40, 80, 80, 120, 120,
    ]);
  });

  it("scales up as a map does where it is smooth", () => {
    expect(fitted(map, 9, 5, true)).toEqual(upscale(map, 9, 5));
  });

  it.each([true, false])("scales down to the means of what falls together", (smooth) => {
    expect([...fitted(map, 2, 1, smooth)]).toEqual([30, 110]);
    expect([...fitted(map, 1, 1, smooth)]).toEqual([70]);
  });

  it("leaves none of a map out, whatever its size", () => {
    const ones = { values: new Uint8Array(7 * 5).fill(9), width: 7, height: 5 };
    for (const [width, height] of [
      [3, 2],
      [7, 5],
      [10, 4],
      [5, 11],
    ]) {
      expect(new Set(fitted(ones, width, height, false))).toEqual(new Set([9]));
    }
  });
});

describe("colours", () => {
  it("takes the nearest of the table, opaque", () => {
    const out = new Uint8ClampedArray(8);
    colour(new Float32Array([0.4, 254.6]), grey, out);
    expect([...out]).toEqual([0, 0, 0, 255, 255, 255, 255, 255]);
  });

  it("covers the picture as strongly as the map is strong", () => {
    const pixels = new Uint8ClampedArray([100, 100, 100, 255, 100, 100, 100, 255, 100, 100, 100, 255]);
    blend(pixels, new Float32Array([0, 127.5, 255]), grey, false, 1, 0);
    expect([pixels[0], pixels[4], pixels[8]]).toEqual([100, 114, 255]);
  });

  it("shows the picture where a signed map is zero, and both ends elsewhere", () => {
    const pixels = new Uint8ClampedArray([100, 100, 100, 255, 100, 100, 100, 255, 100, 100, 100, 255]);
    blend(pixels, new Float32Array([0, 127.5, 255]), grey, true, 1, 0);
    expect([pixels[0], pixels[4], pixels[8]]).toEqual([0, 100, 255]);
  });

  it("leaves out what is weaker than the threshold", () => {
    const pixels = new Uint8ClampedArray([100, 100, 100, 255, 100, 100, 100, 255]);
    blend(pixels, new Float32Array([120, 255]), grey, false, 0.5, 0.5);
    expect([pixels[0], pixels[4]]).toEqual([100, 178]);
  });

  it("measures strength from zero", () => {
    expect(magnitude(255, false)).toBe(1);
    expect(magnitude(0, true)).toBe(1);
    expect(magnitude(127.5, true)).toBe(0);
  });
});

describe("short", () => {
  it.each([
    [0, "0"],
    [0.19634, "0.196"],
    [-12.345, "-12.3"],
    [123456, "1.2e+5"],
    [0.0000123, "1.2e-5"],
  ])("writes %d as %s", (value, text) => {
    expect(short(value)).toBe(text);
  });
});
