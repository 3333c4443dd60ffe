import { BootError } from './boot-error.ts';
import { type Elf, isElf, parseElf, physicalEntry, placeSegments, segmentsEnd } from './elf.ts';
import { BOOT_PARAMS, linuxParams } from './linux-params.ts';
import { needLongMode } from './need-long-mode.ts';
import { unpackPayload } from './payload.ts';
import { placeInitrd } from './placement.ts';
import type { BootInput, BootPlan, Placement } from './plan-types.ts';
import { start32, start64 } from './processor-state.ts';

// The Linux x86 boot protocol. Source: Linux Documentation/arch/x86/boot.rst.

const HEADER = 0x1f1;
const HEADER_END = 0x290; // the last byte that the zero page has room for
const HEADER_MAGIC = 0x53726448; // "HdrS" at 0x202
const OLDEST_VERSION = 0x020a; // the first that says how much memory the kernel takes
const XLOADFLAGS_VERSION = 0x020c;
const XLF_KERNEL_64 = 1;
const ENTRY_64 = 0x200;
const KERNEL = 0x100000;

/** What of the setup header says where things go. */
interface SetupHeader {
  /** The kernel's own decompressor has a 64-bit entry; else the 32-bit one is taken. */
  readonly has64: boolean;
  readonly setupBytes: number;
  readonly payload: Uint8Array;
  readonly initBytes: number;
  readonly prefAddress: number;
  readonly cmdlineBytes: number;
  readonly initrdMax: number;
}

export function isBzImage(bytes: Uint8Array): boolean {
  return (
    bytes.length >= 0x206 &&
    new DataView(bytes.buffer, bytes.byteOffset).getUint32(0x202, true) === HEADER_MAGIC
  );
}

/** @throws {BootError} for kernels before 2.6.31 and for files that are cut off. */
function parseSetupHeader(kernel: Uint8Array): SetupHeader {
  if (kernel.length < 0x268)
    throw new BootError('truncated', 'the kernel ends inside its setup header; get it anew');
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const version = view.getUint16(0x206, true);
  if (version < OLDEST_VERSION)
    throw new BootError('unsupported', 'the kernel is too old; give a Linux of 2.6.31 or later');
  const setupBytes = ((view.getUint8(HEADER) || 4) + 1) * 512;
  const start = setupBytes + view.getUint32(0x248, true);
  const end = start + view.getUint32(0x24c, true);
  if (end > kernel.length)
    throw new BootError(
      'truncated',
      'the kernel ends before its payload does; it is cut off, get it anew',
    );
  return {
    has64: version >= XLOADFLAGS_VERSION && (view.getUint16(0x236, true) & XLF_KERNEL_64) !== 0,
    setupBytes,
    payload: kernel.subarray(start, end),
    initBytes: view.getUint32(0x260, true),
    prefAddress: Number(view.getBigUint64(0x258, true)),
    cmdlineBytes: view.getUint32(0x238, true),
    initrdMax: view.getUint32(0x22c, true),
  };
}

/** The vmlinux in a bzImage; undefined where only its own code can unpack it. @throws {BootError} */
export function unpackBzImage(
  kernel: Uint8Array,
  limitBytes: number,
  decompress: BootInput['decompress'],
): Uint8Array | undefined {
  return unpackPayload(parseSetupHeader(kernel).payload, limitBytes, decompress);
}

/** Linux from a bzImage: unpacked here where its payload can be, else by its own decompressor. */
export function planBzImage(input: BootInput): BootPlan {
  const header = parseSetupHeader(input.kernel);
  const commandBytes = new TextEncoder().encode(input.cmdline).length;
  if (commandBytes > header.cmdlineBytes) {
    throw new BootError(
      'too-large',
      `the command line has ${commandBytes} bytes and the kernel takes ${header.cmdlineBytes}; give a shorter one`,
      { field: 'append' },
    );
  }
  const image = placeImage(input, header);
  if (image.is64) needLongMode(input);
  const top = Math.min(input.memoryBytes, header.initrdMax + 1);
  const initrd = input.initrd && placeInitrd(input.initrd, top, image.end);
  const headerEnd = Math.min(0x202 + (input.kernel[0x201] ?? 0), HEADER_END);
  const setup = { at: HEADER, bytes: input.kernel.subarray(HEADER, headerEnd) };
  const registers = { rsi: BigInt(BOOT_PARAMS) };
  const start = image.is64
    ? start64(image.entry, registers)
    : start32(Number(image.entry), registers);
  return {
    writes: [...image.writes, ...linuxParams(input, setup, initrd), ...start.writes],
    state: start.state,
  };
}

interface Image {
  readonly is64: boolean;
  readonly writes: readonly Placement[];
  readonly entry: bigint;
  readonly end: number;
}

function placeImage(input: BootInput, header: SetupHeader): Image {
  const vmlinux = unpackPayload(header.payload, input.memoryBytes, input.decompress);
  const image =
    vmlinux !== undefined && isElf(vmlinux)
      ? placeVmlinux(parseElf(vmlinux), header)
      : placePacked(input.kernel, header);
  if (image.end > input.memoryBytes) {
    const need = Math.ceil(image.end / 2 ** 20);
    throw new BootError('too-large', `the kernel needs ${need} MiB of memory; give more`, {
      field: 'memory',
    });
  }
  return image;
}

function placeVmlinux(elf: Elf, header: SetupHeader): Image {
  return {
    is64: elf.is64,
    writes: placeSegments(elf),
    entry: physicalEntry(elf),
    end: Math.max(header.prefAddress + header.initBytes, segmentsEnd(elf)),
  };
}

function placePacked(kernel: Uint8Array, header: SetupHeader): Image {
  return {
    is64: header.has64,
    writes: [{ paddr: KERNEL, bytes: kernel.subarray(header.setupBytes) }],
    entry: BigInt(header.has64 ? KERNEL + ENTRY_64 : KERNEL),
    end: Math.max(KERNEL + kernel.length, header.prefAddress + header.initBytes),
  };
}
