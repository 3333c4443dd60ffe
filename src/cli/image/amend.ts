import { RequestError } from '#base/errors.ts';
import type { DiskImage, ImageFormat } from '#storage/image.ts';
import { formatNamed } from '#storage/open.ts';
import { parseCreateOptions, wholeSectors } from '#storage/ops/create.ts';
import { print } from '../host.ts';
import { closeAll, type ImageContext, openNamed, STATUS_OK } from './context.ts';
import { isHelp } from './create.ts';
import { flushesOf, sizeFlag } from './flags.ts';
import { optionsHelp } from './new-image.ts';

export interface AmendFlags {
  readonly format?: string;
  readonly options: readonly string[];
  readonly cache?: string;
}

/** `ring0 image amend`: other options than those that the image was created with. */
export async function imageAmend(
  file: string | undefined,
  flags: AmendFlags,
  context: ImageContext,
): Promise<number> {
  flushesOf(flags.cache, 'cache', true);
  if (isHelp(flags.options)) {
    const format = amendable(await formatNamed(flags.format ?? 'qcow2'));
    print(context.host, optionsHelp(format, `Amend options for '${format.name}':`));
    return STATUS_OK;
  }
  if (file === undefined) throw new RequestError('the file is missing; give it');
  const image = await openNamed(file, context, { format: flags.format, writable: true });
  try {
    context.progress.start(1);
    await amend(image, file, flags.options);
    context.progress.add(1);
    context.progress.end();
  } finally {
    await closeAll([image]);
  }
  return STATUS_OK;
}

async function amend(image: DiskImage, file: string, texts: readonly string[]): Promise<void> {
  const format = amendable(await formatNamed(image.format));
  const { options, sizeText } = parseCreateOptions(format, texts);
  const size = sizeFlag(sizeText);
  if (size !== undefined) options.set('size', wholeSectors(size));
  if (size !== undefined && wholeSectors(size) < image.sizeBytes)
    throw new RequestError(
      `${file}: size: amend makes no disk smaller; use resize --shrink`,
      'options',
    );
  await image.amend?.(options);
}

/** The format, with what can be changed in place of what can be chosen. */
function amendable(format: ImageFormat): ImageFormat {
  if (format.amendOptions !== undefined) return { ...format, createOptions: format.amendOptions };
  throw new RequestError(
    `${format.name} images have no options that can be changed; convert the image`,
  );
}
