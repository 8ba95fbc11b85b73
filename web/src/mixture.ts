// Where a picture lies: at a seed, or between others. Written into links, so that a link is the very picture.
//
//   picture = place { "~" place "@" share }        place = seed | "(" picture ")"
//
// 7 is seed 7. 7~12@0.15 lies on the arc from 7 to 12, 15 % of the way. (7~12@0.15)~9@0.5 is halfway from there to 9.
import { latent } from "./noise.ts";
import { LAST_SEED } from "./seeds.ts";

export type Picture = { seed: bigint } | { from: Picture; to: Picture; share: number };

const DEEPEST = 40;
const LONGEST = 4000;
/** Shares are written in ten-thousandths. */
const STEPS = 10_000;

export class MixtureError extends Error {}

/** A picture between two. A share of 0 or 1 is one of them. */
export function between(from: Picture, to: Picture, share: number): Picture {
  const rounded = Math.round(Math.min(1, Math.max(0, share)) * STEPS) / STEPS;
  if (rounded === 0) return from;
  return rounded === 1 ? to : { from, to, share: rounded };
}

/** A picture's place as text. */
export function written(picture: Picture): string {
  if ("seed" in picture) return String(picture.seed);
  const to = written(picture.to);
  return `${written(picture.from)}~${"seed" in picture.to ? to : `(${to})`}@${picture.share}`;
}

/** Reads a picture's place. @throws MixtureError when the text is none */
export function readPicture(text: string): Picture {
  if (text.length > LONGEST) throw new MixtureError("the link is too long");
  let at = 0;
  const place = (depth: number): Picture => {
    if (depth > DEEPEST) throw new MixtureError("too many pictures between pictures");
    if (text[at] === "(") {
      at++;
      const inner = mixture(depth + 1);
      if (text[at++] !== ")") throw new MixtureError("a bracket is not closed");
      return inner;
    }
    const digits = /^[0-9]{1,20}/.exec(text.slice(at, at + 20));
    if (!digits) throw new MixtureError(`a seed is missing at letter ${at + 1}`);
    at += digits[0].length;
    const seed = BigInt(digits[0]);
    if (seed > LAST_SEED) throw new MixtureError(`${digits[0]} is over 2**64 - 1`);
    return { seed };
  };
  const mixture = (depth: number): Picture => {
    let found = place(depth);
    for (let steps = 0; text[at] === "~"; steps++) {
      if (steps > DEEPEST) throw new MixtureError("too many pictures between pictures");
      at++;
      const to = place(depth);
      const share = /^@(0(?:\.[0-9]{1,6})?|1(?:\.0{1,6})?)/.exec(text.slice(at, at + 9));
      if (!share) throw new MixtureError(`a share such as @0.5 is missing at letter ${at + 1}`);
      at += share[0].length;
      found = between(found, to, Number(share[1]));
    }
    return found;
  };
  const found = mixture(0);
  if (at !== text.length) throw new MixtureError(`letter ${at + 1} does not belong there`);
  return found;
}

/** The seed that a picture goes out from: it gives the picture its class, where none is chosen. */
export function mainSeed(picture: Picture): bigint {
  return "seed" in picture ? picture.seed : mainSeed(picture.from);
}

/** A picture's latent vector, in float64 but for the seeds' own numbers. */
function point(picture: Picture, size: number): Float64Array {
  if ("seed" in picture) return Float64Array.from(latent(picture.seed, size));
  return slerp(point(picture.from, size), point(picture.to, size), picture.share);
}

/**
 * A picture's latent vector as the generator takes it.
 *
 * @param picture where it lies
 * @param size length of the vector
 * @param truncation what the vector is multiplied by: 1 as trained, less for more usual pictures
 */
export function latentOf(picture: Picture, size: number, truncation: number): Float32Array {
  const found = Float32Array.from(point(picture, size));
  return truncation === 1 ? found : found.map((value) => value * truncation);
}

/** Spherical linear interpolation (Shoemake 1985), with the length going linearly: generator.slerp in Python. */
export function slerp(start: Float64Array, end: Float64Array, share: number): Float64Array {
  const length = (vector: Float64Array): number => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  const [first, last] = [length(start), length(end)];
  let cosine = 0;
  for (let place = 0; place < start.length; place++) cosine += (start[place] / first) * (end[place] / last);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const sine = Math.sin(angle);
  // The same direction, or opposite ones: no arc is better than the line.
  if (!(sine >= 1e-6)) return start.map((value, place) => value + share * (end[place] - value));
  const long = first * (1 - share) + last * share;
  const [near, far] = [Math.sin((1 - share) * angle) / sine, Math.sin(share * angle) / sine];
  return start.map((value, place) => ((near * value) / first + (far * end[place]) / last) * long);
}
