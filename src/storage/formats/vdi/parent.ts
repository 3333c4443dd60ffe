import { sameBytes, uuidText } from '../../blocks/uuid.ts';
import { type HostFile, ImageError, type StorageHost } from '../../image.ts';
import { type Header, parseHeader } from './header.ts';
import { HEADER_BYTES } from './layout.ts';

/** Where VirtualBox keeps snapshots and what they rest on: a folder, and the one above it. */
const FOLDERS = ['', '../'];
const MAX_FILES = 1000;

/**
 * Name of the image that `header` calls its parent. A VDI image says which it is, and not where: VirtualBox has that in
 * its registry. @throws {ImageError} `not-found`.
 */
export async function findParent(
  file: HostFile,
  header: Header,
  host: StorageHost,
): Promise<string> {
  for (const folder of FOLDERS) {
    const names = await host.list(host.resolve(file.path, `${folder}x`));
    const images = names.filter((name) => name.toLowerCase().endsWith('.vdi'));
    for (const name of images.slice(0, MAX_FILES)) {
      const candidate = await headerOf(host.resolve(file.path, folder + name), host);
      if (candidate !== undefined && sameBytes(candidate.uuid, header.uuidParent))
        return folder + name;
    }
  }
  throw new ImageError(
    'not-found',
    `${file.path}: its parent {${uuidText(header.uuidParent)}} is not among the .vdi files beside it or in the folder above; put it there`,
    { path: file.path },
  );
}

/** Undefined when the file is no VDI image. */
async function headerOf(path: string, host: StorageHost): Promise<Header | undefined> {
  let file: HostFile | undefined;
  try {
    file = await host.openFile(path);
    const bytes = new Uint8Array(HEADER_BYTES);
    await file.read(0, bytes);
    return parseHeader(bytes, path);
  } catch (error) {
    if (error instanceof ImageError) return undefined;
    throw error;
  } finally {
    await file?.close();
  }
}
