import { deflateRawSync, deflateSync, inflateRawSync, inflateSync } from 'node:zlib';
import { applyChange, type Change, Random, torn } from '../blocks/testing.ts';
import {
  type Codec,
  type FileOptions,
  type HostFile,
  ImageError,
  type Replaced,
} from '../image.ts';
import { nodeCodec } from '../node/node-codec.ts';
import { MemoryFile, MemoryHost } from '../testing.ts';

/** So many waits of a millisecond in which nothing happens: whoever waits then waits for ever. */
const MOST_IDLE = 10_000;

/**
 * Lets those who wait go on one by one, in an order that a seed decides: what runs side by side runs in the same order
 * again. Nothing may wait for anything but turns and each other.
 */
class Turns {
  readonly #random: Random;
  readonly #waiting: (() => void)[] = [];
  #isFree = true;

  constructor(random: Random) {
    this.#random = random;
  }

  pass(): Promise<void> {
    if (this.#isFree) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Gives turns until `task` ends. Before and after nobody waits. @throws when nothing goes on. */
  async during<T>(task: () => Promise<T>): Promise<T> {
    this.#isFree = false;
    let isOver = false;
    const result = task().finally(() => {
      isOver = true;
    });
    result.catch(() => {});
    for (let idle = 0; !isOver; ) {
      // By then all have gone as far as they can without a turn.
      await new Promise((resolve) => setImmediate(resolve));
      const index = this.#random.below(this.#waiting.length);
      const next = this.#waiting[index];
      if (next === undefined) {
        // Modules may be being loaded.
        if (++idle > MOST_IDLE) throw new Error('all wait for each other');
        if (idle > 10) await new Promise((resolve) => setTimeout(resolve, 1));
        continue;
      }
      idle = 0;
      const last = this.#waiting.pop();
      if (last !== undefined && last !== next) this.#waiting[index] = last;
      next();
    }
    this.#isFree = true;
    for (const next of this.#waiting.splice(0)) next();
    return await result;
  }
}

/** How the host is: all its files and whoever asks it. */
class Weather {
  readonly random: Random;
  readonly turns: Turns;
  /** One of so many calls fails; 0: none. */
  failsOneIn = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.turns = new Turns(this.random);
  }

  get isFailing(): boolean {
    return this.failsOneIn > 0 && this.random.below(this.failsOneIn) === 0;
  }

  async pass(kind: ImageError['kind'], what: string): Promise<void> {
    await this.turns.pass();
    if (this.isFailing) throw new ImageError(kind, `${what} fails`);
  }
}

/** A file whose calls take turns, may fail before they do something, half done or after, and lose what is not flushed. */
class SimulatedFile extends MemoryFile {
  readonly #weather: Weather;
  #durable: MemoryFile;
  #pending: Change[] = [];
  /** How many changes are durable. */
  #settled = 0;

  constructor(path: string, weather: Weather) {
    super(path);
    this.#weather = weather;
    this.#durable = new MemoryFile(path);
  }

  /** The file as a machine that loses power now finds it. */
  afterCrash(random: Random): MemoryFile {
    const found = this.#durable.clone();
    for (const change of this.#pending) {
      const fate = random.below(4);
      if (fate > 0) applyChange(found, fate === 1 ? torn(change, random) : change);
    }
    return found;
  }

  change(change: Change): void {
    applyChange(this, change);
    this.#pending.push(change);
  }

  override async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    await this.#weather.pass('io', 'a read');
    const count = await super.read(offsetBytes, into);
    await this.#weather.turns.pass();
    return count;
  }

  override async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    const fails = this.#weather.isFailing;
    await this.#weather.pass('no-space', 'a write');
    const change: Change = { kind: 'write', offsetBytes, bytes: from.slice() };
    const done = fails ? torn(change, this.#weather.random) : change;
    if (done.kind === 'write' && done.bytes.length > 0) this.change(done);
    if (fails) throw new ImageError('no-space', 'a write ends within');
    await this.#weather.pass('io', 'a write that is done');
  }

  override tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    return !this.#weather.isFailing && super.tryRead(offsetBytes, into);
  }

