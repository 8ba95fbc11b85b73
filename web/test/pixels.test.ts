// Numbers become pixels as imaging.to_uint8 makes them, and pixels a PNG file as they are.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inflateSync } from "node:zlib";
import { toPixels } from "../src/drawing/pixels.ts";
import { png, sheet } from "../src/explore/png.ts";

test("numbers are rounded half to even and kept within bounds", () => {
  // (x + 1) * 127.5 is 0.5, 1.5, 2.5 at the first three: to even.
  const numbers = [-1 + 1 / 255, -1 + 3 / 255, -1 + 5 / 255, 0, 1, -1, 7, -7, NaN].map(Math.fround);
  const expected = numbers.map((x) => {
    const exact = Math.fround(Math.fround(x + 1) * 127.5);
    const low = Math.floor(exact);
    const rounded = exact - low === 0.5 ? low + (low % 2) : Math.round(exact);
    return Math.min(255, Math.max(0, rounded)) || 0;
  });
  const pixels = toPixels(Float32Array.from(numbers), 1, 1, 9);
  assert.deepEqual([...pixels].filter((_, place) => place % 4 === 0), expected);
  assert.deepEqual(expected.slice(3), [128, 255, 0, 255, 0, 0]);
});

test("channels go where they belong", () => {
  const planes = Float32Array.of(-1, 1, 1, -1, 0, 0, 1, -1); // two pixels: red, green, blue, alpha
  assert.deepEqual([...toPixels(planes, 1, 4, 2)], [0, 255, 128, 255, 255, 0, 128, 0]);
  assert.deepEqual([...toPixels(planes.slice(0, 6), 1, 3, 2)], [0, 255, 128, 255, 255, 0, 128, 255]);
  assert.deepEqual([...toPixels(Float32Array.of(-1, 1), 2, 1, 1)], [0, 0, 0, 255, 255, 255, 255, 255]);
});

/** The chunks of a PNG file. */
function chunks(file: Buffer): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (let at = 8; at < file.length; ) {
    const size = file.readUInt32BE(at);
    found.set(file.toString("latin1", at + 4, at + 8), file.subarray(at + 8, at + 8 + size));
    at += 12 + size;
  }
  return found;
}

for (const channels of [1, 3, 4] as const) {
  test(`a PNG file of ${channels} channels holds the very pixels`, async () => {
    const data = Uint8ClampedArray.from({ length: 4 * 6 }, (_, place) => (place * 37) % 256);
    const file = await png({ width: 3, height: 2, data }, channels, { Title: "Größe" });
    const found = chunks(Buffer.from(await file.arrayBuffer()));
    assert.deepEqual([...found.keys()], ["IHDR", "iTXt", "IDAT", "IEND"]);
    assert.deepEqual([...(found.get("IHDR") ?? [])], [0, 0, 0, 3, 0, 0, 0, 2, 8, { 1: 0, 3: 2, 4: 6 }[channels], 0, 0, 0]);
    const raw = inflateSync(found.get("IDAT") ?? Buffer.alloc(0));
    const expected = [0, 1].flatMap((y) => [
      0,
      ...[0, 1, 2].flatMap((x) => [...data.slice(4 * (3 * y + x), 4 * (3 * y + x) + channels)]),
    ]);
    assert.deepEqual([...raw], expected);
    assert.equal(found.get("iTXt")?.toString("utf8"), "Title\0\0\0\0\0Größe");
  });
}

test("a sheet has its pictures row by row, with gaps", () => {
  const picture = (value: number) => ({ width: 2, height: 1, data: new Uint8ClampedArray(8).fill(value) });
  const made = sheet([picture(1), picture(2), picture(3)], 2, 3);
  assert.deepEqual([made.width, made.height], [7, 5]);
  const red = (x: number, y: number): number => made.data[4 * (y * made.width + x)];
  assert.deepEqual([red(0, 0), red(1, 1), red(3, 1), red(4, 1), red(1, 3), red(4, 3)], [236, 1, 236, 2, 3, 236]);
  assert.equal(sheet([picture(1)], 1, 4).data[3], 0);
});
