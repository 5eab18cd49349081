// Compositing: a map over the picture it is of, at the picture's size.
import { distances, ink, levels } from "./contours";
import { type ByteMap, blend, colour, upscale } from "./paint";

/** How an overlay is set. */
export interface Look {
  colours: Uint8Array;
  opacity: number;
  threshold: number;
  contours: boolean;
}

export class Composite {
  picture: ImageData | null = null;
  /** The map's places on its scale, a number a pixel; none where there is no map. */
  places: Float32Array = new Float32Array();
  private signed = false;
  private width = 0;
  private height = 0;
  /** How far each pixel is from a contour line; worked out when first one is drawn. */
  private far: Float32Array | null = null;

  /** Take a map, to be shown at a size. */
  take(map: ByteMap, signed: boolean, width: number, height: number): void {
    Object.assign(this, { signed, width, height, far: null });
    this.places = map.width * map.height > 0 ? upscale(map, width, height) : new Float32Array();
  }

  /** Whether there is a map, for a picture of this size. */
  covers(width: number, height: number): boolean {
    return this.places.length > 0 && this.width === width && this.height === height;
  }

  /** The picture, if it is there and of the size of `pixels`. */
  fitting(pixels: ImageData): ImageData | null {
    const { picture } = this;
    return picture?.width === pixels.width && picture.height === pixels.height ? picture : null;
  }

  /** Fill with the picture alone, or with nothing where there is none; whether there is one. */
  background(pixels: ImageData): boolean {
    const picture = this.fitting(pixels);
    if (picture) pixels.data.set(picture.data);
    else pixels.data.fill(0);
    return picture !== null;
  }

  /** Fill with the map alone. */
  map(pixels: ImageData, look: Look): void {
    pixels.data.fill(0);
    if (!this.covers(pixels.width, pixels.height)) return;
    colour(this.places, look.colours, pixels.data);
    this.outline(pixels, look);
  }

  /** Fill with the map over the picture. */
  overlay(pixels: ImageData, look: Look): void {
    this.background(pixels);
    if (!this.covers(pixels.width, pixels.height)) return;
    blend(pixels.data, this.places, look.colours, this.signed, look.opacity, look.threshold);
    this.outline(pixels, look);
  }

  private outline(pixels: ImageData, look: Look): void {
    if (!look.contours) return;
    this.far ??= distances(this.places, this.width, this.height, levels(this.signed));
    ink(pixels.data, this.far);
  }
}

/** Copy the columns left of an edge. */
export function copyLeft(from: ImageData, to: ImageData, edge: number): void {
  for (let row = 0; row < to.height; row++) {
    const at = 4 * row * to.width;
    to.data.set(from.data.subarray(at, at + 4 * edge), at);
  }
}

/** Draw lines, black beside white, where regions meet, which are grey levels of a picture of the same size. */
export function borders(pixels: ImageData, regions: ImageData): void {
  const { width, height } = pixels;
  const at = regions.data;
  const meet = (here: number, there: number) => {
    if (at[4 * here] === at[4 * there]) return;
    pixels.data.fill(0, 4 * here, 4 * here + 3);
    pixels.data.fill(255, 4 * there, 4 * there + 3);
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = y * width + x;
      if (x + 1 < width) meet(here, here + 1);
      if (y + 1 < height) meet(here, here + width);
    }
  }
}

/** An encoded picture as pixels, at its own size or another; null where it cannot be read. */
export async function decoded(
  encoded: Uint8Array<ArrayBuffer>,
  scratch: HTMLCanvasElement,
  size?: [number, number],
): Promise<ImageData | null> {
  const bitmap = encoded.length ? await createImageBitmap(new Blob([encoded])).catch(() => null) : null;
  if (!bitmap) return null;
  const [height, width] = size ?? [bitmap.height, bitmap.width];
  Object.assign(scratch, { width, height });
  const context = scratch.getContext("2d", { willReadFrequently: true });
  context?.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context?.getImageData(0, 0, width, height) ?? null;
}
