import { badAt } from '../../blocks/fields.ts';
import { SECTOR_BYTES } from '../../image.ts';
import { DESCRIPTOR_START, NO_PARENT } from './layout.ts';

export interface ExtentLine {
  readonly access: 'RW' | 'RDONLY';
  readonly sizeBytes: number;
  readonly type: 'SPARSE' | 'FLAT' | 'ZERO' | 'VMFS';
  readonly file: string;
  readonly offsetBytes: number;
}

export interface Descriptor {
  readonly createType: string;
  readonly cid: string;
  /** Where in the text the identifier stands. */
  readonly cidAt: number;
  readonly parentCid: string | undefined;
  /** Where in the text the parent's identifier stands. */
  readonly parentCidAt: number;
  readonly parentName: string | undefined;
  readonly extents: readonly ExtentLine[];
}

const EXTENT = /^(RW|RDONLY|NOACCESS)\s+(\d+)\s+([A-Z]+)(?:\s+"([^"]*)"(?:\s+(\d+))?)?\s*$/;
export const MAX_EXTENTS = 8192;

/** @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. `baseBytes`: where in the file the text starts. */
export function parseDescriptor(text: string, path: string, baseBytes: number): Descriptor {
  if (!text.trimStart().startsWith(DESCRIPTOR_START))
    throw badAt('bad-format', path, baseBytes, 'not a VMDK image: the descriptor is missing');
  const fieldOf = (name: string): { value: string; at: number } | undefined => {
    const match = new RegExp(`^${name}[ \\t]*=[ \\t]*"?([^"\\r\\n]*)"?`, 'im').exec(text);
    const value = match?.[1]?.trim();
    if (match === null || value === undefined) return undefined;
    return { value, at: match.index + match[0].indexOf(value, name.length) };
  };
  const cid = fieldOf('CID');
  if (cid === undefined || !/^[0-9a-f]{1,8}$/i.test(cid.value))
    throw badAt('corrupt', path, baseBytes, 'the descriptor has no CID');
  const parentField = fieldOf('parentCID');
  const parentCid = parentField?.value.toLowerCase();
  const hasParent = parentCid !== undefined && parentCid !== NO_PARENT;
  const parentName = fieldOf('parentFileNameHint')?.value;
  if (hasParent && parentName === undefined)
    throw badAt('corrupt', path, baseBytes, 'the descriptor has no name of its parent');
  return {
    createType: fieldOf('createType')?.value ?? '',
    cid: cid.value.toLowerCase(),
    cidAt: cid.at,
    parentCid: hasParent ? parentCid : undefined,
    parentCidAt: parentField?.at ?? 0,
    parentName: hasParent ? parentName : undefined,
    extents: parseExtents(text, path, baseBytes),
  };
}

function parseExtents(text: string, path: string, baseBytes: number): ExtentLine[] {
  const extents: ExtentLine[] = [];
  let at = baseBytes;
  for (const line of text.split('\n')) {
    const match = EXTENT.exec(line.trim());
    if (match !== null) extents.push(extentOf(match, path, at));
    if (extents.length > MAX_EXTENTS)
      throw badAt('unsupported', path, at, `more than ${MAX_EXTENTS} extents`);
    at += line.length + 1;
  }
  return extents;
}

function extentOf(match: RegExpExecArray, path: string, at: number): ExtentLine {
  const [, access, sectors, type, file = '', offset = '0'] = match;
  const sizeBytes = Number(sectors) * SECTOR_BYTES;
  const offsetBytes = Number(offset) * SECTOR_BYTES;
  if (access !== 'RW' && access !== 'RDONLY')
    throw badAt('unsupported', path, at, `an extent with access ${access}`);
  if (type !== 'SPARSE' && type !== 'FLAT' && type !== 'ZERO' && type !== 'VMFS')
    throw badAt(
      'unsupported',
      path,
      at,
      `extents of type ${type}; SPARSE, FLAT, VMFS and ZERO are. Convert the disk where it was made`,
    );
  if (!Number.isSafeInteger(sizeBytes) || !Number.isSafeInteger(offsetBytes))
    throw badAt('corrupt', path, at, 'an extent beyond all disks');
  // A descriptor from a stranger must not lead to any file of this host.
  if (type !== 'ZERO' && (file === '' || file === '..' || /[/\\]/.test(file)))
    throw badAt(
      'unsupported',
      path,
      at,
      `an extent '${file}' outside of the image's folder; move it there and name it without a path`,
    );
  return { access, sizeBytes, type, file, offsetBytes };
}

export interface NewDescriptor {
  readonly createType: string;
  readonly cid: string;
  readonly parentCid: string | undefined;
  readonly parentName: string | undefined;
  readonly extents: readonly string[];
  readonly sizeBytes: number;
  readonly adapter: string;
  readonly hwVersion: string;
  readonly toolsVersion: string;
}

/** The version of tools that VMware does not manage: the largest. */
export const UNKNOWN_TOOLS = String(2 ** 31 - 1);

export function makeDescriptor(from: NewDescriptor): string {
  const heads = from.adapter === 'ide' ? 16 : 255;
  const cylinders = Math.floor(from.sizeBytes / SECTOR_BYTES / 63 / heads);
  return [
    DESCRIPTOR_START,
    'version=1',
    `CID=${from.cid}`,
    `parentCID=${from.parentCid ?? NO_PARENT}`,
    `createType="${from.createType}"`,
    ...(from.parentName === undefined ? [] : [`parentFileNameHint="${from.parentName}"`]),
    '',
    '# Extent description',
    ...from.extents,
    '',
    '# The Disk Data Base',
    '#DDB',
    '',
    `ddb.virtualHWVersion = "${from.hwVersion}"`,
    `ddb.geometry.cylinders = "${cylinders}"`,
    `ddb.geometry.heads = "${heads}"`,
    'ddb.geometry.sectors = "63"',
    `ddb.adapterType = "${from.adapter}"`,
    `ddb.toolsVersion = "${from.toolsVersion}"`,
    '',
  ].join('\n');
}

/** What a disk's last extent becomes, and the lines of those that follow it then. */
export interface NewEnd {
  /** Lines of extents that stay. */
  readonly kept: number;
  /** How long the last of them is. */
  readonly lastBytes: number;
  readonly added: readonly string[];
}

/** The text of a descriptor for a disk of another size, which ends in another way. */
export function resizedDescriptor(text: string, sizeBytes: number, end: NewEnd): string {
  const sectors = sizeBytes / SECTOR_BYTES;
  const numberOf = (name: string): number =>
    Number(new RegExp(`^ddb\\.geometry\\.${name}\\s*=\\s*"(\\d+)"`, 'm').exec(text)?.[1] ?? 0);
  const perCylinder = numberOf('heads') * numberOf('sectors');
  let seen = 0;
  const lines = text.split('\n').flatMap((line) => {
    if (!EXTENT.test(line.trim())) return line;
    seen++;
    if (seen !== end.kept) return seen < end.kept ? line : [];
    const last = line.replace(
      /^(\s*\w+\s+)\d+/,
      (_all, access: string) => `${access}${end.lastBytes / SECTOR_BYTES}`,
    );
    return [last, ...end.added];
  });
  const resized = lines.join('\n');
  if (perCylinder === 0) return resized;
  const cylinders = Math.floor(sectors / perCylinder);
  return resized.replace(
    /^(ddb\.geometry\.cylinders\s*=\s*")\d+/m,
    (_all, start: string) => `${start}${cylinders}`,
  );
}
