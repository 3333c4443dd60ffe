import { RequestError } from '#base/errors.ts';
import type { DiskImage } from '#storage/image.ts';
import { patientStorageHost } from '#storage/node/node-host.ts';
import { Flight } from '#storage/ops/flight.ts';
import { closeAll, type ImageContext, openNamed, STATUS_OK, say } from './context.ts';
import { countFlag, flushesOf, sectorsFlag } from './flags.ts';

export interface BenchFlags {
  readonly format?: string;
  readonly count: string;
  readonly depth: string;
  readonly bufferSize: string;
  readonly stepSize?: string;
  readonly offset: string;
  readonly pattern: string;
  readonly flushInterval?: string;
  readonly write?: boolean;
  readonly cache?: string;
}

const MAX_COUNT = 2 ** 31 - 1;
const MAX_DEPTH = 1024;
/** Requests between two looks at what else there is to do. */
const TURN = 1024;

interface Load {
  readonly count: number;
  readonly depth: number;
  readonly bufferBytes: number;
  readonly stepBytes: number;
  readonly offsetBytes: number;
  readonly pattern: number;
  /** Requests between two flushes; 0: none. */
  readonly flushInterval: number;
  readonly write: boolean;
}

/** `ring0 image bench`: how fast requests of one size are served, in the steps of `qemu-img bench`. */
export async function imageBench(
  file: string,
  flags: BenchFlags,
  context: ImageContext,
): Promise<number> {
  flushesOf(flags.cache, 'cache', true);
  const load = loadOf(flags);
  const image = await openNamed(file, context, {
    format: flags.format,
    writable: load.write,
    // What nobody asks to be flushed while it runs must not slow it.
    host: patientStorageHost,
  });
  try {
    if (image.sizeBytes < load.bufferBytes)
      throw new RequestError(`${file}: is smaller than one request; give a smaller -s`);
    const what = load.write ? 'write' : 'read';
    say(
      context,
      `Sending ${load.count} ${what} requests, ${load.bufferBytes} bytes each, ${load.depth} in parallel (starting at offset ${load.offsetBytes}, step size ${load.stepBytes})`,
    );
    const startMs = performance.now();
    await drive(image, load, context.signal);
    say(context, `Run completed in ${((performance.now() - startMs) / 1000).toFixed(3)} seconds.`);
  } finally {
    await closeAll([image]);
  }
  return STATUS_OK;
}

function loadOf(flags: BenchFlags): Load {
  const bufferBytes = sectorsFlag(flags.bufferSize, 'buffer-size');
  if (bufferBytes === 0) throw new RequestError('a request has at least 512 bytes', 'buffer-size');
  const stepBytes = flags.stepSize === undefined ? 0 : sectorsFlag(flags.stepSize, 'step-size');
  const pattern = Number(flags.pattern);
  if (!Number.isInteger(pattern) || pattern < 0 || pattern > 255)
    throw new RequestError(`'${flags.pattern}' is no byte; give 0 to 255`, 'pattern');
  return {
    count: countFlag(flags.count, 'count', MAX_COUNT),
    depth: countFlag(flags.depth, 'depth', MAX_DEPTH),
    bufferBytes,
    stepBytes: stepBytes === 0 ? bufferBytes : stepBytes,
    offsetBytes: sectorsFlag(flags.offset, 'offset'),
    pattern,
    flushInterval:
      flags.flushInterval === undefined
        ? 0
        : countFlag(flags.flushInterval, 'flush-interval', MAX_COUNT),
    write: flags.write ?? false,
  };
}

async function drive(image: DiskImage, load: Load, signal: AbortSignal): Promise<void> {
  const { bufferBytes, depth } = load;
  const flight = new Flight(depth);
  const buffers: Uint8Array[] = [];
  const last = image.sizeBytes - bufferBytes;
  let at = load.offsetBytes;
  for (let index = 0; index < load.count; index++) {
    signal.throwIfAborted();
    // As qemu-img: the disk's end leads to its start.
    at %= image.sizeBytes;
    const offset = Math.min(at, last);
    const buffer = buffers.pop() ?? new Uint8Array(bufferBytes).fill(load.pattern);
    // As a guest's disk asks.
    const call = load.write ? image.tryWrite : image.tryRead;
    if (call?.call(image, offset, [buffer]) === true) buffers.push(buffer);
    else
      await flight.add(async () => {
        await (load.write ? image.write(offset, buffer) : image.read(offset, buffer));
        buffers.push(buffer);
      });
    // A signal wants to be heard.
    if (index % TURN === TURN - 1) await new Promise((resolve) => setImmediate(resolve));
    if (load.flushInterval > 0 && (index + 1) % load.flushInterval === 0)
      await flight.add(() => image.flush());
    at += load.stepBytes;
  }
  await flight.drain();
}
