import type { GuestMemory, Segment } from './guest-memory.ts';

export function totalBytes(segments: readonly Segment[]): number {
  let total = 0;
  for (const { lengthBytes } of segments) total += lengthBytes;
  return total;
}

/** The part of `segments` from `fromBytes` on, `lengthBytes` of it or what there is. */
export function slice(
  segments: readonly Segment[],
  fromBytes: number,
  lengthBytes = Number.POSITIVE_INFINITY,
): Segment[] {
  const part: Segment[] = [];
  let skip = fromBytes;
  let left = lengthBytes;
  for (const segment of segments) {
    const skipped = Math.min(skip, segment.lengthBytes);
    const taken = Math.min(left, segment.lengthBytes - skipped);
    skip -= skipped;
    left -= taken;
    if (taken === segment.lengthBytes && taken > 0) part.push(segment);
    else if (taken > 0) part.push({ paddr: segment.paddr + skipped, lengthBytes: taken });
  }
  return part;
}

/** A copy of what the guest has there; undefined when not all is RAM. */
export function copyFrom(
  memory: GuestMemory,
  segments: readonly Segment[],
): Uint8Array<ArrayBuffer> | undefined {
  const copy = new Uint8Array(totalBytes(segments));
  let at = 0;
  for (const { paddr, lengthBytes } of segments) {
    const bytes = memory.bytes(paddr, lengthBytes);
    if (bytes === undefined) return undefined;
    copy.set(bytes, at);
    at += lengthBytes;
  }
  return copy;
}

/** Gives the guest bytes, as far as they fit and its memory is RAM. Returns how many. */
export function copyTo(
  memory: GuestMemory,
  segments: readonly Segment[],
  bytes: Uint8Array,
): number {
  let at = 0;
  for (const { paddr, lengthBytes } of segments) {
    const count = Math.min(lengthBytes, bytes.length - at);
    const target = memory.bytes(paddr, count);
    if (count === 0 || target === undefined) break;
    target.set(bytes.subarray(at, at + count));
    memory.wrote(paddr, count);
    at += count;
  }
  return at;
}
