import { quickBytes } from '../aligned.ts';
import { type DiskImage, ImageError } from '../image.ts';
import { begun, settle } from '../settle.ts';
import { zeroTest } from '../zeros.ts';
import type { SourceDisk } from './concat.ts';
import { Flight } from './flight.ts';
import { MOST_READ_BYTES, Pace } from './pace.ts';
import { readsAsZeros, type Status } from './status.ts';

/** So that progress is seen within a hole of a huge disk, and a signal is. */
const MAX_STEP_BYTES = 2 ** 36;

/** Zeros that are not read begin and end at a multiple: what is less is read with the data around it. */
const GRAIN_BYTES = 4096;
/** Where chunks end, so that what they become in the target is not cut. */
const CHUNK_UNIT_BYTES = 1 << 20;

/** So that a signal is heard while the rate is kept. */
const MAX_SLEEP_MS = 100;

/** Told of bytes done since the last call. */
export type OnProgress = (bytes: number) => void;

export interface CopyRequest {
  readonly source: SourceDisk;
  readonly target: DiskImage;
  /** Runs of zeros of this length, and aligned to it, are not written as data. 0: the source is not looked through. */
  readonly sparseBytes: number;
  /** Chunks under way at once; as many as `Pace` finds good. */
  readonly parallel?: number;
  /** Whether writes may start in another order than that on the disk. */
  readonly unordered?: boolean;
  /** Whether all of the target reads as zeros now. */
  readonly targetIsZero: boolean;
  /** What lies in images this deep below the source's top one is in the target already. */
  readonly sharedDepth?: number;
  readonly compressed?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: OnProgress;
  readonly bytesPerSecond?: number;
  readonly host?: CopyHost;
}

/** What makes a copy quick. */
export interface CopyHost {
  /** Tells at once whether bytes of one length are the same. */
  sameBytes(a: Uint8Array, b: Uint8Array): boolean;
  /** Memory to read into and write from, again and again. */
  memory(lengthBytes: number): Uint8Array;
  /** Does something once what was asked of the host before is under way. */
  soon(task: () => void): void;
  /** A steady clock. */
  nowMs(): number;
}

/** Copies a disk to another that is at least as large. Does not flush. */
export async function copyDisk(request: CopyRequest): Promise<void> {
  const { source, target } = request;
  if (target.sizeBytes < source.sizeBytes)
    throw new ImageError(
      'bad-option',
      `${target.path}: its ${target.sizeBytes} bytes are too few for ${source.sizeBytes}; resize it first`,
      { path: target.path },
    );
  await new Copy(request).run();
}

class Copy {
  readonly #request: CopyRequest;
  readonly #flight: Flight;
  readonly #buffers: Uint8Array[] = [];
  readonly #pace: Pace;
  /** What is compressed in one piece. */
  readonly #unitBytes: number;
  readonly #grainBytes: number;
  readonly #isZero: (bytes: Uint8Array) => boolean;
  readonly #startMs: number;
  readonly #soon: (task: () => void) => void;
  readonly #memory: (lengthBytes: number) => Uint8Array;
  /** Of chunks to read and write. */
  #startedBytes = 0;
  /** Resolves when all chunks before are written or, compressed, have started to be: room is taken in order. */
  #turn: Promise<void> = Promise.resolve();
  /** Chunks that were found, and are to be started. */
  readonly #planned: { readonly at: number; readonly length: number }[] = [];
  /** What was found behind the last data. */
  #known: { readonly at: number; readonly status: Status } | undefined;

  constructor(request: CopyRequest) {
    this.#request = request;
    // Asked for only where it is needed: to load the clock takes 2 ms.
    this.#startMs = request.bytesPerSecond === undefined ? 0 : performance.now();
    this.#isZero = zeroTest(request.host?.sameBytes);
    this.#soon = request.host?.soon ?? ((task) => task());
    this.#memory = request.host?.memory ?? quickBytes;
    this.#pace = new Pace(request.parallel);
    this.#flight = new Flight(this.#pace.parallel);
    const unitBytes = request.compressed === true ? request.target.unitBytes : undefined;
    this.#unitBytes = unitBytes ?? 1;
    this.#grainBytes = unitBytes ?? GRAIN_BYTES;
    if (request.compressed === true && request.target.writeCompressed === undefined)
      throw new ImageError(
        'unsupported',
        `${request.target.path}: ${request.target.format} images cannot be written compressed; leave -c out`,
      );
  }

