import assert from 'node:assert/strict';
import { Random } from '../../blocks/testing.ts';
import { type DiskImage, ImageError, type ImageFormat, SECTOR_BYTES } from '../../image.ts';
import { openImage } from '../../open.ts';
import { SimulatedHost } from '../../simulation/testing.ts';
import type { MemoryHost } from '../../testing.ts';
import { checkImage, createImage, type Options } from '../testing.ts';
import { Sectors } from './sectors/testing.ts';

const KIB = 1024;
/** What a disk grows by, at most, before it shrinks again. */
const MOST_GROWTH = 6000;

interface Interleaving {
  readonly format: ImageFormat;
  readonly options: Options;
  readonly sectors: number;
  /** Requests of each lane. */
  readonly steps: number;
  readonly lanes: number;
  /** One of so many calls to the host fails; 0: none. */
  readonly failsOneIn: number;
  /** How often power is lost, about: the run goes on as if it were not. */
  readonly crashes: number;
  readonly hasBase: boolean;
}

/** Images, workloads and hosts of every kind. */
export function randomShape(format: ImageFormat, random: Random): Interleaving {
  const pick = <T>(from: readonly [T, ...T[]]): T => from[random.below(from.length)] ?? from[0];
  const isQcow2 = format.name === 'qcow2';
  const hasBase = isQcow2 && random.below(3) === 0;
  const isExtended = random.below(2) === 0;
  const unit = isExtended
    ? pick([16 * KIB, 32 * KIB, 64 * KIB])
    : pick([512, KIB, 4 * KIB, 16 * KIB, 64 * KIB]);
  const version3 = {
    extended_l2: isExtended,
    lazy_refcounts: random.below(2) === 0,
    refcount_bits: pick([1, 2, 8, 16, 32, 64]),
  };
  const options: Options = {
    cluster_size: unit,
    ...(isExtended || random.below(6) > 0 ? version3 : { compat: '0.10' }),
    ...(hasBase ? { backing_file: 'base', backing_fmt: 'raw' } : {}),
  };
  const units = isQcow2 ? unit / SECTOR_BYTES : 128;
  return {
    format,
    options: isQcow2 ? options : {},
    sectors: Math.min(4096, Math.max(200, units * (6 + random.below(20)) + random.below(100))),
    steps: 12 + random.below(25),
    lanes: 2 + random.below(3),
    // Small clusters are read and written in many calls.
    failsOneIn: units < 32 ? pick([0, 100, 300]) : pick([0, 12, 30, 100]),
    crashes: random.below(4),
    hasBase,
  };
}

/**
 * Requests side by side on one disk, in an order that `seed` decides, with failures of the host and losses of power: the
 * disk holds what was written, at each time, after it is opened again, and of what was flushed after a loss of power.
 * @throws when it does not.
 */
export async function interleave(seed: number, shape: Interleaving): Promise<void> {
  const run = new Run(seed, shape);
  try {
    await run.all();
  } catch (error) {
    throw new Error(`seed ${seed}, ${JSON.stringify({ ...shape, format: shape.format.name })}`, {
      cause: error,
    });
  }
}

interface Lane {
  readonly first: number;
  readonly sectors: number;
  readonly random: Random;
}

class Run {
  readonly #shape: Interleaving;
  readonly #seed: number;
  readonly #host: SimulatedHost;
  readonly #random: Random;
  readonly #disk: Sectors;
  readonly #name: string;
  /** What snapshots hold whose content is known. */
  readonly #kept = new Map<string, Uint32Array>();
  #image!: DiskImage;
  #pause: Promise<void> | undefined;
  #busy = 0;
  #idle: (() => void) | undefined;
  #running = 0;
  #tag = 0;
  #failed = false;

  constructor(seed: number, shape: Interleaving) {
    this.#seed = seed;
    this.#shape = shape;
    this.#host = new SimulatedHost(seed);
    this.#random = new Random(seed * 31 + 7);
    this.#disk = new Sectors(shape.sectors);
    this.#name = shape.format.name;
  }

