import type { CheckRequest, CheckResult, HostFile, OpenContext } from '../../image.ts';
import { type BadEntry, type FlaggedEntry, Walk } from './check-walk.ts';
import { type Header, readHeader } from './header.ts';
import { HeaderStore } from './header-store.ts';
import * as q from './layout.ts';
import { readCountTable } from './metadata.ts';
import { rebuildRefcounts } from './rebuild.ts';
import { CountCodec } from './refcount-block.ts';

/** What one look at an image found. */
interface Findings {
  readonly walk: Walk;
  readonly leaks: number;
  /** Refcounts that are too low, or whose blocks cannot be used. */
  readonly countErrors: number;
  /** Flags that say that a cluster has one reference although it has more. */
  readonly flagErrors: number;
  /** Of the leaks, what would be errors if the image were not marked as dirty. */
  readonly stale: number;
  /** Places of refcounts that are too high, with the right value. */
  readonly tooHigh: readonly CountFix[];
}

interface CountFix {
  readonly cluster: number;
  readonly block: number;
  readonly value: number;
}

const MAX_PASSES = 3;

/** Looks at all tables, and mends them: leaks by lowering refcounts; the rest by counting anew, without what is damaged. */
export async function check(
  file: HostFile,
  { repair }: CheckRequest,
  _context: OpenContext,
): Promise<CheckResult> {
  const first = await look(file, await readHeader(file));
  let last = first;
  for (let pass = 0; pass < MAX_PASSES && needsRepair(last, repair); pass++) {
    await mend(file, last, repair);
    last = await look(file, await readHeader(file));
  }
  if (repair !== 'none') await settleFlags(file, last, repair);
  return resultOf(first, last, await readHeader(file));
}

function needsRepair(found: Findings, repair: CheckRequest['repair']): boolean {
  if (repair === 'none') return false;
  return found.leaks > 0 || (repair === 'all' && corruptionsOf(found) > 0);
}

function corruptionsOf({ walk, countErrors, flagErrors }: Findings): number {
  return walk.corruptions + countErrors + flagErrors;
}

async function look(file: HostFile, header: Header): Promise<Findings> {
  const walk = new Walk(file, header, await file.size());
  await walk.run();
  let countErrors = 0;
  const bad = (message: string): void => {
    countErrors++;
    walk.say(message);
  };
  const { refcountTableOffset, refcountTableClusters } = header;
  walk.region(refcountTableOffset, refcountTableClusters * walk.clusterBytes, 'refcount table');
  const table = await readCountTable(file, header, (entry) =>
    bad(`ERROR refcount table: entry ${entry} leads to no block`),
  );
  const blocks = new Set<number>();
  table.forEach((offset, entry) => {
    if (offset === 0) return;
    const before = walk.corruptions;
    if (blocks.has(offset)) {
      bad(`ERROR refcount table: entry ${entry} leads to the block of another one`);
      table[entry] = 0;
    } else if (!walk.region(offset, walk.clusterBytes, `refcount block ${entry}`)) {
      walk.corruptions = before;
      table[entry] = 0;
      countErrors++;
    }
    blocks.add(offset);
  });
  const counts = await compareCounts(file, header, walk, table);
  const flagErrors = await compareFlags(walk);
  const wrong = countErrors + counts.countErrors;
  const isDirty = (header.incompatible & q.INCOMPATIBLE_DIRTY) !== 0;
  if (!isDirty) return { walk, ...counts, countErrors: wrong, flagErrors, stale: 0 };
  // Whoever opens it for writing counts anew before all else.
  const stale = wrong + flagErrors;
  return { ...counts, walk, leaks: counts.leaks + stale, countErrors: 0, flagErrors: 0, stale };
}

async function compareCounts(
  file: HostFile,
  header: Header,
  walk: Walk,
  table: Float64Array,
): Promise<{ leaks: number; countErrors: number; tooHigh: CountFix[] }> {
  const { tally, clusterBytes } = walk;
  const codec = new CountCodec(header.refcountBits);
  const perBlock = (clusterBytes * 8) / header.refcountBits;
  const tooHigh: CountFix[] = [];
  let [leaks, countErrors] = [0, 0];
  const bytes = new Uint8Array(clusterBytes);
  const view = new DataView(bytes.buffer);
  for (let entry = 0; entry < table.length; entry++) {
    const block = table[entry] ?? 0;
    if (block === 0) continue;
    await file.read(block, bytes);
    for (let index = 0; index < perBlock; index++) {
      const cluster = entry * perBlock + index;
      const stored = codec.get(view, index);
      const counted = tally.get(cluster);
      if (stored === counted) continue;
      if (stored > counted) {
        leaks++;
        tooHigh.push({ cluster, block, value: counted });
        walk.say(`Leaked cluster ${cluster} refcount=${stored} reference=${counted}`);
      } else {
        countErrors++;
        walk.say(`ERROR cluster ${cluster} refcount=${stored} reference=${counted}`);
      }
    }
  }
  tally.each((cluster, count) => {
    if ((table[Math.floor(cluster / perBlock)] ?? 0) !== 0) return;
    countErrors++;
    walk.say(`ERROR cluster ${cluster} refcount=0 reference=${count}`);
  });
  return { leaks, countErrors, tooHigh };
}

