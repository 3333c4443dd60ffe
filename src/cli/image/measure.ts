import { RequestError } from '#base/errors.ts';
import { formatNamed } from '#storage/open.ts';
import { parseCreateOptions, wholeSectors, withFileOptions } from '#storage/ops/create.ts';
import { bitmapBytesOf, dataBytesOf } from '#storage/ops/measure.ts';
import { print } from '../host.ts';
import { closeAll, type ImageContext, openNamed, STATUS_OK } from './context.ts';
import { sizeFlag } from './flags.ts';

export interface MeasureFlags {
  readonly format?: string;
  readonly snapshot?: string;
  readonly targetFormat: string;
  readonly options?: readonly string[];
  readonly size?: string;
  readonly output: 'human' | 'json';
}

const DEFAULT_CLUSTER_BYTES = 65536;

/** `ring0 image measure`: how large a new file would be. */
export async function imageMeasure(
  file: string | undefined,
  flags: MeasureFlags,
  context: ImageContext,
): Promise<number> {
  const size = sizeFlag(flags.size, 'size');
  if ((size === undefined) === (file === undefined))
    throw new RequestError('give either a file or --size');
  const format = withFileOptions(await formatNamed(flags.targetFormat));
  if (format.measure === undefined)
    throw new RequestError(`${format.name} images cannot be measured; choose another format`, 'O');
  const { options } = parseCreateOptions(format, flags.options ?? []);
  const unit = options.get('cluster_size');
  let sizeBytes = wholeSectors(size ?? 0);
  let dataBytes = 0;
  let bitmapBytes: number | undefined;
  if (file !== undefined) {
    const image = await openNamed(file, context, {
      format: flags.format,
      snapshot: flags.snapshot,
    });
    try {
      sizeBytes = image.sizeBytes;
      const unitBytes = typeof unit === 'number' ? unit : DEFAULT_CLUSTER_BYTES;
      if (
        format.name === 'qcow2' &&
        options.get('compat') !== '0.10' &&
        image.bitmaps !== undefined &&
        (await image.info()).specific?.['compat'] !== '0.10'
      )
        bitmapBytes = bitmapBytesOf(await image.bitmaps.list(), sizeBytes, unitBytes);
      dataBytes = await dataBytesOf(image, format.name === 'raw' ? 512 : unitBytes, context.signal);
    } finally {
      await closeAll([image]);
    }
  }
  const { required, fullyAllocated } = format.measure({ sizeBytes, options }, dataBytes);
  print(
    context.host,
    flags.output === 'json'
      ? `${JSON.stringify({ ...(bitmapBytes === undefined ? {} : { bitmaps: bitmapBytes }), required, 'fully-allocated': fullyAllocated }, undefined, 4)}\n`
      : `required size: ${required}\nfully allocated size: ${fullyAllocated}\n${bitmapBytes === undefined ? '' : `bitmaps size: ${bitmapBytes}\n`}`,
  );
  return STATUS_OK;
}
