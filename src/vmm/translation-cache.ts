import { createHash } from 'node:crypto';
import path from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { crc32 } from 'node:zlib';
import type { KeptBatch } from '#cpu/kept-regions.ts';
import type { UsedBatch } from '#cpu/region-units.ts';
import { openStored, pad, padded, writeStored } from './cache-file.ts';
import { countOptimised, machineCodeOf, moduleOf } from './optimised-code.ts';

// Translated code that outlives a run: docs/adr/0009. A file holds what the runs of one guest have needed.

const SUFFIX = '.regions';
/** WebAssembly of a file at most; code that runs have not needed goes first. */
const MOST_WASM = 48 << 20;
/** Runs that a module may go without need before it is left out. */
const MOST_IDLE = 4;
/** New regions, or newly optimised functions, that are worth writing the file again for. */
const WORTH_WRITING = 16;

/** A module as a file's index has it. Behind the index stand, for each: the parts of its regions, WebAssembly, machine code. */
interface StoredBatch {
  readonly count: number;
  readonly numberBytes: number;
  readonly guestBytes: number;
  readonly wasmBytes: number;
  /** 0 when V8 had optimised none of it. */
  readonly codeBytes: number;
  readonly crc: number;
  readonly optimised: number;
  readonly idle: number;
}

/** A module of an earlier run. */
export interface CachedBatch extends KeptBatch {
  /** Its machine code, as it was read. */
  readonly code: Uint8Array;
  readonly optimised: number;
  readonly idle: number;
}

/** What the code of a guest is kept under: everything that its translation depends on, and what tells guests apart. */
export function cacheFile(
  folder: string,
  engine: string,
  guest: { readonly cpuModel: string; readonly image: Uint8Array },
): string {
  const HEAD = 65536;
  const hash = createHash('sha256');
  for (const part of [engine, process.version, process.arch, guest.cpuModel, guest.image.length])
    hash.update(`${part}\0`);
  const name = hash.update(guest.image.subarray(0, HEAD)).digest('hex').slice(0, 32);
  return path.join(folder, `${name}${SUFFIX}`);
}

/** The modules in a file; none when it is not there, and none from where it is damaged. */
export function* readCache(file: string): Generator<CachedBatch> {
  const opened = openStored(file);
  if (opened === undefined) return;
  const { body } = opened;
  let at = 0;
  const take = (length: number): Uint8Array<ArrayBuffer> => {
    const bytes = body.subarray(at, at + length);
    at += padded(length);
    return bytes;
  };
  for (const stored of deserialize(opened.head) as StoredBatch[]) {
    const from = at;
    const numbers = take(stored.numberBytes);
    const guest = take(stored.guestBytes);
    const wasm = take(stored.wasmBytes);
    const code = take(stored.codeBytes);
    // V8 trusts machine code.
    if (at > body.length || crc32(body.subarray(from, at)) !== stored.crc) return;
    const restored = code.length > 0 ? moduleOf(code, wasm) : undefined;
    yield {
      wasm,
      module: restored ?? new WebAssembly.Module(wasm),
      regions: {
        count: stored.count,
        numbers: new Float64Array(numbers.buffer, numbers.byteOffset, numbers.length / 8),
        code: guest,
      },
      // A copy of code that V8 has refused is no use.
      code: restored === undefined ? new Uint8Array() : code,
      optimised: restored === undefined ? 0 : stored.optimised,
      idle: stored.idle,
    };
  }
}

/**
 * Writes what a run has used, and what earlier ones had left, when that is worth it. A disk that is full or read-only
 * leaves things as they were.
 */
export function writeCache(
  file: string,
  used: readonly UsedBatch[],
  before: readonly CachedBatch[],
): void {
  const earlier = new Map(before.map((batch) => [batch.module, batch]));
  const optimised = new Map(used.map((b) => [b.module, countOptimised(b.functions)]));
  let news = 0;
  for (const { module, regions } of used) {
    const known = earlier.get(module);
    if (known === undefined) news += regions.count;
    else news += Math.max(0, (optimised.get(module) ?? 0) - known.optimised);
  }
  if (news < WORTH_WRITING) return;
  const usedModules = new Set(used.map((b) => b.module));
  const index: StoredBatch[] = [];
  const blobs: Uint8Array[] = [];
  let room = MOST_WASM;
  const add = ({ module, wasm, regions }: KeptBatch, idle: number): void => {
    if (idle > MOST_IDLE || wasm.length > room) return;
    room -= wasm.length;
    const known = earlier.get(module);
    const now = optimised.get(module) ?? 0;
    // What V8 has optimised it may drop again, and it ends the process when there is none left: what lives now tells.
    const isNew = now > (known?.optimised ?? 0);
    const code = (isNew ? machineCodeOf(module) : known?.code) ?? new Uint8Array();
    const count = isNew ? now : (known?.optimised ?? 0);
    const { numbers } = regions;
    const numberBytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    const parts = [numberBytes, regions.code, wasm, code].map(pad);
    blobs.push(...parts);
    index.push({
      count: regions.count,
      numberBytes: numbers.byteLength,
      guestBytes: regions.code.length,
      wasmBytes: wasm.length,
      codeBytes: code.length,
      crc: parts.reduce((crc, part) => crc32(part, crc), 0),
      optimised: count,
      idle,
    });
  };
  for (const batch of used) add(batch, 0);
  for (const batch of before) if (!usedModules.has(batch.module)) add(batch, batch.idle + 1);
  try {
    writeStored(file, serialize(index), blobs);
  } catch {
    // The next run translates again.
  }
}
