import { type BlockTable, checkBlocks, type Room } from '../../blocks/block-check.ts';
import { CheckReport } from '../../blocks/check-report.ts';
import { badAt } from '../../blocks/fields.ts';
import { eachU64, writeU32, writeU64 } from '../../blocks/tables.ts';
import type { CheckRequest, CheckResult, HostFile } from '../../image.ts';
import { type Header, readHeader } from './header.ts';
import * as v from './layout.ts';

export async function check(file: HostFile, request: CheckRequest): Promise<CheckResult> {
  const header = await readHeader(file);
  const report = new CheckReport();
  const tables = await l2Tables(file, header, { request, report });
  const result = await checkBlocks(await tableOf(file, header, tables), request, report);
  if (header.needsCheck && request.repair !== 'none' && !report.hasCorruption) {
    const features = new DataView(header.bytes.slice().buffer).getUint32(v.H_FEATURES, true);
    await file.flush();
    await writeU32(file, v.H_FEATURES, features & ~v.FEATURE_NEED_CHECK, true);
    await file.flush();
  }
  return result;
}

/** Where the L2 tables lie, by their place in the L1 table. Those that cannot be are dropped. */
async function l2Tables(
  file: HostFile,
  header: Header,
  { request, report }: { request: CheckRequest; report: CheckReport },
): Promise<Map<number, number>> {
  const { l1Offset, entries, tableBytes, clusterBytes, headerBytes } = header;
  const fileBytes = await file.size();
  const tables = new Map<number, number>();
  const seen = new Set<number>([l1Offset]);
  const range = { file, offsetBytes: l1Offset, count: entries, littleEndian: true };
  const look = async (offset: number, index: number, place: number): Promise<void> => {
    const isWithin = offset >= headerBytes && offset + tableBytes <= fileBytes;
    if (isWithin && offset % clusterBytes === 0 && !overlaps(seen, offset, header)) {
      tables.set(index, offset);
      seen.add(offset);
      return;
    }
    const what = `L2 table ${index} lies at ${offset}, outside of the file or in another table`;
    report.corruption(badAt('corrupt', file.path, place, what).message);
    if (request.repair !== 'all') return;
    await writeU64(file, place, 0, true);
    report.fixedCorruption();
  };
  await eachU64(range, (offset, index, place) =>
    offset === 0 ? undefined : look(offset, index, place),
  );
  return tables;
}

function overlaps(seen: ReadonlySet<number>, offset: number, header: Header): boolean {
  const { clusterBytes, tableBytes } = header;
  for (let at = offset - tableBytes + clusterBytes; at < offset + tableBytes; at += clusterBytes)
    if (seen.has(at)) return true;
  return false;
}

async function tableOf(
  file: HostFile,
  header: Header,
  tables: ReadonlyMap<number, number>,
): Promise<BlockTable> {
  const { clusterBytes, headerBytes, tableBytes, l1Offset, entries, sizeBytes } = header;
  const fileBytes = await file.size();
  const reserved: Room[] = [l1Offset, ...tables.values()].map((offset) => ({
    offset,
    length: tableBytes,
  }));
  return {
    file,
    blockBytes: clusterBytes,
    alignBytes: clusterBytes,
    startBytes: headerBytes,
    limitBytes: fileBytes,
    usedEndBytes: fileBytes,
    units: Math.ceil(sizeBytes / clusterBytes),
    reserved,
    entries: async (visit) => {
      for (const [table, offsetBytes] of tables) {
        const range = { file, offsetBytes, count: entries, littleEndian: true };
        await eachU64(range, (entry, index, place) =>
          entry > v.ENTRY_ZERO ? visit(table * entries + index, entry, place) : undefined,
        );
      }
    },
    setEntry: async (unit, offset) => {
      const table = tables.get(Math.floor(unit / entries)) ?? 0;
      await writeU64(file, table + (unit % entries) * v.ENTRY_BYTES, offset ?? 0, true);
    },
    setEnd: (endBytes) => file.truncate(endBytes),
  };
}
