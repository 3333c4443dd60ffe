import { latin1Text } from '#base/latin1.ts';
import { readExactly } from '../../blocks/fields.ts';
import { parentNames } from '../../blocks/parent-names.ts';
import { type HostFile, ImageError, type StorageHost } from '../../image.ts';
import { type Descriptor, parseDescriptor } from './descriptor.ts';
import * as v from './layout.ts';
import { isSparse, readSparseHeader } from './sparse-header.ts';

export interface Located {
  readonly descriptor: Descriptor;
  /** Where in the file the descriptor stands. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** The descriptor, in a file of its own or within a sparse one. @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. */
export async function readDescriptor(file: HostFile): Promise<Located> {
  const head = new Uint8Array(4);
  await file.read(0, head);
  let offsetBytes = 0;
  let lengthBytes = await file.size();
  if (isSparse(head)) {
    const header = await readSparseHeader(file);
    offsetBytes = header.descriptorOffset;
    lengthBytes = header.descriptorBytes;
    if (offsetBytes === 0 || lengthBytes === 0)
      throw new ImageError(
        'bad-format',
        `${file.path}: is a part of a VMDK image; open the image's descriptor, the small text file beside it`,
        { path: file.path },
      );
  } else if (latin1Text(head) === v.MAGIC_COW)
    throw new ImageError(
      'unsupported',
      `${file.path}: at 0: not supported: COWD extents of ESX 3; convert the disk where it was made`,
      { path: file.path, offsetBytes: 0 },
    );
  if (lengthBytes > v.MAX_DESCRIPTOR_BYTES)
    throw new ImageError('bad-format', `${file.path}: at 0: not a VMDK image`, {
      path: file.path,
      offsetBytes: 0,
    });
  const bytes = await readExactly(file, offsetBytes, lengthBytes, 'descriptor');
  const text = new TextDecoder('latin1').decode(bytes).replace(/\0.*$/s, '');
  return { descriptor: parseDescriptor(text, file.path, offsetBytes), offsetBytes, lengthBytes };
}

/** The name under which the parent of the image is found, as written or beside the image, and the identifier of its content. */
export async function readIdentity(
  file: HostFile,
  hint: string,
  host: StorageHost,
): Promise<{ name: string; cid: string }> {
  for await (const candidate of parentNames([hint], file.path, host)) {
    const parent = await openIfThere(host.resolve(file.path, candidate), host);
    if (parent === undefined) continue;
    try {
      return { name: candidate, cid: (await readDescriptor(parent)).descriptor.cid };
    } finally {
      await parent.close();
    }
  }
  throw new ImageError(
    'not-found',
    `${file.path}: its parent, '${hint}', is not there; put it beside the image`,
    { path: file.path },
  );
}

async function openIfThere(path: string, host: StorageHost): Promise<HostFile | undefined> {
  try {
    return await host.openFile(path);
  } catch (error) {
    if (error instanceof ImageError && error.kind === 'not-found') return undefined;
    throw error;
  }
}
