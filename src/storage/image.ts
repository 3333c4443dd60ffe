/** Offsets and lengths of every request on a disk are multiples of this. */
export const SECTOR_BYTES = 512;

/** What went wrong with an image: `at` names the file and the place in it, `cause` what the host said. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
  readonly kind:
    | 'io'
    | 'no-space'
    | 'not-found'
    | 'exists'
    | 'locked'
    | 'read-only'
    | 'bad-format'
    | 'bad-option'
    | 'unsupported'
    | 'corrupt'
    | 'out-of-range';
  readonly at: { readonly path?: string; readonly offsetBytes?: number };

  constructor(
    kind: ImageError['kind'],
    message: string,
    at: ImageError['at'] = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.kind = kind;
    this.at = at;
  }
}

/**
 * A file, or what behaves as one (a block device, a test's memory). Calls may overlap; those on overlapping ranges have no
 * order. Every method throws {ImageError}: `io`, `no-space`, `read-only`.
 */
export interface HostFile {
  readonly path: string;
  readonly readOnly: boolean;
  /** Of a part of a file: where it begins there. */
  readonly startBytes?: number;
  /** Fills `into` from `offsetBytes`; what lies past the end reads as zeros. Resolves with the bytes that were there. */
  read(offsetBytes: number, into: Uint8Array): Promise<number>;
  /** Writes all of `from`; the file grows as needed, and a gap reads as zeros. */
  write(offsetBytes: number, from: Uint8Array): Promise<void>;
  /**
   * Reads or writes within the call, for those who have one small request at a time: a wait for another thread would take
   * longer than the request. False: it is not done, or not wholly, and `read` or `write` must do it (they report errors).
   */
  tryRead?(offsetBytes: number, into: readonly Uint8Array[]): boolean;
  tryWrite?(offsetBytes: number, from: readonly Uint8Array[]): boolean;
  /** Resolves when all completed writes are on stable storage, the file's size included. */
  flush(): Promise<void>;
  size(): Promise<number>;
  /** Bytes the file takes on its disk; fewer than its size when it is sparse. */
  allocatedBytes(): Promise<number>;
  truncate(sizeBytes: number): Promise<void>;
  /**
   * Makes the range read as zeros and gives its room back. Resolves with false when the host cannot, and has then changed
   * nothing: callers that need zeros must write them. Never changes the file's size.
   */
  punch(offsetBytes: number, lengthBytes: number): Promise<boolean>;
  /** Reserves room from `fromBytes` (0) up to `sizeBytes` and makes the file at least that long; false when the host cannot. */
  reserve(sizeBytes: number, fromBytes?: number): Promise<boolean>;
  /**
   * Length of the run from `offsetBytes` that is all hole or all data, as far as the host tells; `data` when unsure. The
   * run is cut at `lengthBytes`.
   */
  extent(offsetBytes: number, lengthBytes: number): Promise<{ data: boolean; lengthBytes: number }>;
  close(): Promise<void>;
}

export interface FileOptions {
  /** `create` makes the file, or empties it; `create-new` fails with `exists` when it is there. Default: `read`. */
  readonly access?: 'read' | 'write' | 'create' | 'create-new';
  /** A file whose owner and mode one of `create-new` gets, where the host has such. */
  readonly like?: string;
  /** Whether to hold the writer's lock, so that a second writer gets `locked`. Default: true when not `read`. */
  readonly lock?: boolean;
}

/** Compressors. Input and output are hostile: `maxBytes` bounds what decompression may make. */
export interface Codec {
  /** RFC 1951, no header. `windowBits` as zlib has it. */
  deflateRaw(
    from: Uint8Array,
    options?: { level?: number; windowBits?: number },
  ): Promise<Uint8Array>;
  /** Resolves with exactly `maxBytes`, or fewer when the stream ends before; what follows in `from` is ignored. */
  inflateRaw(from: Uint8Array, maxBytes: number): Promise<Uint8Array>;
  /** RFC 1950, as VMDK and DMG use it. */
  deflate(from: Uint8Array, options?: { level?: number }): Promise<Uint8Array>;
  inflate(from: Uint8Array, maxBytes: number): Promise<Uint8Array>;
  zstdCompress(from: Uint8Array): Promise<Uint8Array>;
  zstdDecompress(from: Uint8Array, maxBytes: number): Promise<Uint8Array>;
}

