import { type BlockTable, checkBlocks } from '../../blocks/block-check.ts';
import { CheckReport } from '../../blocks/check-report.ts';
import { badAt } from '../../blocks/fields.ts';
import { eachU32, writeU32 } from '../../blocks/tables.ts';
import { sameBytes } from '../../blocks/uuid.ts';
import { type CheckRequest, type CheckResult, type HostFile, SECTOR_BYTES } from '../../image.ts';
import { type DynamicHeader, readDynamicHeader } from './dynamic-header.ts';
import { type Footer, isFooter, readFooter } from './footer.ts';
import * as v from './layout.ts';

/** Where blocks end: at the footer, or the file's end when that is lost. */
export async function blocksEnd(file: HostFile): Promise<number> {
  const whole = Math.ceil((await file.size()) / SECTOR_BYTES) * SECTOR_BYTES;
  const last = new Uint8Array(v.FOOTER_BYTES);
  await file.read(whole - v.FOOTER_BYTES, last);
  return isFooter(last) ? whole - v.FOOTER_BYTES : whole;
}

export async function check(file: HostFile, request: CheckRequest): Promise<CheckResult> {
  const footer = await readFooter(file);
  const report = new CheckReport();
  if (footer.type === v.TYPE_FIXED)
    return report.result({
      imageEndBytes: await file.size(),
      totalClusters: footer.sizeBytes / SECTOR_BYTES,
      allocatedClusters: footer.sizeBytes / SECTOR_BYTES,
    });
  const header = await readDynamicHeader(file, footer);
  const endBytes = await blocksEnd(file);
  await checkFooters(file, footer, endBytes, { request, report });
  return await checkBlocks(tableOf(file, footer, header, endBytes), request, report);
}

/** Power lost while the file grew leaves one of the two footers. */
async function checkFooters(
  file: HostFile,
  footer: Footer,
  endBytes: number,
  { request, report }: { request: CheckRequest; report: CheckReport },
): Promise<void> {
  for (const at of [0, endBytes]) {
    const bytes = new Uint8Array(v.FOOTER_BYTES);
    await file.read(at, bytes);
    if (sameBytes(bytes, footer.bytes)) continue;
    report.leak(badAt('corrupt', file.path, at, 'the copy of the footer is missing').message);
    if (request.repair === 'none') continue;
    await file.write(at, footer.bytes);
    await file.flush();
    report.fixedLeaks(1);
  }
}

function tableOf(
  file: HostFile,
  footer: Footer,
  header: DynamicHeader,
  endBytes: number,
): BlockTable {
  const { tableOffset, entries } = header;
  const range = { file, offsetBytes: tableOffset, count: entries, littleEndian: false };
  return {
    file,
    blockBytes: header.bitmapBytes + header.blockBytes,
    alignBytes: SECTOR_BYTES,
    startBytes: firstBlock(footer, header),
    limitBytes: endBytes,
    usedEndBytes: endBytes,
    units: entries,
    entries: (visit) =>
      eachU32(range, (entry, unit, place) =>
        entry === v.ENTRY_FREE ? undefined : visit(unit, entry * SECTOR_BYTES, place),
      ),
    setEntry: (unit, offset) => {
      const entry = offset === undefined ? v.ENTRY_FREE : offset / SECTOR_BYTES;
      return writeU32(file, tableOffset + unit * 4, entry, false);
    },
    setEnd: async (end) => {
      await file.write(end, footer.bytes);
      await file.flush();
      await file.truncate(end + v.FOOTER_BYTES);
    },
  };
}

/** Behind the headers, the table and the parent's names, wherever they are. */
function firstBlock(footer: Footer, header: DynamicHeader): number {
  const ends = [
    footer.dataOffset + v.DYNAMIC_BYTES,
    header.tableOffset + header.entries * 4,
    ...header.locators.map(({ offsetBytes, lengthBytes }) => offsetBytes + lengthBytes),
  ];
  return Math.ceil(Math.max(...ends) / SECTOR_BYTES) * SECTOR_BYTES;
}
