import { RequestError } from '#base/errors.ts';
import { parseImageSize, wholeSectors } from '#storage/ops/create.ts';
import {
  closeAll,
  type ImageContext,
  openNamed,
  STATUS_OK,
  say,
  warnOfOverSubscription,
} from './context.ts';

export interface ResizeFlags {
  readonly format?: string;
  readonly preallocation?: string;
  readonly shrink?: boolean;
}

/** `ring0 image resize`: another size of the disk; `+` and `-` are relative to what it is. */
export async function imageResize(
  file: string,
  text: string,
  flags: ResizeFlags,
  context: ImageContext,
): Promise<number> {
  const match = /^([+-]?)(.*)$/.exec(text);
  const bytes = parseImageSize(match?.[2] ?? '');
  if (bytes === undefined)
    throw new RequestError(`'${text}' is not a size; give for example 20G, +5G or -1G`);
  const image = await openNamed(file, context, { format: flags.format, writable: true });
  try {
    const old = image.sizeBytes;
    const sign = match?.[1];
    const wanted = sign === '' ? bytes : sign === '+' ? old + bytes : old - bytes;
    if (wanted <= 0 || !Number.isSafeInteger(wanted))
      throw new RequestError(`${file}: of ${old} bytes nothing would be left; give a smaller step`);
    if (image.resize === undefined)
      throw new RequestError(`${file}: ${image.format} images keep their size; convert it instead`);
    const sizeBytes = wholeSectors(wanted);
    if (sizeBytes < old && flags.shrink !== true)
      throw new RequestError(
        `${file}: what lies beyond ${sizeBytes} bytes would be lost; shrink the partitions in it first, then add --shrink`,
        'shrink',
      );
    if (sizeBytes < old && (flags.preallocation ?? 'off') !== 'off')
      throw new RequestError('only new room can be reserved; leave it out', 'preallocation');
    await image.resize(sizeBytes, {
      shrink: flags.shrink ?? false,
      ...(flags.preallocation === undefined ? {} : { preallocation: flags.preallocation }),
    });
    say(context, 'Image resized.');
    await warnOfOverSubscription(context, [{ file, sizeBytes }]);
  } finally {
    await closeAll([image]);
  }
  return STATUS_OK;
}
