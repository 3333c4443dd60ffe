import { type HostFile, ImageError, type StorageHost } from '../../image.ts';
import { fillPart, lineOf } from './create.ts';
import { MAX_EXTENTS } from './descriptor.ts';
import type { Extent } from './extent.ts';
import * as v from './layout.ts';
import { SparseExtent } from './sparse-extent.ts';
import { readSparseHeader } from './sparse-header.ts';

// Disks in parts of 2047 MiB, each in a file: disk-s001.vmdk, or -f001 when they are flat.

const PART_NAME = /^(.*-[fs])(\d{3,})\.vmdk$/i;

/** The parts that make a disk longer, and their lines in the descriptor. */
export interface AddedParts {
  readonly extents: readonly Extent[];
  readonly files: readonly HostFile[];
  readonly lines: readonly string[];
  /** Closes and removes them: nothing names them. */
  undo(): Promise<void>;
}

export function fileOf({ content }: Extent): HostFile | undefined {
  if (content.kind === 'sparse') return content.sparse.file;
  return content.kind === 'flat' ? content.file : undefined;
}

const nameOf = (extent: Extent): string => fileOf(extent)?.path.replace(/^.*[/\\]/, '') ?? '';

/** Why no parts can be made behind these, for a disk of that size; undefined: they can. */
export function whyNoParts(extents: readonly Extent[], sizeBytes: number): string | undefined {
  const last = extents.at(-1);
  const kinds = new Set(extents.map(({ content }) => content.kind));
  if (last === undefined || kinds.size !== 1 || kinds.has('zero'))
    return 'its parts are not of one kind; convert it';
  if (!PART_NAME.test(nameOf(last)))
    return `its last part's name, ${nameOf(last)}, does not end as -s001.vmdk does; convert it`;
  const { content } = last;
  if (content.kind === 'sparse' && content.sparse.header.grainBytes !== v.GRAIN_BYTES)
    return `its grains are not of ${v.GRAIN_BYTES} bytes; convert it`;
  if (extents.length + (sizeBytes - last.startBytes) / v.SPLIT_BYTES > MAX_EXTENTS)
    return `a disk has at most ${MAX_EXTENTS} parts; convert it to another subformat`;
  return undefined;
}

/**
 * Why the parts behind the first `kept` ones cannot be removed; undefined: they can. A descriptor may name any file: only
 * those go that are called as the parts of a disk of its name.
 */
export function whyPartsStay(
  extents: readonly Extent[],
  kept: number,
  { imagePath, host }: { readonly imagePath: string; readonly host: StorageHost },
): string | undefined {
  const stem = imagePath.replace(/^.*[/\\]/, '').replace(/\.vmdk$/i, '');
  const strange = extents.slice(kept).find((extent, index) => {
    const number = String(kept + index + 1).padStart(3, '0');
    const kind = extent.content.kind === 'flat' ? 'f' : 's';
    const path = host.resolve(imagePath, `${stem}-${kind}${number}.vmdk`);
    return fileOf(extent)?.path !== path;
  });
  if (strange === undefined) return undefined;
  return `its part ${nameOf(strange)} is not called as a part of it is; convert it`;
}

/** Makes parts behind the last one, which will end at `startBytes`, for a disk of `sizeBytes`. */
export async function addParts(
  last: Extent,
  range: { readonly startBytes: number; readonly sizeBytes: number },
  { imagePath, host }: { readonly imagePath: string; readonly host: StorageHost },
): Promise<AddedParts> {
  const [, stem = '', number = ''] = PART_NAME.exec(nameOf(last)) ?? [];
  const extents: Extent[] = [];
  const files: HostFile[] = [];
  const lines: string[] = [];
  const undo = async (): Promise<void> => {
    for (const file of files) {
      await file.close();
      await host.remove(file.path);
    }
  };
  try {
    for (let startBytes = range.startBytes; startBytes < range.sizeBytes; ) {
      const lengthBytes = Math.min(v.SPLIT_BYTES, range.sizeBytes - startBytes);
      const count = String(Number(number) + files.length + 1).padStart(number.length, '0');
      const name = `${stem}${count}.vmdk`;
      const like = fileOf(last)?.path ?? imagePath;
      const file = await openNew(host.resolve(imagePath, name), like, host);
      files.push(file);
      extents.push({ startBytes, lengthBytes, content: await fill(file, last, lengthBytes, host) });
      lines.push(lineOf(name, last.content.kind === 'flat', lengthBytes));
      startBytes += lengthBytes;
    }
  } catch (error) {
    await undo();
    throw error;
  }
  return { extents, files, lines, undo };
}

/** Not over a file that is there: it may be another disk's. */
async function openNew(path: string, like: string, host: StorageHost): Promise<HostFile> {
  try {
    return await host.openFile(path, { access: 'create-new', like });
  } catch (error) {
    if (!(error instanceof ImageError) || error.kind !== 'exists') throw error;
    const why = `${path}: is there already, where a new part is to be; move it away`;
    throw new ImageError('exists', why, { path }, { cause: error });
  }
}

async function fill(
  file: HostFile,
  { content }: Extent,
  lengthBytes: number,
  { codec }: StorageHost,
): Promise<Extent['content']> {
  if (content.kind !== 'sparse') {
    await fillPart(file, 'flat', lengthBytes);
    return { kind: 'flat', file, offsetBytes: 0 };
  }
  const { zeroGrains } = content.sparse.header;
  await fillPart(file, { subformat: 'twoGbMaxExtentSparse', zeroGrains }, lengthBytes);
  const header = await readSparseHeader(file);
  const sparse = new SparseExtent(file, header, await file.size(), codec);
  return { kind: 'sparse', sparse };
}
