// A generator's numbers to pixels, exactly as imaging.to_uint8 does it.

/**
 * Images in [-1, 1] to RGBA pixels: (x + 1) * 127.5 in float32, rounded half to even, kept within 0 to 255.
 *
 * @param images `[count, channels, height, width]`
 * @param count pictures
 * @param channels 1 (grey), 3 (RGB) or 4 (RGBA)
 * @param area height times width
 */
export function toPixels(
  images: Float32Array,
  count: number,
  channels: number,
  area: number,
): Uint8ClampedArray<ArrayBuffer> {
  // Stores into a clamped array round half to even, which is what numpy's rint does.
  const pixels = new Uint8ClampedArray(count * area * 4);
  const grey = channels === 1;
  for (let picture = 0; picture < count; picture++) {
    const from = picture * channels * area;
    for (let channel = 0; channel < 4; channel++) {
      if (channel === 3 && channels !== 4) continue;
      const plane = from + (grey ? 0 : channel * area);
      let to = picture * area * 4 + channel;
      for (let place = plane; place < plane + area; place++, to += 4) {
        pixels[to] = Math.fround(Math.fround(images[place] + 1) * 127.5);
      }
    }
    if (channels !== 4) for (let to = picture * area * 4 + 3, n = 0; n < area; n++, to += 4) pixels[to] = 255;
  }
  return pixels;
}
