import { BootError } from './boot-error.ts';
import { memoryMap } from './e820.ts';
import { type Elf, loadable, parseElf, pvhEntry } from './elf.ts';
import type { BootInput, BootPlan, Placement } from './plan-types.ts';
import { start32, start64 } from './processor-state.ts';

const START_INFO = 0x10000;
const MEMORY_MAP = 0x10100;
const MODULES = 0x10800;
const COMMAND_LINE = 0x20000;
const PVH_MAGIC = 0x336ec578;

/** An ELF kernel: by the PVH protocol where it says so, else at its entry in the mode of its class. */
export function planElf(input: BootInput): BootPlan {
  const elf = parseElf(input.kernel);
  const writes = placeSegments(elf, input.memoryBytes);
  const end = Math.max(0, ...loadable(elf).map((s) => s.paddr + s.memoryBytes));
  const pvh = pvhEntry(elf);
  if (pvh !== undefined) {
    const start = start32(pvh, { rbx: BigInt(START_INFO) });
    return { writes: [...writes, ...start.writes, ...startInfo(input, end)], state: start.state };
  }
  const start = elf.is64 ? start64(elf.entry, {}) : start32(Number(elf.entry), {});
  return { writes: [...writes, ...start.writes], state: start.state };
}

function placeSegments(elf: Elf, memoryBytes: number): Placement[] {
  return loadable(elf).map((s) => {
    if (s.fileBytes > s.memoryBytes || s.paddr + s.memoryBytes > memoryBytes) {
      const where = `0x${s.paddr.toString(16)}`;
      throw new BootError(
        'too-large',
        `the kernel's segment at ${where} lies outside memory; give more with --memory`,
      );
    }
    return { paddr: s.paddr, bytes: elf.bytes.subarray(s.offset, s.offset + s.fileBytes) };
  });
}

/** hvm_start_info, version 1. Source: Xen public/arch-x86/hvm/start_info.h. */
function startInfo(input: BootInput, kernelEnd: number): Placement[] {
  const info = new DataView(new ArrayBuffer(56));
  const map = memoryMap(input.memoryBytes);
  const table = new DataView(new ArrayBuffer(map.length * 24));
  map.forEach(({ paddr, bytes, type }, i) => {
    table.setBigUint64(i * 24, BigInt(paddr), true);
    table.setBigUint64(i * 24 + 8, BigInt(bytes), true);
    table.setUint32(i * 24 + 16, type, true);
  });
  info.setUint32(0, PVH_MAGIC, true);
  info.setUint32(4, 1, true);
  info.setBigUint64(24, BigInt(COMMAND_LINE), true);
  info.setBigUint64(32, BigInt(input.rsdpPaddr), true);
  info.setBigUint64(40, BigInt(MEMORY_MAP), true);
  info.setUint32(48, map.length, true);
  const bytes = (view: DataView) => new Uint8Array(view.buffer);
  const writes = [
    { paddr: MEMORY_MAP, bytes: bytes(table) },
    { paddr: COMMAND_LINE, bytes: new TextEncoder().encode(`${input.cmdline}\0`) },
  ];
  if (input.initrd !== undefined) {
    const paddr = Math.floor((input.memoryBytes - input.initrd.length) / 4096) * 4096;
    if (paddr < kernelEnd)
      throw new BootError(
        'too-large',
        'kernel and initrd do not fit in memory; give more with --memory',
      );
    const module = new DataView(new ArrayBuffer(32));
    module.setBigUint64(0, BigInt(paddr), true);
    module.setBigUint64(8, BigInt(input.initrd.length), true);
    info.setUint32(12, 1, true);
    info.setBigUint64(16, BigInt(MODULES), true);
    writes.push({ paddr: MODULES, bytes: bytes(module) }, { paddr, bytes: input.initrd });
  }
  return [...writes, { paddr: START_INFO, bytes: bytes(info) }];
}