  async run(): Promise<void> {
    const { sizeBytes } = this.#request.source;
    try {
      for (let at = 0; at < sizeBytes; ) {
        this.#request.signal?.throwIfAborted();
        at += await this.#step(at, Math.min(sizeBytes - at, MAX_STEP_BYTES));
        if (this.#isPlanned || at >= sizeBytes) await this.#startPlanned();
      }
    } catch (error) {
      await this.#flight.drain();
      throw error;
    }
    await this.#flight.drain();
  }

  /** Starts on what lies at `at`, cut at `lengthBytes`; resolves with how much that is. */
  async #step(at: number, lengthBytes: number): Promise<number> {
    const status = await this.#statusAt(at, lengthBytes);
    const skippable = this.#skippable(at, at + status.lengthBytes, status);
    if (skippable > 0) {
      await this.#skip(at, skippable, this.#isShared(status));
      return skippable;
    }
    const end = at + (await this.#dataBytes(at, status.lengthBytes, lengthBytes));
    let done = at;
    do {
      const from = done;
      done = end - from > this.#pace.readBytes ? this.#chunkEnd(from) : end;
      this.#planned.push({ at: from, length: done - from });
    } while (end - done > this.#pace.readBytes && !this.#isPlanned);
    // The rest goes with what follows it.
    return done - at;
  }

  /** Whether enough chunks were found to start them. */
  get #isPlanned(): boolean {
    return this.#planned.length >= this.#pace.planned;
  }

  async #startPlanned(): Promise<void> {
    for (const { at, length } of this.#planned.splice(0)) {
      this.#request.signal?.throwIfAborted();
      this.#startedBytes += length;
      await this.#flight.add(() => this.#copyChunk(at, length));
      await this.#keepRate();
    }
  }

