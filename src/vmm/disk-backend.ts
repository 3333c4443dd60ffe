import type { BlockBackend, BlockStatus } from '#hw/block.ts';
import { type DiskImage, ImageError } from '#storage/image.ts';
import { gather, spread, totalLength } from '#storage/pieces.ts';
import { BounceBuffers } from './bounce-buffers.ts';
import type { IoLimiter } from './io-limit.ts';

export interface DiskPolicy {
  readonly serial: string;
  /** What a write does when the host has no room: the guest gets an error, or waits until there is some. */
  readonly onFull: 'report' | 'wait';
  /** Hears each failure of the host once for each distinct text. */
  readonly failed: (message: string) => void;
  /** A write waits for room from now on, and why; undefined: no longer, and its answer follows within the turn of the event loop. */
  readonly stalled: (why: string | undefined) => void;
  /** Resolves after a while in which the host may have got room; false when the machine ends. */
  readonly retry: () => Promise<boolean>;
  /** The same, and the process may end meanwhile. */
  readonly soon: () => Promise<boolean>;
  readonly limiter?: IoLimiter | undefined;
}

const MOST_TOLD = 100;
/** Most formats punch parts of larger units where they lie: a guest that spared them would give hardly any room back. */
const MOST_UNIT_BYTES = 64 << 10;

interface Outcome {
  readonly status: BlockStatus;
  /** What the host says when it is not `ok`. */
  readonly message: string;
}

const DONE: Outcome = { status: 'ok', message: '' };

/** An image as devices see it: failures are values, told to the user too. */
export class DiskBackend implements BlockBackend {
  readonly serial: string;
  readonly #image: DiskImage;
  readonly #policy: DiskPolicy;
  readonly #buffers = new BounceBuffers();
  #limiter: IoLimiter | undefined;
  readonly #told = new Set<string>();
  readonly #listeners: (() => void)[] = [];
  #isGone = false;
  /** Requests at the image, and who waits for there to be none. */
  #running = 0;
  #drained: (() => void)[] = [];
  #isGivingBack = false;
  /** Resolves when the image has its new size: requests wait for that. */
  #resizing: Promise<void> | undefined;

  constructor(image: DiskImage, policy: DiskPolicy) {
    this.#image = image;
    this.#policy = policy;
    this.serial = policy.serial;
    this.#limiter = policy.limiter;
  }

  get sizeBytes(): number {
    return this.#image.sizeBytes;
  }

  get readOnly(): boolean {
    return this.#image.readOnly;
  }

