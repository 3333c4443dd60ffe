import { BootError } from './boot-error.ts';
import { memoryMap } from './e820.ts';
import { placeMultiboot } from './multiboot-header.ts';
import { cString } from './placement.ts';
import type { BootInput, BootModule, BootPlan, Placement } from './plan-types.ts';
import { start32 } from './processor-state.ts';

// The state and the information a Multiboot loader hands over. Source: Multiboot specification 0.6.96, 3.2 and 3.3.

const LOADER_MAGIC = 0x2badb002;
const INFO = 0x10000;
const INFO_BYTES = 120;
const MAP_ENTRY_BYTES = 24;
const MODULE_BYTES = 16;
const PAGE = 4096;
const HIGH = 0x100000;
const LOW_KIB = 639;

const HAS_MEMORY = 1 << 0;
const HAS_CMDLINE = 1 << 2;
const HAS_MODULES = 1 << 3;
const HAS_MAP = 1 << 6;
const HAS_LOADER_NAME = 1 << 9;

interface PlacedModule {
  readonly place: Placement;
  readonly cmdline: string;
}

/** A Multiboot 1 kernel whose header lies at `header`; an initrd is its first module. @throws {BootError} */
export function planMultiboot(input: BootInput, header: number): BootPlan {
  const image = placeMultiboot(input.kernel, header);
  const initrd = input.initrd ? [{ bytes: input.initrd, cmdline: '' }] : [];
  const modules = placeModules([...initrd, ...(input.modules ?? [])], image.end, input);
  const start = start32(image.entry, { rax: BigInt(LOADER_MAGIC), rbx: BigInt(INFO) });
  return {
    writes: [
      ...image.writes,
      ...start.writes,
      ...modules.map((m) => m.place),
      { paddr: INFO, bytes: information(input, modules) },
    ],
    state: start.state,
  };
}

/** One behind the other, each on a page of its own, behind the kernel and its zeros. */
function placeModules(
  modules: readonly BootModule[],
  kernelEnd: number,
  input: BootInput,
): PlacedModule[] {
  let end = Math.max(kernelEnd, HIGH);
  return modules.map(({ bytes, cmdline }) => {
    const paddr = Math.ceil(end / PAGE) * PAGE;
    end = paddr + bytes.length;
    if (end > input.memoryBytes) {
      const need = Math.ceil(end / HIGH);
      throw new BootError(
        'too-large',
        `kernel and modules need at least ${need} MiB of memory; give more`,
        { field: bytes === input.initrd ? 'initrd' : 'module' },
      );
    }
    return { place: { paddr, bytes }, cmdline };
  });
}

/** The information structure; behind it what it points to. */
function information(input: BootInput, modules: readonly PlacedModule[]): Uint8Array {
  const map = memoryMap(input.memoryBytes);
  const mapAt = INFO_BYTES;
  const modulesAt = mapAt + map.length * MAP_ENTRY_BYTES;
  const stringsAt = modulesAt + modules.length * MODULE_BYTES;
  const name = input.kernelName ?? 'kernel';
  const cmdline = input.cmdline === '' ? name : `${name} ${input.cmdline}`;
  const strings = [cmdline, 'ring0', ...modules.map((m) => m.cmdline)].map(cString);
  const total = strings.reduce((sum, s) => sum + s.length, stringsAt);
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  const at: number[] = [];
  strings.reduce((next, s) => {
    bytes.set(s, next);
    at.push(INFO + next);
    return next + s.length;
  }, stringsAt);
  const [cmdlineAt = 0, loaderAt = 0, ...moduleStrings] = at;

  const moduleFlag = modules.length > 0 ? HAS_MODULES : 0;
  view.setUint32(0, HAS_MEMORY | HAS_CMDLINE | HAS_MAP | HAS_LOADER_NAME | moduleFlag, true);
  view.setUint32(4, LOW_KIB, true);
  view.setUint32(8, Math.max(0, (input.memoryBytes - HIGH) / 1024), true);
  view.setUint32(16, cmdlineAt, true);
  view.setUint32(20, modules.length, true);
  view.setUint32(24, INFO + modulesAt, true);
  view.setUint32(44, map.length * MAP_ENTRY_BYTES, true);
  view.setUint32(48, INFO + mapAt, true);
  view.setUint32(64, loaderAt, true);
  map.forEach((range, i) => {
    const entry = mapAt + i * MAP_ENTRY_BYTES;
    view.setUint32(entry, MAP_ENTRY_BYTES - 4, true); // the size does not count itself
    view.setBigUint64(entry + 4, BigInt(range.paddr), true);
    view.setBigUint64(entry + 12, BigInt(range.bytes), true);
    view.setUint32(entry + 20, range.type, true);
  });
  modules.forEach(({ place }, i) => {
    const entry = modulesAt + i * MODULE_BYTES;
    view.setUint32(entry, place.paddr, true);
    view.setUint32(entry + 4, place.paddr + place.bytes.length, true);
    view.setUint32(entry + 8, moduleStrings[i] ?? 0, true);
  });
  return bytes;
}
