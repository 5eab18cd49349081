import { vi } from "vitest";

/** jsdom has no ImageData: one with its shape and its bytes. */
export function stubImageData(): void {
  vi.stubGlobal(
    "ImageData",
    class {
      readonly data: Uint8ClampedArray;
      constructor(
        readonly width: number,
        readonly height: number,
      ) {
        this.data = new Uint8ClampedArray(4 * width * height);
      }
    },
  );
}
