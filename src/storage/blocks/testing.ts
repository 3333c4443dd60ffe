import { type FileOptions, type HostFile, type Replaced, SECTOR_BYTES } from '../image.ts';
import { MemoryFile, MemoryHost } from '../testing.ts';

/** What is done to a file. */
export type Change =
  | { readonly kind: 'write'; readonly offsetBytes: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly sizeBytes: number }
  | { readonly kind: 'replace'; readonly bytes: Uint8Array }
  | { readonly kind: 'punch'; readonly offsetBytes: number; readonly lengthBytes: number };

/** What happened to the files of a host, in order. `mark` is what the test said. */
export type Event =
  | { readonly path: string; readonly change: Change }
  | { readonly path: string; readonly change: 'flush' }
  | { readonly mark: number };

/** A host in memory that remembers every change, so that its end can be played after each of them. */
export class RecordingHost extends MemoryHost {
  readonly events: Event[] = [];

  mark(mark: number): void {
    this.events.push({ mark });
  }

  override async openFile(path: string, options: FileOptions = {}): Promise<HostFile> {
    await super.openFile(path, options);
    const file = this.files.get(path);
    if (file === undefined) throw new Error(`${path} is not there though it was opened`);
    return recording(file, this.events);
  }

  override async replace(path: string, bytes: Uint8Array): Promise<Replaced> {
    await (await super.openFile(path, { access: 'create' })).write(0, bytes);
    this.events.push({ path, change: { kind: 'replace', bytes } });
    const settle = async (): Promise<void> => void this.events.push({ path, change: 'flush' });
    return { file: await this.openFile(path, { access: 'write' }), settle };
  }
}

function recording(file: MemoryFile, events: Event[]): HostFile {
  const { path } = file;
  const note = (change: Change): void => void events.push({ path, change });
  return {
    path,
    readOnly: false,
    read: (offsetBytes, into) => file.read(offsetBytes, into),
    write: async (offsetBytes, from) => {
      const bytes = from.slice();
      await file.write(offsetBytes, bytes);
      note({ kind: 'write', offsetBytes, bytes });
    },
    flush: async () => {
      events.push({ path, change: 'flush' });
      await file.flush();
    },
    size: () => file.size(),
    allocatedBytes: () => file.allocatedBytes(),
    truncate: async (sizeBytes) => {
      await file.truncate(sizeBytes);
      note({ kind: 'truncate', sizeBytes });
    },
    punch: async (offsetBytes, lengthBytes) => {
      const isDone = await file.punch(offsetBytes, lengthBytes);
      note({ kind: 'punch', offsetBytes, lengthBytes });
      return isDone;
    },
    reserve: (sizeBytes) => file.reserve(sizeBytes),
    extent: (offsetBytes, lengthBytes) => file.extent(offsetBytes, lengthBytes),
    close: () => file.close(),
  };
}

/** A small generator of numbers, the same for the same seed (Steele and Vigna, SplitMix32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `end` - 1. */
  below(end: number): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return Math.floor((((z ^ (z >>> 16)) >>> 0) / 2 ** 32) * end);
  }
}

export interface Crash {
  /** The files as a machine that lost power finds them. */
  readonly host: MemoryHost;
  /** How many events had happened. */
  readonly events: number;
}

/**
 * The host as it may be found when the power fails after each of its changes: what was flushed is there; each later write
 * is there, is not, or is torn between sectors.
 */
export function* crashes(
  start: MemoryHost,
  events: readonly Event[],
  seed: number,
): Generator<Crash> {
  const random = new Random(seed);
  const durable = copyOf(start);
  let pending: { path: string; change: Change }[] = [];
  for (const [index, event] of events.entries()) {
    if ('mark' in event) continue;
    if (event.change === 'flush') {
      for (const one of pending) if (one.path === event.path) apply(durable, one);
      pending = pending.filter((one) => one.path !== event.path);
      continue;
    }
    pending.push({ path: event.path, change: event.change });
    const host = copyOf(durable);
    for (const { path, change } of pending) {
      const fate = random.below(4);
      if (fate === 0) continue;
      apply(host, { path, change: fate === 1 ? torn(change, random) : change });
    }
    yield { host, events: index + 1 };
  }
}

/** What is there of a write that was cut off between two sectors. */
export function torn(change: Change, random: Random): Change {
  if (change.kind !== 'write') return change;
  const { offsetBytes, bytes } = change;
  const sectors = random.below(Math.ceil(bytes.length / SECTOR_BYTES));
  return { kind: 'write', offsetBytes, bytes: bytes.subarray(0, sectors * SECTOR_BYTES) };
}

function copyOf(host: MemoryHost): MemoryHost {
  const copy = new MemoryHost();
  for (const [path, file] of host.files) copy.files.set(path, file.clone());
  return copy;
}

function apply(host: MemoryHost, { path, change }: { path: string; change: Change }): void {
  const file = host.files.get(path) ?? new MemoryFile(path);
  host.files.set(path, file);
  applyChange(file, change);
}

export function applyChange(file: MemoryFile, change: Change): void {
  if (change.kind === 'write') {
    if (change.bytes.length > 0) file.apply(change.offsetBytes, change.bytes);
  } else if (change.kind === 'truncate') file.resizeTo(change.sizeBytes);
  else if (change.kind === 'replace') {
    file.resizeTo(0);
    file.apply(0, change.bytes);
  } else file.clear(change.offsetBytes, change.lengthBytes);
}
