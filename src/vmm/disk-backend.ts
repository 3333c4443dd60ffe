import type { BlockBackend, BlockStatus } from '#hw/block.ts';
import { type DiskImage, ImageError } from '#storage/image.ts';

export interface DiskPolicy {
  readonly serial: string;
  /** False: flushes are not passed on. */
  readonly flushes: boolean;
  /** Hears each failure of the host once for each distinct text. */
  readonly failed: (message: string) => void;
}

/** An image as devices see it: failures are values, told to the user too. */
export class DiskBackend implements BlockBackend {
  readonly serial: string;
  readonly #image: DiskImage;
  readonly #policy: DiskPolicy;
  readonly #told = new Set<string>();

  constructor(image: DiskImage, policy: DiskPolicy) {
    this.#image = image;
    this.#policy = policy;
    this.serial = policy.serial;
  }

  get sizeBytes(): number {
    return this.#image.sizeBytes;
  }

  get readOnly(): boolean {
    return this.#image.readOnly;
  }

  get unitBytes(): number {
    return this.#image.unitBytes;
  }

  read(offsetBytes: number, into: Uint8Array): Promise<BlockStatus> {
    return this.#status(this.#image.read(offsetBytes, into));
  }

  write(offsetBytes: number, from: Uint8Array): Promise<BlockStatus> {
    return this.#status(this.#image.write(offsetBytes, from));
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, mayUnmap: boolean): Promise<BlockStatus> {
    return this.#status(this.#image.writeZeroes(offsetBytes, lengthBytes, { mayUnmap }));
  }

  discard(offsetBytes: number, lengthBytes: number): Promise<BlockStatus> {
    return this.#status(this.#image.discard(offsetBytes, lengthBytes));
  }

  flush(): Promise<BlockStatus> {
    return this.#policy.flushes ? this.#status(this.#image.flush()) : Promise.resolve('ok');
  }

  async #status(request: Promise<void>): Promise<BlockStatus> {
    try {
      await request;
      return 'ok';
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      this.#tell(error.message);
      if (error.kind === 'no-space' || error.kind === 'read-only') return error.kind;
      return 'io-error';
    }
  }

  #tell(message: string): void {
    if (this.#told.has(message) || this.#told.size >= 100) return;
    this.#told.add(message);
    this.#policy.failed(message);
  }
}
