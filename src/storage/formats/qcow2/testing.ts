import assert from 'node:assert/strict';
import type { DiskImage, StorageHost } from '../../image.ts';
import { noise } from '../../testing.ts';
import { qcow2 } from './qcow2.ts';

/** Numbers that follow from a seed (Knuth's linear congruential generator, as in Numerical Recipes). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 7919 + 13;
  }

  /** 0 to `below` - 1. */
  roll(below: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * below);
  }

  pick<T>(from: readonly [T, ...T[]]): T {
    return from[this.roll(from.length)] ?? from[0];
  }
}

export interface Shape {
  readonly sizeBytes: number;
  readonly options: Map<string, string | number | boolean>;
}

/** A combination of all that an image can be made with. */
export function randomShape(dice: Dice): Shape {
  const sizeBytes = dice.pick([1 << 20, (2 << 20) + 512, (3 << 20) + 1536]);
  const isV2 = dice.roll(5) === 0;
  const isExtended = !isV2 && dice.roll(3) === 0;
  const clusters = isExtended
    ? dice.pick([16384, 65536, 131072])
    : dice.pick([512, 4096, 65536, 65536, 2097152]);
  const options: Shape['options'] = new Map<string, string | number | boolean>([
    ['cluster_size', clusters],
    ['compat', isV2 ? '0.10' : '1.1'],
  ]);
  if (isV2) return { sizeBytes, options };
  options.set('extended_l2', isExtended);
  options.set('lazy_refcounts', dice.roll(3) === 0);
  options.set('refcount_bits', dice.pick([1, 8, 16, 64]));
  options.set('compression_type', dice.pick(['zlib', 'zstd']));
  options.set('preallocation', dice.pick(['off', 'off', 'metadata', 'full']));
  return { sizeBytes, options };
}

export async function createImage(host: StorageHost, path: string, shape: Shape): Promise<void> {
  const file = await host.openFile(path, { access: 'create' });
  await qcow2.create?.(file, { sizeBytes: shape.sizeBytes, options: shape.options }, host);
  await file.close();
}

/** What our check says of an image that nobody has open. */
export async function checkImage(
  host: StorageHost,
  path: string,
  repair: 'none' | 'leaks' | 'all' = 'none',
): Promise<{ corruptions: number; leaks: number; text: string }> {
  const file = await host.openFile(path, { access: repair === 'none' ? 'read' : 'write' });
  const context = {
    host,
    readOnly: repair === 'none',
    anyBacking: true,
    openBacking: async () => undefined,
  };
  const result = await qcow2.check?.(file, { repair }, context);
  await file.close();
  assert.ok(result !== undefined);
  const { corruptions, leaks, messages } = result;
  return { corruptions, leaks, text: messages.slice(0, 8).join('\n') };
}

/** Changes a disk by chance, several requests at once, and keeps what it must hold. */
export class Workload {
  readonly model: Uint8Array;
  readonly #dice: Dice;
  readonly #image: DiskImage;
  readonly #hasSnapshots: boolean;
  #snapshots: { id: string; data: Uint8Array }[] = [];

  constructor(image: DiskImage, model: Uint8Array, dice: Dice, hasSnapshots: boolean) {
    this.#image = image;
    this.model = model;
    this.#dice = dice;
    this.#hasSnapshots = hasSnapshots;
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      await this.step(step);
      if (this.#dice.roll(6) === 0) await this.#image.flush();
      if (this.#hasSnapshots) await this.#snapshot();
    }
    await this.compare(0, this.model.length);
  }

  /** A few requests on parts of the disk that do not overlap. */
  async step(step: number): Promise<void> {
    const lanes = 1 + this.#dice.roll(4);
    const laneBytes = Math.floor(this.model.length / lanes / 512) * 512;
    const requests: Promise<void>[] = [];
    for (let lane = 0; lane < lanes; lane++) {
      const wanted = 512 * (1 + this.#dice.roll(this.#dice.pick([4, 32, 300])));
      const length = Math.min(wanted, laneBytes);
      const offset = lane * laneBytes + 512 * this.#dice.roll((laneBytes - length) / 512 + 1);
      requests.push(this.#request(this.#dice.roll(lanes === 1 ? 10 : 9), offset, length, step));
    }
    await Promise.all(requests);
  }

  async compare(offset: number, length: number): Promise<void> {
    const into = new Uint8Array(length);
    const pieces = [into.subarray(0, 512), into.subarray(512)];
    const isDone = offset % 1024 === 0 && this.#image.tryRead?.(offset, pieces) === true;
    if (!isDone) await this.#image.read(offset, into);
    const expected = this.model.subarray(offset, offset + length);
    assert.ok(isSame(into, expected), `${length} bytes at ${offset} differ`);
  }

  async #request(kind: number, offset: number, length: number, step: number): Promise<void> {
    const image = this.#image;
    if (kind < 5) {
      const data = noise(length, step * 131 + kind);
      this.model.set(data, offset);
      const half = (length / 2) & ~511;
      const pieces = [data.subarray(0, half), data.subarray(half)];
      const isDone = step % 2 === 0 && image.tryWrite?.(offset, pieces) === true;
      if (!isDone) await image.write(offset, data);
    } else if (kind < 7) {
      this.model.fill(0, offset, offset + length);
      await image.writeZeroes(offset, length, { mayUnmap: kind === 5 });
    } else if (kind === 7) await this.#discard(offset, length);
    else if (kind === 8) await this.compare(offset, length);
    else await this.#compress(offset, step);
  }

  /** Afterwards each sector is zeros, or what it was. */
  async #discard(offset: number, length: number): Promise<void> {
    await this.#image.discard(offset, length);
    const now = new Uint8Array(length);
    await this.#image.read(offset, now);
    for (let at = 0; at < length; at += 512) {
      const sector = now.subarray(at, at + 512);
      const before = this.model.subarray(offset + at, offset + at + 512);
      if (sector.every((byte) => byte === 0)) before.fill(0);
      else assert.ok(isSame(sector, before), `discard changed ${offset + at}`);
    }
  }

  async #compress(offset: number, step: number): Promise<void> {
    const { unitBytes, sizeBytes } = this.#image;
    const start = Math.floor(offset / unitBytes) * unitBytes;
    const data = new Uint8Array(
      Math.min(unitBytes * (1 + this.#dice.roll(2)), sizeBytes - start),
    ).fill(step);
    data.set(noise(100, step));
    this.model.set(data, start);
    await this.#image.writeCompressed?.(start, data);
  }

  async #snapshot(): Promise<void> {
    const { snapshots } = this.#image;
    const [first] = this.#snapshots;
    const choice = this.#dice.roll(36);
    if (choice < 3) {
      const made = await snapshots?.create('made by chance');
      this.#snapshots.push({ id: made?.id ?? '', data: this.model.slice() });
    } else if (first !== undefined && choice < 6) {
      const chosen = this.#dice.pick([first, ...this.#snapshots]);
      await snapshots?.apply(chosen.id);
      this.model.set(chosen.data);
    } else if (first !== undefined && choice < 9) {
      await snapshots?.delete(first.id);
      this.#snapshots.shift();
    }
  }
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}
