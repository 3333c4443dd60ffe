import { RequestError } from '#base/errors.ts';
import { oneLine } from '../error-line.ts';
import { print } from '../host.ts';
import { closeAll, type ImageContext, openNamed, STATUS_OK } from './context.ts';
import { snapshotTable } from './snapshot-table.ts';

export interface SnapshotFlags {
  readonly format?: string;
  readonly list?: boolean;
  readonly apply?: string;
  readonly create?: string;
  readonly delete?: string;
}

/** `ring0 image snapshot`: states of the disk inside the image. Without a flag they are listed. */
export async function imageSnapshot(
  file: string,
  flags: SnapshotFlags,
  context: ImageContext,
): Promise<number> {
  const { apply, create, delete: remove } = flags;
  const changes = [apply, create, remove].filter((one) => one !== undefined).length;
  if (changes + (flags.list === true ? 1 : 0) > 1)
    throw new RequestError('give one of -l, -a, -c and -d');
  const image = await openNamed(file, context, { format: flags.format, writable: changes > 0 });
  try {
    const { snapshots } = image;
    if (changes === 0) {
      const list = snapshots?.list() ?? (await image.info()).snapshots ?? [];
      if (list.length > 0) print(context.host, `${snapshotTable(list).map(oneLine).join('\n')}\n`);
      return STATUS_OK;
    }
    if (snapshots === undefined)
      throw new RequestError(
        `${file}: ${image.format} images hold no snapshots; use an image with a backing file, or qcow2`,
      );
    if (create !== undefined) await snapshots.create(create);
    if (apply !== undefined) await snapshots.apply(apply);
    if (remove !== undefined) await snapshots.delete(remove);
    return STATUS_OK;
  } finally {
    await closeAll([image]);
  }
}