/** A file in the place of another. */
export interface Replaced {
  /** Whoever opens the path finds it now. */
  readonly file: HostFile;
  /** Resolves when it is found after a loss of power, too. */
  settle(): Promise<void>;
}

/** What formats reach the world through. */
export interface StorageHost {
  readonly codec: Codec;
  /** @throws {ImageError} `not-found`, `exists`, `locked`, `read-only`, `io`. */
  openFile(path: string, options?: FileOptions): Promise<HostFile>;
  /**
   * Puts a file of `bytes` in the place of the one at `path`, for writing and on stable storage: whoever opens it meets the
   * old or the new one, after a loss of power too; the new one, and all made before in its folder, after `settle`. What has
   * the old one open keeps that.
   */
  replace(path: string, bytes: Uint8Array): Promise<Replaced>;
  /** Removes a file; that there is none is no error. */
  remove(path: string): Promise<void>;
  /** The path that `name`, written in the image at `imagePath`, means: relative names start at the image's folder. */
  resolve(imagePath: string, name: string): string;
  /** Equal for two paths exactly when they lead to one file. */
  identity(path: string): Promise<string>;
  /** Names of what is in the folder of `path`, sorted; none when it cannot be read. */
  list(path: string): Promise<readonly string[]>;
  nowMs(): number;
}

/** A run of the disk. `unallocated`: this image says nothing of it, its backing image is asked; without one it is zeros. */
export interface Extent {
  readonly kind: 'data' | 'zero' | 'unallocated';
  readonly lengthBytes: number;
  /** Where the bytes lie, as they are, in the host file; of what is no data the place that is kept for it. */
  readonly hostOffsetBytes?: number;
  /** The host file, where that is not the image's own. */
  readonly hostPath?: string;
  readonly compressed?: boolean;
  /**
   * For the image they are data, and their place is a hole of the host file, so that nobody needs to read them. `zero` where
   * QEMU looks there, too, and else `data`: that is what `map`, `measure` and `compare -s` tell.
   */
  readonly hole?: boolean;
}

export interface Snapshot {
  readonly id: string;
  readonly name: string;
  readonly vmStateBytes: number;
  /** Since 1970. */
  readonly createdNs: bigint;
  readonly vmClockNs: bigint;
  /** Instructions that the guest had run, where the image tells. */
  readonly icount?: bigint;
  /** Size of the disk then. */
  readonly sizeBytes: number;
}

/** A snapshot's id and name, those that are known of it; a text is an id or, where no id fits, a name. */
export type SnapshotQuery = string | { readonly id?: string; readonly name?: string };

/** Snapshots inside an image. `which` is an id or, where no id fits, a name. */
export interface SnapshotStore {
  list(): readonly Snapshot[];
  create(name: string): Promise<Snapshot>;
  /** Sets the disk, its size included, to what it was. */
  apply(which: string): Promise<void>;
  delete(which: string): Promise<void>;
}

/** A record of what was written to the disk since the bitmap was made or cleared. */
export interface Bitmap {
  readonly name: string;
  /** What a bit stands for. */
  readonly granularityBytes: number;
  /** Whether it follows what is written. */
  readonly enabled: boolean;
  /** Its last writer did not close it: it can only be removed. */
  readonly inconsistent: boolean;
}

