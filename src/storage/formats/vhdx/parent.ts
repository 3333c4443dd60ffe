import { changedParent, parentNames } from '../../blocks/parent-names.ts';
import { uuidText } from '../../blocks/uuid.ts';
import { type HostFile, ImageError, type OpenContext, type StorageHost } from '../../image.ts';
import { readHeader } from './header.ts';

const PATH_KEYS = ['relative_path', 'absolute_win32_path', 'volume_path'];

/**
 * The name under which the parent is found (2.6.2.6): where the locator says, or beside the image.
 * @throws {ImageError} `not-found`, or `corrupt` when the parent was written to since.
 */
export async function findParent(
  file: HostFile,
  locator: ReadonlyMap<string, string>,
  { host, anyBacking }: OpenContext,
): Promise<string> {
  const paths = PATH_KEYS.flatMap((key) => locator.get(key) ?? []);
  const linkages = ['parent_linkage', 'parent_linkage2'].flatMap((key) => locator.get(key) ?? []);
  let stale: string | undefined;
  for await (const name of parentNames(paths, file.path, host)) {
    const guid = await dataWriteOf(host.resolve(file.path, name), host);
    if (guid === undefined) continue;
    if (linkages.some((text) => text.toLowerCase() === `{${uuidText(guid)}}`)) return name;
    stale ??= name;
  }
  if (anyBacking && stale !== undefined) return stale;
  const told = paths.map((path) => `'${path}'`).join(', ');
  if (stale !== undefined) throw changedParent(file.path, told);
  throw new ImageError(
    'not-found',
    `${file.path}: its parent, ${told}, is not there; put it beside the image`,
    { path: file.path },
  );
}

/** Undefined when the file is no VHDX image. */
export async function dataWriteOf(
  path: string,
  host: StorageHost,
): Promise<Uint8Array | undefined> {
  let file: HostFile | undefined;
  try {
    file = await host.openFile(path);
    return (await readHeader(file)).dataWrite;
  } catch (error) {
    if (error instanceof ImageError) return undefined;
    throw error;
  } finally {
    await file?.close();
  }
}