  override tryWrite(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    if (this.#weather.isFailing) return false;
    let at = offsetBytes;
    for (const piece of from) {
      if (piece.length > 0) this.change({ kind: 'write', offsetBytes: at, bytes: piece.slice() });
      at += piece.length;
    }
    return true;
  }

  override async truncate(sizeBytes: number): Promise<void> {
    await this.#weather.pass('no-space', 'a truncate');
    this.change({ kind: 'truncate', sizeBytes });
    await this.#weather.pass('io', 'a truncate that is done');
  }

  override async punch(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    await this.#weather.pass('io', 'a punch');
    this.change({ kind: 'punch', offsetBytes, lengthBytes });
    await this.#weather.pass('io', 'a punch that is done');
    return true;
  }

  override async reserve(sizeBytes: number): Promise<boolean> {
    await this.#weather.turns.pass();
    if ((await super.size()) < sizeBytes) this.change({ kind: 'truncate', sizeBytes });
    return true;
  }

  override async size(): Promise<number> {
    await this.#weather.turns.pass();
    return await super.size();
  }

  /** What is written after it began need not be durable when it ends. */
  override async flush(): Promise<void> {
    const upTo = this.#settled + this.#pending.length;
    await this.#weather.pass('io', 'a flush');
    const count = Math.max(0, upTo - this.#settled);
    for (const change of this.#pending.splice(0, count)) applyChange(this.#durable, change);
    this.#settled += count;
    await this.#weather.pass('io', 'a flush that is done');
  }
}

/** Files in memory for tests of what is done side by side. All that happens follows from the seed. */
export class SimulatedHost extends MemoryHost {
  override readonly codec: Codec;
  readonly weather: Weather;
  readonly #simulated = new Map<string, SimulatedFile>();

  constructor(seed: number) {
    super();
    this.weather = new Weather(seed);
    this.codec = codecOf(this.weather.turns);
  }

  override async openFile(path: string, options: FileOptions = {}): Promise<HostFile> {
    await this.weather.turns.pass();
    if (!this.files.has(path)) {
      const file = new SimulatedFile(path, this.weather);
      this.#simulated.set(path, file);
      this.files.set(path, file);
    }
    const access = options.access === 'create-new' ? 'create' : (options.access ?? 'read');
    return await super.openFile(path, { ...options, access });
  }

  override async replace(path: string, bytes: Uint8Array): Promise<Replaced> {
    const file = this.#simulated.get(path);
    if (file === undefined) throw new Error(`${path} is not there to be replaced`);
    await this.weather.pass('no-space', 'a replacement');
    file.change({ kind: 'replace', bytes });
    return { file, settle: () => file.flush() };
  }

  /** The files as a machine that loses power now finds them. */
  afterCrash(random: Random): MemoryHost {
    const host = new MemoryHost();
    for (const [path, file] of this.#simulated) host.files.set(path, file.afterCrash(random));
    return host;
  }
}

/** Within the call, so that no thread has a say in the order. */
function codecOf(turns: Turns): Codec {
  const later = async (bytes: () => Uint8Array): Promise<Uint8Array> => {
    await turns.pass();
    return Uint8Array.from(bytes());
  };
  const limited =
    (inflate: (from: Uint8Array) => Uint8Array) =>
    (from: Uint8Array, maxBytes: number): Promise<Uint8Array> =>
      later(() => inflate(from).subarray(0, maxBytes));
  return {
    deflateRaw: (from, options) => later(() => deflateRawSync(from, options)),
    deflate: (from, options) => later(() => deflateSync(from, options)),
    inflateRaw: limited((from) => inflateRawSync(from)),
    inflate: limited((from) => inflateSync(from)),
    // Node's own within the call refuses what follows a frame.
    zstdCompress: nodeCodec.zstdCompress,
    zstdDecompress: nodeCodec.zstdDecompress,
  };
}