/** A run of the disk whose bits are set. */
export interface BitmapRun {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Bitmaps inside an image. What cannot be (no such name, one that is there) is an {ImageError}. */
export interface BitmapStore {
  list(): Promise<readonly Bitmap[]>;
  /** Default: enabled, and as fine as the image's units are, within limits. */
  add(
    name: string,
    options?: { readonly granularityBytes?: number; readonly enabled?: boolean },
  ): Promise<void>;
  remove(name: string): Promise<void>;
  clear(name: string): Promise<void>;
  setEnabled(name: string, enabled: boolean): Promise<void>;
  /** Sets what is set in bitmap `from`, of `source` or, without it, of the same image. */
  merge(name: string, from: string, source?: BitmapStore): Promise<void>;
  runs(name: string): AsyncIterable<BitmapRun>;
}

export type InfoValue =
  | string
  | number
  | boolean
  | readonly InfoValue[]
  | { readonly [key: string]: InfoValue };

export interface ImageInfo {
  readonly clusterBytes?: number;
  readonly compressed?: boolean;
  readonly encrypted?: boolean;
  readonly dirty?: boolean;
  /** As written in the image. */
  readonly backingName?: string;
  readonly backingFormat?: string;
  readonly snapshots?: readonly Snapshot[];
  /** What this format alone has, under the names that qemu-img uses. */
  readonly specific?: { readonly [key: string]: InfoValue };
}

export interface WriteZeroesOptions {
  /** Whether room may be given back (virtio 1.2, 5.2.6: VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP). */
  readonly mayUnmap?: boolean;
}

/**
 * An open disk. Offsets and lengths are multiples of SECTOR_BYTES and lie within `sizeBytes`, else `out-of-range`. Calls may
 * overlap; those on overlapping ranges have no order. Methods throw {ImageError}: `io` when the host file fails, `corrupt`
 * on a bad mapping, `read-only` for changes to an image opened so.
 */
export interface DiskImage {
  readonly format: string;
  readonly path: string;
  /** What the guest sees; a multiple of SECTOR_BYTES. Changes by `resize` and by applying a snapshot alone. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** What unallocated parts read from. Owned: closed with this image. */
  readonly backing: DiskImage | undefined;
  /** The unit in which room is taken: writes of whole, aligned units are cheapest. */
  readonly unitBytes: number;
  /** Fills `into`. Unallocated parts read from the backing image; without one, and past its end, as zeros. */
  read(offsetBytes: number, into: Uint8Array): Promise<void>;
  write(offsetBytes: number, from: Uint8Array): Promise<void>;
  /** As {@link HostFile.tryRead}, where the tables that say what lies where are at hand. */
  tryRead?(offsetBytes: number, into: readonly Uint8Array[]): boolean;
  tryWrite?(offsetBytes: number, from: readonly Uint8Array[]): boolean;
  writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    options?: WriteZeroesOptions,
  ): Promise<void>;
  /** A hint: gives room back where that is possible. Afterwards the range reads as zeros or as before. */
  discard(offsetBytes: number, lengthBytes: number): Promise<void>;
  /** Resolves when all completed writes are on stable storage (virtio 1.2, 5.2.6, VIRTIO_BLK_T_FLUSH). */
  flush(): Promise<void>;
  /** The run that starts at `offsetBytes`, cut at `lengthBytes`; of this image alone, its backing not asked. */
  extent(offsetBytes: number, lengthBytes: number): Promise<Extent>;
  info(): Promise<ImageInfo>;
  /** Flushes and closes, the backing image too. No other call may be under way or follow. */
  close(): Promise<void>;

  readonly snapshots?: SnapshotStore;
  readonly bitmaps?: BitmapStore;
  /** Shrinking needs `shrink`; new room reads as zeros. */
  resize?(sizeBytes: number, options?: ResizeOptions): Promise<void>;
  /** Stores whole units compressed; `from` starts at a unit and ends at one or at the disk's end. */
  writeCompressed?(offsetBytes: number, from: Uint8Array): Promise<void>;
  /** Writes another backing file's name, or none, into the image. What reads from it is not looked at. */
  setBacking?(name: string | undefined, format: string | undefined): Promise<void>;
  /**
   * Writes into the image, durably, which state its backing file is in now: else it is refused when that was written to.
   * Only where the format keeps that, and the image is open for writing and has a backing image.
   */
  adoptBacking?(): Promise<void>;
  /** Changes what the image was created with, by `amendOptions` of its format. Afterwards it can only be closed. */
  amend?(options: CreateRequest['options']): Promise<void>;
  /** Drops all data, so that everything is unallocated. `onProgress` is told of bytes of the disk since the last call. */
  makeEmpty?(onProgress?: (bytes: number) => void): Promise<void>;
}

