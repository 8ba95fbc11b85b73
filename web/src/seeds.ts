// What a visitor types becomes a seed: a number is itself, and a word the first 8 bytes of its SHA-256.
import { SEEDS } from "./noise.ts";
import { sha256 } from "./sha256.ts";

export const LAST_SEED = SEEDS - 1n;

/** The seed of a word: the first 8 bytes, most significant first, of the SHA-256 of its UTF-8 form (NFC). noise.seed_of. */
export function seedOfWord(word: string): bigint {
  const digest = sha256(new TextEncoder().encode(word.normalize("NFC")));
  return new DataView(digest.buffer).getBigUint64(0);
}

export interface Read {
  seed: bigint;
  /** Whether it was a word. */
  word: boolean;
}

/** Reads a number or a word, without the blanks around it; `null` for nothing, and for numbers that are no seeds. */
export function readSeed(text: string): Read | null {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  if (!/^[+-]?[0-9]+$/.test(trimmed)) return { seed: seedOfWord(trimmed), word: true };
  if (trimmed.length > 60) return null;
  const seed = BigInt(trimmed.replace("+", ""));
  return seed >= 0n && seed <= LAST_SEED ? { seed, word: false } : null;
}

/** A seed by chance, of at most nine digits, as people can still read it out. */
export function anySeed(): bigint {
  const drawn = crypto.getRandomValues(new Uint32Array(1));
  return BigInt(drawn[0] % 1_000_000_000);
}
