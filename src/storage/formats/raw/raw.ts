import {
  type CreateRequest,
  checkRange,
  type DiskImage,
  type Extent,
  type HostFile,
  ImageError,
  type ImageFormat,
  type ImageInfo,
  type OpenContext,
  type ResizeOptions,
  SECTOR_BYTES,
  type WriteZeroesOptions,
} from '../../image.ts';
import { totalLength } from '../../pieces.ts';
import { fillZeros } from '../../zeros.ts';

const PREALLOCATION = ['off', 'falloc', 'full'] as const;

/** The file is the disk. A last part sector counts as whole. */
class RawImage implements DiskImage {
  readonly format = 'raw';
  readonly backing = undefined;
  readonly unitBytes = SECTOR_BYTES;
  readonly path: string;
  readonly readOnly: boolean;
  readonly #file: HostFile;
  #sizeBytes: number;

  constructor(file: HostFile, fileBytes: number, readOnly: boolean) {
    this.path = file.path;
    this.readOnly = readOnly;
    this.#file = file;
    this.#sizeBytes = Math.ceil(fileBytes / SECTOR_BYTES) * SECTOR_BYTES;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    checkRange(this, offsetBytes, into.length);
    await this.#file.read(offsetBytes, into);
  }

  async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    this.#checkChange(offsetBytes, from.length);
    await this.#file.write(offsetBytes, from);
  }

  tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    checkRange(this, offsetBytes, totalLength(into));
    return this.#file.tryRead?.(offsetBytes, into) ?? false;
  }

  tryWrite(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    this.#checkChange(offsetBytes, totalLength(from));
    return this.#file.tryWrite?.(offsetBytes, from) ?? false;
  }

  async writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    options: WriteZeroesOptions = {},
  ): Promise<void> {
    this.#checkChange(offsetBytes, lengthBytes);
    if (lengthBytes === 0) return;
    if (options.mayUnmap === true && (await this.#file.punch(offsetBytes, lengthBytes))) return;
    await fillZeros(this.#file, offsetBytes, lengthBytes);
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#checkChange(offsetBytes, lengthBytes);
    if (lengthBytes > 0) await this.#file.punch(offsetBytes, lengthBytes);
  }

  flush(): Promise<void> {
    return this.#file.flush();
  }

  async extent(offsetBytes: number, lengthBytes: number): Promise<Extent> {
    checkRange(this, offsetBytes, lengthBytes);
    const run = await this.#file.extent(offsetBytes, lengthBytes);
    // A hole's edges lie on the host's blocks; the file's end may not.
    const length = Math.min(lengthBytes, Math.ceil(run.lengthBytes / SECTOR_BYTES) * SECTOR_BYTES);
    return {
      kind: run.data ? 'data' : 'zero',
      lengthBytes: length,
      hostOffsetBytes: (this.#file.startBytes ?? 0) + offsetBytes,
    };
  }

  info(): Promise<ImageInfo> {
    return Promise.resolve({});
  }

  async close(): Promise<void> {
    try {
      if (!this.readOnly) await this.#file.flush();
    } finally {
      await this.#file.close();
    }
  }

  async resize(sizeBytes: number, options: ResizeOptions = {}): Promise<void> {
    const old = this.#sizeBytes;
    if (sizeBytes < old && options.shrink !== true)
      throw new ImageError('bad-option', `${this.path}: shrinking from ${old} bytes loses data`);
    await this.#file.truncate(sizeBytes);
    try {
      if (sizeBytes > old) await preallocate(this.#file, old, sizeBytes, options.preallocation);
    } catch (error) {
      await this.#file.truncate(old);
      throw error;
    }
    this.#sizeBytes = sizeBytes;
  }

  #checkChange(offsetBytes: number, lengthBytes: number): void {
    checkRange(this, offsetBytes, lengthBytes);
    if (this.readOnly)
      throw new ImageError('read-only', `${this.path}: opened for reading only`, {
        path: this.path,
      });
  }
}

async function preallocate(
  file: HostFile,
  fromBytes: number,
  toBytes: number,
  mode = 'off',
): Promise<void> {
  if (!PREALLOCATION.some((known) => known === mode))
    throw new ImageError(
      'bad-option',
      `preallocation: raw images have ${PREALLOCATION.join(', ')}, not '${mode}'`,
    );
  if (mode === 'off' || (mode === 'falloc' && (await file.reserve(toBytes, fromBytes)))) return;
  await fillZeros(file, fromBytes, toBytes - fromBytes);
}

async function create(file: HostFile, request: CreateRequest): Promise<void> {
  await file.truncate(request.sizeBytes);
  const mode = request.options.get('preallocation');
  await preallocate(file, 0, request.sizeBytes, mode === undefined ? 'off' : String(mode));
  await file.flush();
}

/** A plain disk, byte for byte; a host's block device too. */
export const raw: ImageFormat = {
  name: 'raw',
  probe: () => true,
  open: async (file: HostFile, context: OpenContext) => {
    try {
      return new RawImage(file, await file.size(), context.readOnly);
    } catch (error) {
      await file.close();
      throw error;
    }
  },
  createOptions: [
    { name: 'preallocation', type: 'text', about: 'off (the default), falloc or full' },
  ],
  create,
  // Holes or not: who measures for a raw disk makes a volume of that size.
  measure: ({ sizeBytes }) => ({ required: sizeBytes, fullyAllocated: sizeBytes }),
};