export interface ResizeOptions {
  readonly shrink?: boolean;
  readonly preallocation?: string;
}

export interface OpenContext {
  readonly host: StorageHost;
  readonly readOnly: boolean;
  /** Whether a backing file will do that was written to since the image was made, where the format would tell. */
  readonly anyBacking: boolean;
  /** Opens, read-only, the image that the file at `fromPath` names; loops and depth are checked. Undefined: asked not to. */
  openBacking(
    fromPath: string,
    name: string,
    format: string | undefined,
  ): Promise<DiskImage | undefined>;
}

/** An option of `create -o`: `text` is what the user wrote. */
export interface CreateOption {
  readonly name: string;
  readonly about: string;
  readonly type: 'size' | 'number' | 'bool' | 'text';
  /** Said of a new image, as qemu-img does, when the option is not given. */
  readonly byDefault?: string | number | boolean;
}

export interface CreateRequest {
  /** A multiple of SECTOR_BYTES. */
  readonly sizeBytes: number;
  /** By the names in `createOptions`, checked to be of their types. */
  readonly options: ReadonlyMap<string, string | number | boolean>;
}

export interface CheckRequest {
  readonly repair: 'none' | 'leaks' | 'all';
}

export interface CheckResult {
  readonly corruptions: number;
  readonly leaks: number;
  readonly corruptionsFixed: number;
  readonly leaksFixed: number;
  /** Places that could not be looked at. */
  readonly checkErrors: number;
  /** A line for each finding; the first few thousand. */
  readonly messages: readonly string[];
  readonly imageEndBytes: number;
  readonly totalClusters: number;
  readonly allocatedClusters: number;
  readonly fragmentedClusters: number;
  readonly compressedClusters: number;
}

/** A format is a value in the list of open.ts. */
export interface ImageFormat {
  readonly name: string;
  /** Whether these first bytes (up to 64 KiB) of a file, and its last 512, are of this format. */
  probe(head: Uint8Array, tail: Uint8Array): boolean;
  /** Takes `file` over: closes it with the image, or before throwing. @throws {ImageError} `bad-format`, `unsupported`, … */
  open(file: HostFile, context: OpenContext): Promise<DiskImage>;
  /** Opens, read-only, the disk as it was at a snapshot inside the image. Else as `open`. */
  openSnapshot?(file: HostFile, context: OpenContext, which: SnapshotQuery): Promise<DiskImage>;
  readonly createOptions: readonly CreateOption[];
  /** Whether whatever is written to an image that was made with these options is compressed. */
  compressesAll?(options: CreateRequest['options']): boolean;
  /** What `amend` of its images changes. */
  readonly amendOptions?: readonly CreateOption[];
  /** Fills an empty file, and flushes it; the caller closes it, and removes it when this throws. */
  create?(file: HostFile, request: CreateRequest, host: StorageHost): Promise<void>;
  /** Looks at all metadata; mends what `repair` says. Does not close `file`. */
  check?(file: HostFile, request: CheckRequest, context: OpenContext): Promise<CheckResult>;
  /** Bytes that a new file would take: as created for a disk with `dataBytes` allocated, and with all of it. */
  measure?(request: CreateRequest, dataBytes: number): { required: number; fullyAllocated: number };
}

/** @throws {ImageError} `out-of-range` when a request does not lie on whole sectors within the disk. */
export function checkRange(
  image: { readonly sizeBytes: number; readonly path: string },
  offsetBytes: number,
  lengthBytes: number,
): void {
  const aligned = offsetBytes % SECTOR_BYTES === 0 && lengthBytes % SECTOR_BYTES === 0;
  if (
    aligned &&
    offsetBytes >= 0 &&
    lengthBytes >= 0 &&
    offsetBytes + lengthBytes <= image.sizeBytes
  )
    return;
  throw new ImageError(
    'out-of-range',
    `${image.path}: ${lengthBytes} bytes at ${offsetBytes} are not whole sectors within the disk's ${image.sizeBytes} bytes`,
    { path: image.path, offsetBytes },
  );
}