  /** As the source tells it, which is asked once for what ends a chunk and begins the next. */
  async #statusAt(at: number, lengthBytes: number): Promise<Status> {
    const known = this.#known;
    const skipped = at - (known?.at ?? at);
    if (known === undefined || skipped < 0 || skipped >= known.status.lengthBytes)
      return await this.#request.source.status(at, lengthBytes);
    const { status } = known;
    return { ...status, lengthBytes: Math.min(lengthBytes, status.lengthBytes - skipped) };
  }

  /** How much of what lies from `at` to `end`, all of it alike, need not be read. */
  #skippable(at: number, end: number, status: Status): number {
    const { source, sparseBytes } = this.#request;
    if (!this.#isShared(status) && (sparseBytes === 0 || !readsAsZeros(status))) return 0;
    const whole = end === source.sizeBytes ? end : downTo(end, this.#grainOf(status));
    return Math.max(0, whole - at);
  }

  /** How much there is to read from `at` on, the first `knownBytes` and what follows them, until that is enough for a chunk. */
  async #dataBytes(at: number, knownBytes: number, mostBytes: number): Promise<number> {
    const most = at + mostBytes;
    let end = at + knownBytes;
    // With a larger -S a place of zeros alone is found however few they are.
    const joins = this.#request.sparseBytes <= GRAIN_BYTES;
    while (joins && end - at < this.#pace.readBytes && end < most) {
      const next = await this.#statusAt(end, most - end);
      // What lies in the last grain is taken in.
      const start = upTo(end, this.#grainOf(next));
      if (this.#skippable(start, end + next.lengthBytes, next) > 0) {
        this.#known = { at: end, status: next };
        return start - at;
      }
      end += next.lengthBytes;
    }
    return Math.min(upTo(end, this.#unitBytes), most) - at;
  }

  /** Where what is skipped begins and ends: at a multiple. */
  #grainOf(status: Status): number {
    return this.#isShared(status) ? this.#unitBytes : this.#grainBytes;
  }

  #isShared(status: Status): boolean {
    const { sharedDepth } = this.#request;
    return sharedDepth !== undefined && status.decidedAt >= sharedDepth;
  }

  async #skip(at: number, lengthBytes: number, isShared: boolean): Promise<void> {
    if (isShared || this.#zerosAreThere()) this.#done(lengthBytes);
    else {
      await this.#startPlanned();
      await this.#flight.add(async () => {
        await this.#request.target.writeZeroes(at, lengthBytes, { mayUnmap: true });
        this.#done(lengthBytes);
      });
    }
  }

  #zerosAreThere(): boolean {
    return this.#request.targetIsZero && this.#request.sharedDepth === undefined;
  }

  async #copyChunk(at: number, lengthBytes: number): Promise<void> {
    const turn = this.#turn;
    let endTurn: () => void = () => {};
    this.#turn = new Promise((resolve) => {
      endTurn = resolve;
    });
    const buffer = this.#buffers.pop() ?? this.#memory(Math.max(MOST_READ_BYTES, this.#unitBytes));
    try {
      const bytes = buffer.subarray(0, lengthBytes);
      await this.#read(at, bytes);
      if (this.#request.unordered !== true) await turn;
      const writing = this.#write(at, bytes);
      if (writing !== undefined) {
        // What takes long on other threads has them all.
        if (this.#request.compressed === true) endTurn();
        await writing;
      }
    } finally {
      this.#buffers.push(buffer);
      // Writes keep this thread: the next chunk is read meanwhile, if that is asked for first.
      this.#soon(endTurn);
    }
    this.#done(lengthBytes);
  }

  /** Where a chunk ends that begins at `from`, if more follows. */
  #chunkEnd(from: number): number {
    const unit = Math.max(this.#unitBytes, CHUNK_UNIT_BYTES);
    return Math.max(downTo(from + this.#pace.readBytes, unit), from + this.#unitBytes);
  }

  async #read(at: number, into: Uint8Array): Promise<void> {
    const { source, host } = this.#request;
    const startMs = host?.nowMs() ?? 0;
    await source.read(at, into);
    this.#pace.learn(into.length, (host?.nowMs() ?? 0) - startMs);
    this.#flight.limit = this.#pace.parallel;
  }

  /** Undefined: it is done. */
  #write(at: number, bytes: Uint8Array): Promise<unknown> | undefined {
    const { compressed, sparseBytes, target } = this.#request;
    const writes: Promise<void>[] = [];
    const pieces =
      compressed === true
        ? unitsOf(bytes, this.#unitBytes, this.#isZero)
        : piecesOf(at, bytes, sparseBytes, this.#isZero);
    try {
      for (const { from, to, zero } of pieces) {
        const piece = bytes.subarray(from, to);
        if (!zero) {
          if (compressed === true && target.writeCompressed !== undefined)
            writes.push(begun(target.writeCompressed(at + from, piece)));
          else if (target.tryWrite?.(at + from, [piece]) !== true)
            writes.push(begun(target.write(at + from, piece)));
        } else if (!this.#zerosAreThere())
          writes.push(begun(target.writeZeroes(at + from, to - from, { mayUnmap: true })));
      }
    } catch (error) {
      // Those before it have the bytes until they end.
      writes.push(begun(Promise.reject(error)));
    }
    return writes.length > 0 ? settle(writes) : undefined;
  }

  #done(bytes: number): void {
    this.#request.onProgress?.(bytes);
  }

  async #keepRate(): Promise<void> {
    const { bytesPerSecond, signal } = this.#request;
    if (bytesPerSecond === undefined) return;
    const dueMs = this.#startMs + (this.#startedBytes / bytesPerSecond) * 1000;
    for (let left = dueMs - performance.now(); left > 0; left = dueMs - performance.now()) {
      await new Promise((resolve) => setTimeout(resolve, Math.min(left, MAX_SLEEP_MS)));
      signal?.throwIfAborted();
    }
  }
}

interface Piece {
  readonly from: number;
  readonly to: number;
  readonly zero: boolean;
}

function downTo(bytes: number, unitBytes: number): number {
  return bytes - (bytes % unitBytes);
}

function upTo(bytes: number, unitBytes: number): number {
  return Math.ceil(bytes / unitBytes) * unitBytes;
}

/** Runs of zeros and of data, cut at multiples of `sparseBytes` on the disk. */
function piecesOf(
  at: number,
  bytes: Uint8Array,
  sparseBytes: number,
  isZero: (bytes: Uint8Array) => boolean,
): Piece[] {
  if (sparseBytes === 0) return [{ from: 0, to: bytes.length, zero: false }];
  const pieces: Piece[] = [];
  let start = 0;
  // To the next multiple, the first time. A division for each of 150,000 steps took more than all else here.
  let step = sparseBytes - (at % sparseBytes);
  for (let from = 0; from < bytes.length; ) {
    const end = bytes[from] === 0 ? endOfZeros(bytes, from, step, sparseBytes, isZero) : from;
    if (end > from) {
      if (from > start) pieces.push({ from: start, to: from, zero: false });
      pieces.push({ from, to: end, zero: true });
      start = end;
      from = end;
    } else from = nextZero(bytes, from + step, sparseBytes);
    step = sparseBytes;
  }
  if (start < bytes.length) pieces.push({ from: start, to: bytes.length, zero: false });
  return pieces;
}

/** The first step from `from` on that begins with a zero. Apart, so that V8 has little to compile for what is done most. */
function nextZero(bytes: Uint8Array, from: number, stepBytes: number): number {
  let at = from;
  while (at < bytes.length && bytes[at] !== 0) at += stepBytes;
  return at;
}

/** Where zeros from `from` on end, in whole steps: the first of `firstBytes`, twice as much at once after each that is zero. */
function endOfZeros(
  bytes: Uint8Array,
  from: number,
  firstBytes: number,
  stepBytes: number,
  isZero: (bytes: Uint8Array) => boolean,
): number {
  let end = from;
  let least = firstBytes;
  for (let step = firstBytes; end < bytes.length; ) {
    if (isZero(bytes.subarray(end, end + step))) {
      end = Math.min(bytes.length, end + step);
      least = stepBytes;
      step = Math.max(stepBytes, Math.floor((2 * step) / stepBytes) * stepBytes);
    } else if (step > least) step = least;
    else break;
  }
  return end;
}

function unitsOf(
  bytes: Uint8Array,
  unitBytes: number,
  isZero: (bytes: Uint8Array) => boolean,
): Piece[] {
  const pieces: Piece[] = [];
  for (let from = 0; from < bytes.length; from += unitBytes) {
    const to = Math.min(bytes.length, from + unitBytes);
    pieces.push({ from, to, zero: isZero(bytes.subarray(from, to)) });
  }
  return pieces;
}
