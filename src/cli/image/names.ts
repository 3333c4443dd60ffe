import path from 'node:path';
import type { DiskImage } from '#storage/image.ts';

/** The name that a user would use for the backing file `name` of the image that is called `file`. */
export function backingDisplayName(file: string, name: string): string {
  const plain = name.replace(/^file:/, '');
  const folder = path.dirname(file);
  return path.isAbsolute(plain) || folder === '.' ? plain : path.join(folder, plain);
}

export interface NamedImage {
  readonly image: DiskImage;
  readonly name: string;
}

/** An image and those behind it, with their names as seen from where the user stands. */
export async function chainOf(image: DiskImage, file: string): Promise<NamedImage[]> {
  const chain = [{ image, name: file }];
  for (let one: DiskImage | undefined = image; one !== undefined; one = one.backing) {
    const { backingName } = await one.info();
    const last = chain.at(-1);
    if (one.backing === undefined || last === undefined) break;
    chain.push({
      image: one.backing,
      name: backingDisplayName(last.name, backingName ?? one.backing.path),
    });
  }
  return chain;
}
