import { RequestError } from '#base/errors.ts';
import type { DiskImage } from '#storage/image.ts';
import { pathOfName } from '#storage/image-name.ts';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { formatNamed } from '#storage/open.ts';
import { copyWhatRebaseChanges } from '#storage/ops/rebase.ts';
import { closeAll, type ImageContext, openNamed, STATUS_OK } from './context.ts';
import { flushesOf } from './flags.ts';
import { backingDisplayName } from './names.ts';

export interface RebaseFlags {
  readonly format?: string;
  /** Empty: the image shall stand alone. */
  readonly backing: string;
  readonly backingFormat?: string;
  readonly unsafe?: boolean;
  readonly cache?: string;
  readonly sourceCache?: string;
}

/** `ring0 image rebase`: another backing file; what the disk holds stays the same, unless told not to look. */
export async function imageRebase(
  file: string,
  flags: RebaseFlags,
  context: ImageContext,
): Promise<number> {
  flushesOf(flags.cache, 'cache', true);
  flushesOf(flags.sourceCache, 'source-cache', true);
  const alone = flags.backing === '';
  if (!alone && flags.backingFormat === undefined)
    throw new RequestError(
      "name the backing file's format, because a guest can fake any; for example -F qcow2",
      'backing-format',
    );
  const image = await openNamed(file, context, {
    format: flags.format,
    writable: true,
    withBacking: flags.unsafe !== true,
    anyBacking: flags.unsafe === true,
  });
  if (image.setBacking === undefined) {
    await image.close();
    return await acceptBacking(file, image.format, flags, context);
  }
  try {
    if (flags.unsafe !== true) {
      const newBacking = alone
        ? undefined
        : await openNamed(backingDisplayName(file, flags.backing), context, {
            format: flags.backingFormat,
          });
      try {
        context.progress.start(image.sizeBytes);
        await copyWhatRebaseChanges({
          image,
          newBacking,
          signal: context.signal,
          onProgress: (bytes) => context.progress.add(bytes),
        });
        context.progress.end();
      } finally {
        await closeAll([newBacking]);
      }
      // What it read from the old one must be there before it reads from the new one.
      await image.flush();
    }
    await image.setBacking(
      alone ? undefined : flags.backing,
      alone ? undefined : flags.backingFormat,
    );
    await image.flush();
  } finally {
    await closeAll([image]);
  }
  return STATUS_OK;
}

/** Of formats that keep the name, and which state the file was in: that of now will do. */
async function acceptBacking(
  file: string,
  format: string,
  flags: RebaseFlags,
  context: ImageContext,
): Promise<number> {
  const keeps = new RequestError(
    `${file}: ${format} images keep their backing file's name; convert it instead`,
  );
  if (flags.unsafe !== true || flags.backing === '') throw keeps;
  const image = await openNamed(file, context, { format, writable: true, anyBacking: true });
  try {
    const { adoptBacking, backing } = image;
    const { backingName } = await image.info();
    if (adoptBacking === undefined || backing === undefined || backingName === undefined)
      throw keeps;
    // The one that it names, too: in a json: name another may stand for it.
    const own = nodeStorageHost.resolve(image.path, backingName);
    const given = pathOfName(backingDisplayName(file, flags.backing));
    const places = await Promise.all([own, backing.path, given].map(nodeStorageHost.identity));
    if (new Set(places).size > 1) throw keeps;
    await checkFormat(backing, flags);
    await adoptBacking();
  } finally {
    await closeAll([image]);
  }
  await closeAll([await openNamed(file, context, { format })]);
  return STATUS_OK;
}

/** @throws {RequestError} when the user takes it for another one. */
async function checkFormat({ path, format }: DiskImage, flags: RebaseFlags): Promise<void> {
  const { backingFormat = format } = flags;
  if ((await formatNamed(backingFormat)).name !== format)
    throw new RequestError(`${path}: is ${format}, not ${backingFormat}`, 'backing-format');
}