  get unitBytes(): number {
    return Math.min(this.#image.unitBytes, MOST_UNIT_BYTES);
  }

  read(offsetBytes: number, into: readonly Uint8Array[]): Promise<BlockStatus> {
    return this.#do('read', totalLength(into), () =>
      this.#inOnePiece(into, async (buffer, isCopy) => {
        await this.#image.read(offsetBytes, buffer);
        if (isCopy) spread(buffer, into);
      }),
    );
  }

  write(offsetBytes: number, from: readonly Uint8Array[]): Promise<BlockStatus> {
    return this.#do('write', totalLength(from), () =>
      this.#inOnePiece(from, async (buffer, isCopy) => {
        if (isCopy) gather(from, buffer);
        await this.#image.write(offsetBytes, buffer);
      }),
    );
  }

  /** Memory in one piece serves as it is. For others there is a copy: a call with many pieces costs more than copying. */
  async #inOnePiece(
    pieces: readonly Uint8Array[],
    request: (buffer: Uint8Array, isCopy: boolean) => Promise<void>,
  ): Promise<void> {
    const [first] = pieces;
    if (first !== undefined && pieces.length === 1) return await request(first, false);
    const buffer = await this.#buffers.take(totalLength(pieces));
    try {
      await request(buffer, true);
    } finally {
      this.#buffers.give(buffer);
    }
  }

  tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    return this.#now(() => this.#image.tryRead?.(offsetBytes, into) ?? false);
  }

  tryWrite(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    return this.#now(() => this.#image.tryWrite?.(offsetBytes, from) ?? false);
  }

  /** What is limited may have to wait; errors are met again, and told, by the request that follows. */
  #now(request: () => boolean): boolean {
    if (this.#isGone || this.#limiter !== undefined || this.#resizing !== undefined) return false;
    try {
      return request();
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      return false;
    }
  }

  /** Counts as one request of no bytes: the host writes none. */
  async writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
  ): Promise<BlockStatus> {
    const status = await this.#do('write', 0, () =>
      this.#image.writeZeroes(offsetBytes, lengthBytes, { mayUnmap }),
    );
    if (mayUnmap) void this.#giveBack();
    return status;
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<BlockStatus> {
    const status = await this.#do('write', 0, () => this.#image.discard(offsetBytes, lengthBytes));
    void this.#giveBack();
    return status;
  }

  flush(): Promise<BlockStatus> {
    return this.#do('write', 0, () => this.#image.flush());
  }

  /** The host gets room back when it is durable that nothing is there: the guest may not ask for that. */
  async #giveBack(): Promise<void> {
    if (this.#isGivingBack) return;
    this.#isGivingBack = true;
    const goesOn = await this.#policy.soon();
    this.#isGivingBack = false;
    if (goesOn) await this.flush();
  }

  onResize(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** For requests that come from now on. */
  limit(limiter: IoLimiter | undefined): void {
    this.#limiter = limiter;
  }

  /** Between requests, not during any. @throws {ImageError} */
  async resize(sizeBytes: number, shrink: boolean): Promise<void> {
    while (this.#resizing !== undefined) await this.#resizing;
    let done: () => void = () => {};
    this.#resizing = new Promise((resolve) => {
      done = resolve;
    });
    try {
      await this.#idle();
      await this.#image.resize?.(sizeBytes, { shrink });
    } finally {
      this.#resizing = undefined;
      done();
    }
    for (const listener of this.#listeners) listener();
  }

  /** Fails what is asked from now on; resolves when the image may be closed. */
  async end(): Promise<void> {
    this.#isGone = true;
    while (this.#resizing !== undefined) await this.#resizing;
    await this.#idle();
  }

  async #idle(): Promise<void> {
    if (this.#running === 0) return;
    await new Promise<void>((resolve) => {
      this.#drained.push(resolve);
    });
  }

  async #do(
    kind: 'read' | 'write',
    lengthBytes: number,
    request: () => Promise<void>,
  ): Promise<BlockStatus> {
    const turn = this.#limiter?.admit(kind, lengthBytes);
    if (turn !== undefined) await turn;
    while (this.#resizing !== undefined) await this.#resizing;
    if (this.#isGone) return 'io-error';
    this.#running++;
    const status = await this.#try(request);
    this.#running--;
    if (this.#running === 0) for (const resolve of this.#drained.splice(0)) resolve();
    return status;
  }

  async #try(request: () => Promise<void>): Promise<BlockStatus> {
    let { status, message } = await this.#attempt(request);
    if (status === 'no-space' && this.#policy.onFull === 'wait') {
      this.#policy.stalled(message);
      while (status === 'no-space' && (await this.#policy.retry()))
        ({ status, message } = await this.#attempt(request));
      this.#policy.stalled(undefined);
      if (status === 'no-space') return status;
    }
    if (status !== 'ok') this.#tell(message);
    return status;
  }

  /** What the guest has freed is room as well, once that is durable. */
  async #attempt(request: () => Promise<void>): Promise<Outcome> {
    const first = await this.#outcome(request());
    if (first.status !== 'no-space') return first;
    await this.#outcome(this.#image.flush());
    return await this.#outcome(request());
  }

  async #outcome(request: Promise<void>): Promise<Outcome> {
    try {
      await request;
      return DONE;
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      const { kind, message } = error;
      const isKnown = kind === 'no-space' || kind === 'read-only';
      return { status: isKnown ? kind : 'io-error', message };
    }
  }

  #tell(message: string): void {
    if (this.#told.has(message) || this.#told.size >= MOST_TOLD) return;
    this.#told.add(message);
    this.#policy.failed(message);
  }
}
