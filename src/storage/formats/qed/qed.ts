import { MappedImage } from '../../blocks/mapped-image.ts';
import type { DiskImage, HostFile, ImageFormat, OpenContext } from '../../image.ts';
import { check } from './check.ts';
import { create, planOf } from './create.ts';
import { readHeader } from './header.ts';
import * as v from './layout.ts';
import { QedMap } from './qed-map.ts';

const FORMAT = 'qed';

async function open(file: HostFile, context: OpenContext): Promise<DiskImage> {
  const { readOnly } = context;
  try {
    let header = await readHeader(file);
    if (header.needsCheck && !readOnly) {
      // QEMU orders no writes: an image that it did not close may lead beyond its end.
      await check(file, { repair: 'all' });
      header = await readHeader(file);
    }
    const { backingName, backingFormat } = header;
    const map = new QedMap(file, header, await file.size(), readOnly);
    const backing =
      backingName === undefined
        ? undefined
        : await context.openBacking(file.path, backingName, backingFormat);
    return new MappedImage({ format: FORMAT, path: file.path, readOnly, backing, map });
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** QEMU's format between qcow2's versions 2 and 3. */
export const qed: ImageFormat = {
  name: FORMAT,
  probe: (head) =>
    head.length >= v.HEADER_BYTES &&
    new DataView(head.buffer, head.byteOffset).getUint32(0, true) === v.MAGIC,
  open,
  createOptions: [
    { name: 'backing_file', type: 'text', about: 'the image to read from where this has nothing' },
    { name: 'backing_fmt', type: 'text', about: 'its format; the image remembers only raw' },
    {
      name: 'cluster_size',
      type: 'size',
      about: 'a power of 2 from 4k to 64M; default 64k',
      byDefault: 65536,
    },
    {
      name: 'table_size',
      type: 'number',
      about: 'clusters of a table: 2, 4 (the default), 8 or 16',
    },
  ],
  create,
  check,
  measure: (request, dataBytes) => {
    const { clusterBytes, tableBytes } = planOf(request);
    const bytesFor = (bytes: number): number => {
      const clusters = Math.ceil(bytes / clusterBytes);
      const tables = Math.ceil((clusters * v.ENTRY_BYTES) / tableBytes);
      return clusterBytes + tableBytes * (1 + tables) + clusters * clusterBytes;
    };
    return { required: bytesFor(dataBytes), fullyAllocated: bytesFor(request.sizeBytes) };
  },
};
