import {
  closeSync,
  ftruncateSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { hostReason } from '#base/host-reason.ts';
import { makeFolder } from '#base/node/make-folder.ts';
import { PAGE_RAM, S_MSR_KERNEL_GS_BASE } from '#ir/state.ts';
import { AddressSpace } from './address-space.ts';
import type { Crash } from './crash-report.ts';
import { coreHead, type PhysicalRange } from './elf-core.ts';
import { PhysicalMemory } from './physical-memory.ts';

const PAGE = 4096;
/** Pieces without a byte in them are left out: the file has holes. */
const PIECE = 65536;
/** Program headers that a file has room for, and a debugger patience. */
const MOST_RANGES = 4096;
const NAME = /^ring0-.*\.core$/;

export type DumpResult = { readonly file: string } | { readonly failed: string };

export interface DumpPlace {
  readonly dir: string;
  /** Older dumps in `dir` that are left there; all of them when it is not given. */
  readonly keep?: number;
}

/** Writes the guest's memory and state to a new ELF core file. */
export function writeDump(crash: Crash, ramBytes: number, place: DumpPlace, now: Date): DumpResult {
  const stamp = now.toISOString().replaceAll(/[-:.Z]/g, '');
  const file = path.join(place.dir, `ring0-${stamp}-${process.pid}.core`);
  try {
    makeFolder(place.dir);
    if (place.keep !== undefined) removeOld(place.dir, place.keep);
    writeCore(crash, ramBytes, file);
    return { file };
  } catch (error) {
    return { failed: `${file}: ${hostReason(error)}` };
  }
}

function removeOld(dir: string, keep: number): void {
  const age = (name: string) => statSync(path.join(dir, name)).mtimeMs;
  const dumps = readdirSync(dir).filter((name) => NAME.test(name));
  const newestFirst = dumps.toSorted((a, b) => age(b) - age(a));
  for (const name of newestFirst.slice(keep)) rmSync(path.join(dir, name), { force: true });
}

function writeCore({ state, memory, layout }: Crash, ramBytes: number, file: string): void {
  const space = new AddressSpace(new PhysicalMemory(memory, layout), state);
  const physical = ramRanges(new Uint8Array(memory.buffer, layout.pageMap, ramBytes / PAGE));
  const cpu = layout.cpus[0] ?? 0;
  const gs = new DataView(memory.buffer).getBigUint64(cpu + S_MSR_KERNEL_GS_BASE, true);
  const head = coreHead(state, gs, space.ranges(MOST_RANGES), physical);
  const fd = openSync(file, 'wx', 0o600);
  try {
    writeAll(fd, head.bytes, 0);
    for (const { paddr, bytes } of physical)
      writeSparse(
        fd,
        new Uint8Array(memory.buffer, layout.ram + paddr, bytes),
        head.memoryAt + paddr,
      );
    ftruncateSync(fd, head.memoryAt + ramBytes);
  } catch (error) {
    rmSync(file, { force: true }); // half a dump helps nobody
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** The pages with memory behind them, joined. */
function ramRanges(pageMap: Uint8Array): PhysicalRange[] {
  const ranges: PhysicalRange[] = [];
  let from = -1;
  for (let page = 0; page <= pageMap.length; page++) {
    const isRam = ((pageMap[page] ?? 0) & PAGE_RAM) !== 0;
    if (isRam && from < 0) from = page;
    if (!isRam && from >= 0) {
      ranges.push({ paddr: from * PAGE, bytes: (page - from) * PAGE });
      from = -1;
    }
  }
  return ranges;
}

function writeSparse(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; at += PIECE) {
    const piece = bytes.subarray(at, at + PIECE);
    if (!isEmpty(piece)) writeAll(fd, piece, position + at);
  }
}

function isEmpty(piece: Uint8Array): boolean {
  const words = new BigUint64Array(piece.buffer, piece.byteOffset, piece.length >> 3);
  return words.every((word) => word === 0n);
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
