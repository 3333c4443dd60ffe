import { type BlockTable, checkBlocks } from '../../blocks/block-check.ts';
import { CheckReport } from '../../blocks/check-report.ts';
import { badAt } from '../../blocks/fields.ts';
import { eachU32, writeU32 } from '../../blocks/tables.ts';
import type { CheckRequest, CheckResult, HostFile } from '../../image.ts';
import { type Header, readHeader } from './header.ts';
import * as v from './layout.ts';

export async function check(file: HostFile, request: CheckRequest): Promise<CheckResult> {
  const header = await readHeader(file);
  const report = new CheckReport();
  const end = await highest(file, header);
  if (header.allocated < end) {
    const what = `${header.allocated} blocks are in use by the header, and ${end} by the map`;
    report.corruption(badAt('corrupt', file.path, v.H_ALLOCATED, what).message);
    if (request.repair === 'all') {
      await writeU32(file, v.H_ALLOCATED, end, true);
      report.fixedCorruption();
    }
  }
  return await checkBlocks(tableOf(file, header), request, report);
}

/** One more than the highest block that is led to and can be. */
async function highest(file: HostFile, header: Header): Promise<number> {
  const { mapOffset, blocks } = header;
  const most = Math.max(blocks, header.allocated);
  let end = 0;
  await eachU32({ file, offsetBytes: mapOffset, count: blocks, littleEndian: true }, (entry) => {
    if (entry < most) end = Math.max(end, entry + 1);
    return undefined;
  });
  return end;
}

function tableOf(file: HostFile, header: Header): BlockTable {
  const { mapOffset, dataOffset, blockBytes, blockExtra, blocks, allocated } = header;
  const slotBytes = blockBytes + blockExtra;
  const hostOffset = (index: number): number => dataOffset + index * slotBytes;
  return {
    file,
    blockBytes: slotBytes,
    alignBytes: slotBytes,
    startBytes: dataOffset,
    limitBytes: hostOffset(Math.max(blocks, allocated)),
    usedEndBytes: hostOffset(allocated),
    units: blocks,
    entries: (visit) =>
      eachU32(
        { file, offsetBytes: mapOffset, count: blocks, littleEndian: true },
        (entry, unit, place) =>
          entry < v.ENTRY_ZERO ? visit(unit, hostOffset(entry), place) : undefined,
      ),
    setEntry: (unit, offset) => {
      const entry = offset === undefined ? v.ENTRY_FREE : (offset - dataOffset) / slotBytes;
      return writeU32(file, mapOffset + unit * 4, entry, true);
    },
    setEnd: async (endBytes) => {
      await writeU32(file, v.H_ALLOCATED, (endBytes - dataOffset) / slotBytes, true);
      await file.flush();
      await file.truncate(endBytes);
    },
  };
}
