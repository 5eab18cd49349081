import { describe, expect, it } from "vitest";
import { mosaic } from "../src/mosaic";

const grey = new Uint8Array(768).map((_, i) => Math.floor(i / 3));
/** jsdom has no ImageData. */
const image = (width: number, height: number) =>
  ({ width, height, data: new Uint8ClampedArray(4 * width * height).fill(7) }) as unknown as ImageData;
const row = (pixels: ImageData, y: number, c = 0) =>
  Array.from({ length: pixels.width }, (_, x) => pixels.data[4 * (y * pixels.width + x) + c]);

const two = {
  values: new Uint8Array([10, 20, 30, 40, 50, 60, 70, 80]),
  count: 2,
  height: 2,
  width: 2,
  channels: 1,
};
const spots = { width: 4, height: 4, left: (i: number) => 5 * i, top: () => 0 };

describe("mosaic", () => {
  it("paints tiles as squares, with nothing between them", () => {
    const pixels = image(9, 5);
    mosaic(pixels, two, spots, grey, false);
    expect(row(pixels, 0)).toEqual([10, 10, 20, 20, 0, 50, 50, 60, 60]);
    expect(row(pixels, 1)).toEqual(row(pixels, 0));
    expect(row(pixels, 3)).toEqual([30, 30, 40, 40, 0, 70, 70, 80, 80]);
    expect(row(pixels, 4)).toEqual(new Array(9).fill(0));
    expect(row(pixels, 2, 3)).toEqual([255, 255, 255, 255, 0, 255, 255, 255, 255]);
  });

  it("paints them smoothly where asked", () => {
    const pixels = image(9, 4);
    mosaic(pixels, two, spots, grey, true);
    expect(row(pixels, 0)).toEqual([10, 13, 18, 20, 0, 50, 53, 58, 60]);
  });

  it.each([false, true])("paints colours as they are (smooth: %s)", (smooth) => {
    const values = new Uint8Array([255, 0, 7, 255, 0, 7, 255, 0, 7, 255, 0, 7]);
    const pixels = image(4, 4);
    mosaic(pixels, { values, count: 1, height: 2, width: 2, channels: 3 }, spots, grey, smooth);
    expect([...pixels.data.slice(0, 4)]).toEqual([255, 0, 7, 255]);
    expect([...pixels.data.slice(-4)]).toEqual([255, 0, 7, 255]);
  });

  it("makes them smaller by means", () => {
    const pixels = image(2, 1);
    mosaic(pixels, two, { width: 1, height: 1, left: (i) => i, top: () => 0 }, grey, false);
    expect(row(pixels, 0)).toEqual([25, 65]);
  });
});
