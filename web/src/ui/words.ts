// Numbers as people write them.

/** 12345 as 12,345. */
export function count(value: number | bigint): string {
  return value.toLocaleString("en");
}

/** A number of bytes: 12 bytes, 1.5 MB, 340 GB. */
export function bytes(value: number): string {
  let size = value;
  let unit = "bytes";
  for (const larger of ["KB", "MB", "GB", "TB"]) {
    if (size < 1000) break;
    size /= 1000;
    unit = larger;
  }
  return `${unit === "bytes" || size >= 100 ? Math.round(size) : size.toFixed(1)} ${unit}`;
}

/** Seconds: 45 s, 12 min, 3 h 20 min. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const rest = minutes % 60;
  return `${Math.floor(minutes / 60)} h${rest ? ` ${rest} min` : ""}`;
}

/** A measured number in about three digits. */
export function short(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 100) return count(Math.round(value));
  return value.toPrecision(size >= 1 ? 3 : 2);
}
