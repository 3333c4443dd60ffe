import path from 'node:path';
import type { DiskImage } from '#storage/image.ts';
import { fileOfName } from '#storage/image-name.ts';
import type { Status } from '#storage/ops/status.ts';

/** The name that a user would use for the backing file `name` of the image that is called `file`. */
export function backingDisplayName(file: string, name: string): string {
  if (/^(json|https?):/i.test(name)) return name;
  const above = fileOfName(file);
  const plain = name.replace(/^file:/, '');
  if (/^https?:/i.test(above)) return new URL(plain, above).href;
  const folder = path.dirname(above);
  return path.isAbsolute(plain) || folder === '.' ? plain : path.join(folder, plain);
}

export interface NamedImage {
  readonly image: DiskImage;
  readonly name: string;
}

/** An image and those behind it, with their names as seen from where the user stands. */
export async function chainOf(image: DiskImage, file: string): Promise<NamedImage[]> {
  const chain = [{ image, name: fileOfName(file) }];
  for (let one: DiskImage | undefined = image; one !== undefined; one = one.backing) {
    const { backingName } = await one.info();
    const last = chain.at(-1);
    if (one.backing === undefined || last === undefined) break;
    chain.push({
      image: one.backing,
      name: fileOfName(backingDisplayName(last.name, backingName ?? one.backing.path)),
    });
  }
  return chain;
}

/** The name of the file that a run of the disk lies in; of one beside its image as that is named. */
export function fileNameIn(chain: readonly NamedImage[], { depth, hostPath }: Status): string {
  const { image, name } = chain[depth] ?? chain[0] ?? {};
  if (image === undefined || name === undefined) return hostPath ?? '';
  if (hostPath === undefined || hostPath === image.path) return name;
  const within = path.relative(path.dirname(path.resolve(image.path)), hostPath);
  const isBeside = path.isAbsolute(hostPath) && !within.startsWith('..');
  return isBeside ? path.join(path.dirname(name), within) : hostPath;
}
