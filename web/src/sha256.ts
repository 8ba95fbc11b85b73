// SHA-256 (FIPS 180-4). Browsers have it on secure addresses only; a page on a local network's address needs its own.

const ROUNDS = new Uint32Array(64);
const START = new Uint32Array(8);

/** The first 32 bits of a root's fraction: square roots of primes begin the state, cube roots are the rounds' constants. */
function fraction(root: number): number {
  return ((root - Math.floor(root)) * 2 ** 32) >>> 0;
}

for (let candidate = 2, found = 0; found < 64; candidate++) {
  let prime = true;
  for (let divisor = 2; divisor * divisor <= candidate; divisor++) prime &&= candidate % divisor !== 0;
  if (!prime) continue;
  if (found < 8) START[found] = fraction(Math.sqrt(candidate));
  ROUNDS[found++] = fraction(Math.cbrt(candidate));
}

const turned = (word: number, by: number): number => (word >>> by) | (word << (32 - by));

/** The 32 bytes of a message's digest. */
export function sha256(message: Uint8Array): Uint8Array {
  const tail = new Uint8Array(message.length % 64 < 56 ? 64 : 128);
  const whole = message.length - (message.length % 64);
  tail.set(message.subarray(whole));
  tail[message.length - whole] = 0x80;
  const end = new DataView(tail.buffer);
  end.setUint32(tail.length - 8, Math.floor(message.length / 2 ** 29));
  end.setUint32(tail.length - 4, (message.length * 8) >>> 0);
  const state = START.slice();
  const schedule = new Uint32Array(64);
  const body = new DataView(message.buffer, message.byteOffset, whole);
  for (let at = 0; at < whole; at += 64) mix(state, schedule, body, at);
  for (let at = 0; at < tail.length; at += 64) mix(state, schedule, end, at);
  const digest = new Uint8Array(32);
  const view = new DataView(digest.buffer);
  state.forEach((word, place) => view.setUint32(4 * place, word));
  return digest;
}

/** Takes one block of 64 bytes into the state. */
function mix(state: Uint32Array, w: Uint32Array, block: DataView, at: number): void {
  for (let t = 0; t < 16; t++) w[t] = block.getUint32(at + 4 * t);
  for (let t = 16; t < 64; t++) {
    const early = turned(w[t - 15], 7) ^ turned(w[t - 15], 18) ^ (w[t - 15] >>> 3);
    const late = turned(w[t - 2], 17) ^ turned(w[t - 2], 19) ^ (w[t - 2] >>> 10);
    w[t] = w[t - 16] + early + w[t - 7] + late;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let t = 0; t < 64; t++) {
    const first =
      (h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[t] + w[t]) | 0;
    const second = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((word, place) => (state[place] += word));
}

/** A digest in hexadecimal digits. */
export function hex(digest: Uint8Array): string {
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
