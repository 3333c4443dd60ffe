import { type HostFile, ImageError } from '../../image.ts';
import type { Header } from './header.ts';
import { encodeFields, encodeHeader } from './header-encode.ts';
import * as q from './layout.ts';
import { Mutex } from './mutex.ts';

/** One write of it happens or does not: what stands in the first sector changes together. */
const SECTOR_BYTES = 512;

/** The header, in memory and in the file. */
export class HeaderStore {
  readonly #file: HostFile;
  #header: Header;
  /** The sector as it stands in the file. */
  #sector: Uint8Array | undefined;
  /** A change of it failed: the file may have it all the same. */
  #isUncertain = false;
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
      const next = { ...this.#header, ...changes };
      const sector = (await this.#readSector()).slice();
      encodeFields(new DataView(sector.buffer), next);
      await this.#replace(sector);
      this.#header = next;
    });
  }

  /** Takes back what failed: nothing may be changed before that which the other header would lead to. */
  settle(): Promise<void> {
    if (!this.#isUncertain) return Promise.resolve();
    return this.#mutex.run(async () => {
      if (this.#isUncertain) await this.#replace(await this.#readSector());
    });
  }

  /**
   * Writes all of the header anew. What counts stands in the first sector, or where nothing was: so it changes at once.
   * @throws {ImageError} `bad-option` when it does not fit the first cluster, `unsupported` when it cannot change at once.
   */
  rewrite(changes: Partial<Header>): Promise<void> {
    return this.#mutex.run(async () => {
      const wanted = { ...this.#header, ...changes };
      const plain = withoutFeatureNames(this.#header);
      const isLong = encodeHeader(wanted).length > SECTOR_BYTES;
      // What is in the way goes first, in a step of its own.
      if (isLong && plain !== this.#header && encodeHeader(plain).length <= SECTOR_BYTES)
        await this.#rewrite(plain);
      await this.#rewrite(wanted);
    });
  }

  async #rewrite(wanted: Header): Promise<void> {
    const { next, bytes, apartFrom } = this.#fitted(wanted, await this.#readSector());
    if (bytes.length > 2 ** next.clusterBits)
      throw new ImageError(
        'bad-option',
        `${this.#file.path}: header and backing file's name do not fit a cluster of ${2 ** next.clusterBits} bytes; choose a shorter name or larger clusters`,
        { path: this.#file.path },
      );
    const sector = bytes.slice(0, SECTOR_BYTES);
    await this.#checkWhole(bytes, apartFrom);
    if (bytes.length > apartFrom) {
      await this.#file.write(apartFrom, bytes.subarray(apartFrom));
      await this.#file.flush();
    }
    await this.#replace(sector);
    this.#header = next;
  }

  /** @throws {ImageError} `unsupported` when bytes change that the old header needs, and not with its first sector. */
  async #checkWhole(bytes: Uint8Array, apartFrom: number): Promise<void> {
    const end = Math.min(bytes.length, this.#end(await this.#readSector()));
    if (apartFrom > SECTOR_BYTES || end <= SECTOR_BYTES) return;
    const old = new Uint8Array(end - SECTOR_BYTES);
    await this.#file.read(SECTOR_BYTES, old);
    if (old.every((byte, at) => byte === bytes[SECTOR_BYTES + at])) return;
    throw new ImageError(
      'unsupported',
      `${this.#file.path}: its header is of several sectors, as its names are long, and cannot be changed in one step; convert the image, with shorter names`,
      { path: this.#file.path },
    );
  }

  /** Where what the header in the file needs ends. */
  #end(sector: Uint8Array): number {
    const view = new DataView(sector.buffer, sector.byteOffset);
    const name = view.getUint32(q.H_BACKING_OFFSET + 4);
    return Math.max(
      encodeHeader({ ...this.#header, backingName: undefined }).length,
      name + view.getUint32(q.H_BACKING_SIZE),
    );
  }

  /** Durable when it resolves. */
  async #replace(sector: Uint8Array): Promise<void> {
    this.#isUncertain = true;
    await this.#file.write(0, sector);
    await this.#file.flush();
    this.#sector = sector;
    this.#isUncertain = false;
  }

  async #readSector(): Promise<Uint8Array> {
    if (this.#sector !== undefined) return this.#sector;
    const read = new Uint8Array(SECTOR_BYTES);
    await this.#file.read(0, read);
    this.#sector = read;
    return read;
  }

  /** What to write at `apartFrom` before the first sector: a name that has no room in that, where the old header has nothing. */
  #fitted(
    wanted: Header,
    sector: Uint8Array,
  ): { next: Header; bytes: Uint8Array; apartFrom: number } {
    const whole = encodeHeader(wanted);
    if (whole.length <= SECTOR_BYTES)
      return { next: wanted, bytes: whole, apartFrom: SECTOR_BYTES };
    // Nobody needs the names of features.
    const next = withoutFeatureNames(wanted);
    const plain = { next, bytes: encodeHeader(next), apartFrom: SECTOR_BYTES };
    const oldEnd = this.#end(sector);
    if (oldEnd <= SECTOR_BYTES || plain.bytes.length <= SECTOR_BYTES) return plain;
    // Only the name of a backing file can lie apart from the rest.
    if (encodeHeader({ ...next, backingName: undefined }).length > SECTOR_BYTES) return plain;
    const apartFrom = Math.ceil(oldEnd / SECTOR_BYTES) * SECTOR_BYTES;
    const bytes = encodeHeader(next, apartFrom);
    return bytes.length <= 2 ** next.clusterBits ? { next, bytes, apartFrom } : plain;
  }
}

function withoutFeatureNames(header: Header): Header {
  const extensions = header.extensions.filter(({ type }) => type !== q.EXT_FEATURE_NAMES);
  return extensions.length < header.extensions.length ? { ...header, extensions } : header;
}
