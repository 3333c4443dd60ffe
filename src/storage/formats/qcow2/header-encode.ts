import type { Header } from './header.ts';
import * as q from './layout.ts';

const SECTOR_BYTES = 512;

/** Names that other programs show for feature bits which they do not know. */
const FEATURES: readonly (readonly [type: number, bit: number, name: string])[] = [
  [0, 0, 'dirty bit'],
  [0, 1, 'corrupt bit'],
  [0, 2, 'external data file'],
  [0, 3, 'compression type'],
  [0, 4, 'extended L2 entries'],
  [1, 0, 'lazy refcounts'],
  [2, 0, 'bitmaps'],
  [2, 1, 'raw external data'],
];
const FEATURE_BYTES = 48;

/** The feature name table, for a new image. */
export function featureNames(): Uint8Array {
  const data = new Uint8Array(FEATURES.length * FEATURE_BYTES);
  FEATURES.forEach(([type, bit, name], index) => {
    data.set([type, bit], index * FEATURE_BYTES);
    data.set(new TextEncoder().encode(name), index * FEATURE_BYTES + 2);
  });
  return data;
}

/**
 * The header with its extensions and the backing file's name, which stands at `nameFrom` or behind: whole sectors. It may be
 * longer than a cluster.
 */
export function encodeHeader(header: Header, nameFrom = 0): Uint8Array {
  const extensions = header.extensions.map(({ type, data }) => {
    const bytes = new Uint8Array(8 + Math.ceil(data.length / 8) * 8);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, type);
    view.setUint32(4, data.length);
    bytes.set(data, 8);
    return bytes;
  });
  const name = new TextEncoder().encode(header.backingName ?? '');
  // Eight bytes of zeros end the extensions.
  const end = header.headerBytes + extensions.reduce((sum, one) => sum + one.length, 8);
  const nameAt = Math.max(nameFrom, end);
  const length =
    Math.ceil((name.length > 0 ? nameAt + name.length : end) / SECTOR_BYTES) * SECTOR_BYTES;
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  encodeFields(view, header);
  bytes.set(header.unknownFields, Math.min(q.KNOWN_HEADER_BYTES, header.headerBytes));
  let at = header.headerBytes;
  for (const extension of extensions) {
    bytes.set(extension, at);
    at += extension.length;
  }
  if (name.length > 0) {
    view.setUint32(q.H_BACKING_OFFSET + 4, nameAt);
    view.setUint32(q.H_BACKING_SIZE, name.length);
    bytes.set(name, nameAt);
  }
  return bytes;
}

/** Writes the fields of fixed place, but not where the backing file's name lies. */
export function encodeFields(view: DataView, header: Header): void {
  const set64 = (at: number, value: number): void => {
    view.setUint32(at, Math.floor(value / q.TWO_32));
    view.setUint32(at + 4, value % q.TWO_32);
  };
  view.setUint32(0, q.MAGIC);
  view.setUint32(q.H_VERSION, header.version);
  view.setUint32(q.H_CLUSTER_BITS, header.clusterBits);
  set64(q.H_SIZE, header.sizeBytes);
  view.setUint32(q.H_L1_SIZE, header.l1Entries);
  set64(q.H_L1_OFFSET, header.l1Offset);
  set64(q.H_REFCOUNT_TABLE_OFFSET, header.refcountTableOffset);
  view.setUint32(q.H_REFCOUNT_TABLE_CLUSTERS, header.refcountTableClusters);
  view.setUint32(q.H_NB_SNAPSHOTS, header.snapshotCount);
  set64(q.H_SNAPSHOTS_OFFSET, header.snapshotsOffset);
  if (header.version < 3) return;
  view.setUint32(q.H_INCOMPATIBLE + 4, header.incompatible);
  view.setUint32(q.H_COMPATIBLE + 4, header.compatible);
  set64(q.H_AUTOCLEAR, header.autoclear);
  view.setUint32(q.H_REFCOUNT_ORDER, Math.log2(header.refcountBits));
  view.setUint32(q.H_HEADER_LENGTH, header.headerBytes);
  if (header.headerBytes > q.H_COMPRESSION_TYPE)
    view.setUint8(
      q.H_COMPRESSION_TYPE,
      header.compression === 'zstd' ? q.COMPRESSION_ZSTD : q.COMPRESSION_ZLIB,
    );
}
