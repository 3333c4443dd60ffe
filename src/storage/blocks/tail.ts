import type { HostFile } from '../image.ts';
import type { Place } from './block-map.ts';

/** Hands out room at the end of a file. */
export class Tail {
  readonly #file: HostFile;
  /** Behind this nothing has been written: it reads as zeros. */
  #writtenBytes: number;
  #endBytes: number;
  #growing = false;

  /** Room starts at `endBytes`; what lies between it and the file's end, if anything, is taken for leftovers. */
  constructor(file: HostFile, fileBytes: number, endBytes: number) {
    this.#file = file;
    this.#writtenBytes = fileBytes;
    this.#endBytes = endBytes;
  }

  get endBytes(): number {
    return this.#endBytes;
  }

  take(lengthBytes: number): Place {
    const hostOffsetBytes = this.#endBytes;
    this.#endBytes += lengthBytes;
    this.#growing = true;
    return { file: this.#file, hostOffsetBytes, zeroed: hostOffsetBytes >= this.#writtenBytes };
  }

  /** Makes the file as long as the room that was handed out. */
  async grow(): Promise<void> {
    if (!this.#growing) return;
    this.#growing = false;
    if ((await this.#file.size()) < this.#endBytes) await this.#file.truncate(this.#endBytes);
  }
}
