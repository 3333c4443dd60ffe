import { CheckReport } from '../../blocks/check-report.ts';
import { badAt } from '../../blocks/fields.ts';
import { SparseBits } from '../../blocks/sparse-bits.ts';
import type { CheckRequest, CheckResult, HostFile } from '../../image.ts';
import { type Header, readHeader } from './header.ts';
import * as v from './layout.ts';

const CHUNK_BYTES = 1 << 20;

/** Every entry leads to another block within the file's count; every block that counts is led to. */
export async function check(file: HostFile, request: CheckRequest): Promise<CheckResult> {
  const header = await readHeader(file);
  const checker = new Checker(file, header, request);
  return await checker.run();
}

class Checker {
  readonly #file: HostFile;
  readonly #header: Header;
  readonly #request: CheckRequest;
  readonly #report = new CheckReport();
  readonly #used = new SparseBits();
  #count = 0;
  #fragmented = 0;
  /** One more than the highest block that is led to. */
  #end = 0;

  constructor(file: HostFile, header: Header, request: CheckRequest) {
    this.#file = file;
    this.#header = header;
    this.#request = request;
  }

  async run(): Promise<CheckResult> {
    let previous = -1;
    await this.#eachEntry(async (block, entry) => {
      if (entry >= v.ENTRY_ZERO) return;
      if (await this.#isBad(block, entry)) return;
      if (previous >= 0 && entry !== previous + 1) this.#fragmented++;
      previous = entry;
      this.#count++;
      this.#end = Math.max(this.#end, entry + 1);
    });
    await this.#checkCount();
    return this.#report.result({
      imageEndBytes: this.#hostOffset(this.#end),
      totalClusters: this.#header.blocks,
      allocatedClusters: this.#count,
      fragmentedClusters: this.#fragmented,
    });
  }

  async #isBad(block: number, entry: number): Promise<boolean> {
    const place = this.#header.mapOffset + block * 4;
    const isBeyond = entry >= this.#header.blocks;
    if (!isBeyond && this.#used.add(entry)) return false;
    const what = isBeyond
      ? `block ${block} leads to ${entry}, beyond the ${this.#header.blocks} blocks`
      : `block ${block} leads to ${entry}, as another block does`;
    this.#report.corruption(badAt('corrupt', this.#file.path, place, what).message);
    if (this.#request.repair === 'all') {
      await this.#setEntry(block, v.ENTRY_FREE);
      this.#report.fixedCorruption();
    }
    return true;
  }

  async #checkCount(): Promise<void> {
    const { allocated } = this.#header;
    const path = this.#file.path;
    if (allocated < this.#end) {
      const what = `${allocated} blocks are in use by the header, and ${this.#end} by the map`;
      this.#report.corruption(badAt('corrupt', path, v.H_ALLOCATED, what).message);
      if (this.#request.repair === 'all') {
        await this.#setAllocated(this.#end);
        this.#report.fixedCorruption();
      }
    }
    const leaks = Math.max(allocated, this.#end) - this.#count;
    if (leaks === 0) return;
    this.#report.leak(`${path}: ${leaks} blocks are allocated and not used`, leaks);
    // Corruption first: what looks unused may be what a broken entry meant.
    if (this.#request.repair === 'none' || this.#report.hasCorruption) return;
    await this.#compact();
    this.#report.fixedLeaks(leaks);
  }

  /** Moves the last blocks into those that are not used, and cuts the file: the format has no list of free blocks. */
  async #compact(): Promise<void> {
    const moves = new Map<number, number>();
    let free = 0;
    for (let last = this.#end - 1; last >= this.#count; last--) {
      if (!this.#used.has(last)) continue;
      while (this.#used.has(free)) free++;
      moves.set(last, free);
      free++;
    }
    for (const [from, to] of moves) await this.#copyBlock(from, to);
    await this.#file.flush();
    await this.#eachEntry(async (block, entry) => {
      const to = moves.get(entry);
      if (to !== undefined) await this.#setEntry(block, to);
    });
    await this.#file.flush();
    await this.#setAllocated(this.#count);
    await this.#file.flush();
    this.#end = this.#count;
    await this.#file.truncate(this.#hostOffset(this.#count));
  }

  async #copyBlock(from: number, to: number): Promise<void> {
    const length = this.#header.blockBytes + this.#header.blockExtra;
    for (let done = 0; done < length; done += CHUNK_BYTES) {
      const bytes = new Uint8Array(Math.min(CHUNK_BYTES, length - done));
      await this.#file.read(this.#hostOffset(from) + done, bytes);
      await this.#file.write(this.#hostOffset(to) + done, bytes);
    }
  }

  #hostOffset(index: number): number {
    const { dataOffset, blockBytes, blockExtra } = this.#header;
    return dataOffset + index * (blockBytes + blockExtra);
  }

  async #eachEntry(visit: (block: number, entry: number) => Promise<void>): Promise<void> {
    const { mapOffset, blocks } = this.#header;
    for (let first = 0; first < blocks; first += CHUNK_BYTES / 4) {
      const view = new DataView(new ArrayBuffer(Math.min(CHUNK_BYTES, (blocks - first) * 4)));
      await this.#file.read(mapOffset + first * 4, new Uint8Array(view.buffer));
      for (let at = 0; at < view.byteLength; at += 4) {
        const entry = view.getUint32(at, true);
        if (entry !== v.ENTRY_FREE) await visit(first + at / 4, entry);
      }
    }
  }

  async #setEntry(block: number, entry: number): Promise<void> {
    await this.#writeU32(this.#header.mapOffset + block * 4, entry);
  }

  async #setAllocated(count: number): Promise<void> {
    await this.#writeU32(v.H_ALLOCATED, count);
  }

  async #writeU32(offsetBytes: number, value: number): Promise<void> {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, value, true);
    await this.#file.write(offsetBytes, new Uint8Array(view.buffer));
  }
}
