import { describe, expect, it, vi } from "vitest";
import { compose, fileName } from "../src/save";

const canvas = document.createElement("canvas");
vi.spyOn(canvas, "toDataURL").mockReturnValue("data:image/png;base64,AA==");
const parsed = (text: string) => new DOMParser().parseFromString(text, "image/svg+xml");

describe("compose", () => {
  it("has the captions as text, whatever is in them, and the pictures with their sizes", () => {
    const pictures = [1, 2].map((i) => ({ title: `picture <${i}>`, canvas, width: 200, height: 100 }));
    const scale = { canvas, ticks: ["0", "1", "2"] };
    const { text, width, height } = compose({ caption: 'a < b & "c"', pictures, scale });
    const svg = parsed(text);
    expect(svg.querySelector("parsererror")).toBeNull();
    expect([...svg.querySelectorAll("text")].map((t) => t.textContent)).toEqual([
      'a < b & "c"',
      "picture <1>",
      "picture <2>",
      "0",
      "1",
      "2",
    ]);
    const images = [...svg.querySelectorAll("image")];
    expect(images).toHaveLength(3);
    for (const image of images) {
      const [x, y, w, h] = ["x", "y", "width", "height"].map((name) => Number(image.getAttribute(name)));
      expect(x + w).toBeLessThanOrEqual(width);
      expect(y + h).toBeLessThanOrEqual(height);
    }
  });

  it("begins another row where a picture has no room", () => {
    const pictures = Array.from({ length: 5 }, () => ({ title: "", canvas, width: 400, height: 300 }));
    const places = [...parsed(compose({ caption: "", pictures }).text).querySelectorAll("image")].map(
      (image) => [Number(image.getAttribute("x")), Number(image.getAttribute("y"))],
    );
    expect(places.map(([x]) => x)).toEqual([16, 428, 16, 428, 16]);
    expect(places.map(([, y]) => y)).toEqual([16, 16, 328, 328, 640]);
  });
});

describe("compose, of several figures", () => {
  it("has them one under another, each under its caption, as wide as the widest", () => {
    const figure = (caption: string, width: number) => ({
      caption,
      pictures: [{ title: "", canvas, width, height: 100 }],
    });
    const alone = [compose(figure("first", 500)), compose(figure("second", 300))];
    const { text, width, height } = compose(figure("first", 500), figure("second", 300));
    expect([width, height]).toEqual([alone[0].width, alone[0].height + alone[1].height]);
    const svg = parsed(text);
    expect([...svg.querySelectorAll("text")].map((t) => t.textContent)).toEqual(["first", "second"]);
    const second = svg.querySelectorAll("image")[1].parentElement;
    expect(second?.getAttribute("transform")).toBe(`translate(0 ${alone[0].height})`);
  });
});

describe("fileName", () => {
  it.each([
    ["Grad-CAM of tabby (281) at blocks.6", "Grad-CAM-of-tabby-281-at-blocks-6"],
    ["../../etc/passwd", "etc-passwd"],
    ["狐 / Fuchs", "狐-Fuchs"],
    ["", "nbcnnviz"],
  ])("%s: %s", (caption, name) => expect(fileName(caption)).toBe(name));
});