/** A flag that is missing costs a copy at the next write; one too many would let two owners write to one cluster. */
async function compareFlags(walk: Walk): Promise<number> {
  let wrong = 0;
  await walk.eachFlagged(({ offsetBytes, cluster, copied }) => {
    const references = walk.tally.get(cluster);
    if (!copied || references <= 1) return;
    wrong++;
    walk.say(
      `ERROR OFLAG_COPIED entry at ${offsetBytes}: cluster ${cluster} reference=${references}`,
    );
  });
  return wrong;
}

async function mend(
  file: HostFile,
  found: Findings,
  repair: 'leaks' | 'all' | 'none',
): Promise<void> {
  const header = await readHeader(file);
  const mendsAll = repair === 'all' && corruptionsOf(found) > 0;
  if (mendsAll) await dropBad(file, header, found.walk.bad);
  if (mendsAll || found.stale > 0) await mendFlags(file, header, found.walk);
  if (found.stale > 0 || (mendsAll && found.countErrors + found.walk.bad.length > 0))
    await rebuildRefcounts(file, header, found.walk);
  else await lowerCounts(file, header, found.tooHigh);
}

/** Overwrites entries that cannot be. What was there is lost: zeros, not the backing file's old bytes. */
async function dropBad(file: HostFile, header: Header, bad: readonly BadEntry[]): Promise<void> {
  for (const { offsetBytes, lengthBytes, isL1 } of bad) {
    const entry = new Uint8Array(lengthBytes);
    if (!isL1 && header.version >= 3) {
      if (lengthBytes === 16) entry.fill(0xff, 8, 12);
      else entry[7] = q.LO_ZERO;
    }
    await file.write(offsetBytes, entry);
  }
  if (bad.length > 0) await file.flush();
}

async function lowerCounts(
  file: HostFile,
  header: Header,
  fixes: readonly CountFix[],
): Promise<void> {
  const clusterBytes = 2 ** header.clusterBits;
  const codec = new CountCodec(header.refcountBits);
  const perBlock = (clusterBytes * 8) / header.refcountBits;
  for (let first = 0; first < fixes.length; ) {
    const block = fixes[first]?.block ?? 0;
    const bytes = new Uint8Array(clusterBytes);
    await file.read(block, bytes);
    const view = new DataView(bytes.buffer);
    let at = first;
    for (; fixes[at]?.block === block; at++) {
      const fix = fixes[at];
      if (fix !== undefined) codec.set(view, fix.cluster % perBlock, fix.value);
    }
    await file.write(block, bytes);
    first = at;
  }
  await file.flush();
}

/** Lets every flag say what the references are. */
async function mendFlags(file: HostFile, header: Header, walk: Walk): Promise<void> {
  const wrong: FlaggedEntry[] = [];
  await walk.eachFlagged((entry) => {
    const isOurs = header.dataFile !== undefined || walk.tally.get(entry.cluster) === 1;
    if (entry.copied !== isOurs) wrong.push(entry);
  });
  for (const { offsetBytes, copied } of wrong) {
    const byte = new Uint8Array(1);
    await file.read(offsetBytes, byte);
    byte[0] = ((byte[0] ?? 0) & 0x7f) | (copied ? 0 : 0x80);
    await file.write(offsetBytes, byte);
  }
  if (wrong.length > 0) await file.flush();
}

/** Takes the marks off an image that is in order again. */
async function settleFlags(
  file: HostFile,
  found: Findings,
  repair: 'leaks' | 'all',
): Promise<void> {
  if (corruptionsOf(found) > 0 || found.walk.checkErrors > 0) return;
  const header = await readHeader(file);
  await mendFlags(file, header, found.walk);
  let { incompatible } = header;
  if (found.leaks === 0) incompatible &= ~q.INCOMPATIBLE_DIRTY;
  if (repair === 'all') incompatible &= ~q.INCOMPATIBLE_CORRUPT;
  if (incompatible !== header.incompatible)
    await new HeaderStore(file, header).update({ incompatible });
}

function resultOf(first: Findings, last: Findings, header: Header): CheckResult {
  const { walk } = last;
  return {
    corruptions: corruptionsOf(last),
    leaks: last.leaks,
    corruptionsFixed: Math.max(0, corruptionsOf(first) - corruptionsOf(last)),
    leaksFixed: Math.max(0, first.leaks - last.leaks),
    checkErrors: walk.checkErrors,
    messages: first.walk.messages,
    // Leaked clusters take room, too.
    imageEndBytes:
      Math.max(walk.tally.end, (last.tooHigh.at(-1)?.cluster ?? -1) + 1) * walk.clusterBytes,
    totalClusters: Math.ceil(header.sizeBytes / walk.clusterBytes),
    allocatedClusters: walk.allocated,
    fragmentedClusters: walk.fragmented,
    compressedClusters: walk.compressed,
  };
}
