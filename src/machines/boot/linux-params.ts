import { memoryMap } from './e820.ts';
import { cString } from './placement.ts';
import type { BootInput, Placement } from './plan-types.ts';

// What Linux is given at its entries: "boot_params", the zero page.
// Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst.

export const BOOT_PARAMS = 0x10000;
const COMMAND_LINE = 0x20000;
const LOADER_UNDEFINED = 0xff;
const LOADED_HIGH = 1;

const ACPI_RSDP = 0x070;
const E820_ENTRIES = 0x1e8;
const SENTINEL = 0x1ef;
const TYPE_OF_LOADER = 0x210;
const LOADFLAGS = 0x211;
const RAMDISK_IMAGE = 0x218;
const RAMDISK_SIZE = 0x21c;
const CMD_LINE_PTR = 0x228;
const E820_TABLE = 0x2d0;

/** `setup` holds the kernel's own setup header, from `setupAt` on. */
export function linuxParams(
  input: BootInput,
  setup: { readonly at: number; readonly bytes: Uint8Array },
  initrd: Placement | undefined,
): Placement[] {
  const params = new Uint8Array(4096);
  params.set(setup.bytes, setup.at);
  const view = new DataView(params.buffer);
  params[SENTINEL] = 0;
  params[TYPE_OF_LOADER] = LOADER_UNDEFINED;
  params[LOADFLAGS] = (params[LOADFLAGS] ?? 0) | LOADED_HIGH;
  view.setUint32(CMD_LINE_PTR, COMMAND_LINE, true);
  view.setUint32(RAMDISK_IMAGE, initrd?.paddr ?? 0, true);
  view.setUint32(RAMDISK_SIZE, initrd?.bytes.length ?? 0, true);
  view.setBigUint64(ACPI_RSDP, BigInt(input.rsdpPaddr), true);
  const map = memoryMap(input.memoryBytes);
  params[E820_ENTRIES] = map.length;
  map.forEach(({ paddr, bytes, type }, i) => {
    const at = E820_TABLE + i * 20;
    view.setBigUint64(at, BigInt(paddr), true);
    view.setBigUint64(at + 8, BigInt(bytes), true);
    view.setUint32(at + 16, type, true);
  });
  return [
    { paddr: BOOT_PARAMS, bytes: params },
    { paddr: COMMAND_LINE, bytes: cString(input.cmdline) },
    ...(initrd ? [initrd] : []),
  ];
}
