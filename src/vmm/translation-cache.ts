import { createHash } from 'node:crypto';
import path from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { UsedBatch } from '#cpu/hot-tier.ts';
import type { KeptBatch, KeptRegion } from '#cpu/kept-regions.ts';
import { putInPlace, readWhole } from './cache-file.ts';
import { countOptimised, machineCodeOf, moduleOf } from './optimised-code.ts';

// Translated code that outlives a run: docs/adr/0009. A file holds what the runs of one guest have needed.

const SUFFIX = '.regions';
/** WebAssembly of a file at most; code that runs have not needed goes first. */
const MOST_WASM = 48 << 20;
/** Runs that a module may go without need before it is left out. */
const MOST_IDLE = 4;
/** New regions, or newly optimised functions, that are worth writing the file again for. */
const WORTH_WRITING = 16;

/** A module as a file's index has it; its WebAssembly, its machine code and its regions' guest code stand behind the index. */
interface StoredBatch {
  readonly wasmBytes: number;
  /** 0 when V8 had optimised none of it. */
  readonly codeBytes: number;
  readonly optimised: number;
  readonly idle: number;
  readonly regions: readonly (Omit<KeptRegion, 'code'> | undefined)[];
}

/** A module of an earlier run. */
export interface CachedBatch extends KeptBatch {
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

/** The modules in a file; none when it is not there or damaged. */
export function* readCache(file: string): Generator<CachedBatch> {
  const content = readWhole(file);
  if (content === undefined) return;
  const indexBytes = content.readUInt32LE(0);
  const index = deserialize(content.subarray(4, 4 + indexBytes)) as StoredBatch[];
  let at = 4 + indexBytes;
  // Copies: posting a part of the file to another thread would copy all of it.
  const take = (length: number): Uint8Array<ArrayBuffer> => {
    const bytes = new Uint8Array(content.subarray(at, at + length));
    at += length;
    return bytes;
  };
  for (const { wasmBytes, codeBytes, optimised, idle, regions } of index) {
    const wasm = take(wasmBytes);
    const code = take(codeBytes);
    const module =
      (codeBytes > 0 ? moduleOf(code, wasm) : undefined) ?? new WebAssembly.Module(wasm);
    const kept = regions.map((r) => r && { ...r, code: take(sum(r.lengths)) });
    yield { wasm, module, regions: kept, optimised, idle };
  }
}

function sum(lengths: readonly number[]): number {
  return lengths.reduce((total, length) => total + length, 0);
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
    if (known === undefined) news += regions.filter((r) => r !== undefined).length;
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
    const count = Math.max(earlier.get(module)?.optimised ?? 0, optimised.get(module) ?? 0);
    const code = (count > 0 ? machineCodeOf(module) : undefined) ?? new Uint8Array();
    blobs.push(wasm, code, ...regions.flatMap((r) => r?.code ?? []));
    index.push({
      wasmBytes: wasm.length,
      codeBytes: code.length,
      optimised: count,
      idle,
      regions: regions.map((r) => r && withoutCode(r)),
    });
  };
  for (const batch of used) add(batch, 0);
  for (const batch of before) if (!usedModules.has(batch.module)) add(batch, batch.idle + 1);
  const head = serialize(index);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.length);
  try {
    putInPlace(file, [length, head, ...blobs]);
  } catch {
    // The next run translates again.
  }
}

function withoutCode({ code: _, ...rest }: KeptRegion): Omit<KeptRegion, 'code'> {
  return rest;
}
