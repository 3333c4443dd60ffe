import type { HostFile } from '../../image.ts';
import {
  ALL_ONES,
  type BitmapEntry,
  FLAG_AUTO,
  FLAG_IN_USE,
  fromTableEntry,
  readBitmaps,
  setBits,
} from './bitmaps.ts';
import type { Header } from './header.ts';
import * as q from './layout.ts';
import type { Metadata } from './metadata.ts';

interface Tracked {
  readonly entry: BitmapEntry;
  /** Bits that were set since the image was opened, by the index of their cluster. */
  readonly marks: Map<number, Uint8Array>;
}

/**
 * Sets the bits of the bitmaps that follow all writes. While the image is open they are marked as in use, so that nobody
 * trusts them after a crash; the bits are written when it is closed.
 */
export class BitmapTracker {
  readonly #meta: Metadata;
  readonly #tracked: readonly Tracked[];
  #begun: Promise<void> | undefined;

  constructor(meta: Metadata, entries: readonly BitmapEntry[]) {
    this.#meta = meta;
    this.#tracked = entries.map((entry) => ({ entry, marks: new Map() }));
  }

  /** Marks the bitmaps as in use; to be called before each change. */
  begin(): Promise<void> {
    this.#begun ??= this.#setFlags(this.#tracked, (flags) => flags | FLAG_IN_USE).catch(
      (error: unknown) => {
        // The next change tries again.
        this.#begun = undefined;
        throw error;
      },
    );
    return this.#begun;
  }

  mark(offsetBytes: number, lengthBytes: number): void {
    const perCluster = this.#meta.clusterBytes * 8;
    for (const { entry, marks } of this.#tracked) {
      const unit = 2 ** entry.granularityBits;
      const end = Math.ceil((offsetBytes + lengthBytes) / unit);
      for (let bit = Math.floor(offsetBytes / unit); bit < end; ) {
        const index = Math.floor(bit / perCluster);
        let bytes = marks.get(index);
        if (bytes === undefined) {
          bytes = new Uint8Array(this.#meta.clusterBytes);
          marks.set(index, bytes);
        }
        const last = Math.min(end, (index + 1) * perCluster);
        setBits(bytes, bit - index * perCluster, last - index * perCluster);
        bit = last;
      }
    }
  }

  /** Writes the bits, and says that they hold again, those apart that a damaged table leads to. All else must be durable. */
  async store(): Promise<void> {
    if (this.#begun === undefined) return;
    await this.#begun;
    const stored: Tracked[] = [];
    for (const tracked of this.#tracked) if (await this.#storeOne(tracked)) stored.push(tracked);
    await this.#meta.settle();
    await this.#setFlags(stored, (flags) => flags & ~FLAG_IN_USE);
  }

  /** False: its table leads to where no cluster of bits can be. */
  async #storeOne({ entry, marks }: Tracked): Promise<boolean> {
    const { file, clusterBytes, counts } = this.#meta;
    const place = new Uint8Array(8);
    const view = new DataView(place.buffer);
    for (const [index, bytes] of marks) {
      if (index * 8 >= entry.table.lengthBytes) continue;
      const at = entry.table.offsetBytes + index * 8;
      await file.read(at, place);
      let offset = fromTableEntry(view, 0);
      if (offset === ALL_ONES) continue;
      if (offset !== 0) {
        const isCluster = offset % clusterBytes === 0 && offset < (await file.size());
        if (!isCluster) return false;
        const old = new Uint8Array(clusterBytes);
        await file.read(offset, old);
        for (let one = 0; one < old.length; one++) bytes[one] = (bytes[one] ?? 0) | (old[one] ?? 0);
      } else {
        offset = (await counts.takeOne()).start * clusterBytes;
        // The count first, then what refers to it.
        await this.#meta.settle();
        view.setUint32(0, Math.floor(offset / q.TWO_32));
        view.setUint32(4, offset % q.TWO_32);
        await file.write(at, place);
      }
      await file.write(offset, bytes);
    }
    return true;
  }

  async #setFlags(those: readonly Tracked[], change: (flags: number) => number): Promise<void> {
    const { file } = this.#meta;
    for (const { entry } of those) {
      const bytes = new Uint8Array(4);
      const view = new DataView(bytes.buffer);
      await file.read(entry.flagsOffset, bytes);
      view.setUint32(0, change(view.getUint32(0)));
      await file.write(entry.flagsOffset, bytes);
    }
    await file.flush();
  }
}

/** The bitmaps that must follow writes; undefined: none. */
export async function trackedBitmaps(file: HostFile, header: Header): Promise<BitmapEntry[]> {
  const bitmaps = await readBitmaps(file, header);
  const entries = bitmaps?.entries ?? [];
  return entries.filter(({ flags }) => (flags & (FLAG_AUTO | FLAG_IN_USE)) === FLAG_AUTO);
}