  async all(): Promise<void> {
    const { format, sectors, options, hasBase } = this.#shape;
    if (hasBase) await this.#makeBase();
    await createImage(format, this.#host, '/d', sectors * SECTOR_BYTES, options);
    await (await this.#host.openFile('/d')).flush();
    this.#image = await openImage('/d', this.#host, { format: this.#name });
    await this.#host.weather.turns.during(() => this.#work());
    await this.#compare(0, sectors, 'at the end');
    await this.#image.close();
    await this.#assertSound(this.#host, !this.#failed);
    this.#image = await openImage('/d', this.#host, { format: this.#name, readOnly: true });
    assert.equal(this.#image.sizeBytes, sectors * SECTOR_BYTES);
    await this.#compare(0, sectors, 'opened again');
    await this.#image.close();
    for (const [snapshot, tags] of this.#kept) await this.#compareSnapshot(snapshot, tags);
  }

  async #makeBase(): Promise<void> {
    const file = await this.#host.openFile('/base', { access: 'create' });
    const { sectors } = this.#shape;
    const covered = this.#random.below(sectors) + 1;
    for (let at = 0; at < covered; ) {
      const count = Math.min(covered - at, 1 + this.#random.below(300));
      this.#disk.tags.fill(++this.#tag, at, at + count);
      at += count;
    }
    await file.write(0, this.#disk.bytes(0, covered));
    await file.flush();
  }

  async #work(): Promise<void> {
    const { lanes, sectors, failsOneIn } = this.#shape;
    const ends = Array.from({ length: lanes - 1 }, () => 1 + this.#random.below(sectors - 1));
    const bounds = [0, ...new Set(ends.sort((a, b) => a - b)), sectors];
    this.#host.weather.failsOneIn = failsOneIn;
    const parts = bounds.slice(1).map((end, index) => {
      const first = bounds[index] ?? 0;
      return { first, sectors: end - first, random: new Random(this.#seed * 1000 + index) };
    });
    this.#running = parts.length;
    await Promise.all([...parts.map((lane) => this.#runLane(lane)), this.#change(), this.#crash()]);
    this.#host.weather.failsOneIn = 0;
  }

  async #runLane(lane: Lane): Promise<void> {
    try {
      for (let step = 0; step < this.#shape.steps; step++) {
        while (this.#pause !== undefined) await this.#pause;
        this.#busy++;
        try {
          await this.#step(lane);
        } finally {
          this.#busy--;
          if (this.#busy === 0) this.#idle?.();
        }
      }
    } finally {
      this.#running--;
    }
  }

  async #step({ first: base, sectors, random }: Lane): Promise<void> {
    const most = random.below(3) === 0 ? sectors : Math.min(sectors, 60);
    const count = 1 + random.below(most);
    const first = base + random.below(sectors - count + 1);
    const kind = random.below(14);
    const [offset, length] = [first * SECTOR_BYTES, count * SECTOR_BYTES];
    if (kind < 5) await this.#write(first, count, random);
    else if (kind < 8) {
      const mayUnmap = random.below(3) > 0;
      const done = this.#disk.begin(first, count, 0);
      await this.#insist(() => this.#image.writeZeroes(offset, length, { mayUnmap }));
      done();
    } else if (kind === 8) await this.#discard(first, count);
    else if (kind === 9) await this.#flush();
    else if (kind === 10)
      await this.#insist(async () => void (await this.#image.extent(offset, length)));
    else if (kind < 13) await this.#compare(first, count, 'meanwhile');
    else await this.#pack(first, base + sectors, random);
  }

  async #write(first: number, count: number, random: Random): Promise<void> {
    const tag = ++this.#tag;
    const done = this.#disk.begin(first, count, tag);
    const bytes = this.#disk.filled(count, tag);
    const offset = first * SECTOR_BYTES;
    const pieces = [bytes.subarray(0, SECTOR_BYTES), bytes.subarray(SECTOR_BYTES)];
    const isDone = random.below(3) === 0 && this.#image.tryWrite?.(offset, pieces) === true;
    if (!isDone) await this.#insist(() => this.#image.write(offset, bytes));
    done();
  }

  /** Afterwards each sector is zeros, or what it was. */
  async #discard(first: number, count: number): Promise<void> {
    const done = this.#disk.begin(first, count, 0, true);
    const [offset, length] = [first * SECTOR_BYTES, count * SECTOR_BYTES];
    await this.#insist(() => this.#image.discard(offset, length));
    done();
    const now = new Uint8Array(length);
    await this.#insist(() => this.#image.read(offset, now));
    this.#disk.settle(first, now);
  }

  async #pack(first: number, end: number, random: Random): Promise<void> {
    const unit = this.#image.unitBytes / SECTOR_BYTES;
    const start = Math.ceil(first / unit) * unit;
    const count = Math.min(1 + random.below(4), Math.floor((end - start) / unit)) * unit;
    if (count <= 0 || this.#image.writeCompressed === undefined) return;
    const tag = ++this.#tag;
    const done = this.#disk.begin(start, count, tag);
    const bytes = this.#disk.filled(count, tag);
    await this.#insist(
      async () => await this.#image.writeCompressed?.(start * SECTOR_BYTES, bytes),
    );
    done();
  }

  async #flush(): Promise<void> {
    await this.#insist(async () => {
      const began = this.#disk.now();
      await this.#image.flush();
      this.#disk.flushed(began);
    });
  }

  /** Asks until it is done. */
  async #insist(request: () => Promise<void>): Promise<void> {
    for (let attempt = 1; ; attempt++)
      try {
        return await request();
      } catch (error) {
        if (!this.#isWeather(error) || attempt > 500) throw error;
      }
  }

  #isWeather(error: unknown): boolean {
    const isIt = error instanceof ImageError && (error.kind === 'io' || error.kind === 'no-space');
    if (isIt) this.#failed = true;
    return isIt;
  }

  /** What is done to all of the disk, while requests wait for it or for themselves. */
  async #change(): Promise<void> {
    const tasks: readonly (() => Promise<void>)[] = [
      () => this.#quiet(() => this.#snapshot(true)),
      () => this.#quiet(() => this.#snapshot(true)),
      () => this.#snapshot(false),
      () => this.#deleteSnapshot(),
      () => this.#quiet(() => this.#apply()),
      () => this.#resize(),
      () => this.#quiet(() => this.#empty()),
      () => this.#quiet(() => this.#reopen()),
      () => this.#bitmaps(),
      () => this.#amend(),
    ];
    for (;;) {
      for (let wait = this.#random.below(120); wait > 0 && this.#running > 0; wait--)
        await this.#host.weather.turns.pass();
      if (this.#running === 0) return;
      await tasks[this.#random.below(tasks.length)]?.();
    }
  }

  /** Runs a task while no lane asks for anything. */
  async #quiet(task: () => Promise<void>): Promise<void> {
    let resume = (): void => {};
    this.#pause = new Promise((resolve) => {
      resume = resolve;
    });
    if (this.#busy > 0)
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    this.#idle = undefined;
    try {
      await task();
    } finally {
      this.#pause = undefined;
      resume();
    }
  }

  /** False: it failed, as the weather had it or because this image cannot do it. */
  async #attempt(task: () => Promise<unknown> | undefined): Promise<boolean> {
    try {
      await task();
      return true;
    } catch (error) {
      const cannot =
        error instanceof ImageError && ['unsupported', 'exists', 'bad-option'].includes(error.kind);
      if (cannot) this.#failed = true;
      if (!cannot && !this.#isWeather(error)) throw error;
      return false;
    }
  }

  async #snapshot(isKnown: boolean): Promise<void> {
    const { snapshots } = this.#image;
    if (snapshots === undefined || snapshots.list().length > 2) return;
    await this.#attempt(async () => {
      const { id } = await snapshots.create(`s${++this.#tag}`);
      if (isKnown) this.#kept.set(id, this.#disk.tags.slice());
    });
  }

