import { BootError } from './boot-error.ts';
import { memoryMap } from './e820.ts';
import { type Elf, parseElf, physicalEntry, placeSegments, pvhEntry, segmentsEnd } from './elf.ts';
import { BOOT_PARAMS, linuxParams } from './linux-params.ts';
import { needLongMode } from './need-long-mode.ts';
import { cString, placeInitrd } from './placement.ts';
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
  const pvh = pvhEntry(elf);
  if (pvh !== undefined) {
    if (elf.is64) needLongMode(input);
    return planPvh(input, elf, pvh);
  }
  if (elf.foreign !== undefined) {
    throw new BootError(
      'not-a-kernel',
      `the ELF file is ${elf.foreign}, not a kernel; give a Linux kernel (vmlinuz) or a vmlinux`,
    );
  }
  return elf.is64 ? planEntry64(input, elf) : planEntry32(input, elf);
}

/** A vmlinux without PVH: its 64-bit entry takes what the one of a bzImage takes. */
function planEntry64(input: BootInput, elf: Elf): BootPlan {
  needLongMode(input);
  const initrd = input.initrd && placeInitrd(input.initrd, input.memoryBytes, segmentsEnd(elf));
  const start = start64(physicalEntry(elf), { rsi: BigInt(BOOT_PARAMS) });
  const params = linuxParams(input, setupHeader(), initrd);
  return { writes: [...placeSegments(elf), ...params, ...start.writes], state: start.state };
}

/** The setup header that a bzImage would have; boot.rst, "The Real-Mode Kernel Header". */
function setupHeader(): { at: number; bytes: Uint8Array } {
  const BOOT_FLAG = 0x1fe;
  const view = new DataView(new ArrayBuffer(0x290 - BOOT_FLAG));
  view.setUint16(0, 0xaa55, true);
  view.setUint32(0x202 - BOOT_FLAG, 0x53726448, true);
  view.setUint16(0x206 - BOOT_FLAG, 0x020f, true);
  view.setUint32(0x230 - BOOT_FLAG, 0x0100_0000, true); // kernel_alignment
  return { at: BOOT_FLAG, bytes: new Uint8Array(view.buffer) };
}

function planEntry32(input: BootInput, elf: Elf): BootPlan {
  if (input.initrd !== undefined) {
    throw new BootError(
      'unsupported',
      'this kernel takes no initrd; give one with PVH, or a Multiboot kernel',
      { field: 'initrd' },
    );
  }
  const start = start32(Number(physicalEntry(elf)), {});
  return { writes: [...placeSegments(elf), ...start.writes], state: start.state };
}

/** hvm_start_info, version 1. Source: Xen public/arch-x86/hvm/start_info.h. */
function planPvh(input: BootInput, elf: Elf, entry: number): BootPlan {
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
  const start = start32(Number(physicalEntry(elf, BigInt(entry))), { rbx: BigInt(START_INFO) });
  const writes: Placement[] = [
    ...placeSegments(elf),
    ...start.writes,
    { paddr: MEMORY_MAP, bytes: new Uint8Array(table.buffer) },
    { paddr: COMMAND_LINE, bytes: cString(input.cmdline) },
  ];
  if (input.initrd !== undefined) {
    const initrd = placeInitrd(input.initrd, input.memoryBytes, segmentsEnd(elf));
    const module = new DataView(new ArrayBuffer(32));
    module.setBigUint64(0, BigInt(initrd.paddr), true);
    module.setBigUint64(8, BigInt(initrd.bytes.length), true);
    info.setUint32(12, 1, true);
    info.setBigUint64(16, BigInt(MODULES), true);
    writes.push({ paddr: MODULES, bytes: new Uint8Array(module.buffer) }, initrd);
  }
  writes.push({ paddr: START_INFO, bytes: new Uint8Array(info.buffer) });
  return { writes, state: start.state };
}
