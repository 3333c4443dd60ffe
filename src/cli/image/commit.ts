import { RequestError } from '#base/errors.ts';
import { pathOfName } from '#storage/image-name.ts';
import { copyHost } from '#storage/node/copy-host.ts';
import { flushedStorageHost, patientStorageHost } from '#storage/node/node-host.ts';
import { openImage } from '#storage/open.ts';
import { commitDisk } from '#storage/ops/commit.ts';
import { concatenated } from '#storage/ops/concat.ts';
import { closeAll, type ImageContext, openNamed, STATUS_OK, say, warn } from './context.ts';
import { flushesOf, rateFlag } from './flags.ts';
import { chainOf, type NamedImage } from './names.ts';
import { readOnOneThread } from './threads.ts';

export interface CommitFlags {
  readonly format?: string;
  readonly base?: string;
  /** Leaves the image as it is; so does --base, unless that is the backing file. */
  readonly drop?: boolean;
  readonly cache?: string;
  readonly rate?: string;
}

/** What emptying an image takes, of what copying it does: 10 s for 1 TiB in clusters of 64 KiB, a 64th of it at 1.7 GB/s. */
const EMPTYING_SHARE = 1 / 64;

/** `ring0 image commit`: an image's changes into its backing file. */
export async function imageCommit(
  file: string,
  flags: CommitFlags,
  context: ImageContext,
): Promise<number> {
  flushesOf(flags.cache, 'cache', true);
  const bytesPerSecond = rateFlag(flags.rate);
  // For writing and with its lock, so that nobody changes it on the way.
  const top = await openNamed(file, context, { format: flags.format, writable: true });
  try {
    const chain = await chainOf(top, file);
    const baseDepth = await depthOf(chain, flags.base);
    const link = chain[baseDepth];
    if (link === undefined || baseDepth === 0)
      throw new RequestError(`${file}: has no backing file to commit to; use convert`);
    await readOnOneThread([top], concatenated([top]), link.image.path);
    const base = await openImage(link.image.path, flushedStorageHost, {
      format: link.image.format,
      probe: true,
    });
    const isEmptied = flags.drop !== true && flags.base === undefined;
    const emptying = isEmptied && top.makeEmpty !== undefined ? EMPTYING_SHARE : 0;
    context.progress.start(top.sizeBytes * (1 + emptying));
    try {
      await commitDisk({
        top,
        base,
        baseDepth,
        host: copyHost,
        signal: context.signal,
        onProgress: (bytes) => context.progress.add(bytes),
        ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
      });
    } finally {
      await closeAll([base]);
    }
    if (isEmptied) await top.makeEmpty?.((bytes) => context.progress.add(bytes * emptying));
    context.progress.end();
    if (isEmptied && top.makeEmpty === undefined)
      warn(context, `${file}: ${top.format} images cannot be emptied; it keeps its data`);
    say(context, 'Image committed.');
  } finally {
    await closeAll([top]);
  }
  return STATUS_OK;
}

async function depthOf(chain: readonly NamedImage[], base: string | undefined): Promise<number> {
  if (base === undefined) return Math.min(1, chain.length - 1);
  const place = await patientStorageHost.identity(pathOfName(base));
  for (const [depth, { image, name }] of chain.entries())
    if (depth > 0 && (name === base || (await patientStorageHost.identity(image.path)) === place))
      return depth;
  throw new RequestError(`${base}: is not in the chain of backing files`, 'base');
}
