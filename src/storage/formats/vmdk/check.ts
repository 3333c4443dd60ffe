import { checkBlocks } from '../../blocks/block-check.ts';
import { CheckReport } from '../../blocks/check-report.ts';
import { badAt } from '../../blocks/fields.ts';
import { eachU32, writeU32 } from '../../blocks/tables.ts';
import {
  type CheckRequest,
  type CheckResult,
  type HostFile,
  type OpenContext,
  SECTOR_BYTES,
} from '../../image.ts';
import * as v from './layout.ts';
import { openExtents } from './open.ts';
import { readDescriptor } from './parent.ts';
import type { SparseHeader } from './sparse-header.ts';

const TABLE_BYTES = v.ENTRIES_PER_TABLE * 4;

interface Sums {
  imageEndBytes: number;
  totalClusters: number;
  allocatedClusters: number;
  fragmentedClusters: number;
  compressedClusters: number;
}

export async function check(
  file: HostFile,
  request: CheckRequest,
  context: OpenContext,
): Promise<CheckResult> {
  const report = new CheckReport();
  const files: HostFile[] = [];
  const sums: Sums = {
    imageEndBytes: 0,
    totalClusters: 0,
    allocatedClusters: 0,
    fragmentedClusters: 0,
    compressedClusters: 0,
  };
  try {
    const { descriptor } = await readDescriptor(file);
    for (const { content } of await openExtents(file, descriptor, context, files))
      if (content.kind === 'sparse') {
        const { file: part, header } = content.sparse;
        const found = await new ExtentCheck(part, header, request, report).run();
        for (const key of Object.keys(sums) as (keyof Sums)[]) sums[key] += found[key];
      }
  } finally {
    for (const one of files) await one.close();
  }
  return report.result(sums);
}

class ExtentCheck {
  readonly #file: HostFile;
  readonly #header: SparseHeader;
  readonly #request: CheckRequest;
  readonly #report: CheckReport;

  constructor(file: HostFile, header: SparseHeader, request: CheckRequest, report: CheckReport) {
    this.#file = file;
    this.#header = header;
    this.#request = request;
    this.#report = report;
  }

  async run(): Promise<Sums> {
    const { compressed } = this.#header;
    const main = await this.#tables(this.#header.directory);
    const found = compressed ? await this.#checkCompressed(main) : await this.#checkGrains(main);
    await this.#checkCopies(main);
    return found;
  }

