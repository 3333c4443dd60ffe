import { readExactly } from '../../blocks/fields.ts';
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
  const names = await candidates(file, header);
  for (const name of names)
    if (await isImage(host.resolve(file.path, name), header.parentUuid, host)) return name;
  throw new ImageError(
    'not-found',
    `${file.path}: its parent is not at ${names.map((name) => `'${name}'`).join(', ')}; put it there`,
    { path: file.path },
  );
}

async function candidates(file: HostFile, header: DynamicHeader): Promise<string[]> {
  const order = ['W2ru', 'MacX', 'W2ku'];
  const sorted = header.locators
    .filter(({ platform }) => order.includes(platform))
    .sort((a, b) => order.indexOf(a.platform) - order.indexOf(b.platform));
  const names: string[] = [];
  for (const locator of sorted) names.push(await locatedName(file, locator));
  names.push(header.parentName);
  // A path of another machine: its last part may lie beside the image.
  const all = names.flatMap((name) => [name, name.slice(name.lastIndexOf('/') + 1)]);
  return [...new Set(all)].filter((name) => name !== '');
}

/** W2ru and W2ku are Windows paths in UTF-16, little-endian; MacX is a file URL. */
async function locatedName(file: HostFile, locator: Locator): Promise<string> {
  const { platform, offsetBytes, lengthBytes } = locator;
  const bytes = await readExactly(file, offsetBytes, lengthBytes, 'parent locator');
  if (platform === 'MacX')
    return new TextDecoder()
      .decode(bytes)
      .replace(/\0.*$/s, '')
      .replace(/^file:\/\/(localhost)?/, '');
  const name = new TextDecoder('utf-16le').decode(bytes).replace(/\0.*$/s, '');
  return name.replaceAll('\\', '/').replace(/^\.\//, '');
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
