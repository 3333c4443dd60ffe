import { ImageError, type StorageHost } from '../image.ts';

/**
 * The names under which a parent may be found, of the paths that an image has for it: each as it is, then its last part,
 * beside the image, as paths are often another machine's; at last what differs from those in case alone, which is the same
 * for Windows and macOS.
 */
export async function* parentNames(
  paths: readonly string[],
  imagePath: string,
  host: StorageHost,
): AsyncGenerator<string> {
  const names = paths.map(localPath).filter((name) => name !== '');
  const plain = names.map((name) => name.slice(name.lastIndexOf('/') + 1));
  const told = new Set(names.flatMap((name, index) => [name, plain[index] ?? '']));
  for (const name of told) if (name !== '' && !isOfWindows(name)) yield name;
  const wanted = plain.map((name) => name.toLowerCase());
  for (const name of await host.list(host.resolve(imagePath, 'x')))
    if (wanted.includes(name.toLowerCase()) && !told.has(name)) yield name;
}

/** A path with slashes; what follows a NUL is no part of it. */
function localPath(path: string): string {
  return path.replace(/\0.*$/s, '').replaceAll('\\', '/').replace(/^\.\//, '');
}

/** Whether it begins with a drive, a server or a volume. */
function isOfWindows(name: string): boolean {
  return /^([a-z]:|\/\/)/i.test(name);
}

/** `told`: the parent's name, and what more the format says of it. */
export function changedParent(path: string, told: string, offsetBytes?: number): ImageError {
  return new ImageError(
    'corrupt',
    `${path}: its parent ${told} was changed after this image was made; go back to the parent as it was, or accept it as it is with rebase -u`,
    { path, ...(offsetBytes === undefined ? {} : { offsetBytes }) },
  );
}
