import type { CheckRequest, CheckResult, HostFile } from '../image.ts';
import type { CheckReport } from './check-report.ts';
import { badAt } from './fields.ts';

const COPY_BYTES = 1 << 20;

export interface Room {
  readonly offset: number;
  readonly length: number;
}

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
  /** Whether room between the blocks is no leak. */
  readonly mayHaveGaps?: boolean;
  /** What else lies where blocks may. */
  readonly reserved?: readonly Room[];
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
    const { blockBytes } = this.#table;
    const reserved = [...(this.#table.reserved ?? [])].sort((a, b) => a.offset - b.offset);
    let next = 0;
    for (const one of this.#blocks.sort((a, b) => a.offset - b.offset)) {
      while (endOf(reserved[next]) <= one.offset) next++;
      const before = kept.at(-1);
      if ((reserved[next]?.offset ?? Number.POSITIVE_INFINITY) < one.offset + blockBytes)
        await this.#drop(one, 'into metadata');
      else if (before === undefined || before.offset + blockBytes <= one.offset) kept.push(one);
      else await this.#drop(one, `into the block of unit ${before.unit}`);
    }
    this.#blocks = kept;
  }

  async #checkLeaks(): Promise<void> {
    const { file, blockBytes, usedEndBytes } = this.#table;
    let leaks = 0;
    if (this.#table.mayHaveGaps !== true)
      for (const { length } of this.#gaps()) leaks += Math.floor(length / blockBytes);
    leaks += Math.ceil(Math.max(0, usedEndBytes - this.#endBytes()) / blockBytes);
    if (leaks === 0) return;
    this.#report.leak(`${file.path}: ${leaks} blocks are allocated and not used`, leaks);
    // Corruption first: what looks unused may be what a broken entry meant.
    if (this.#request.repair === 'none' || this.#report.hasCorruption) return;
    await this.#compact();
    this.#report.fixedLeaks(leaks);
  }

  #occupied(): Room[] {
    const { reserved = [], blockBytes } = this.#table;
    const blocks = this.#blocks.map(({ offset }) => ({ offset, length: blockBytes }));
    return [...reserved, ...blocks].sort((a, b) => a.offset - b.offset);
  }

  #gaps(): Room[] {
    const { startBytes, alignBytes } = this.#table;
    const gaps: Room[] = [];
    let at = startBytes;
    for (const one of this.#occupied()) {
      if (one.offset > at) gaps.push({ offset: at, length: one.offset - at });
      const end = Math.max(at, one.offset + one.length);
      at = startBytes + Math.ceil((end - startBytes) / alignBytes) * alignBytes;
    }
    return gaps;
  }

  #endBytes(): number {
    let end = this.#table.startBytes;
    for (const { offset, length } of this.#occupied()) end = Math.max(end, offset + length);
    return end;
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
    const { blockBytes, alignBytes } = this.#table;
    const moves: { from: Found; to: number }[] = [];
    const waiting = [...this.#blocks].sort((a, b) => a.offset - b.offset);
    const step = Math.ceil(blockBytes / alignBytes) * alignBytes;
    for (const gap of this.#gaps())
      for (let at = gap.offset; at + blockBytes <= gap.offset + gap.length; at += step) {
        const last = waiting.at(-1);
        if (last === undefined || last.offset <= at) break;
        waiting.pop();
        moves.push({ from: last, to: at });
      }
    this.#blocks = [...waiting, ...moves.map(({ from, to }) => ({ ...from, offset: to }))];
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

function endOf(room: Room | undefined): number {
  return room === undefined ? Number.POSITIVE_INFINITY : room.offset + room.length;
}
