import { type HostFile, ImageError } from '../../image.ts';
import * as q from './layout.ts';

export interface HeaderExtension {
  readonly type: number;
  readonly data: Uint8Array;
}

/** What stands in the first cluster. Counts and offsets have been checked against each other, not against the file. */
export interface Header {
  readonly version: 2 | 3;
  readonly headerBytes: number;
  readonly clusterBits: number;
  readonly sizeBytes: number;
  readonly backingName: string | undefined;
  readonly backingFormat: string | undefined;
  /** Name of the file that holds the data, where that is not this one. */
  readonly dataFile: string | undefined;
  readonly l1Entries: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly snapshotCount: number;
  readonly snapshotsOffset: number;
  readonly incompatible: number;
  readonly compatible: number;
  readonly autoclear: number;
  readonly hasUnknownAutoclear: boolean;
  readonly refcountBits: number;
  readonly compression: 'zlib' | 'zstd';
  readonly extendedL2: boolean;
  readonly extensions: readonly HeaderExtension[];
  /** Fields that the header has after those we know. */
  readonly unknownFields: Uint8Array;
}

const KNOWN_INCOMPATIBLE =
  q.INCOMPATIBLE_DIRTY |
  q.INCOMPATIBLE_CORRUPT |
  q.INCOMPATIBLE_DATA_FILE |
  q.INCOMPATIBLE_COMPRESSION |
  q.INCOMPATIBLE_EXTENDED_L2;

const KNOWN_AUTOCLEAR = q.AUTOCLEAR_BITMAPS | q.AUTOCLEAR_RAW_DATA;

/** Parses without looking at the file: `bytes` is its first cluster, or all of it when that is shorter. */
class HeaderParser {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #path: string;

  constructor(bytes: Uint8Array, path: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#path = path;
  }

