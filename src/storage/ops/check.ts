import {
  type CheckRequest,
  type CheckResult,
  ImageError,
  type ImageFormat,
  type StorageHost,
} from '../image.ts';
import { parseImageName } from '../image-name.ts';
import { fileOfDisk, formatNamed, openFileOf, probeFormat } from '../open.ts';

/** What `checkImage` found; `result` is missing for formats that have nothing to check. */
export interface Checked {
  readonly format: ImageFormat;
  readonly result?: CheckResult;
  /** What the repair before `result` found and mended. */
  readonly repaired?: CheckResult;
}

/** Looks at an image's metadata, mends what `repair` says, and looks again then. */
export async function checkImage(
  named: string,
  host: StorageHost,
  formatName: string | undefined,
  repair: CheckRequest['repair'],
): Promise<Checked> {
  const readOnly = repair === 'none';
  const name = parseImageName(named);
  const path = await fileOfDisk(name.file, host);
  const formatGiven = formatName ?? name.format;
  const file = await openFileOf(path, host, { access: readOnly ? 'read' : 'write' });
  try {
    const format = await (formatGiven === undefined ? probeFormat(file) : formatNamed(formatGiven));
    if (format.check === undefined) return { format };
    const context = { host, readOnly, anyBacking: true, openBacking: async () => undefined };
    const first = await format.check(file, { repair }, context);
    if (first.corruptionsFixed === 0 && first.leaksFixed === 0) return { format, result: first };
    const result = await format.check(file, { repair: 'none' }, context);
    return { format, result, repaired: first };
  } catch (error) {
    if (error instanceof ImageError && error.at.path === undefined)
      throw new ImageError(error.kind, `${path}: ${error.message}`, { path }, { cause: error });
    throw error;
  } finally {
    await file.close();
  }
}
