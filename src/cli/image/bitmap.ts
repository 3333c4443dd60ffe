import { RequestError } from '#base/errors.ts';
import type { BitmapStore, DiskImage } from '#storage/image.ts';
import { closeAll, type ImageContext, openNamed, STATUS_OK } from './context.ts';
import { sizeFlag } from './flags.ts';

export interface BitmapFlags {
  readonly format?: string;
  readonly sourceFile?: string;
  readonly sourceFormat?: string;
  readonly granularity?: string;
}

/** What to do, in the order in which it was asked for. */
export interface BitmapAction {
  readonly kind: 'add' | 'remove' | 'clear' | 'enable' | 'disable' | 'merge';
  /** The bitmap that is merged. */
  readonly from?: string;
}

/** `ring0 image bitmap`: bitmaps inside a qcow2 image. */
export async function imageBitmap(
  file: string,
  name: string,
  actions: readonly BitmapAction[],
  flags: BitmapFlags,
  context: ImageContext,
): Promise<number> {
  const granularityBytes = sizeFlag(flags.granularity, 'granularity');
  checkFlags(actions, flags);
  const image = await openNamed(file, context, {
    format: flags.format,
    writable: true,
    withBacking: false,
  });
  let source: DiskImage | undefined;
  try {
    const store = storeOf(image, file);
    if (flags.sourceFile !== undefined)
      source = await openNamed(flags.sourceFile, context, {
        format: flags.sourceFormat,
        withBacking: false,
      });
    const from = source === undefined ? store : storeOf(source, flags.sourceFile ?? file);
    for (const action of actions) await act(store, name, action, { granularityBytes, from });
  } finally {
    await closeAll([image, source]);
  }
  return STATUS_OK;
}

function checkFlags(actions: readonly BitmapAction[], flags: BitmapFlags): void {
  if (actions.length === 0)
    throw new RequestError(
      'nothing to do; give --add, --remove, --clear, --enable, --disable or --merge SOURCE',
    );
  const has = (kind: BitmapAction['kind']): boolean => actions.some((one) => one.kind === kind);
  if (flags.granularity !== undefined && !has('add'))
    throw new RequestError('a granularity is for --add', 'granularity');
  if (flags.sourceFile !== undefined && !has('merge'))
    throw new RequestError('a source file is for --merge', 'source-file');
  if (flags.sourceFormat !== undefined && flags.sourceFile === undefined)
    throw new RequestError('a source format is for --source-file', 'source-format');
}

function storeOf(image: DiskImage, file: string): BitmapStore {
  if (image.bitmaps !== undefined) return image.bitmaps;
  throw new RequestError(`${file}: ${image.format} images hold no bitmaps; qcow2 images do`);
}

async function act(
  store: BitmapStore,
  name: string,
  { kind, from = '' }: BitmapAction,
  how: { readonly granularityBytes: number | undefined; readonly from: BitmapStore },
): Promise<void> {
  const { granularityBytes } = how;
  switch (kind) {
    case 'add':
      return await store.add(name, granularityBytes === undefined ? {} : { granularityBytes });
    case 'remove':
      return await store.remove(name);
    case 'clear':
      return await store.clear(name);
    case 'merge':
      return await store.merge(name, from, how.from);
    default:
      return await store.setEnabled(name, kind === 'enable');
  }
}