  /** @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. */
  parse(): Header {
    const version = this.#version();
    const clusterBits = this.#view.getUint32(q.H_CLUSTER_BITS);
    if (clusterBits < q.MIN_CLUSTER_BITS || clusterBits > q.MAX_CLUSTER_BITS)
      throw this.#bad(
        'unsupported',
        q.H_CLUSTER_BITS,
        `clusters of 2^${clusterBits} bytes; 2^9 to 2^21 are`,
      );
    this.#refuseEncryption();
    const features = version === 3 ? this.#features() : V2_FEATURES;
    const extendedL2 = (features.incompatible & q.INCOMPATIBLE_EXTENDED_L2) !== 0;
    if (extendedL2 && clusterBits < q.MIN_EXTENDED_CLUSTER_BITS)
      throw this.#bad(
        'corrupt',
        q.H_CLUSTER_BITS,
        'extended L2 entries need clusters of 16 KiB or more',
      );
    const clusterBytes = 2 ** clusterBits;
    if (features.headerBytes > clusterBytes)
      throw this.#bad('corrupt', q.H_HEADER_LENGTH, 'the header is longer than a cluster');
    const backing = this.#backing(clusterBytes);
    const extensions = this.#extensions(features.headerBytes, backing?.offset ?? clusterBytes);
    const header: Header = {
      version,
      ...features,
      clusterBits,
      extendedL2,
      extensions,
      unknownFields: this.#bytes.slice(
        Math.min(q.KNOWN_HEADER_BYTES, features.headerBytes),
        features.headerBytes,
      ),
      sizeBytes: this.#size(),
      backingName: backing?.name,
      backingFormat: textOf(extensions.find((one) => one.type === q.EXT_BACKING_FORMAT)),
      dataFile: this.#dataFile(features.incompatible, extensions),
      l1Entries: this.#view.getUint32(q.H_L1_SIZE),
      l1Offset: this.#offset(q.H_L1_OFFSET, clusterBytes, 'L1 table'),
      refcountTableOffset: this.#offset(q.H_REFCOUNT_TABLE_OFFSET, clusterBytes, 'refcount table'),
      refcountTableClusters: this.#view.getUint32(q.H_REFCOUNT_TABLE_CLUSTERS),
      snapshotCount: this.#view.getUint32(q.H_NB_SNAPSHOTS),
      snapshotsOffset: this.#offset(q.H_SNAPSHOTS_OFFSET, clusterBytes, 'snapshot table'),
    };
    this.#checkSizes(header, clusterBytes);
    return header;
  }

  #version(): 2 | 3 {
    if (this.#bytes.length < q.V2_HEADER_BYTES || this.#view.getUint32(0) !== q.MAGIC)
      throw this.#bad('bad-format', 0, 'not a qcow2 image: the magic number is missing');
    const version = this.#view.getUint32(q.H_VERSION);
    if (version !== 2 && version !== 3)
      throw this.#bad('unsupported', q.H_VERSION, `version ${version}; only 2 and 3 are`);
    if (version === 3 && this.#bytes.length < q.V3_HEADER_BYTES)
      throw this.#bad('corrupt', 0, 'the file ends within the header');
    return version;
  }

  #refuseEncryption(): void {
    const method = this.#view.getUint32(q.H_CRYPT_METHOD);
    if (method === 0) return;
    const name = ['', 'AES', 'LUKS'][method] ?? `of an unknown method ${method}`;
    throw this.#bad(
      'unsupported',
      q.H_CRYPT_METHOD,
      `encryption (${name}); convert the image to a plain one with the tool that made it`,
    );
  }

  #features(): typeof V2_FEATURES {
    const [high, incompatible] = this.#words(q.H_INCOMPATIBLE);
    const unknown = incompatible & ~KNOWN_INCOMPATIBLE;
    if (unknown !== 0 || high !== 0)
      throw this.#bad(
        'unsupported',
        q.H_INCOMPATIBLE,
        `incompatible features 0x${high.toString(16)}:${(unknown >>> 0).toString(16)}, newer than this program`,
      );
    const headerBytes = this.#view.getUint32(q.H_HEADER_LENGTH);
    if (headerBytes < q.V3_HEADER_BYTES || headerBytes % 8 !== 0)
      throw this.#bad('corrupt', q.H_HEADER_LENGTH, `a header of ${headerBytes} bytes`);
    const order = this.#view.getUint32(q.H_REFCOUNT_ORDER);
    if (order > 6) throw this.#bad('corrupt', q.H_REFCOUNT_ORDER, `a refcount order of ${order}`);
    const [autoclearHigh, autoclear] = this.#words(q.H_AUTOCLEAR);
    return {
      headerBytes,
      incompatible,
      compatible: this.#words(q.H_COMPATIBLE)[1],
      autoclear,
      hasUnknownAutoclear: autoclearHigh !== 0 || (autoclear & ~KNOWN_AUTOCLEAR) !== 0,
      refcountBits: 2 ** order,
      compression: this.#compression(incompatible, headerBytes),
    };
  }

  #dataFile(incompatible: number, extensions: readonly HeaderExtension[]): string | undefined {
    if ((incompatible & q.INCOMPATIBLE_DATA_FILE) === 0) return undefined;
    const name = textOf(extensions.find((one) => one.type === q.EXT_DATA_FILE));
    if (name !== undefined && name !== '') return name;
    throw this.#bad('unsupported', q.H_INCOMPATIBLE, 'an external data file without a name');
  }

  #compression(incompatible: number, headerBytes: number): 'zlib' | 'zstd' {
    const isThere = headerBytes > q.H_COMPRESSION_TYPE && this.#bytes.length > q.H_COMPRESSION_TYPE;
    const type = isThere ? this.#view.getUint8(q.H_COMPRESSION_TYPE) : 0;
    const flagged = (incompatible & q.INCOMPATIBLE_COMPRESSION) !== 0;
    if (flagged !== (type !== q.COMPRESSION_ZLIB))
      throw this.#bad(
        'corrupt',
        q.H_COMPRESSION_TYPE,
        'compression type and its feature bit contradict',
      );
    if (type > q.COMPRESSION_ZSTD)
      throw this.#bad(
        'unsupported',
        q.H_COMPRESSION_TYPE,
        `compression type ${type}; zlib and zstd are`,
      );
    return type === q.COMPRESSION_ZSTD ? 'zstd' : 'zlib';
  }

  #size(): number {
    const [high, low] = this.#words(q.H_SIZE);
    const size = high * q.TWO_32 + low;
    if (!Number.isSafeInteger(size))
      throw this.#bad(
        'unsupported',
        q.H_SIZE,
        `a disk of ${this.#view.getBigUint64(q.H_SIZE)} bytes; less than 8 PiB (2^53) are`,
      );
    return Math.floor(size / 512) * 512;
  }

  #offset(at: number, clusterBytes: number, what: string): number {
    const [high, low] = this.#words(at);
    const offset = high * q.TWO_32 + low;
    if (!Number.isSafeInteger(offset) || offset % clusterBytes !== 0)
      throw this.#bad('corrupt', at, `the ${what} does not start at a cluster`);
    return offset;
  }

  #backing(clusterBytes: number): { name: string; offset: number } | undefined {
    const [high, low] = this.#words(q.H_BACKING_OFFSET);
    const offset = high * q.TWO_32 + low;
    if (offset === 0) return undefined;
    const length = this.#view.getUint32(q.H_BACKING_SIZE);
    const end = Math.min(clusterBytes, this.#bytes.length);
    if (length > q.MAX_BACKING_NAME_BYTES || offset < q.V2_HEADER_BYTES || offset + length > end)
      throw this.#bad(
        'corrupt',
        q.H_BACKING_OFFSET,
        "the backing file's name does not lie in the first cluster",
      );
    if (length === 0) return undefined;
    const name = new TextDecoder().decode(this.#bytes.subarray(offset, offset + length));
    return { name, offset };
  }

  #extensions(from: number, limit: number): HeaderExtension[] {
    const end = Math.min(limit, this.#bytes.length);
    const found: HeaderExtension[] = [];
    for (let at = from; at + 8 <= end; ) {
      const type = this.#view.getUint32(at);
      const length = this.#view.getUint32(at + 4);
      if (type === q.EXT_END) break;
      if (at + 8 + length > end)
        throw this.#bad(
          'corrupt',
          at,
          `a header extension of ${length} bytes leaves the first cluster`,
        );
      found.push({ type, data: this.#bytes.slice(at + 8, at + 8 + length) });
      at += 8 + Math.ceil(length / 8) * 8;
    }
    return found;
  }

  #checkSizes(header: Header, clusterBytes: number): void {
    if (header.l1Entries * 8 > q.MAX_L1_BYTES)
      throw this.#bad('unsupported', q.H_L1_SIZE, `an L1 table of ${header.l1Entries} entries`);
    const entryBytes = header.extendedL2 ? 16 : 8;
    const perL1 = clusterBytes * (clusterBytes / entryBytes);
    if (header.l1Entries < Math.ceil(header.sizeBytes / perL1))
      throw this.#bad('corrupt', q.H_L1_SIZE, 'the L1 table is too short for the disk');
    if (header.refcountTableClusters * clusterBytes > q.MAX_REFCOUNT_TABLE_BYTES)
      throw this.#bad('unsupported', q.H_REFCOUNT_TABLE_CLUSTERS, 'a refcount table beyond 8 MiB');
    if (header.snapshotCount > q.MAX_SNAPSHOTS)
      throw this.#bad('unsupported', q.H_NB_SNAPSHOTS, `${header.snapshotCount} snapshots`);
  }

  #words(at: number): [number, number] {
    return [this.#view.getUint32(at), this.#view.getUint32(at + 4)];
  }

  #bad(kind: ImageError['kind'], offsetBytes: number, what: string): ImageError {
    const says = kind === 'unsupported' ? `not supported: ${what}` : what;
    return new ImageError(kind, `${this.#path}: qcow2 header at ${offsetBytes}: ${says}`, {
      path: this.#path,
      offsetBytes,
    });
  }
}

const V2_FEATURES = {
  headerBytes: q.V2_HEADER_BYTES,
  incompatible: 0,
  compatible: 0,
  autoclear: 0,
  hasUnknownAutoclear: false,
  refcountBits: 16,
  compression: 'zlib' as 'zlib' | 'zstd',
};

function textOf(extension: HeaderExtension | undefined): string | undefined {
  return extension === undefined ? undefined : new TextDecoder().decode(extension.data);
}

/** Reads and parses the header of `file`. */
export async function readHeader(file: HostFile): Promise<Header> {
  const bytes = new Uint8Array(2 ** q.MAX_CLUSTER_BITS);
  // Most headers end within the first 4 KiB; only a long name or table needs all of the cluster.
  const first = await file.read(0, bytes.subarray(0, 4096));
  const bits = first >= 24 ? new DataView(bytes.buffer).getUint32(q.H_CLUSTER_BITS) : 0;
  const clusterBytes = bits >= q.MIN_CLUSTER_BITS && bits <= q.MAX_CLUSTER_BITS ? 2 ** bits : 4096;
  const length = await file.read(0, bytes.subarray(0, clusterBytes));
  return new HeaderParser(bytes.subarray(0, length), file.path).parse();
}
