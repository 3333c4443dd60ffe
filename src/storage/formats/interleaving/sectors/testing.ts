import assert from 'node:assert/strict';
import { SECTOR_BYTES } from '../../../image.ts';

/** What a sector may hold after a loss of power. */
interface Version {
  readonly tag: number;
  readonly begun: number;
  ended: number;
  /** A discard: the sector may hold what it held before, too. */
  readonly isHint: boolean;
}

/** What the sectors of a disk hold: each is filled with one number, its tag; and what they held since the last flush. */
export class Sectors {
  readonly tags: Uint32Array;
  /** Of sectors that were changed: the oldest first, of which all that came before is no longer to be found. */
  readonly #versions = new Map<number, Version[]>();
  /** Sectors before any change. */
  readonly #first = new Map<number, number>();
  #time = 0;

  constructor(sectors: number) {
    this.tags = new Uint32Array(sectors);
  }

  now(): number {
    return ++this.#time;
  }

  /** A change to `tag` begins; it ends with the call of what this gives. */
  begin(first: number, count: number, tag: number, isHint = false): () => void {
    const version: Version = { tag, begun: this.now(), ended: Number.POSITIVE_INFINITY, isHint };
    for (let sector = first; sector < first + count; sector++) {
      const list = this.#versions.get(sector);
      if (list !== undefined) list.push(version);
      else {
        this.#first.set(sector, this.tags[sector] ?? 0);
        this.#versions.set(sector, [version]);
      }
    }
    return () => {
      version.ended = this.now();
      if (!isHint) this.tags.fill(tag, first, first + count);
    };
  }

  /** What ended before a flush began that has ended now cannot be lost. */
  flushed(began: number): void {
    for (const [sector, list] of this.#versions) {
      const last = list.findLastIndex(({ ended, isHint }) => ended < began && !isHint);
      if (last < 0) continue;
      list.splice(0, last);
      this.#first.delete(sector);
    }
  }

  /** What each sector may hold after a loss of power now. */
  known(): ReadonlySet<number>[] {
    return Array.from(this.tags, (tag, sector) => {
      const versions = this.#versions.get(sector);
      if (versions === undefined) return new Set([tag]);
      const first = this.#first.get(sector);
      const tags = versions.map((version) => version.tag);
      return new Set(first === undefined ? tags : [first, ...tags]);
    });
  }

  /** Takes what sectors hold of all that they may hold: what they held, or what was begun last. */
  settle(first: number, bytes: Uint8Array): void {
    for (const [index, tag] of this.tagsOf(bytes).entries()) {
      const last = this.#versions.get(first + index)?.at(-1);
      const held = this.tags[first + index];
      assert.ok(
        tag === held || tag === last?.tag,
        `sector ${first + index} has ${tag}, not ${held}`,
      );
      this.tags[first + index] = tag;
    }
  }

  compare(first: number, bytes: Uint8Array, when: string): void {
    for (const [index, tag] of this.tagsOf(bytes).entries()) {
      const held = this.tags[first + index];
      assert.ok(tag === held, `${when}: sector ${first + index} has ${tag}, not ${held}`);
    }
  }

  bytes(first: number, count: number): Uint8Array {
    const words = new Uint32Array((count * SECTOR_BYTES) / 4);
    const per = SECTOR_BYTES / 4;
    for (let index = 0; index < count; index++)
      words.fill(this.tags[first + index] ?? 0, index * per, (index + 1) * per);
    return new Uint8Array(words.buffer);
  }

  filled(count: number, tag: number): Uint8Array {
    return new Uint8Array(new Uint32Array((count * SECTOR_BYTES) / 4).fill(tag).buffer);
  }

  /** @throws when a sector is not filled with one tag. */
  tagsOf(bytes: Uint8Array): Uint32Array {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const per = SECTOR_BYTES / 4;
    return Uint32Array.from({ length: bytes.length / SECTOR_BYTES }, (_, index) => {
      const sector = words.subarray(index * per, (index + 1) * per);
      const [tag = 0] = sector;
      const at = sector.findIndex((word) => word !== tag);
      assert.equal(at, -1, `sector ${index} of a range has ${tag} and ${sector[at]}`);
      return tag;
    });
  }
}
