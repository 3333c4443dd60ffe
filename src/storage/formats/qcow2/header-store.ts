import { type HostFile, ImageError } from '../../image.ts';
import type { Header } from './header.ts';
import { encodeFields, encodeHeader } from './header-encode.ts';
import { Mutex } from './mutex.ts';

/** One write of it happens or does not: what stands in the first sector changes together. */
const SECTOR_BYTES = 512;

/** The header, in memory and in the file. */
export class HeaderStore {
  readonly #file: HostFile;
  #header: Header;
  /** The sector as it stands in the file. */
  #sector: Uint8Array | undefined;
  readonly #mutex = new Mutex();

  constructor(file: HostFile, header: Header) {
    this.#file = file;
    this.#header = header;
  }

  get header(): Header {
    return this.#header;
  }

  /** Changes fields of fixed size, all at once; they are durable when it resolves. */
  update(changes: Partial<Omit<Header, 'extensions' | 'backingName' | 'version'>>): Promise<void> {
    return this.#mutex.run(async () => {
      if (this.#sector === undefined) {
        const read = new Uint8Array(SECTOR_BYTES);
        await this.#file.read(0, read);
        this.#sector = read;
      }
      const next = { ...this.#header, ...changes };
      const sector = this.#sector.slice();
      encodeFields(new DataView(sector.buffer), next);
      await this.#file.write(0, sector);
      await this.#file.flush();
      this.#sector = sector;
      this.#header = next;
    });
  }

  /** Writes all of the header anew. @throws {ImageError} `bad-option` when it does not fit the first cluster. */
  rewrite(changes: Partial<Header>): Promise<void> {
    return this.#mutex.run(async () => {
      const next = { ...this.#header, ...changes };
      const bytes = encodeHeader(next);
      if (bytes.length > 2 ** next.clusterBits)
        throw new ImageError(
          'bad-option',
          `${this.#file.path}: header and backing file's name do not fit a cluster of ${2 ** next.clusterBits} bytes; choose a shorter name or larger clusters`,
          { path: this.#file.path },
        );
      await this.#file.write(0, bytes);
      await this.#file.flush();
      this.#sector = bytes.slice(0, SECTOR_BYTES);
      this.#header = next;
    });
  }
}
