import { backingFileOption } from '../../blocks/backing-option.ts';
import { MappedImage } from '../../blocks/mapped-image.ts';
import { changedParent } from '../../blocks/parent-names.ts';
import { sameBytes } from '../../blocks/uuid.ts';
import type {
  CreateRequest,
  DiskImage,
  HostFile,
  ImageFormat,
  ImageInfo,
  OpenContext,
  StorageHost,
} from '../../image.ts';
import { create, layoutOf } from './create.ts';
import { type Header, readHeader } from './header.ts';
import * as v from './layout.ts';
import { findParent } from './parent.ts';
import { VdiMap } from './vdi-map.ts';

const FORMAT = 'vdi';

async function open(file: HostFile, context: OpenContext): Promise<DiskImage> {
  let backing: DiskImage | undefined;
  try {
    const header = await readHeader(file);
    const { readOnly } = context;
    let backingName: string | undefined;
    if (header.type === v.TYPE_DIFFERENCING) {
      backingName = await findParent(file, header, context.host);
      backing = await context.openBacking(file.path, backingName, FORMAT);
      if (backing !== undefined) await checkParent(file, header, backingName, context);
    }
    const info = infoOf(header, backingName);
    const parentState =
      backingName === undefined
        ? undefined
        : () => modificationOf(file.path, backingName, context.host);
    const map = new VdiMap(file, header, {
      fileBytes: await file.size(),
      readOnly,
      info,
      parentState,
    });
    return new MappedImage({ format: FORMAT, path: file.path, readOnly, backing, map });
  } catch (error) {
    await file.close();
    await backing?.close();
    throw error;
  }
}

/** @throws {ImageError} `corrupt` when the parent was written to since the image was made. */
async function checkParent(
  file: HostFile,
  header: Header,
  name: string,
  { host, anyBacking }: OpenContext,
): Promise<void> {
  if (anyBacking) return;
  if (sameBytes(await modificationOf(file.path, name, host), header.uuidParentModify)) return;
  throw changedParent(file.path, name, v.H_UUID_PARENT_MODIFY);
}

/** Which state the image is in that is called `name` in the one at `path`. */
async function modificationOf(path: string, name: string, host: StorageHost): Promise<Uint8Array> {
  const file = await host.openFile(host.resolve(path, name));
  try {
    return (await readHeader(file)).uuidModify;
  } finally {
    await file.close();
  }
}

function infoOf(header: Header, backingName: string | undefined): ImageInfo {
  return {
    clusterBytes: header.blockBytes,
    ...(backingName === undefined ? {} : { backingName, backingFormat: FORMAT }),
  };
}

function measure(
  request: CreateRequest,
  dataBytes: number,
): { required: number; fullyAllocated: number } {
  const { blocks, dataOffset } = layoutOf(request.sizeBytes);
  const fullyAllocated = dataOffset + blocks * v.BLOCK_BYTES;
  const dataBlocks = Math.ceil(dataBytes / v.BLOCK_BYTES);
  const isFixed = request.options.get('static') === true;
  return {
    required: isFixed ? fullyAllocated : dataOffset + dataBlocks * v.BLOCK_BYTES,
    fullyAllocated,
  };
}

/** VirtualBox's format: fixed, dynamic and differencing images of version 1.1. */
export const vdi: ImageFormat = {
  name: FORMAT,
  probe: (head) =>
    head.length >= v.HEADER_BYTES &&
    new DataView(head.buffer, head.byteOffset).getUint32(v.H_SIGNATURE, true) === v.SIGNATURE,
  open,
  createOptions: [
    {
      name: 'static',
      type: 'bool',
      about: 'all blocks allocated from the start',
      byDefault: false,
    },
    backingFileOption(FORMAT),
  ],
  create,
  // Loaded with the first check: most who open an image make none.
  check: async (file, request) => (await import('./check.ts')).check(file, request),
  measure,
};
