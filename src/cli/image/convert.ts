import { RequestError } from '#base/errors.ts';
import type { BitmapStore, DiskImage, ImageFormat, StorageHost } from '#storage/image.ts';
import { fileOfName, pathOfName } from '#storage/image-name.ts';
import { copyHost } from '#storage/node/copy-host.ts';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { formatNamed, openImage } from '#storage/open.ts';
import { concatenated, type SourceDisk } from '#storage/ops/concat.ts';
import { copyDisk } from '#storage/ops/copy.ts';
import { brokenBitmaps, copyBitmaps } from '#storage/ops/copy-bitmaps.ts';
import { createImage, withFileOptions } from '#storage/ops/create.ts';
import { type Lost, SalvagedDisk } from '#storage/ops/salvage.ts';
import { print } from '../host.ts';
import {
  closeAll,
  type ImageContext,
  openNamed,
  STATUS_OK,
  warn,
  warnOfOverSubscription,
} from './context.ts';
import { isHelp } from './create.ts';
import { countFlag, flushesOf, rateFlag, sizeFlag } from './flags.ts';
import { backingDisplayName } from './names.ts';
import {
  type BackingFlags,
  checkCreatable,
  createOptions,
  optionsHelp,
  withStaging,
} from './new-image.ts';
import { readOnOneThread } from './threads.ts';

export interface ConvertFlags extends BackingFlags {
  readonly format?: string;
  readonly snapshot?: string;
  readonly targetFormat: string;
  readonly options?: readonly string[];
  readonly compress?: boolean;
  /** Without it: 4 KiB. */
  readonly sparse?: string;
  readonly copyOffload?: boolean;
  /** False with -n. */
  readonly create: boolean;
  readonly outOfOrder?: boolean;
  readonly coroutines?: string;
  readonly targetIsZero?: boolean;
  readonly cache?: string;
  readonly sourceCache?: string;
  readonly rate?: string;
  readonly salvage?: boolean;
  readonly bitmaps?: boolean;
  readonly skipBrokenBitmaps?: boolean;
}

const MAX_COROUTINES = 16;

interface Request {
  readonly flags: ConvertFlags;
  readonly target: string;
  readonly format: ImageFormat;
  readonly options: ReadonlyMap<string, string | number | boolean>;
  readonly sparseBytes: number;
  readonly parallel: number | undefined;
  readonly bytesPerSecond: number | undefined;
  /** Whether a new image is on its disk at the end. */
  readonly flushes: boolean;
  /** What is copied, too. */
  bitmaps: BitmapStore | undefined;
}

/** `ring0 image convert`: copies disks, one after the other, into a new image or an existing one. */
export async function imageConvert(
  files: readonly string[],
  flags: ConvertFlags,
  context: ImageContext,
): Promise<number> {
  const format = withFileOptions(await formatNamed(flags.targetFormat));
  if (isHelp(flags.options)) {
    print(context.host, optionsHelp(format));
    return STATUS_OK;
  }
  const target = files.at(-1);
  const sources = files.slice(0, -1);
  if (target === undefined || sources.length === 0)
    throw new RequestError('give the files to convert, and the file to write after them');
  flushesOf(flags.sourceCache, 'source-cache', false);
  const request = requestOf(target, format, flags);
  const opened: DiskImage[] = [];
  try {
    const { format: named, snapshot } = flags;
    for (const file of sources)
      opened.push(await openNamed(file, context, { format: named, snapshot }));
    for (const source of opened) await refuseSameFile(source, target);
    request.bitmaps = await bitmapsOf(opened, request, context);
    await convert(request, opened, context);
  } finally {
    await closeAll(opened);
  }
  return STATUS_OK;
}

async function bitmapsOf(
  sources: readonly DiskImage[],
  { flags, format }: Request,
  context: ImageContext,
): Promise<BitmapStore | undefined> {
  if (flags.skipBrokenBitmaps === true && flags.bitmaps !== true)
    throw new RequestError('there are none to skip; add --bitmaps', 'skip-broken-bitmaps');
  if (flags.bitmaps !== true) return undefined;
  const store = sources[0]?.bitmaps;
  if (sources.length > 1 || store === undefined || format.name !== 'qcow2')
    throw new RequestError('bitmaps are copied from one qcow2 image to another', 'bitmaps');
  const broken = await brokenBitmaps(store);
  if (broken.length > 0 && flags.skipBrokenBitmaps !== true)
    throw new RequestError(
      `${sources[0]?.path}: bitmap '${broken[0]}' says nothing; remove it, or add --skip-broken-bitmaps`,
      'bitmaps',
    );
  for (const name of broken) warn(context, `bitmap '${name}' says nothing, and is left out`);
  return store;
}

