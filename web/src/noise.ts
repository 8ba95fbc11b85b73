// Seed to random numbers: src/limner/noise.py in TypeScript. Seed 7 is the same picture everywhere.
//
// Philox-4x32-10 (Salmon, Moraes, Dror and Shaw 2011), keyed by the seed, counted by (block, index, stream). Words become
// uniforms, and pairs of these normals (Box and Muller 1958), in float64, rounded once to float32. Words and uniforms are
// equal to Python's in every bit; normals within one unit in the last place, as logarithm and cosine are not prescribed to
// the last bit.

/** Latents of pictures that a user asks for; the streams' numbers are noise.py's. */
export const SAMPLE = 0;
/** Seeds go from 0 to 2**64 - 1. */
export const SEEDS = 1n << 64n;

const LOW = 0xffffffffn;

/** The upper 32 bits of a product of two unsigned 32-bit numbers; all steps are exact in float64. */
function high(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const cross = aHigh * bLow + ((aLow * bLow) >>> 16); // under 2**32
  const other = aLow * bHigh + (cross & 0xffff); // under 2**32
  return (aHigh * bHigh + (cross >>> 16) + (other >>> 16)) >>> 0;
}

/** Encrypts one counter of four 32-bit words under a key of two, by Philox-4x32-10. */
export function philox(counter: readonly number[], key: readonly number[]): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const p0 = high(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0);
    const p1 = high(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(p1 ^ c1 ^ k0) >>> 0, low1 >>> 0, (p0 ^ c3 ^ k1) >>> 0, low0 >>> 0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/**
 * Random 32-bit words of a seed.
 *
 * @param seed 0 to 2**64 - 1
 * @param stream what they are for
 * @param index 0 to 2**64 - 1: the global sample index
 * @param count how many
 */
export function words(seed: bigint, stream: number, index: bigint, count: number): Uint32Array {
  const key = [Number(seed & LOW), Number(seed >> 32n)];
  const [low, top] = [Number(index & LOW), Number(index >> 32n)];
  const drawn = new Uint32Array(4 * Math.ceil(count / 4));
  for (let block = 0; 4 * block < count; block++) drawn.set(philox([block, low, top, stream], key), 4 * block);
  return drawn.subarray(0, count);
}

/** Standard normal numbers of a seed, in float32. See {@link words}. */
export function normal(seed: bigint, stream: number, index: bigint, count: number): Float32Array {
  const drawn = words(seed, stream, index, 2 * Math.ceil(count / 2));
  const numbers = new Float32Array(drawn.length);
  for (let place = 0; place < drawn.length; place += 2) {
    const radius = Math.sqrt(-2 * Math.log((drawn[place] + 0.5) / 2 ** 32));
    const angle = 2 * Math.PI * ((drawn[place + 1] + 0.5) / 2 ** 32);
    numbers[place] = radius * Math.cos(angle);
    numbers[place + 1] = radius * Math.sin(angle);
  }
  return numbers.subarray(0, count);
}

/** The latent vector of a picture's seed: noise.sample_latents. */
export function latent(seed: bigint, size: number): Float32Array {
  return normal(seed, SAMPLE, 0n, size);
}
