import * as q from './layout.ts';

/**
 * An L2 entry. Without extended L2 a cluster counts as one subcluster, so that both kinds of image take the same paths:
 * bit i of `allocated` and `zero` is subcluster i, and no bit stands in both.
 */
export interface L2Entry {
  /** Offset in the host file; see `isPlaced` for 0. For a compressed cluster it need not be aligned. */
  readonly hostOffset: number;
  /** Whether we alone refer to the host cluster, so that it can be written in place. */
  readonly copied: boolean;
  readonly allocated: number;
  readonly zero: number;
  /** Bytes to read for a compressed cluster; 0: it is not compressed. */
  readonly compressedBytes: number;
}

const UNALLOCATED: L2Entry = {
  hostOffset: 0,
  copied: false,
  allocated: 0,
  zero: 0,
  compressedBytes: 0,
};

/** How entries are written in an image. */
export interface L2Shape {
  readonly clusterBits: number;
  readonly extendedL2: boolean;
  /** Data lie in another file, where offset 0 is a place like any other. */
  readonly isExternal: boolean;
  /** Bits of all subclusters. */
  readonly allSubclusters: number;
  readonly subclusterBytes: number;
  readonly subclusters: number;
  readonly entryBytes: number;
}

export function l2Shape(clusterBits: number, extendedL2: boolean, isExternal: boolean): L2Shape {
  const subclusters = extendedL2 ? q.SUBCLUSTERS : 1;
  return {
    clusterBits,
    extendedL2,
    isExternal,
    subclusters,
    allSubclusters: extendedL2 ? 0xffff_ffff : 1,
    subclusterBytes: 2 ** clusterBits / subclusters,
    entryBytes: extendedL2 ? 16 : 8,
  };
}

/** The entry at byte `at`; a string says what is wrong with it. */
export function decodeEntry(view: DataView, at: number, shape: L2Shape): L2Entry | string {
  const high = view.getUint32(at);
  const low = view.getUint32(at + 4);
  const bitmap = shape.extendedL2 ? view.getUint32(at + 8) : 0;
  const allocated = shape.extendedL2 ? view.getUint32(at + 12) : 0;
  if ((high | low | bitmap | allocated) === 0) return UNALLOCATED;
  if ((high & q.HI_COMPRESSED) !== 0) return decodeCompressed(high, low, shape.clusterBits);
  if ((high & q.HI_L2_RESERVED) !== 0 || (low & q.LO_RESERVED) !== 0)
    return 'reserved bits are set';
  const hostOffset = (high & q.HI_OFFSET) * q.TWO_32 + ((low & q.LO_OFFSET) >>> 0);
  if (hostOffset % 2 ** shape.clusterBits !== 0) return 'the host offset is not that of a cluster';
  if (hostOffset > Number.MAX_SAFE_INTEGER) return 'the host offset is beyond 2^53';
  const isFlagged = (high & q.HI_COPIED) !== 0;
  const copied = isFlagged && (hostOffset !== 0 || shape.isExternal);
  const hasPlace = hostOffset !== 0 || copied;
  if (!shape.extendedL2) {
    const zero = low & q.LO_ZERO;
    const data = hasPlace && zero === 0 ? 1 : 0;
    return { hostOffset, copied, allocated: data, zero, compressedBytes: 0 };
  }
  if ((low & q.LO_ZERO) !== 0) return 'the zero flag is set in an extended entry';
  if ((allocated & bitmap) !== 0) return 'a subcluster is both allocated and zero';
  if (!hasPlace && allocated !== 0) return 'subclusters are allocated nowhere';
  return { hostOffset, copied, allocated, zero: bitmap, compressedBytes: 0 };
}

