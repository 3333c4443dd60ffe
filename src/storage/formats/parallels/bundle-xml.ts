import type { XmlElement } from '@rgrove/parse-xml';
import { ImageError, SECTOR_BYTES } from '../../image.ts';
import { below, childrenOf, parseRoot, textOf } from '../../xml.ts';

// DiskDescriptor.xml of Parallels' disk bundles. Source: docs/interop/prl-xml.txt of QEMU.

const ROOT = 'Parallels_disk_image';
const MAX_CHARACTERS = 4 << 20;
const MAX_LEVELS = 256;
/** All levels and parts together: each is a file that is open. */
const MAX_FILES = 1024;
const NO_PARENT = '{00000000-0000-0000-0000-000000000000}';
/** The image that is written to, where no top is named. */
const DEFAULT_TOP = '{5fbaabe3-6958-40ff-92a7-860e329aab41}';

export interface BundleFile {
  /** A name in the bundle's folder. */
  readonly name: string;
  /** Plain: as it is; else in the format of expanding disks. */
  readonly isPlain: boolean;
}

/** A run of the disk, in files of its own. */
export interface BundlePart {
  readonly startBytes: number;
  readonly lengthBytes: number;
  /** Of each level. */
  readonly files: readonly BundleFile[];
}

export interface Bundle {
  readonly sizeBytes: number;
  /** Without gaps. */
  readonly parts: readonly BundlePart[];
  /** The level that is written to is the first, each is asked for what the ones before it have not. */
  readonly levels: number;
}

/** @throws {ImageError} `corrupt`, `unsupported`. */
export function parseBundle(text: string, path: string): Bundle {
  const bad = (what: string, kind: 'corrupt' | 'unsupported' = 'corrupt'): ImageError =>
    new ImageError(kind, `${path}: ${what}`, { path });
  if (text.length > MAX_CHARACTERS) throw bad('a descriptor of more than 4 MiB');
  const root = parseRoot(text, ROOT);
  if (root instanceof Error) throw bad(`the descriptor is no XML: ${root.message.split('\n')[0]}`);
  const parameters = root && childrenOf(root, 'Disk_Parameters')[0];
  if (root === undefined || parameters === undefined) throw bad('no descriptor of a disk is here');
  const sectorBytes = textOf(parameters, 'LogicSectorSize');
  if (sectorBytes !== '' && sectorBytes !== String(SECTOR_BYTES))
    throw bad(`sectors of ${sectorBytes} bytes; ${SECTOR_BYTES} are`, 'unsupported');
  if (childrenOf(parameters, 'Encryption').some((element) => textOf(element, 'Data') !== ''))
    throw bad('the disk is encrypted; take that off in Parallels', 'unsupported');
  const sizeBytes = sectors(parameters, 'Disk_size', bad);
  const chain = chainOf(root, bad);
  const parts = below(root, 'StorageData', 'Storage').map((storage) => partOf(storage, chain, bad));
  parts.sort((a, b) => a.startBytes - b.startBytes);
  let end = 0;
  for (const { startBytes, lengthBytes } of parts) {
    if (startBytes !== end || lengthBytes === 0) throw bad(`no part begins at byte ${end}`);
    end += lengthBytes;
  }
  if (end !== sizeBytes) throw bad(`its parts have ${end} bytes, and the disk ${sizeBytes}`);
  if (parts.length * chain.length > MAX_FILES) throw bad(`more than ${MAX_FILES} files`);
  return { sizeBytes, parts, levels: chain.length };
}

type Bad = (what: string, kind?: 'corrupt' | 'unsupported') => ImageError;

function sectors(element: XmlElement, name: string, bad: Bad): number {
  const text = textOf(element, name);
  const bytes = Number(text) * SECTOR_BYTES;
  if (!/^\d{1,15}$/.test(text) || !Number.isSafeInteger(bytes))
    throw bad(`${name} is '${text.slice(0, 40)}', which is no number of sectors`);
  return bytes;
}

/** The identifiers of the levels, that which is written to first. */
function chainOf(root: XmlElement, bad: Bad): string[] {
  const shots = new Map<string, string>();
  for (const shot of below(root, 'Snapshots', 'Shot'))
    shots.set(textOf(shot, 'GUID').toLowerCase(), textOf(shot, 'ParentGUID').toLowerCase());
  const [snapshots] = childrenOf(root, 'Snapshots');
  const top = snapshots === undefined ? '' : textOf(snapshots, 'TopGUID').toLowerCase();
  const chain: string[] = [];
  for (let guid = top || DEFAULT_TOP; guid !== NO_PARENT && guid !== ''; ) {
    if (chain.includes(guid)) throw bad(`the chain of snapshots leads back to ${guid}`);
    chain.push(guid);
    if (chain.length > MAX_LEVELS) throw bad(`more than ${MAX_LEVELS} snapshots`, 'unsupported');
    guid = shots.get(guid) ?? '';
  }
  return chain;
}

function partOf(storage: XmlElement, chain: readonly string[], bad: Bad): BundlePart {
  const startBytes = sectors(storage, 'Start', bad);
  const endBytes = sectors(storage, 'End', bad);
  if (endBytes < startBytes) throw bad(`a part ends at ${endBytes}, before it begins`);
  const images = new Map<string, XmlElement>();
  for (const image of childrenOf(storage, 'Image'))
    images.set(textOf(image, 'GUID').toLowerCase(), image);
  const files = chain.map((guid) => {
    const image = images.get(guid);
    if (image === undefined) throw bad(`the part at ${startBytes} has no image ${guid}`);
    const name = textOf(image, 'File');
    // A stranger's descriptor leads to nothing but what came with it.
    if (/[/\\]/.test(name) || name === '' || name === '..')
      throw bad(`the file '${name.slice(0, 80)}' is not in the bundle's folder`, 'unsupported');
    const type = textOf(image, 'Type');
    if (type !== 'Plain' && type !== 'Compressed')
      throw bad(`images of type '${type.slice(0, 40)}'; Plain and Compressed are`, 'unsupported');
    return { name, isPlain: type === 'Plain' };
  });
  return { startBytes, lengthBytes: endBytes - startBytes, files };
}
