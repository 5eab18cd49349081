import { beforeAll, describe, expect, it } from "vitest";
import { borders, Composite, copyLeft } from "../src/composite";
import { stubImageData } from "./imagedata";

beforeAll(stubImageData);

const LOOK = {
  colours: new Uint8Array(768).map((_, i) => Math.floor(i / 3)),
  opacity: 1,
  threshold: 0,
  contours: false,
};

function filled(width: number, height: number, value: number): ImageData {
  const pixels = new ImageData(width, height);
  pixels.data.fill(value);
  return pixels;
}

function composite(): Composite {
  const it = new Composite();
  it.picture = filled(4, 2, 100);
  it.take({ values: new Uint8Array([0, 255]), width: 2, height: 1 }, false, 4, 2);
  return it;
}

const reds = (pixels: ImageData) => [...pixels.data.filter((_, i) => i % 4 === 0)];

describe("Composite", () => {
  it("is the picture where the map is zero, and the map where it is strongest", () => {
    const pixels = filled(4, 2, 7);
    composite().overlay(pixels, LOOK);
    const [first, , , last] = reds(pixels);
    expect([first, last]).toEqual([100, 255]);
    expect(reds(pixels).slice(4)).toEqual(reds(pixels).slice(0, 4));
  });

  it("is the map alone, or the picture alone", () => {
    const pixels = filled(4, 2, 7);
    composite().map(pixels, LOOK);
    expect(reds(pixels).slice(0, 4)).toEqual([0, 64, 191, 255]);
    expect(composite().background(pixels)).toBe(true);
    expect(reds(pixels)).toEqual(new Array(8).fill(100));
  });

  it("leaves nothing of what was there where it has neither", () => {
    const pixels = filled(4, 2, 7);
    const none = new Composite();
    expect(none.background(pixels)).toBe(false);
    none.overlay(pixels, LOOK);
    expect(reds(pixels)).toEqual(new Array(8).fill(0));
  });

  it("shows no picture and no map of another size", () => {
    const it = composite();
    expect(it.covers(2, 4)).toBe(false);
    expect(it.background(new ImageData(2, 4))).toBe(false);
  });

  it("draws contours only if asked, and anew for another map", () => {
    const [plain, drawn, other] = [filled(4, 2, 0), filled(4, 2, 0), filled(4, 2, 0)];
    const it = composite();
    it.map(plain, LOOK);
    it.map(drawn, { ...LOOK, contours: true });
    expect(reds(drawn)).not.toEqual(reds(plain));
    it.take({ values: new Uint8Array([9, 9]), width: 2, height: 1 }, false, 4, 2);
    it.map(other, { ...LOOK, contours: true });
    expect(reds(other)).toEqual(new Array(8).fill(9));
  });
});

describe("beside", () => {
  it("copies what lies left of an edge", () => {
    const [from, to] = [filled(3, 2, 1), filled(3, 2, 2)];
    copyLeft(from, to, 2);
    expect(reds(to)).toEqual([1, 1, 2, 1, 1, 2]);
  });
});

describe("borders", () => {
  it("are black beside white where regions meet, and nowhere else", () => {
    const [pixels, regions] = [filled(4, 2, 9), filled(4, 2, 0)];
    for (const at of [2, 3, 6, 7]) regions.data[4 * at] = 1;
    borders(pixels, regions);
    expect(reds(pixels)).toEqual([9, 0, 255, 9, 9, 0, 255, 9]);
    expect([...pixels.data.filter((_, i) => i % 4 === 3)]).toEqual(new Array(8).fill(9));
  });
});
