import { RequestError } from '#base/errors.ts';
import type { DiskImage } from '#storage/image.ts';
import { sameBytes } from '#storage/node/same-bytes.ts';
import { compareDisks } from '#storage/ops/compare.ts';
import { errorLine } from '../error-line.ts';
import { asRequestError, closeAll, type ImageContext, openNamed, say } from './context.ts';
import { flushesOf } from './flags.ts';

export interface CompareFlags {
  readonly format?: string;
  readonly secondFormat?: string;
  readonly strict?: boolean;
  readonly sourceCache?: string;
}

const STATUS_SAME = 0;
const STATUS_DIFFERENT = 1;
/** As qemu-img: above 1 it is an error. */
const STATUS_ERROR = 2;

/** `ring0 image compare`: whether a guest would see the same disk. */
export async function imageCompare(
  files: readonly [string, string],
  flags: CompareFlags,
  context: ImageContext,
): Promise<number> {
  const images: DiskImage[] = [];
  try {
    flushesOf(flags.sourceCache, 'source-cache', false);
    const first = await openNamed(files[0], context, { format: flags.format });
    images.push(first);
    const second = await openNamed(files[1], context, { format: flags.secondFormat });
    images.push(second);
    context.progress.start(Math.max(first.sizeBytes, second.sizeBytes));
    const found = await compareDisks({
      first,
      second,
      strict: flags.strict ?? false,
      areSame: sameBytes,
      signal: context.signal,
      onProgress: (bytes) => context.progress.add(bytes),
    });
    context.progress.end();
    return report(found, context);
  } catch (error) {
    if (context.signal.aborted) throw error;
    const known = asRequestError(error);
    if (!(known instanceof RequestError)) throw error;
    context.host.stderr.write(errorLine(known));
    return STATUS_ERROR;
  } finally {
    await closeAll(images);
  }
}

function report(
  { difference, offsetBytes, sizesDiffer }: Awaited<ReturnType<typeof compareDisks>>,
  context: ImageContext,
): number {
  if (difference === 'size') {
    say(context, 'Strict mode: Image size mismatch!');
    return STATUS_DIFFERENT;
  }
  if (sizesDiffer) say(context, 'Warning: Image size mismatch!');
  if (difference === 'status')
    say(context, `Strict mode: Offset ${offsetBytes} block status mismatch!`);
  else if (difference === 'content') say(context, `Content mismatch at offset ${offsetBytes}!`);
  else say(context, 'Images are identical.');
  return difference === undefined ? STATUS_SAME : STATUS_DIFFERENT;
}
