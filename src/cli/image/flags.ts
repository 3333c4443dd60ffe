import { RequestError } from '#base/errors.ts';
import { SECTOR_BYTES } from '#storage/image.ts';
import { parseImageSize } from '#storage/ops/create.ts';

/** @throws {RequestError} when the text is no size. */
export function sizeFlag(text: string | undefined, field?: string): number | undefined {
  if (text === undefined) return undefined;
  const bytes = parseImageSize(text);
  if (bytes === undefined)
    throw new RequestError(`'${text}' is not a size; give a number with K, M, G, T, P or E`, field);
  return bytes;
}

/** As `sizeFlag`, of whole sectors. */
export function sectorsFlag(text: string, field: string): number {
  const bytes = sizeFlag(text, field) ?? 0;
  if (bytes % SECTOR_BYTES !== 0)
    throw new RequestError(
      `'${text}' is no multiple of ${SECTOR_BYTES}, a sector; give one`,
      field,
    );
  return bytes;
}

/** Bytes a second at most; undefined, which 0 means too: no limit. */
export function rateFlag(text: string | undefined): number | undefined {
  return sizeFlag(text, 'rate') || undefined;
}

const CACHE_MODES = ['none', 'writeback', 'writethrough', 'directsync', 'unsafe'];

/** Whether writes shall reach the disk before the command ends. All modes but `unsafe` flush. */
export function flushesOf(cache: string | undefined, field: string, byDefault: boolean): boolean {
  if (cache === undefined) return byDefault;
  if (!CACHE_MODES.includes(cache))
    throw new RequestError(`'${cache}' is no cache mode; give ${CACHE_MODES.join(', ')}`, field);
  return cache !== 'unsafe';
}

export function countFlag(text: string, field: string, most: number): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || count > most)
    throw new RequestError(`'${text}' does not fit; give a number from 1 to ${most}`, field);
  return count;
}
