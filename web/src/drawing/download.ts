// Reads a file whole, and says how far it is; unpacks what is packed.

/**
 * @param url an absolute address
 * @param progress told the bytes that are there, and those that there are to be (0 while that is not known)
 * @param expected bytes, where known: servers that compress on the way do not say it
 * @throws Error when the server has no such file or goes away
 */
export async function download(
  url: string,
  progress: (loaded: number, total: number) => void,
  expected = 0,
): Promise<Uint8Array<ArrayBuffer>> {
  const name = url.slice(url.lastIndexOf("/") + 1);
  let answer: Response;
  try {
    answer = await fetch(url);
  } catch {
    throw new Error(`${name} could not be loaded: the server does not answer.`);
  }
  if (!answer.ok || !answer.body) throw new Error(`${name} could not be loaded (status ${answer.status}).`);
  const said = answer.headers.get("content-encoding") ? 0 : Number(answer.headers.get("content-length"));
  const total = expected || said;
  const parts: Uint8Array[] = [];
  let loaded = 0;
  const reader = answer.body.getReader();
  for (;;) {
    let part: ReadableStreamReadResult<Uint8Array>;
    try {
      part = await reader.read();
    } catch {
      throw new Error(`${name} broke off after ${loaded.toLocaleString("en")} bytes.`);
    }
    if (part.done) break;
    parts.push(part.value);
    loaded += part.value.length;
    progress(loaded, Math.max(total, loaded));
  }
  const whole = new Uint8Array(loaded);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** What a gzip file holds. Some servers say of such files that they are packed on the way: then it comes unpacked already. */
export async function unpacked(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
