import { RequestError } from '#base/errors.ts';
import type { CreateRequest, ImageFormat } from '#storage/image.ts';
import { formatNamed } from '#storage/open.ts';
import { createImage, wholeSectors, withFileOptions } from '#storage/ops/create.ts';
import { print } from '../host.ts';
import { type ImageContext, STATUS_OK, say, warnOfOverSubscription } from './context.ts';
import { sizeFlag } from './flags.ts';
import {
  type BackingFlags,
  backingSize,
  checkCreatable,
  createOptions,
  optionsHelp,
  withStaging,
} from './new-image.ts';

export interface CreateFlags extends BackingFlags {
  readonly format: string;
  readonly options?: readonly string[];
  readonly unsafe?: boolean;
}

/** `ring0 image create`: an empty disk. */
export async function imageCreate(
  file: string | undefined,
  sizeText: string | undefined,
  flags: CreateFlags,
  context: ImageContext,
): Promise<number> {
  const format = withFileOptions(await formatNamed(flags.format));
  if (isHelp(flags.options)) {
    print(context.host, optionsHelp(format));
    return STATUS_OK;
  }
  if (file === undefined)
    throw new RequestError('the file to make is missing; give it, and the size after it');
  checkCreatable(format);
  const { options, sizeText: sizeOption } = createOptions(format, flags.options ?? [], flags);
  const given = sizeFlag(sizeText ?? sizeOption);
  // The backing file is looked at even when the size is given: a wrong name is found here rather than at the first use.
  const behind =
    flags.unsafe === true ? undefined : await backingSize(file, options, format, context);
  const size = given ?? behind;
  if (size === undefined)
    throw new RequestError('the size is missing; give it after the file, for example 10G');
  await withStaging(true, options, (host) =>
    createImage(file, host, format, { sizeBytes: wholeSectors(size), options }),
  );
  say(context, `Formatting '${file}', fmt=${format.name}${toldOptions(format, options, size)}`);
  await warnOfOverSubscription(context, [{ file, sizeBytes: wholeSectors(size) }]);
  return STATUS_OK;
}

export function isHelp(options: readonly string[] | undefined): boolean {
  return options?.some((text) => text === 'help' || text === '?') ?? false;
}

/** All options that are given, or that qemu-img tells of anyway, in its order: the size is behind qcow2's own. */
function toldOptions(
  format: ImageFormat,
  options: CreateRequest['options'],
  sizeBytes: number,
): string {
  const told = format.createOptions.map(({ name, byDefault }) => {
    const value = options.get(name) ?? byDefault;
    return value === undefined ? '' : ` ${name}=${tell(value)}`;
  });
  const own = format.createOptions.findIndex(({ name }) => name === 'compression_type') + 1;
  return told.toSpliced(own, 0, ` size=${sizeBytes}`).join('');
}

function tell(value: string | number | boolean): string {
  return typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value).replaceAll(',', ',,');
}