  /** Where the tables lie, 0 for those that are not there. Those beyond the file are dropped. */
  async #tables(directory: number): Promise<number[]> {
    const fileBytes = await this.#file.size();
    const tables: number[] = [];
    // Two entries for one table would also make its grains count, and be looked at, again and again.
    const seen = new Set<number>();
    await this.#eachOf(directory, this.#header.tables, async (sector, index, place) => {
      const offset = sector * SECTOR_BYTES;
      const isGood = offset === 0 || (offset + TABLE_BYTES <= fileBytes && !seen.has(offset));
      seen.add(offset);
      tables[index] = isGood ? offset : 0;
      if (isGood) return;
      const what = `grain table ${index} lies at ${offset}, beyond the file's end or as another does`;
      this.#report.corruption(badAt('corrupt', this.#file.path, place, what).message);
      if (this.#request.repair !== 'all') return;
      await writeU32(this.#file, place, 0, true);
      this.#report.fixedCorruption();
    });
    return tables;
  }

  async #eachOf(
    offsetBytes: number,
    count: number,
    visit: (value: number, index: number, place: number) => Promise<void> | undefined,
  ): Promise<void> {
    await eachU32({ file: this.#file, offsetBytes, count, littleEndian: true }, visit);
  }

  async #eachGrain(
    tables: readonly number[],
    visit: (grain: number, offset: number, place: number) => Promise<void>,
  ): Promise<void> {
    for (const [table, start] of tables.entries()) {
      if (start === 0) continue;
      await this.#eachOf(start, v.ENTRIES_PER_TABLE, (entry, index, place) => {
        if (entry === 0 || (entry === v.ENTRY_ZERO && this.#header.zeroGrains)) return undefined;
        return visit(table * v.ENTRIES_PER_TABLE + index, entry * SECTOR_BYTES, place);
      });
    }
  }

  async #checkGrains(tables: readonly number[]): Promise<Sums> {
    const { grainBytes, overhead, redundantDirectory } = this.#header;
    const fileBytes = await this.#file.size();
    const copies = redundantDirectory === 0 ? [] : await this.#tables(redundantDirectory);
    const reserved = [...tables, ...copies]
      .filter((offset) => offset >= overhead)
      .map((offset) => ({ offset, length: Math.ceil(TABLE_BYTES / grainBytes) * grainBytes }));
    const table = {
      file: this.#file,
      blockBytes: grainBytes,
      alignBytes: SECTOR_BYTES,
      startBytes: overhead,
      // The last grain may be cut short.
      limitBytes: fileBytes + grainBytes - SECTOR_BYTES,
      usedEndBytes: fileBytes,
      units: Math.ceil(this.#header.capacity / grainBytes),
      reserved,
      entries: (visit: (unit: number, offset: number, place: number) => Promise<void>) =>
        this.#eachGrain(tables, visit),
      setEntry: async (grain: number, offset: number | undefined) => {
        const start = tables[Math.floor(grain / v.ENTRIES_PER_TABLE)] ?? 0;
        const place = start + (grain % v.ENTRIES_PER_TABLE) * 4;
        await writeU32(this.#file, place, (offset ?? 0) / SECTOR_BYTES, true);
      },
      setEnd: (endBytes: number) => this.#file.truncate(endBytes),
    };
    return await checkBlocks(table, this.#request, this.#report);
  }

  /** Compressed grains are of all lengths: each must lie in the file, with its marker. */
  async #checkCompressed(tables: readonly number[]): Promise<Sums> {
    const fileBytes = await this.#file.size();
    let grains = 0;
    await this.#eachGrain(tables, async (grain, offset, place) => {
      grains++;
      const marker = new Uint8Array(v.MARKER_BYTES);
      await this.#file.read(offset, marker);
      const size = new DataView(marker.buffer).getUint32(v.M_SIZE, true);
      if (size > 0 && offset + v.MARKER_BYTES + size <= fileBytes) return;
      const what = `grain ${grain} at ${offset} lies beyond the file's end`;
      this.#report.corruption(badAt('corrupt', this.#file.path, place, what).message);
      if (this.#request.repair !== 'all') return;
      await writeU32(this.#file, place, 0, true);
      this.#report.fixedCorruption();
    });
    return {
      imageEndBytes: fileBytes,
      totalClusters: Math.ceil(this.#header.capacity / this.#header.grainBytes),
      allocatedClusters: grains,
      fragmentedClusters: 0,
      compressedClusters: grains,
    };
  }

  /** The second set of tables may be old, never needed, and is made anew from the first. */
  async #checkCopies(tables: readonly number[]): Promise<void> {
    const { redundantDirectory } = this.#header;
    if (redundantDirectory === 0) return;
    const copies = await this.#tables(redundantDirectory);
    for (const [index, start] of tables.entries()) {
      const copy = copies[index] ?? 0;
      if (start === 0 || copy === 0 || start === copy) continue;
      const [bytes, other] = [new Uint8Array(TABLE_BYTES), new Uint8Array(TABLE_BYTES)];
      await this.#file.read(start, bytes);
      await this.#file.read(copy, other);
      if (bytes.every((byte, at) => byte === other[at])) continue;
      const what = `the copy of grain table ${index} is out of date`;
      this.#report.leak(badAt('corrupt', this.#file.path, copy, what).message);
      if (this.#request.repair === 'none' || this.#report.hasCorruption) continue;
      await this.#file.write(copy, bytes);
      await this.#file.flush();
      this.#report.fixedLeaks(1);
    }
  }
}