function requestOf(target: string, format: ImageFormat, flags: ConvertFlags): Request {
  const { options } = createOptions(format, flags.options ?? [], flags);
  if (!flags.create && (flags.options ?? []).length > 0)
    throw new RequestError('options are for a new image; leave -n or -o out', 'options');
  if (flags.copyOffload === true)
    for (const other of ['sparse', 'compress', 'salvage'] as const)
      if (flags[other] !== undefined)
        throw new RequestError(`the host cannot copy by itself with --${other}`, 'copy-offload');
  if (flags.targetIsZero === true && flags.create)
    throw new RequestError(
      'only an existing image can be known to be zero; add -n',
      'target-is-zero',
    );
  if (
    flags.compress === true &&
    options.has('preallocation') &&
    options.get('preallocation') !== 'off'
  )
    throw new RequestError(
      'compressed data take no room that is reserved; leave preallocation out',
      'compress',
    );
  if (flags.create) checkCreatable(format);
  return {
    flags,
    target,
    format,
    options,
    sparseBytes: sparseFlag(flags.sparse ?? '4k'),
    parallel:
      flags.coroutines === undefined
        ? undefined
        : countFlag(flags.coroutines, 'coroutines', MAX_COROUTINES),
    bytesPerSecond: rateFlag(flags.rate),
    flushes: flushesOf(flags.cache, 'cache', false),
    bitmaps: undefined,
  };
}

function sparseFlag(text: string): number {
  const bytes = sizeFlag(text, 'sparse') ?? 0;
  if (bytes % 512 !== 0 || bytes > 16 << 20)
    throw new RequestError(
      `'${text}' does not fit; give 0, or a multiple of 512 up to 16M`,
      'sparse',
    );
  return bytes;
}

async function refuseSameFile(source: DiskImage, target: string): Promise<void> {
  const place = await nodeStorageHost.identity(fileOfName(target));
  for (let one: DiskImage | undefined = source; one !== undefined; one = one.backing)
    if ((await nodeStorageHost.identity(fileOfName(one.path))) === place)
      throw new RequestError(`${target}: is what is read from; name another file`);
}

async function convert(
  request: Request,
  sources: readonly DiskImage[],
  context: ImageContext,
): Promise<void> {
  const { flags, target, format, options } = request;
  const whole = concatenated(sources);
  const source = flags.salvage === true ? salvaged(whole, context) : whole;
  const compresses = flags.compress === true || format.compressesAll?.(options) === true;
  if (!compresses && flags.salvage !== true) await readOnOneThread(sources, source, target);
  if (!flags.create) {
    const image = await openNamed(target, context, { format: format.name, writable: true });
    await fill(request, source, image, undefined, context);
    return;
  }
  const { sizeBytes } = source;
  const shared = await sharedDepth(request, sources);
  await warnOfOverSubscription(context, [{ file: target, sizeBytes }]);
  await withStaging(request.flushes, options, async (host) => {
    await createImage(target, host, format, { sizeBytes, options });
    const image = await openTarget(target, format, host);
    await fill(request, source, image, shared, context);
  });
}

function salvaged(source: SourceDisk, context: ImageContext): SourceDisk {
  const tell = ({ offsetBytes, lengthBytes }: Lost): void =>
    warn(context, `unreadable at ${offsetBytes}: ${lengthBytes} bytes of zeros instead`);
  return new SalvagedDisk(source, tell, context.signal);
}

/** With its backing file, which may be of any format: the image that we made ourselves names it. */
function openTarget(target: string, format: ImageFormat, host: StorageHost): Promise<DiskImage> {
  return openImage(target, host, { format: format.name, probe: true });
}

/** How deep below the source's top image the target's backing file lies; undefined when there is none. */
async function sharedDepth(
  { options, target }: Request,
  sources: readonly DiskImage[],
): Promise<number | undefined> {
  const name = options.get('backing_file');
  if (typeof name !== 'string') return undefined;
  const place = await nodeStorageHost.identity(pathOfName(backingDisplayName(target, name)));
  let depth = 0;
  for (let one: DiskImage | undefined = sources[0]; one !== undefined; one = one.backing) {
    if ((await nodeStorageHost.identity(one.path)) === place && sources.length === 1) return depth;
    depth++;
  }
  throw new RequestError(
    `${name}: is not among the backing files of what is read; convert without -B, then use rebase`,
    'backing',
  );
}

async function fill(
  request: Request,
  source: SourceDisk,
  target: DiskImage,
  shared: number | undefined,
  context: ImageContext,
): Promise<void> {
  const { flags, bytesPerSecond } = request;
  try {
    context.progress.start(source.sizeBytes);
    await copyDisk({
      source,
      target,
      sparseBytes: request.sparseBytes,
      unordered: flags.outOfOrder ?? false,
      targetIsZero: flags.create || flags.targetIsZero === true,
      compressed: flags.compress ?? false,
      host: copyHost,
      signal: context.signal,
      onProgress: (bytes) => context.progress.add(bytes),
      ...(request.parallel === undefined ? {} : { parallel: request.parallel }),
      ...(shared === undefined ? {} : { sharedDepth: shared }),
      ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
    });
    if (request.bitmaps !== undefined && target.bitmaps !== undefined)
      await copyBitmaps(request.bitmaps, target.bitmaps);
  } finally {
    await closeAll([target]);
  }
  context.progress.end();
}
