// Is what this browser draws what was drawn where the generator was trained? Some GPU drivers compute otherwise than they should.
import { Priority, type Pixels } from "../drawing/drawer.ts";
import { SMALL } from "./frame.ts";
import type { Scene } from "./scene.ts";
import type { Status } from "./status.ts";

const COMPARED = 4;
/** Steps of 255, and the share of values beyond them, from which on a picture counts as another one. */
const FAR = 16;
const SHARE = 0.02;

export interface Sample {
  seed: bigint;
  image: ImageBitmap;
}

/** The pictures that were drawn beforehand, one by one as they come. Those that do not come are left out. */
export async function loadSamples(scene: Scene, told: (sample: Sample) => void): Promise<Sample[]> {
  const found: Sample[] = [];
  await Promise.all(
    scene.page.samples.map(async ({ seed, url }) => {
      try {
        const answer = await fetch(new URL(url, scene.base));
        if (!answer.ok) return;
        const image = await createImageBitmap(await answer.blob(), {
          premultiplyAlpha: "none",
          colorSpaceConversion: "none",
        });
        const sample = { seed: BigInt(seed), image };
        found.push(sample);
        told(sample);
      } catch {
        // The generator will draw it.
      }
    }),
  );
  return found;
}

/** Compares some, and goes on without WebGPU where it draws other pictures. Says the largest difference where it is exact. */
export async function compare(scene: Scene, samples: readonly Sample[], status: Status): Promise<void> {
  const { page, drawer } = scene;
  // Larger pictures are kept with losses, and half-transparent ones do not come out of a canvas as they went in.
  if (page.channels === 4 || Math.max(page.width, page.height) > SMALL) return;
  let largest = 0;
  for (const { seed, image } of samples.slice(0, COMPARED)) {
    const drawn = await drawer.drawn({ picture: { seed }, truncation: 1, label: null }, Priority.Seen);
    const difference = differ(drawn, pixelsOf(image));
    largest = Math.max(largest, difference.largest);
    if (difference.far > SHARE && drawer.state.kind === "ready" && drawer.state.provider === "webgpu") {
      drawer.distrust();
      return;
    }
  }
  const words = largest === 0 ? "to the bit" : `within ${largest} of 255`;
  if (samples.length) status.compared(`Equal to the original ${words}.`);
}

function pixelsOf(image: ImageBitmap): Uint8ClampedArray {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return new Uint8ClampedArray();
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height).data;
}

/** The largest difference, and the share of values that are far off. */
export function differ(one: Pixels, other: Uint8ClampedArray): { largest: number; far: number } {
  if (one.data.length !== other.length) return { largest: 255, far: 1 };
  let largest = 0;
  let far = 0;
  for (let place = 0; place < other.length; place++) {
    const difference = Math.abs(one.data[place] - other[place]);
    largest = Math.max(largest, difference);
    if (difference > FAR) far++;
  }
  return { largest, far: far / Math.max(1, other.length) };
}
