import { RequestError } from '#base/errors.ts';
import { type CreateRequest, ImageError, type ImageFormat } from '#storage/image.ts';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { StagingHost } from '#storage/node/staging-host.ts';
import { parseCreateOptions } from '#storage/ops/create.ts';
import { closeAll, type ImageContext, openNamed } from './context.ts';
import { backingDisplayName } from './names.ts';

export interface BackingFlags {
  readonly backing?: string;
  readonly backingFormat?: string;
}

/** Options of a new image as the user gave them, with `-b` and `-F` among them. */
export function createOptions(
  format: ImageFormat,
  texts: readonly string[],
  flags: BackingFlags,
): ReturnType<typeof parseCreateOptions> {
  const parsed = parseCreateOptions(format, texts);
  const { options } = parsed;
  const knows = (name: string): boolean => format.createOptions.some((one) => one.name === name);
  if (flags.backing !== undefined) {
    if (!knows('backing_file'))
      throw new RequestError(`${format.name} images have no backing file; choose qcow2`, 'backing');
    options.set('backing_file', flags.backing);
  }
  if (!options.has('backing_file')) {
    if (flags.backingFormat !== undefined)
      throw new RequestError('a format, but no backing file; give -b', 'backing-format');
    return parsed;
  }
  if (flags.backingFormat !== undefined && knows('backing_fmt'))
    options.set('backing_fmt', flags.backingFormat);
  if (knows('backing_fmt') && !options.has('backing_fmt'))
    throw new RequestError(
      "name the backing file's format, because a guest can fake any; for example -F qcow2",
      'backing-format',
    );
  return parsed;
}

/** The size of the disk that a new image shall have behind it. */
export async function backingSize(
  file: string,
  options: CreateRequest['options'],
  format: ImageFormat,
  context: ImageContext,
): Promise<number | undefined> {
  const name = options.get('backing_file');
  if (typeof name !== 'string' || name === '') return undefined;
  const named = options.get('backing_fmt');
  const known = format.createOptions.some((one) => one.name === 'backing_fmt');
  const backing = await openNamed(backingDisplayName(file, name), context, {
    format: typeof named === 'string' ? named : known ? undefined : format.name,
  });
  try {
    return backing.sizeBytes;
  } finally {
    await closeAll([backing]);
  }
}

/**
 * Does the work with files that come to their places when it succeeds, and are gone when it does not. `options` are those
 * of the new image.
 */
export async function withStaging<T>(
  flushes: boolean,
  options: CreateRequest['options'],
  work: (host: StagingHost) => Promise<T>,
): Promise<T> {
  const noCow = options.get('nocow') === true;
  const host = new StagingHost(nodeStorageHost, { flushes, noCow });
  try {
    const result = await work(host);
    await host.commit();
    return result;
  } catch (error) {
    await host.abort();
    throw error;
  }
}

/** `-o help`. */
export function optionsHelp(
  format: ImageFormat,
  title = `Supported ${format.name} options:`,
): string {
  const lines = format.createOptions.map(
    ({ name, type, about }) => `  ${`${name}=<${type}>`.padEnd(24)} - ${about}`,
  );
  const size = `  ${'size=<size>'.padEnd(24)} - Virtual disk size`;
  return `${[title, ...lines, size].join('\n')}\n`;
}

export function checkCreatable(format: ImageFormat): void {
  if (format.create === undefined)
    throw new ImageError(
      'unsupported',
      `${format.name} images can be read only; choose another format`,
    );
}
