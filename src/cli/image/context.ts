import { RequestError } from '#base/errors.ts';
import { hostReason } from '#base/host-reason.ts';
import {
  type DiskImage,
  ImageError,
  type SnapshotQuery,
  type StorageHost,
} from '#storage/image.ts';
import { fileOfName, parseImageName } from '#storage/image-name.ts';
import { overSubscribed, type ThinDisk } from '#storage/node/free-space.ts';
import { flushedStorageHost, patientStorageHost } from '#storage/node/node-host.ts';
import { type OpenImageOptions, openImage } from '#storage/open.ts';
import { splitList } from '#storage/ops/create.ts';
import { oneLine } from '../error-line.ts';
import { type CliHost, print } from '../host.ts';
import type { Progress } from './progress.ts';

/** What a command on images works with. */
export interface ImageContext {
  readonly host: CliHost;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** Without messages on standard output. */
  readonly quiet: boolean;
}

export const STATUS_OK = 0;

export function say(context: ImageContext, line: string): void {
  if (!context.quiet) print(context.host, `${line}\n`);
}

export function warn(context: ImageContext, line: string): void {
  context.host.stderr.write(`ring0: warning: ${oneLine(line)}\n`);
}

export interface OpenFlags {
  readonly format?: string | undefined;
  readonly writable?: boolean;
  readonly withBacking?: boolean;
  readonly anyBacking?: boolean;
  /** Of qemu-img's forms: an id or a name, or snapshot.id=ID, snapshot.name=NAME or both with a comma. */
  readonly snapshot?: string | undefined;
  readonly host?: StorageHost;
}

/** Opens an image that a user named; without a format it is probed. A raw disk's guest may have written what is found then. */
export async function openNamed(
  file: string,
  context: ImageContext,
  flags: OpenFlags = {},
): Promise<DiskImage> {
  const options: OpenImageOptions = {
    readOnly: flags.writable !== true,
    probe: true,
    ...(flags.format === undefined ? {} : { format: flags.format }),
    ...(flags.withBacking === undefined ? {} : { withBacking: flags.withBacking }),
    ...(flags.anyBacking === undefined ? {} : { anyBacking: flags.anyBacking }),
    ...(flags.snapshot === undefined ? {} : { snapshot: snapshotQuery(flags.snapshot) }),
  };
  const { host = flags.writable === true ? flushedStorageHost : patientStorageHost } = flags;
  const image = await openImage(file, host, options);
  const named = flags.format ?? parseImageName(file).format;
  if (named === undefined && flags.writable === true && image.format === 'raw')
    warn(
      context,
      `${file}: no format is named, and it looks raw; say -f raw, because a guest can fake any other format's header`,
    );
  return image;
}

function snapshotQuery(text: string): SnapshotQuery {
  if (!text.startsWith('snapshot.')) return text;
  const query: { id?: string; name?: string } = {};
  for (const part of splitList(text)) {
    const [, key, value = ''] = /^snapshot\.(id|name)=(.*)$/s.exec(part) ?? [];
    if (key !== 'id' && key !== 'name')
      throw new RequestError(`'${part}': give snapshot.id=ID or snapshot.name=NAME`, 'snapshot');
    query[key] = value;
  }
  return query;
}

/** Closes all, also when one fails. */
export async function closeAll(images: readonly (DiskImage | undefined)[]): Promise<void> {
  const results = await Promise.allSettled(images.map((image) => image?.close()));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

const REMEDIES: Partial<Record<ImageError['kind'], string>> = {
  'no-space': 'make room, or choose another place',
  corrupt: '`ring0 image check` tells more',
  'read-only': 'change its permissions, or work on a copy',
};

/** A failure that is the request's, or the image's, as one line with file, offset and remedy. */
export function asRequestError(error: unknown): unknown {
  if (error instanceof ImageError) {
    const { offsetBytes } = error.at;
    const named = offsetBytes === undefined || error.message.includes(String(offsetBytes));
    const place = named ? '' : ` (at byte ${offsetBytes})`;
    const remedy = error.message.includes(';') ? undefined : REMEDIES[error.kind];
    const tail = remedy === undefined ? '' : `; ${remedy}`;
    return new RequestError(`${error.message}${place}${tail}`, undefined, { cause: error });
  }
  if (error instanceof Error && 'code' in error && 'syscall' in error)
    return new RequestError(hostReason(error), undefined, { cause: error });
  return error;
}

/** Says before it bites that disks can grow beyond what their file system has left. */
export async function warnOfOverSubscription(
  context: ImageContext,
  disks: readonly ThinDisk[],
): Promise<void> {
  const files = disks.map(({ file, sizeBytes }) => ({ file: fileOfName(file), sizeBytes }));
  for (const line of await overSubscribed(files)) warn(context, line);
}
