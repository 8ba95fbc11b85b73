// PNG files (W3C PNG, third edition) with exact pixels: a canvas would round what is half transparent.
import type { Pixels } from "../drawing/drawer.ts";

const CRC = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function chunk(kind: string, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const made = new Uint8Array(content.length + 12);
  const view = new DataView(made.buffer);
  view.setUint32(0, content.length);
  for (let place = 0; place < 4; place++) made[4 + place] = kind.charCodeAt(place);
  made.set(content, 8);
  view.setUint32(8 + content.length, crc(made.subarray(4, 8 + content.length)));
  return made;
}

/** Text for programs that show what a file says about itself, in UTF-8 (iTXt). */
function text(key: string, value: string): Uint8Array<ArrayBuffer> {
  return chunk("iTXt", new TextEncoder().encode(`${key}\0\0\0\0\0${value}`));
}

/** In a zlib stream, as the format asks for. */
async function deflated(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * A picture as a PNG file.
 *
 * @param pixels RGBA; grey and opaque channels are left out of the file where the generator has none
 * @param channels 1 grey, 3 RGB, 4 RGBA
 * @param about texts in the file, by Latin key words
 */
export async function png(pixels: Pixels, channels: 1 | 3 | 4, about: Record<string, string>): Promise<Blob> {
  const { width, height, data } = pixels;
  const row = width * channels + 1; // the first byte says: no filter
  const raw = new Uint8Array(row * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 4 * (y * width + x);
      const to = y * row + 1 + x * channels;
      for (let channel = 0; channel < channels; channel++) raw[to + channel] = data[from + channel];
    }
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, { 1: 0, 3: 2, 4: 6 }[channels], 0, 0, 0], 8);
  return new Blob(
    [
      Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
      chunk("IHDR", header),
      ...Object.entries(about).map(([key, value]) => text(key, value)),
      chunk("IDAT", await deflated(raw)),
      chunk("IEND", new Uint8Array()),
    ],
    { type: "image/png" },
  );
}

/** A sheet of pictures, row by row, on light grey (or nothing, with transparency): imaging.grid in Python. */
export function sheet(pictures: readonly Pixels[], columns: number, channels: 1 | 3 | 4): Pixels {
  const { width, height } = pictures[0];
  const gap = Math.max(1, Math.floor(width / 24));
  const rows = Math.ceil(pictures.length / columns);
  const whole = { width: gap + columns * (width + gap), height: gap + rows * (height + gap) };
  const data = new Uint8ClampedArray(4 * whole.width * whole.height);
  if (channels !== 4) new Uint32Array(data.buffer).fill(0xffececec); // 236 in each channel, opaque
  pictures.forEach((picture, place) => {
    const top = gap + Math.floor(place / columns) * (height + gap);
    const left = gap + (place % columns) * (width + gap);
    for (let y = 0; y < height; y++) {
      data.set(picture.data.subarray(4 * y * width, 4 * (y + 1) * width), 4 * ((top + y) * whole.width + left));
    }
  });
  return { ...whole, data };
}

/** Lets the visitor keep a file. */
export function keep(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