function decodeCompressed(high: number, low: number, clusterBits: number): L2Entry | string {
  // 62 bits: the offset takes the low x, the count of further sectors the rest; x is 41 to 61, so above bit 32.
  const offsetBits = 62 - (clusterBits - 8);
  const highBits = offsetBits - 32;
  const field = high & 0x3fff_ffff;
  const offsetHigh = field % 2 ** highBits;
  const sectors = Math.floor(field / 2 ** highBits);
  const hostOffset = offsetHigh * q.TWO_32 + low;
  if (hostOffset === 0 || hostOffset > Number.MAX_SAFE_INTEGER)
    return 'a compressed cluster lies nowhere';
  if ((high & q.HI_COPIED) !== 0) return 'a compressed cluster is marked as copied';
  const compressedBytes = (sectors + 1) * 512 - (hostOffset % 512);
  return { hostOffset, copied: false, allocated: 0, zero: 0, compressedBytes };
}

/** Whether an entry leads to a host cluster. */
export function isPlaced({ hostOffset, copied }: L2Entry): boolean {
  return hostOffset !== 0 || copied;
}

/** Writes an entry that is not compressed. */
export function encodeEntry(
  view: DataView,
  at: number,
  shape: L2Shape,
  entry: Omit<L2Entry, 'compressedBytes'>,
): void {
  const high = Math.floor(entry.hostOffset / q.TWO_32) | (entry.copied ? q.HI_COPIED : 0);
  const low = entry.hostOffset | (shape.extendedL2 ? 0 : entry.zero);
  view.setUint32(at, high);
  view.setUint32(at + 4, low);
  if (!shape.extendedL2) return;
  view.setUint32(at + 8, entry.zero);
  view.setUint32(at + 12, entry.allocated);
}

/**
 * Writes the entries of `count` clusters that lie one behind the other from `hostOffset` on, with `allocated` of their
 * subclusters in use: without an object, or a call, for each.
 */
export function encodeRun(
  view: DataView,
  at: number,
  shape: L2Shape,
  count: number,
  hostOffset: number,
  allocated: number,
): void {
  const clusterBytes = 2 ** shape.clusterBits;
  const end = at + count * shape.entryBytes;
  let host = hostOffset;
  for (let next = at; next < end; next += shape.entryBytes) {
    view.setUint32(next, Math.floor(host / q.TWO_32) | q.HI_COPIED);
    view.setUint32(next + 4, host);
    if (shape.extendedL2) {
      view.setUint32(next + 8, 0);
      view.setUint32(next + 12, allocated);
    }
    host += clusterBytes;
  }
}

/** Writes the entry of a compressed cluster of `lengthBytes` bytes. */
export function encodeCompressed(
  view: DataView,
  at: number,
  shape: L2Shape,
  hostOffset: number,
  lengthBytes: number,
): void {
  const highBits = 62 - (shape.clusterBits - 8) - 32;
  const sectors = Math.floor((hostOffset + lengthBytes - 1) / 512) - Math.floor(hostOffset / 512);
  const high = Math.floor(hostOffset / q.TWO_32) + sectors * 2 ** highBits;
  view.setUint32(at, high | q.HI_COMPRESSED);
  view.setUint32(at + 4, hostOffset % q.TWO_32);
  if (shape.extendedL2) {
    view.setUint32(at + 8, 0);
    view.setUint32(at + 12, 0);
  }
}

/** Offsets beyond this cannot stand in the entry of a compressed cluster. */
export function maxCompressedOffset(clusterBits: number): number {
  return Math.min(2 ** (62 - (clusterBits - 8)), Number.MAX_SAFE_INTEGER);
}

/** The host clusters that an entry refers to: first index and count, 0 when it refers to none. */
export function hostClusters(entry: L2Entry, clusterBytes: number): [number, number] {
  if (entry.hostOffset === 0) return [0, 0];
  const first = Math.floor(entry.hostOffset / clusterBytes);
  if (entry.compressedBytes === 0) return [first, 1];
  const last = Math.floor((entry.hostOffset + entry.compressedBytes - 1) / clusterBytes);
  return [first, last - first + 1];
}
