import {
  checkRange,
  type DiskImage,
  type Extent,
  ImageError,
  type ImageInfo,
  type ResizeOptions,
  type WriteZeroesOptions,
} from '../image.ts';
import { totalLength } from '../pieces.ts';
import { begun, settle } from '../settle.ts';
import { isZero } from '../zeros.ts';
import type { BlockMap, Place, Run } from './block-map.ts';
import { findFlat } from './flat-map.ts';
import { KeyLock } from './key-lock.ts';
import { abandon, PromptWriter } from './prompt-writer.ts';
import { Requests } from './requests.ts';
import { RunReader } from './run-reader.ts';
import { adjoining, extentOf, isInPlace, writeSoon, zeroRun } from './runs.ts';

const CHUNK_BYTES = 1 << 20;
/** Compressed runs read at once: each takes memory of its own, in hostile images much for little. */
const MOST_UNPACKED = 4;
/** Units are allocated at once for so much. */
const MAX_BATCH_BYTES = 4 << 20;

export interface MappedImageParts {
  readonly format: string;
  readonly path: string;
  readonly readOnly: boolean;
  readonly backing: DiskImage | undefined;
  readonly map: BlockMap;
}

/** A disk whose units lie where a map says; units are allocated as they are written, and filled from the backing image. */
export class MappedImage implements DiskImage {
  readonly format: string;
  readonly path: string;
  readonly readOnly: boolean;
  readonly backing: DiskImage | undefined;
  readonly unitBytes: number;
  readonly resize?: (sizeBytes: number, options?: ResizeOptions) => Promise<void>;
  readonly writeCompressed?: (offsetBytes: number, from: Uint8Array) => Promise<void>;
  readonly setBacking?: (name: string | undefined, format: string | undefined) => Promise<void>;
  readonly adoptBacking?: () => Promise<void>;
  readonly #map: BlockMap;
  readonly #runs: RunReader;
  readonly #promptly: PromptWriter;
  readonly #locks = new KeyLock();
  readonly #requests = new Requests();
  #releasing: Promise<void> = Promise.resolve();
  #firstChange: Promise<void> | undefined;
  /** The first change is over. */
  #hasChanged = false;

  constructor(parts: MappedImageParts) {
    const { map } = parts;
    this.format = parts.format;
    this.path = parts.path;
    this.readOnly = parts.readOnly;
    this.backing = parts.backing;
    this.unitBytes = map.unitBytes;
    this.#map = map;
    this.#runs = new RunReader(map, parts.backing);
    this.#promptly = new PromptWriter({ map, runs: this.#runs, locks: this.#locks });
    if (map.resize !== undefined)
      this.resize = (sizeBytes, options = {}) =>
        this.#requests.alone(() => this.#resize(sizeBytes, options));
    if (map.writeUnit !== undefined)
      this.writeCompressed = (offsetBytes, from) => this.write(offsetBytes, from);
    if (map.setBacking !== undefined)
      this.setBacking = async (name, format) => {
        await this.#startChange(0, 0);
        await map.setBacking?.(name, format);
      };
    // Not for what it says itself: that stays the same.
    if (map.adoptBacking !== undefined && parts.backing !== undefined && !parts.readOnly)
      this.adoptBacking = () => this.#requests.alone(async () => await map.adoptBacking?.());
  }

  get sizeBytes(): number {
    return this.#map.sizeBytes;
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    checkRange(this, offsetBytes, into.length);
    await this.#requests.run(() => this.#read(offsetBytes, into));
  }

  async #read(offsetBytes: number, into: Uint8Array): Promise<void> {
    const reads: Promise<void>[] = [];
    try {
      for (let done = 0; done < into.length; ) {
        const run = await this.#runs.find(offsetBytes + done, into.length - done);
        const part = into.subarray(done, done + run.lengthBytes);
        if (part.length === into.length) return await this.#runs.read(run, offsetBytes, part);
        reads.push(begun(this.#runs.read(run, offsetBytes + done, part)));
        if (run.compressed === true && reads.length >= MOST_UNPACKED) await settle(reads.splice(0));
        done += run.lengthBytes;
      }
    } catch (error) {
      // Those before it have the bytes until they end.
      reads.push(begun(Promise.reject(error)));
    }
    await settle(reads);
  }

  tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    const length = totalLength(into);
    checkRange(this, offsetBytes, length);
    return this.#requests.isOpen && this.#runs.tryRead(offsetBytes, into, length);
  }

