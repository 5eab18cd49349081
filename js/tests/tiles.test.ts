import { describe, expect, it } from "vitest";
import { arrange } from "../src/tiles";

describe("arrange", () => {
  it("fills the width and needs as many rows as there are tiles for", () => {
    const { columns, rows, width, step } = arrange([40, 14, 14], 64, 640, true, false);
    expect(width).toBe(70); // squares of five pixels
    expect(columns).toBe(8); // 8 * 70 + 7 * 8 = 616
    expect(rows).toBe(5);
    expect(step).toBe(70 + 18 + 8);
  });

  it.each([
    [3, 63],
    [7, 63],
    [56, 56],
    [112, 64],
    [1, 64],
  ])("gives maps of %d squares whole pixels: %d wide", (side, width) => {
    expect(arrange([1, side, side], 64, 500, false, false).width).toBe(width);
  });

  it("keeps a map's proportions, and the asked width where it is smooth", () => {
    expect(arrange([9, 7, 14], 64, 500, false, true)).toMatchObject({ width: 64, height: 32 });
  });

  it("has a column however narrow it is, and no more than there are tiles", () => {
    expect(arrange([5, 8, 8], 64, 10, false, false).columns).toBe(1);
    expect(arrange([5, 8, 8], 64, 2000, false, false)).toMatchObject({ columns: 5, rows: 1 });
  });
});
