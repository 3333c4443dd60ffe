import { AREA_BYTES, PAGE_MAP_BYTES, S_SIZE } from '#ir/state.ts';

// Where everything lies in the one linear memory that all threads of a VM share: the core's constants, the states and
// private areas of the vCPUs, the page map, then guest RAM and ROM.

const WASM_PAGE = 65536;
const align = (value: number, to: number) => Math.ceil(value / to) * to;

/** The core's constant tables begin at 64 KiB (tools/build.ts: --memoryBase) and end below this. */
const STATES = 4 * 1024 * 1024;

export interface MemoryLayout {
  /** Address of each vCPU's state. */
  readonly cpus: readonly number[];
  readonly areas: readonly number[];
  readonly pageMap: number;
  readonly ram: number;
  readonly rom: number;
  /** State of the chips on the vCPUs' side, and the queues between threads. */
  readonly devices: number;
  readonly deviceBytes: number;
  /** Size of the whole, in WebAssembly pages. */
  readonly pages: number;
}

/** What core/ is built to import at least (tools/build-engine.ts: --initialMemory). */
export const FEWEST_PAGES = 512;
const DEVICE_BYTES = 1024 * 1024;

/** Lays out a VM. Throws no error: whether the host has the memory shows when it is made. */
export function layOut(vcpus: number, ramBytes: number, romBytes: number): MemoryLayout {
  const cpus = Array.from({ length: vcpus }, (_, i) => STATES + i * S_SIZE);
  const firstArea = align(STATES + vcpus * S_SIZE, WASM_PAGE);
  const areas = Array.from({ length: vcpus }, (_, i) => firstArea + i * AREA_BYTES);
  const pageMap = firstArea + vcpus * AREA_BYTES;
  const devices = pageMap + PAGE_MAP_BYTES;
  const ram = align(devices + DEVICE_BYTES, WASM_PAGE);
  const rom = align(ram + ramBytes, WASM_PAGE);
  const pages = Math.max(FEWEST_PAGES, Math.ceil((rom + romBytes) / WASM_PAGE));
  return { cpus, areas, pageMap, ram, rom, devices, deviceBytes: DEVICE_BYTES, pages };
}
