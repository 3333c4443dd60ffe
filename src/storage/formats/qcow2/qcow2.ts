import type { CreateRequest, HostFile, ImageFormat, StorageHost } from '../../image.ts';
import { AMEND_OPTIONS, CREATE_OPTIONS, chooseOptions, measure, writeEmpty } from './create.ts';
import { readHeader } from './header.ts';
import * as q from './layout.ts';
import { Mapping } from './mapping.ts';
import { openQcow2, readMetadata } from './open.ts';
import { Reader } from './reader.ts';
import { preallocate } from './resize.ts';
import { Writer } from './writer.ts';

async function create(file: HostFile, request: CreateRequest, host: StorageHost): Promise<void> {
  const choice = chooseOptions(request.options);
  await writeEmpty(file, request.sizeBytes, choice, host);
  if (choice.preallocation === 'off') return;
  const data =
    choice.dataFile === undefined
      ? file
      : await host.openFile(host.resolve(file.path, choice.dataFile), { access: 'write' });
  try {
    const meta = await readMetadata(file, data, await readHeader(file), false);
    const mapping = new Mapping(meta);
    const reader = new Reader(meta, mapping, undefined, host.codec);
    const writer = new Writer(meta, mapping, reader);
    await preallocate({ meta, mapping, writer }, 0, request.sizeBytes, choice.preallocation);
    await meta.settle();
    await file.truncate(meta.counts.usedBytes);
    await meta.setDirty(false);
  } finally {
    if (data !== file) await data.close();
  }
}

/** QEMU's format, versions 2 and 3. */
export const qcow2: ImageFormat = {
  name: 'qcow2',
  probe: (head) =>
    head.length >= q.V2_HEADER_BYTES &&
    new DataView(head.buffer, head.byteOffset).getUint32(0) === q.MAGIC,
  open: openQcow2,
  openSnapshot: openQcow2,
  createOptions: CREATE_OPTIONS,
  amendOptions: AMEND_OPTIONS,
  create,
  // Loaded with the first check: most who open an image make none.
  check: async (...given) => (await import('./check.ts')).check(...given),
  measure,
};