  async #deleteSnapshot(): Promise<void> {
    const list = this.#image.snapshots?.list() ?? [];
    const chosen = list[this.#random.below(list.length)];
    if (chosen === undefined) return;
    this.#kept.delete(chosen.id);
    await this.#attempt(() => this.#image.snapshots?.delete(chosen.id));
  }

  async #apply(): Promise<void> {
    const { sectors } = this.#shape;
    const ids = [...this.#kept.keys()];
    const chosen = ids[this.#random.below(ids.length)] ?? '';
    const tags = this.#kept.get(chosen);
    if (tags === undefined) return;
    await this.#becomes(tags, () => this.#attempt(() => this.#image.snapshots?.apply(chosen)));
    assert.equal(this.#image.sizeBytes, sectors * SECTOR_BYTES);
  }

  /** All of the disk becomes what `tags` say; where that fails, each sector does or stays. */
  async #becomes(tags: Uint32Array, task: () => Promise<boolean>): Promise<void> {
    const ends = Array.from(tags, (tag, sector) => this.#disk.begin(sector, 1, tag, true));
    const isDone = await task();
    for (const end of ends) end();
    const now = new Uint8Array(tags.length * SECTOR_BYTES);
    await this.#insist(() => this.#image.read(0, now));
    if (isDone) for (const [sector, tag] of tags.entries()) this.#disk.begin(sector, 1, tag)();
    this.#disk.settle(0, now);
  }

  async #resize(): Promise<void> {
    const image = this.#image;
    const before = image.sizeBytes;
    const bytes = before + SECTOR_BYTES * (1 + this.#random.below(MOST_GROWTH));
    // QEMU makes QED disks longer alone.
    if (image.resize === undefined || this.#name === 'qed') return;
    if (await this.#attempt(() => image.resize?.(bytes))) {
      const grown = new Uint8Array(image.sizeBytes - before);
      await this.#insist(() => image.read(before, grown));
      assert.ok(
        grown.every((byte) => byte === 0),
        'what a disk grew by is not zeros',
      );
      const data = this.#disk.filled(Math.min(200, grown.length / SECTOR_BYTES), 0xfefe_fefe);
      await this.#insist(() => image.write(before, data));
    }
    for (let attempt = 0; image.sizeBytes !== before && attempt < 500; attempt++) {
      if (!(await this.#attempt(() => image.resize?.(before, { shrink: true })))) continue;
    }
    assert.equal(image.sizeBytes, before);
  }

  async #empty(): Promise<void> {
    const image = this.#image;
    if (image.makeEmpty === undefined) return;
    const { sectors } = this.#shape;
    const base = new Uint8Array(sectors * SECTOR_BYTES);
    const { backing } = image;
    const part = base.subarray(0, Math.min(base.length, backing?.sizeBytes ?? 0));
    await this.#insist(async () => await backing?.read(0, part));
    const tags = this.#disk.tagsOf(base);
    await this.#becomes(tags, () => this.#attempt(() => image.makeEmpty?.()));
  }

  async #reopen(): Promise<void> {
    const { weather } = this.#host;
    const { failsOneIn } = weather;
    weather.failsOneIn = 0;
    await this.#image.close();
    await this.#assertSound(this.#host, !this.#failed);
    this.#image = await openImage('/d', this.#host, { format: this.#name });
    assert.equal(this.#image.sizeBytes, this.#shape.sectors * SECTOR_BYTES);
    await this.#compare(0, this.#shape.sectors, 'opened again');
    weather.failsOneIn = failsOneIn;
  }

  async #bitmaps(): Promise<void> {
    const { bitmaps } = this.#image;
    if (bitmaps === undefined) return;
    const name = `b${this.#random.below(2)}`;
    const isThere = await this.#attempt(() => bitmaps.add(name));
    if (isThere && this.#random.below(2) === 0) return;
    for (let attempt = 0; attempt < 20; attempt++)
      try {
        if (await this.#attempt(() => bitmaps.remove(name))) return;
      } catch (error) {
        if (!(error instanceof ImageError) || error.kind !== 'not-found') throw error;
        return;
      }
  }

  async #amend(): Promise<void> {
    const lazy = this.#random.below(2) === 0;
    if (this.#name === 'qcow2')
      await this.#attempt(() => this.#image.amend?.(new Map([['lazy_refcounts', lazy]])));
  }

  async #crash(): Promise<void> {
    const { crashes, steps, lanes } = this.#shape;
    if (crashes === 0) return;
    const oneIn = Math.ceil((steps * lanes * 12) / crashes);
    while (this.#running > 0) {
      await this.#host.weather.turns.pass();
      if (this.#random.below(oneIn) > 0) continue;
      const found = this.#host.afterCrash(this.#random);
      await this.#assertKept(found, this.#disk.known());
    }
  }

  /** After a loss of power the image is sound and holds what was flushed, and can be gone on with. */
  async #assertKept(host: MemoryHost, known: readonly ReadonlySet<number>[]): Promise<void> {
    await this.#assertSound(host, false);
    const image = await openImage('/d', host, { format: this.#name });
    const { sectors } = this.#shape;
    const bytes = new Uint8Array(Math.min(sectors * SECTOR_BYTES, image.sizeBytes));
    await image.read(0, bytes);
    for (const [sector, tag] of this.#disk.tagsOf(bytes).entries())
      assert.ok(
        known[sector]?.has(tag),
        `after a crash sector ${sector} has ${tag}, not ${[...(known[sector] ?? [])]}`,
      );
    await image.write(0, this.#disk.filled(Math.min(sectors, (96 * KIB) / SECTOR_BYTES), 1));
    await image.flush();
    await image.close();
    await this.#assertSound(host, false);
  }

  async #assertSound(host: MemoryHost, hasNoLeaks: boolean): Promise<void> {
    const { format } = this.#shape;
    if (hasNoLeaks) {
      const { leaks, messages } = await checkImage(format, host, '/d');
      assert.equal(leaks, 0, messages.slice(0, 5).join('\n'));
    }
    const { corruptions, leaks, messages } = await checkImage(
      format,
      host,
      '/d',
      hasNoLeaks || host === this.#host ? 'none' : 'leaks',
    );
    assert.equal(corruptions, 0, messages.slice(0, 5).join('\n'));
    if (host !== this.#host) assert.equal(leaks, 0, messages.slice(0, 5).join('\n'));
  }

  async #compare(first: number, count: number, when: string): Promise<void> {
    const into = new Uint8Array(count * SECTOR_BYTES);
    const offset = first * SECTOR_BYTES;
    const isDone = this.#random.below(2) === 0 && this.#image.tryRead?.(offset, [into]) === true;
    if (!isDone) await this.#insist(() => this.#image.read(offset, into));
    this.#disk.compare(first, into, when);
  }

  async #compareSnapshot(snapshot: string, tags: Uint32Array): Promise<void> {
    const image = await openImage('/d', this.#host, {
      ...{ format: this.#name, readOnly: true, snapshot },
    });
    const bytes = new Uint8Array(tags.length * SECTOR_BYTES);
    await image.read(0, bytes);
    await image.close();
    const found = this.#disk.tagsOf(bytes);
    const at = found.findIndex((tag, sector) => tag !== tags[sector]);
    assert.equal(at, -1, `snapshot ${snapshot}: sector ${at} has ${found[at]}, not ${tags[at]}`);
  }
}
