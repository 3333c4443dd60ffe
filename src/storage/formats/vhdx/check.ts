import { type BlockTable, checkBlocks, type Room } from '../../blocks/block-check.ts';
import { CheckReport } from '../../blocks/check-report.ts';
import { badAt } from '../../blocks/fields.ts';
import { eachU64, writeU64 } from '../../blocks/tables.ts';
import type { CheckRequest, CheckResult, HostFile } from '../../image.ts';
import { batOf, entryAt } from './bat.ts';
import {
  type Header,
  nextHeader,
  type Region,
  readHeader,
  readRegions,
  regionOf,
} from './header.ts';
import * as v from './layout.ts';
import { applyReplay, readLog } from './log.ts';
import { type Metadata, readMetadata } from './metadata.ts';

export async function check(original: HostFile, request: CheckRequest): Promise<CheckResult> {
  const header = await readHeader(original);
  const report = new CheckReport();
  const replay = await readLog(original, header);
  const readOnly = request.repair === 'none';
  const file = replay === undefined ? original : await applyReplay(original, replay, readOnly);
  if (!readOnly && header.logGuid.some((byte) => byte !== 0)) {
    const clean = nextHeader(header, { logGuid: new Uint8Array(16) });
    await file.write(v.HEADER_OFFSETS[clean.slot] ?? 0, clean.bytes);
    await file.flush();
  }
  const regions = await readRegions(file);
  const metadata = await readMetadata(file, regionOf(regions, v.REGION_METADATA, file.path));
  const batRegion = regionOf(regions, v.REGION_BAT, file.path);
  const bat = batOf(metadata, batRegion.offset);
  if (bat.entries * v.ENTRY_BYTES > batRegion.length)
    throw badAt('corrupt', file.path, v.REGION_OFFSETS[0], 'the BAT is too small for the disk');
  const table = await tableOf(file, { header, regions, metadata, batRegion });
  return await checkBlocks(table, request, report);
}

async function tableOf(
  file: HostFile,
  parts: { header: Header; regions: readonly Region[]; metadata: Metadata; batRegion: Region },
): Promise<BlockTable> {
  const { header, regions, metadata, batRegion } = parts;
  const bat = batOf(metadata, batRegion.offset);
  const fileBytes = await file.size();
  const isBitmap = (index: number): boolean => index % (bat.chunkRatio + 1) === bat.chunkRatio;
  const range = { file, offsetBytes: bat.offset, count: bat.entries, littleEndian: true };
  const reserved: Room[] = regions.map(({ offset, length }) => ({ offset, length }));
  reserved.push({ offset: header.logOffset, length: header.logBytes });
  const states = new Map<number, number>();
  let first = Number.POSITIVE_INFINITY;
  await eachU64(range, (entry, index) => {
    if (entry % 8 < v.FULLY_PRESENT) return undefined;
    if (isBitmap(index)) reserved.push({ offset: offsetOf(entry), length: v.MIB });
    else if (offsetOf(entry) >= v.MIB) first = Math.min(first, offsetOf(entry));
    return undefined;
  });
  // Nothing says where blocks start: other programs leave room between the metadata and the first.
  const isLoose = metadata.leavesAllocated || first > fileBytes;
  return {
    file,
    blockBytes: metadata.blockBytes,
    alignBytes: v.MIB,
    startBytes: isLoose ? v.MIB : first,
    limitBytes: fileBytes,
    usedEndBytes: isLoose ? 0 : fileBytes,
    units: bat.units,
    reserved,
    mayHaveGaps: isLoose,
    entries: (visit) =>
      eachU64(range, (entry, index, place) => {
        const unit = index - Math.floor(index / (bat.chunkRatio + 1));
        const state = entry % 8;
        if (isBitmap(index) || state < v.FULLY_PRESENT || unit >= bat.units) return undefined;
        states.set(unit, state);
        return visit(unit, offsetOf(entry), place);
      }),
    setEntry: (unit, offset) => {
      const entry = offset === undefined ? v.NOT_PRESENT : offset + (states.get(unit) ?? 0);
      return writeU64(file, entryAt(bat, unit), entry, true);
    },
    setEnd: (endBytes) => file.truncate(endBytes),
  };
}

function offsetOf(entry: number): number {
  return Math.floor(entry / v.MIB) * v.MIB;
}