  tryWrite(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    const length = totalLength(from);
    checkRange(this, offsetBytes, length);
    if (!this.#hasChanged || !this.#requests.isOpen || length === 0) return false;
    return this.#promptly.tryWrite(offsetBytes, from, length);
  }

  async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    await this.#change(offsetBytes, from.length, () => this.#write(offsetBytes, from));
  }

  async #write(offsetBytes: number, from: Uint8Array): Promise<void> {
    for (let done = 0; done < from.length; ) {
      const at = offsetBytes + done;
      const run = await this.#runs.find(at, from.length - done);
      if (isInPlace(run)) {
        await writeSoon(run.file, run.hostOffsetBytes, from.subarray(done, done + run.lengthBytes));
        done += run.lengthBytes;
      } else {
        const units = this.#wholeUnits(at, Math.min(run.lengthBytes, from.length - done));
        const length = units > 1 ? units * this.unitBytes : this.#toUnitEnd(at);
        const part = from.subarray(done, done + length);
        if (units > 1) await this.#writeUnits(at, part);
        else await this.#writeUnit(at, part);
        done += part.length;
      }
    }
  }

  async writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    options: WriteZeroesOptions = {},
  ): Promise<void> {
    const mayUnmap = options.mayUnmap === true;
    await this.#change(offsetBytes, lengthBytes, () =>
      this.#writeZeroes(offsetBytes, lengthBytes, mayUnmap),
    );
  }

  async #writeZeroes(offsetBytes: number, lengthBytes: number, mayUnmap: boolean): Promise<void> {
    for (let done = 0; done < lengthBytes; ) {
      const at = offsetBytes + done;
      const run = await this.#runs.find(at, lengthBytes - done);
      let length = run.lengthBytes;
      const isZero = this.#runs.readsAsZeros(run, at);
      if (!isZero && isInPlace(run)) {
        const isFreed = mayUnmap && (await this.#freeUnit(at, lengthBytes - done));
        length = isFreed ? this.#unitLength(at) : mayUnmap ? this.#upToFree(run, at) : length;
        if (!isFreed) await zeroRun({ ...run, lengthBytes: length }, mayUnmap);
      } else if (!isZero) {
        length = Math.min(lengthBytes - done, this.#toUnitEnd(at));
        await this.#zeroUnit(at, length);
      }
      done += length;
    }
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    await this.#change(offsetBytes, lengthBytes, () => this.#discard(offsetBytes, lengthBytes));
  }

  async #discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    for (let done = 0; done < lengthBytes; ) {
      const at = offsetBytes + done;
      const run = await this.#runs.find(at, lengthBytes - done);
      if (run.kind !== 'data' || !isInPlace(run)) done += run.lengthBytes;
      else if (await this.#freeUnit(at, lengthBytes - done)) done += this.#unitLength(at);
      else {
        const length = this.#upToFree(run, at);
        await run.file.punch(run.hostOffsetBytes, length);
        done += length;
      }
    }
  }

  /** How much of a run of data at `offsetBytes` lies before the next unit that may be freed. */
  #upToFree(run: Run, offsetBytes: number): number {
    if (this.#map.free === undefined) return run.lengthBytes;
    return Math.min(run.lengthBytes, this.#toUnitEnd(offsetBytes));
  }

  /** Takes the unit that starts at `offsetBytes` its room away; false: that cannot be, or not all of it shall go. */
  async #freeUnit(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    if (this.#map.free === undefined) return false;
    if (offsetBytes % this.unitBytes !== 0 || lengthBytes < this.#unitLength(offsetBytes))
      return false;
    const unit = offsetBytes / this.unitBytes;
    const asZeros = offsetBytes < (this.backing?.sizeBytes ?? 0);
    return await this.#locks.run(
      [unit],
      async () => (await this.#map.free?.(unit, asZeros)) ?? false,
    );
  }

  async flush(): Promise<void> {
    if (!this.readOnly) await this.#requests.run(() => this.#commit());
  }

  /** What was freed before may be given out when it is over, and when the requests that know the old places are. */
  async #commit(): Promise<void> {
    const { tail } = this.#map;
    const freed = tail?.takePending() ?? [];
    try {
      await this.#map.commit();
    } catch (error) {
      for (const one of freed) tail?.give(one.hostOffsetBytes, one.lengthBytes);
      throw error;
    }
    if (freed.length === 0) return;
    this.#requests.after(() => {
      const release = async (): Promise<void> => await tail?.release(freed);
      this.#releasing = this.#releasing.then(release);
    });
  }

  async extent(offsetBytes: number, lengthBytes: number): Promise<Extent> {
    checkRange(this, offsetBytes, lengthBytes);
    if (lengthBytes === 0) return { kind: 'unallocated', lengthBytes: 0 };
    return await this.#requests.run(() => this.#extent(offsetBytes, lengthBytes));
  }

  async #extent(offsetBytes: number, lengthBytes: number): Promise<Extent> {
    const first = await this.#map.find(offsetBytes, lengthBytes);
    // What others wrote into a block of megabytes is often less than all of it.
    const there =
      first.kind === 'data' && isInPlace(first)
        ? await findFlat(first.file, first.hostOffsetBytes, lengthBytes)
        : undefined;
    const run = await this.#runs.find(offsetBytes, there?.lengthBytes ?? lengthBytes);
    return extentOf(run, this.path, there);
  }

  info(): Promise<ImageInfo> {
    return Promise.resolve(this.#map.info());
  }

  async close(): Promise<void> {
    try {
      if (!this.readOnly) await this.#finish();
    } finally {
      try {
        await this.#map.close();
      } finally {
        await this.backing?.close();
      }
    }
  }

  async #finish(): Promise<void> {
    await this.#commit();
    await this.#releasing;
    await this.#map.compact?.();
  }

  async #change(
    offsetBytes: number,
    lengthBytes: number,
    task: () => Promise<void>,
  ): Promise<void> {
    await this.#startChange(offsetBytes, lengthBytes);
    await this.#requests.run(task);
  }

  async #startChange(offsetBytes: number, lengthBytes: number): Promise<void> {
    checkRange(this, offsetBytes, lengthBytes);
    if (this.readOnly)
      throw new ImageError('read-only', `${this.path}: opened for reading only`, {
        path: this.path,
      });
    this.#firstChange ??= this.#map.beforeChange?.() ?? Promise.resolve();
    try {
      await this.#firstChange;
      this.#hasChanged = true;
    } catch (error) {
      this.#firstChange = undefined;
      throw error;
    }
  }

  async #resize(sizeBytes: number, options: ResizeOptions): Promise<void> {
    await this.#startChange(0, 0);
    if (sizeBytes < this.sizeBytes && options.shrink !== true)
      throw new ImageError(
        'bad-option',
        `${this.path}: shrinking from ${this.sizeBytes} bytes loses data`,
      );
    if (options.preallocation !== undefined && options.preallocation !== 'off')
      throw new ImageError(
        'bad-option',
        `${this.path}: preallocation: ${this.format} images have none; leave it out`,
      );
    const old = this.sizeBytes;
    if (sizeBytes === old) return;
    this.#map.checkResize?.(sizeBytes);
    if (sizeBytes > old) await this.#zeroRest();
    else await this.#freeFrom(sizeBytes);
    await this.#finish();
    await this.#map.resize?.(sizeBytes);
    // A backing image that is longer would show through.
    const covered = Math.min(sizeBytes, this.backing?.sizeBytes ?? 0);
    if (covered > old) await this.#writeZeroes(old, covered - old, true);
    await this.#commit();
  }

  /** Takes the units that lie behind the new end their room away. */
  async #freeFrom(sizeBytes: number): Promise<void> {
    if (this.#map.free === undefined) return;
    for (let at = Math.ceil(sizeBytes / this.unitBytes) * this.unitBytes; at < this.sizeBytes; ) {
      const run = await this.#runs.find(at, this.sizeBytes - at);
      const isBare = run.kind !== 'data' && run.lengthBytes >= this.#unitLength(at);
      if (!isBare) await this.#map.free(at / this.unitBytes, false);
      const units = isBare ? Math.max(1, Math.floor(run.lengthBytes / this.unitBytes)) : 1;
      at += units * this.unitBytes;
    }
  }

  /** What lies behind the end in the last unit becomes part of a disk that grows. */
  async #zeroRest(): Promise<void> {
    const end = Math.ceil(this.sizeBytes / this.unitBytes) * this.unitBytes;
    for (let at = this.sizeBytes; at < end; ) {
      const run = await this.#map.find(at, end - at);
      if (isInPlace(run)) await zeroRun(run, false);
      at += run.lengthBytes;
    }
  }

  #toUnitEnd(offsetBytes: number): number {
    return this.unitBytes - (offsetBytes % this.unitBytes);
  }

  /** Of the unit that starts at `offsetBytes`; the disk may end within it. */
  #unitLength(offsetBytes: number): number {
    return Math.min(this.unitBytes, this.sizeBytes - offsetBytes);
  }

  /** How many whole units, all of them to be allocated at once, start at `offsetBytes`; 0: none. */
  #wholeUnits(offsetBytes: number, lengthBytes: number): number {
    if (offsetBytes % this.unitBytes !== 0 || this.#map.writeUnit !== undefined) return 0;
    return Math.floor(Math.min(lengthBytes, MAX_BATCH_BYTES) / this.unitBytes);
  }

  /** Writes whole units, most of which are not allocated yet, side by side. */
  async #writeUnits(offsetBytes: number, from: Uint8Array): Promise<void> {
    const first = offsetBytes / this.unitBytes;
    const units = Array.from({ length: from.length / this.unitBytes }, (_, index) => first + index);
    await this.#locks.run(units, async () => {
      const now = await this.#runs.find(offsetBytes, from.length);
      const places: Place[] = [];
      // Somebody else has written to some of them meanwhile: these stay where they are.
      const isMixed = isInPlace(now) || now.lengthBytes < from.length;
      await this.#orAbandon(places, async () => {
        for (const [index, unit] of units.entries()) {
          const at = offsetBytes + index * this.unitBytes;
          const place = isMixed ? this.#placeOf(unit, at) : this.#allocate(unit, at);
          // A wait for each of many small units takes longer than all else here.
          places.push(place instanceof Promise ? await place : place);
        }
        await this.#writePlaces(places, from);
      });
      for (const { place, start, count } of adjoining(places, this.unitBytes)) {
        if (this.#map.linkRun !== undefined) await this.#map.linkRun(first + start, count, place);
        else
          for (let one = start; one < start + count; one++)
            await this.#map.link?.(first + one, places[one] ?? place);
      }
    });
  }

  async #placeOf(unit: number, offsetBytes: number): Promise<Place> {
    const run = await this.#runs.find(offsetBytes, this.unitBytes);
    if (!isInPlace(run) || run.lengthBytes < this.unitBytes)
      return await this.#allocate(unit, offsetBytes);
    return { file: run.file, hostOffsetBytes: run.hostOffsetBytes, zeroed: false };
  }

  #allocate(unit: number, offsetBytes: number): Place | Promise<Place> {
    const place = this.#map.allocate?.(unit);
    if (place === undefined) throw this.#fixed(offsetBytes);
    return place;
  }

  /** Units that lie side by side are written at once. */
  async #writePlaces(places: readonly Place[], from: Uint8Array): Promise<void> {
    for (const { place, start, count } of adjoining(places, this.unitBytes)) {
      const units = from.subarray(start * this.unitBytes, (start + count) * this.unitBytes);
      await writeSoon(place.file, place.hostOffsetBytes, units);
    }
  }

  /** A host without room, and a guest that tries again, must not use up places. */
  async #orAbandon(places: readonly Place[], write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      abandon(this.#map, places);
      throw error;
    }
  }

  /** Writes into one unit that may not be allocated yet. */
  #writeUnit(offsetBytes: number, from: Uint8Array): Promise<void> {
    const unit = Math.floor(offsetBytes / this.unitBytes);
    return this.#locks.run([unit], async () => {
      const now = await this.#runs.find(offsetBytes, from.length);
      if (isInPlace(now) && now.lengthBytes === from.length)
        return await writeSoon(now.file, now.hostOffsetBytes, from);
      if (this.#map.writeUnit !== undefined)
        return await this.#rewriteUnit(unit, offsetBytes, from);
      const place = await this.#allocate(unit, offsetBytes);
      await this.#orAbandon([place], () => this.#fillUnit(unit, place, offsetBytes, from));
      await this.#map.link?.(unit, place);
    });
  }

  /** Writes a whole unit to its place: `from` at `offsetBytes`, what was there around it. What is in place stays. */
  async #fillUnit(
    unit: number,
    place: Place,
    offsetBytes: number,
    from: Uint8Array,
  ): Promise<void> {
    const start = unit * this.unitBytes;
    const end = Math.min(start + this.unitBytes, this.sizeBytes);
    const hostOf = (at: number): number => place.hostOffsetBytes + at - start;
    if (offsetBytes + from.length < end) await place.reachEnd?.();
    for (let at = start; at < end; ) {
      if (at === offsetBytes) {
        await writeSoon(place.file, hostOf(at), from);
        at += from.length;
        continue;
      }
      const stop = at < offsetBytes ? offsetBytes : end;
      const run = await this.#runs.find(at, Math.min(stop - at, CHUNK_BYTES));
      if (!isInPlace(run) && !(place.zeroed && this.#runs.readsAsZeros(run, at))) {
        const bytes = new Uint8Array(run.lengthBytes);
        await this.#runs.read(run, at, bytes);
        if (!place.zeroed || !isZero(bytes)) await place.file.write(hostOf(at), bytes);
      }
      at += run.lengthBytes;
    }
  }

  async #rewriteUnit(unit: number, offsetBytes: number, from: Uint8Array): Promise<void> {
    const start = unit * this.unitBytes;
    const bytes = new Uint8Array(this.unitBytes);
    const length = Math.min(this.unitBytes, this.sizeBytes - start);
    if (from.length < length) await this.read(start, bytes.subarray(0, length));
    bytes.set(from, offsetBytes - start);
    await this.#map.writeUnit?.(unit, bytes);
  }

  #zeroUnit(offsetBytes: number, lengthBytes: number): Promise<void> {
    const unit = Math.floor(offsetBytes / this.unitBytes);
    const start = unit * this.unitBytes;
    const isWhole =
      offsetBytes === start &&
      lengthBytes === Math.min(this.unitBytes, this.sizeBytes - offsetBytes);
    const markZero = async (): Promise<boolean> => {
      const run = await this.#runs.find(offsetBytes, lengthBytes);
      if (run.kind === 'data' || run.lengthBytes < lengthBytes) return false;
      return (await this.#map.markZero?.(unit)) ?? false;
    };
    const zero = async (): Promise<void> => {
      if (isWhole && (await this.#locks.run([unit], markZero))) return;
      for (let done = 0; done < lengthBytes; done += CHUNK_BYTES) {
        const zeros = new Uint8Array(Math.min(CHUNK_BYTES, lengthBytes - done));
        await this.#writeUnit(offsetBytes + done, zeros);
      }
    };
    return zero();
  }

  #fixed(offsetBytes: number): ImageError {
    return new ImageError(
      'unsupported',
      `${this.path}: at ${offsetBytes} of the disk: this kind of ${this.format} image cannot be written to; convert it to another`,
      { path: this.path },
    );
  }
}
