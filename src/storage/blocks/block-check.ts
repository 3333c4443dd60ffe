import type { CheckRequest, CheckResult, HostFile } from '../image.ts';
import type { CheckReport } from './check-report.ts';
import { badAt } from './fields.ts';

const COPY_BYTES = 1 << 20;

/** A table of blocks, all of one size, each for one unit of the disk. */
export interface BlockTable {
  readonly file: HostFile;
  /** Of a block with all that belongs to it. */
  readonly blockBytes: number;
  /** Blocks start at multiples of this from `startBytes` on. */
  readonly alignBytes: number;
  /** Where blocks may lie. */
  readonly startBytes: number;
  readonly limitBytes: number;
  /** What the file takes for in use ends here. */
  readonly usedEndBytes: number;
  readonly units: number;
  /** Calls for each allocated unit: where its block starts, and where in the file that is written. */
  entries(
    visit: (unit: number, blockOffset: number, placeBytes: number) => Promise<void>,
  ): Promise<void>;
  setEntry(unit: number, blockOffset: number | undefined): Promise<void>;
  /** Ends what is in use at `endBytes`. */
  setEnd(endBytes: number): Promise<void>;
}

/** Every entry leads to a block of its own within the file; all room that is taken is led to. */
export async function checkBlocks(
  table: BlockTable,
  request: CheckRequest,
  report: CheckReport,
): Promise<CheckResult> {
  const checker = new BlockChecker(table, request, report);
  return await checker.run();
}

interface Found {
  readonly unit: number;
  readonly offset: number;
  readonly place: number;
}

class BlockChecker {
  readonly #table: BlockTable;
  readonly #request: CheckRequest;
  readonly #report: CheckReport;
  #blocks: Found[] = [];
  #fragmented = 0;

  constructor(table: BlockTable, request: CheckRequest, report: CheckReport) {
    this.#table = table;
    this.#request = request;
    this.#report = report;
  }

  async run(): Promise<CheckResult> {
    const bad: Found[] = [];
    await this.#table.entries((unit, offset, place) => {
      if (this.#isWithin(offset)) this.#blocks.push({ unit, offset, place });
      else bad.push({ unit, offset, place });
      return Promise.resolve();
    });
    const { blockBytes } = this.#table;
    for (const [index, { offset }] of this.#blocks.entries()) {
      const before = this.#blocks[index - 1];
      if (before !== undefined && before.offset + blockBytes !== offset) this.#fragmented++;
    }
    for (const one of bad) await this.#drop(one, 'beyond all blocks');
    await this.#dropOverlaps();
    await this.#checkLeaks();
    return this.#report.result({
      imageEndBytes: this.#endBytes(),
      totalClusters: this.#table.units,
      allocatedClusters: this.#blocks.length,
      fragmentedClusters: this.#fragmented,
    });
  }

  #isWithin(offset: number): boolean {
    const { startBytes, limitBytes, blockBytes, alignBytes } = this.#table;
    if (offset < startBytes || offset + blockBytes > limitBytes) return false;
    return (offset - startBytes) % alignBytes === 0;
  }

  async #drop({ unit, offset, place }: Found, why: string): Promise<void> {
    const { file } = this.#table;
    const what = `unit ${unit} leads to ${offset}, ${why}`;
    this.#report.corruption(badAt('corrupt', file.path, place, what).message);
    if (this.#request.repair !== 'all') return;
    await this.#table.setEntry(unit, undefined);
    this.#report.fixedCorruption();
  }

  async #dropOverlaps(): Promise<void> {
    const kept: Found[] = [];
    for (const one of this.#blocks.sort((a, b) => a.offset - b.offset)) {
      const before = kept.at(-1);
      if (before === undefined || before.offset + this.#table.blockBytes <= one.offset)
        kept.push(one);
      else await this.#drop(one, `into the block of unit ${before.unit}`);
    }
    this.#blocks = kept;
  }

  async #checkLeaks(): Promise<void> {
    const { file, blockBytes, startBytes, usedEndBytes } = this.#table;
    const end = Math.max(this.#endBytes(), usedEndBytes);
    const all = Math.ceil((end - startBytes) / blockBytes);
    const leaks = Math.max(0, all - this.#blocks.length);
    if (leaks === 0) return;
    this.#report.leak(`${file.path}: ${leaks} blocks are allocated and not used`, leaks);
    // Corruption first: what looks unused may be what a broken entry meant.
    if (this.#request.repair === 'none' || this.#report.hasCorruption) return;
    await this.#compact();
    this.#report.fixedLeaks(leaks);
  }

  #endBytes(): number {
    const last = this.#blocks.at(-1);
    return last === undefined ? this.#table.startBytes : last.offset + this.#table.blockBytes;
  }

  /** Moves the last blocks into the gaps, and cuts the file: these formats have no lists of free blocks. */
  async #compact(): Promise<void> {
    const { file } = this.#table;
    const moves = this.#plan();
    for (const { from, to } of moves) await this.#copy(from.offset, to);
    await file.flush();
    for (const { from, to } of moves) await this.#table.setEntry(from.unit, to);
    await file.flush();
    await this.#table.setEnd(this.#endBytes());
    await file.flush();
  }

  #plan(): { from: Found; to: number }[] {
    const { blockBytes, alignBytes, startBytes } = this.#table;
    const moves: { from: Found; to: number }[] = [];
    const settled: Found[] = [];
    const waiting = this.#blocks;
    let at = startBytes;
    for (let next = 0; next < waiting.length; ) {
      const block = waiting[next];
      const last = waiting.at(-1);
      if (block === undefined || last === undefined) break;
      if (block.offset - at >= blockBytes && last.offset > at) {
        waiting.pop();
        moves.push({ from: last, to: at });
        settled.push({ ...last, offset: at });
        at += blockBytes;
      } else {
        settled.push(block);
        at = block.offset + blockBytes;
        next++;
      }
      at = startBytes + Math.ceil((at - startBytes) / alignBytes) * alignBytes;
    }
    this.#blocks = settled;
    return moves;
  }

  async #copy(from: number, to: number): Promise<void> {
    const { file, blockBytes } = this.#table;
    for (let done = 0; done < blockBytes; done += COPY_BYTES) {
      const bytes = new Uint8Array(Math.min(COPY_BYTES, blockBytes - done));
      await file.read(from + done, bytes);
      await file.write(to + done, bytes);
    }
  }
}
