import { beforeAll, describe, expect, it } from "vitest";
import { cutting, ObjectNote, outlined } from "../src/object";
import { stubImageData } from "./imagedata";
import { as, model } from "./model";

beforeAll(stubImageData);

const forever = new AbortController().signal;

/** A mask, and the picture that it is drawn on, as one letter a pixel. */
function drawn(...rows: string[]): string[] {
  const [height, width] = [rows.length, rows[0].length];
  const [mask, pixels] = [new ImageData(width, height), new ImageData(width, height)];
  for (const [i, place] of [...rows.join("")].entries())
    mask.data.fill(place === "#" ? 255 : 0, 4 * i, 4 * i + 4);
  pixels.data.fill(100);
  outlined(pixels, mask);
  const letters: Record<string, string> = {
    "100,100,100": ".",
    "255,220,0": "y",
    "255,255,255": "w",
    "0,0,0": "k",
  };
  return rows.map((_, y) =>
    rows.map
      .call(
        [...rows[0]],
        (_, x) => letters[pixels.data.slice(4 * (y * width + x), 4 * (y * width + x) + 3).join()],
      )
      .join(""),
  );
}

describe("an object", () => {
  // As nbcnnviz.Mask.overlay has it.
  it("has a white outline within a black one, over its box in yellow", () => {
    expect(
      drawn(
        ".......", //
        "..#....",
        ".###...",
        "#####..",
        ".###...",
        ".......",
      ),
    ).toEqual([
      "..k....", //
      "ykwky..",
      "kw.wk..",
      "w...wk.",
      "kwwwk..",
      ".kkk...",
    ]);
  });

  it("has no outline where the picture ends", () => {
    expect(drawn("###", "###", "...")).toEqual(["yyy", "www", "kkk"]);
  });
});

describe("its view", () => {
  it("says whether it is there, or why it is not", () => {
    const m = model({ object_note: "" });
    const note = new ObjectNote(as(m), forever);
    expect(note.element.hidden).toBe(true);
    expect([note.title("plain", true), note.title("plain", false)]).toEqual([
      "Object: its outline and box",
      "Object: cut out once the map is there",
    ]);
    m.set("object_note", "The map is 0 everywhere.");
    expect(note.element.hidden).toBe(false);
    expect(note.element.textContent).toBe("The map is 0 everywhere.");
    expect(note.title("plain", false)).toBe("plain");
  });

  it("has the choice of the algorithm while it is shown", () => {
    const m = model({ outlining: false, cut_by: "random_walker" });
    const label = cutting(as(m), forever);
    expect(label.hidden).toBe(true);
    m.set("outlining", true);
    expect(label.hidden).toBe(false);
    const by = label.querySelector("select") as HTMLSelectElement;
    by.value = "grabcut";
    by.dispatchEvent(new Event("change"));
    expect(m.get("cut_by")).toBe("grabcut");
    expect(m.save_changes).toHaveBeenCalledOnce();
  });
});
