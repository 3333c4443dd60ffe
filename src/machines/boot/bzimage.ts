import { BootError } from './boot-error.ts';
import { memoryMap } from './e820.ts';
import { isElf, loadable, parseElf } from './elf.ts';
import { unpackPayload } from './payload.ts';
import type { BootInput, BootPlan, Placement } from './plan-types.ts';
import { start64 } from './processor-state.ts';

// The Linux x86 boot protocol. Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst.

const HEADER = 0x1f1;
const HEADER_MAGIC = 0x53726448; // "HdrS" at 0x202
const OLDEST_VERSION = 0x020c; // the first with xloadflags and the 64-bit entry
const XLF_KERNEL_64 = 1;
const ENTRY_64 = 0x200;
const LOADED_HIGH = 1;
const LOADER_UNDEFINED = 0xff;

const BOOT_PARAMS = 0x10000;
const COMMAND_LINE = 0x20000;
const KERNEL = 0x100000;
const E820_ENTRIES = 0x1e8;
const E820_TABLE = 0x2d0;
const ACPI_RSDP = 0x070;
const SENTINEL = 0x1ef;

/** What of the setup header says where things go. */
interface SetupHeader {
  readonly setupBytes: number;
  readonly payload: Uint8Array;
  readonly initBytes: number;
  readonly prefAddress: number;
  readonly cmdlineBytes: number;
  readonly initrdMax: number;
}

export function isBzImage(bytes: Uint8Array): boolean {
  return (
    bytes.length > 0x206 &&
    new DataView(bytes.buffer, bytes.byteOffset).getUint32(0x202, true) === HEADER_MAGIC
  );
}

/** @throws {BootError} for kernels before 3.8 or 32-bit ones, and for files that are cut off. */
function parseSetupHeader(kernel: Uint8Array): SetupHeader {
  if (kernel.length < 0x268)
    throw new BootError('truncated', 'the kernel ends inside its setup header; get it anew');
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const version = view.getUint16(0x206, true);
  if (version < OLDEST_VERSION || (view.getUint16(0x236, true) & XLF_KERNEL_64) === 0) {
    throw new BootError(
      'unsupported',
      'the kernel has no 64-bit entry; give an x86-64 Linux of version 3.8 or later',
    );
  }
  const setupBytes = ((view.getUint8(HEADER) || 4) + 1) * 512;
  const start = setupBytes + view.getUint32(0x248, true);
  const end = start + view.getUint32(0x24c, true);
  if (end > kernel.length)
    throw new BootError(
      'truncated',
      'the kernel ends before its payload does; it is cut off, get it anew',
    );
  return {
    setupBytes,
    payload: kernel.subarray(start, end),
    initBytes: view.getUint32(0x260, true),
    prefAddress: Number(view.getBigUint64(0x258, true)),
    cmdlineBytes: view.getUint32(0x238, true),
    initrdMax: view.getUint32(0x22c, true),
  };
}

/** Linux from a bzImage: unpacked here where its payload can be, else by its own decompressor. */
export function planBzImage(input: BootInput): BootPlan {
  const header = parseSetupHeader(input.kernel);
  const image = placeImage(input, header);
  const initrd = placeInitrd(input, header, image.end);
  const command = new TextEncoder().encode(`${input.cmdline}\0`);
  if (command.length > header.cmdlineBytes + 1) {
    throw new BootError(
      'too-large',
      `the command line has ${command.length - 1} bytes and the kernel takes ${header.cmdlineBytes}; give a shorter one`,
    );
  }
  const params = bootParams(input, initrd);
  const start = start64(BigInt(image.entry), { rsi: BigInt(BOOT_PARAMS) });
  const own = [
    { paddr: BOOT_PARAMS, bytes: params },
    { paddr: COMMAND_LINE, bytes: command },
  ];
  return {
    writes: [...image.writes, ...(initrd ? [initrd] : []), ...own, ...start.writes],
    state: start.state,
  };
}

interface Image {
  readonly writes: readonly Placement[];
  readonly entry: number;
  readonly end: number;
}

function placeImage(input: BootInput, header: SetupHeader): Image {
  const vmlinux = unpackPayload(header.payload, input.memoryBytes, input.decompress);
  const image =
    vmlinux !== undefined && isElf(vmlinux)
      ? placeVmlinux(vmlinux, header)
      : placePacked(input.kernel, header);
  if (image.end > input.memoryBytes) {
    const need = Math.ceil(image.end / 2 ** 20);
    throw new BootError(
      'too-large',
      `the kernel needs ${need} MiB of memory; give more with --memory`,
    );
  }
  return image;
}

function placeVmlinux(vmlinux: Uint8Array, header: SetupHeader): Image {
  const elf = parseElf(vmlinux);
  const writes = loadable(elf).map((s) => ({
    paddr: s.paddr,
    bytes: vmlinux.subarray(s.offset, s.offset + s.fileBytes),
  }));
  const end = Math.max(
    header.prefAddress + header.initBytes,
    ...loadable(elf).map((s) => s.paddr + s.memoryBytes),
  );
  return { writes, entry: Number(elf.entry), end };
}

function placePacked(kernel: Uint8Array, header: SetupHeader): Image {
  const end = Math.max(KERNEL + kernel.length, header.prefAddress + header.initBytes);
  return {
    writes: [{ paddr: KERNEL, bytes: kernel.subarray(header.setupBytes) }],
    entry: KERNEL + ENTRY_64,
    end,
  };
}

/** As high as the kernel lets it lie: page-aligned, behind the kernel. */
function placeInitrd(
  input: BootInput,
  header: SetupHeader,
  kernelEnd: number,
): Placement | undefined {
  const { initrd, memoryBytes } = input;
  if (initrd === undefined) return undefined;
  const top = Math.min(memoryBytes, header.initrdMax + 1);
  const paddr = Math.floor((top - initrd.length) / 4096) * 4096;
  if (paddr < kernelEnd) {
    const need = Math.ceil((kernelEnd + initrd.length) / 2 ** 20) + 1;
    throw new BootError(
      'too-large',
      `kernel and initrd need ${need} MiB of memory; give more with --memory`,
    );
  }
  return { paddr, bytes: initrd };
}

function bootParams(input: BootInput, initrd: Placement | undefined): Uint8Array {
  const params = new Uint8Array(4096);
  const headerEnd = 0x202 + (input.kernel[0x201] ?? 0);
  params.set(input.kernel.subarray(HEADER, Math.min(headerEnd, 0x290)), HEADER);
  const view = new DataView(params.buffer);
  params[SENTINEL] = 0;
  params[0x210] = LOADER_UNDEFINED;
  params[0x211] = (params[0x211] ?? 0) | LOADED_HIGH;
  view.setUint32(0x228, COMMAND_LINE, true);
  view.setUint32(0x218, initrd?.paddr ?? 0, true);
  view.setUint32(0x21c, initrd?.bytes.length ?? 0, true);
  view.setBigUint64(ACPI_RSDP, BigInt(input.rsdpPaddr), true);
  const map = memoryMap(input.memoryBytes);
  params[E820_ENTRIES] = map.length;
  map.forEach(({ paddr, bytes, type }, i) => {
    const at = E820_TABLE + i * 20;
    view.setBigUint64(at, BigInt(paddr), true);
    view.setBigUint64(at + 8, BigInt(bytes), true);
    view.setUint32(at + 16, type, true);
  });
  return params;
}
