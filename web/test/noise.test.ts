// The page's random numbers are noise.py's: seed 7 is the same picture everywhere.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { latentOf, slerp } from "../src/mixture.ts";
import { latent, normal, philox, words } from "../src/noise.ts";
import { readSeed, seedOfWord } from "../src/seeds.ts";
import { hex, sha256 } from "../src/sha256.ts";

interface Vectors {
  philox: [number[], number[], number[]][];
  words: { seed: string; stream: number; index: string; words: number[] }[];
  latents: { seed: string; size: number; values: number[] }[];
  normals: number[];
  seeds: [string, string][];
  slerp: { from: string; to: string; share: number; values: number[] }[];
}

// Tests are run from web/.
const known = JSON.parse(readFileSync("test/noise.json", "utf8")) as Vectors;

/** How many float32 numbers lie between two: 0 for the same. */
function apart(one: number, other: number): number {
  const bits = new Int32Array(Float32Array.of(one, other).buffer);
  const [a, b] = [bits[0], bits[1]].map((value) => (value < 0 ? -(value & 0x7fffffff) : value));
  return Math.abs(a - b);
}

test("Philox gives the published answers", () => {
  // Random123's known-answer vectors (Salmon et al. 2011), beside those that Python drew.
  assert.deepEqual(philox([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  const pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
  assert.deepEqual(philox(pi, [0xa4093822, 0x299f31d0]), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
  for (const [counter, key, expected] of known.philox) assert.deepEqual(philox(counter, key), expected);
});

test("words are Python's, bit for bit, up to the last seed", () => {
  assert.equal(known.words.length, 18);
  for (const { seed, stream, index, words: expected } of known.words) {
    assert.deepEqual([...words(BigInt(seed), stream, BigInt(index), expected.length)], expected, `seed ${seed}`);
  }
});

test("latents are Python's within one unit in the last place", () => {
  let compared = 0;
  const check = (found: Float32Array, expected: number[]): void => {
    assert.equal(found.length, expected.length);
    expected.forEach((value, place) => assert.ok(apart(found[place], value) <= 1, `${found[place]} is not ${value}`));
    compared += expected.length;
  };
  for (const { seed, size, values } of known.latents) check(latent(BigInt(seed), size), values);
  check(normal(3n, 1, 5n, 400), known.normals);
  assert.ok(compared > 600);
});

test("a difference of one unit would be seen", () => {
  assert.equal(apart(1, 1 + 2 ** -23), 1);
  assert.equal(apart(-1, -1 - 2 ** -23), 1);
  assert.equal(apart(0, 2 ** -149), 1);
});

test("a word's seed is Python's", () => {
  for (const [word, seed] of known.seeds) assert.equal(String(seedOfWord(word)), seed, word);
  // The same letters, composed and not.
  assert.equal(seedOfWord("Zo\u00eb"), seedOfWord("Zoe\u0308"));
});

test("numbers are seeds, other texts are words, and what is neither is refused", () => {
  assert.deepEqual(readSeed(" 7 "), { seed: 7n, word: false });
  assert.deepEqual(readSeed("18446744073709551615"), { seed: 2n ** 64n - 1n, word: false });
  assert.equal(readSeed("18446744073709551616"), null);
  assert.equal(readSeed("-1"), null);
  assert.equal(readSeed("   "), null);
  assert.deepEqual(readSeed("7 a"), { seed: seedOfWord("7 a"), word: true });
});

test("SHA-256 gives the standard's answers", () => {
  const digest = (text: string): string => hex(sha256(new TextEncoder().encode(text)));
  assert.equal(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.equal(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert.equal(digest("a".repeat(1_000_000)), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  for (const length of [55, 56, 63, 64, 65]) assert.equal(digest("a".repeat(length)).length, 64);
  assert.equal(digest("a".repeat(56)), "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
});

test("arcs are generator.slerp's", () => {
  for (const { from, to, share, values } of known.slerp) {
    const size = values.length;
    const found = slerp(Float64Array.from(latent(BigInt(from), size)), Float64Array.from(latent(BigInt(to), size)), share);
    values.forEach((value, place) => assert.ok(Math.abs(found[place] - value) < 2e-6 * Math.max(1, Math.abs(value))));
  }
});

test("an arc begins and ends at its ends, and a line stands in where there is no arc", () => {
  const one = Float64Array.of(3, 0);
  const other = Float64Array.of(0, 1);
  assert.deepEqual([...slerp(one, other, 0)], [3, 0]);
  const middle = slerp(one, other, 0.5);
  assert.ok(Math.abs(Math.hypot(...middle) - 2) < 1e-12); // the length goes linearly, from 3 to 1
  assert.ok(Math.abs(middle[0] - middle[1]) < 1e-12); // at 45 degrees
  assert.deepEqual([...slerp(one, Float64Array.of(1, 0), 0.5)], [2, 0]);
});

test("truncation multiplies latents", () => {
  const whole = latentOf({ seed: 7n }, 8, 1);
  const half = latentOf({ seed: 7n }, 8, 0.5);
  assert.deepEqual([...half], [...whole].map((value) => Math.fround(value * 0.5)));
  assert.deepEqual([...latentOf({ seed: 7n }, 8, 0)].map(Math.abs), new Array(8).fill(0));
});
