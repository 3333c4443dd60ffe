import { readExactly } from '../../blocks/fields.ts';
import { parentNames } from '../../blocks/parent-names.ts';
import { sameBytes } from '../../blocks/uuid.ts';
import { type HostFile, ImageError, type StorageHost } from '../../image.ts';
import type { DynamicHeader, Locator } from './dynamic-header.ts';
import { readFooter } from './footer.ts';

/** The name under which the parent is found: what the locators say, relative first, then the plain name beside the image. */
export async function findParent(
  file: HostFile,
  header: DynamicHeader,
  host: StorageHost,
): Promise<string> {
  const paths = await pathsOf(file, header);
  for await (const name of parentNames(paths, file.path, host))
    if (await isImage(host.resolve(file.path, name), header.parentUuid, host)) return name;
  const told = paths.map((path) => `'${path}'`).join(', ');
  throw new ImageError(
    'not-found',
    `${file.path}: its parent, ${told}, is not there; put it beside the image`,
    { path: file.path },
  );
}

async function pathsOf(file: HostFile, header: DynamicHeader): Promise<string[]> {
  const order = ['W2ru', 'MacX', 'W2ku'];
  const sorted = header.locators
    .filter(({ platform }) => order.includes(platform))
    .sort((a, b) => order.indexOf(a.platform) - order.indexOf(b.platform));
  const paths: string[] = [];
  for (const locator of sorted) paths.push(await locatedPath(file, locator));
  return [...new Set([...paths, header.parentName])].filter((path) => path !== '');
}

/** W2ru and W2ku are Windows paths in UTF-16, little-endian; MacX is a file URL. */
async function locatedPath(file: HostFile, locator: Locator): Promise<string> {
  const { platform, offsetBytes, lengthBytes } = locator;
  const bytes = await readExactly(file, offsetBytes, lengthBytes, 'parent locator');
  const encoding = platform === 'MacX' ? 'utf-8' : 'utf-16le';
  const path = new TextDecoder(encoding).decode(bytes).replace(/\0.*$/s, '');
  return platform === 'MacX' ? pathOfUrl(path) : path;
}

/** A name alone is none. */
function pathOfUrl(url: string): string {
  const path = /^file:\/\/(?:localhost)?(.*)$/s.exec(url)?.[1];
  if (path === undefined) return url;
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

async function isImage(path: string, uuid: Uint8Array, host: StorageHost): Promise<boolean> {
  let file: HostFile | undefined;
  try {
    file = await host.openFile(path);
    return sameBytes((await readFooter(file)).uuid, uuid);
  } catch (error) {
    if (error instanceof ImageError) return false;
    throw error;
  } finally {
    await file?.close();
  }
}
