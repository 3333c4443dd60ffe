import { MappedImage } from '../../blocks/mapped-image.ts';
import { type DiskImage, type HostFile, ImageError, type OpenContext } from '../../image.ts';
import { BundleMap, type LevelPart } from './bundle-map.ts';
import { type Bundle, parseBundle } from './bundle-xml.ts';
import { readHeader } from './header.ts';
import { ParallelsMap } from './parallels-map.ts';

// A folder, often called NAME.hdd, with a descriptor and the files of the disk and its snapshots.

/** Far above any descriptor: what is read of a file before it is known to be one. */
const MAX_BYTES = 16 << 20;

export async function readBundle(file: HostFile): Promise<Bundle> {
  const sizeBytes = await file.size();
  if (sizeBytes > MAX_BYTES)
    throw new ImageError('corrupt', `${file.path}: a descriptor of ${sizeBytes} bytes`, {
      path: file.path,
    });
  const bytes = new Uint8Array(sizeBytes);
  await file.read(0, bytes);
  return parseBundle(new TextDecoder().decode(bytes), file.path);
}

/** Takes `file`, the descriptor, over. Writes go to the files of the first level. */
export async function openBundle(file: HostFile, context: OpenContext): Promise<DiskImage> {
  const opened: HostFile[] = [file];
  try {
    const bundle = await readBundle(file);
    let below: DiskImage | undefined;
    for (let level = bundle.levels - 1; level >= 0; level--) {
      const readOnly = context.readOnly || level > 0;
      const parts: LevelPart[] = [];
      for (const part of bundle.parts)
        parts.push(await openPart(file, part, level, { context, readOnly, opened }));
      below = new MappedImage({
        ...{ format: 'parallels', path: file.path, readOnly, backing: below },
        map: new BundleMap(parts, level === 0 ? file : undefined),
      });
    }
    if (below !== undefined) return below;
    throw new ImageError('corrupt', `${file.path}: names no files`, { path: file.path });
  } catch (error) {
    await Promise.allSettled(opened.map((one) => one.close()));
    throw error;
  }
}

async function openPart(
  descriptor: HostFile,
  { startBytes, lengthBytes, files }: Bundle['parts'][number],
  level: number,
  how: { readonly context: OpenContext; readonly readOnly: boolean; readonly opened: HostFile[] },
): Promise<LevelPart> {
  const { host } = how.context;
  const { name = '', isPlain = false } = files[level] ?? {};
  const path = host.resolve(descriptor.path, name);
  const file = await host.openFile(path, { access: how.readOnly ? 'read' : 'write' });
  how.opened.push(file);
  const fileBytes = await file.size();
  const header = isPlain ? undefined : await readHeader(file);
  if ((header?.sizeBytes ?? fileBytes) < lengthBytes)
    throw new ImageError(
      'corrupt',
      `${path}: has ${header?.sizeBytes ?? fileBytes} bytes of the disk, and ${descriptor.path} says ${lengthBytes}`,
      { path },
    );
  const map = header && new ParallelsMap(file, header, fileBytes, how.readOnly);
  return { startBytes, lengthBytes, file, map };
}
