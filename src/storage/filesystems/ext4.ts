import { type DiskImage, ImageError } from '../image.ts';
import type { Partition } from './partitions.ts';

// A reader of ext4, for files that a machine starts from. Source: the Linux kernel's documentation of the format on disk,
// filesystems/ext4. The journal is not replayed: what it holds back are changes of the last seconds.

const SUPERBLOCK = 1024;
const SUPERBLOCK_BYTES = 1024;
const MAGIC = 0xef53;
const INCOMPAT_64BIT = 0x80;
/** FILETYPE, RECOVER, EXTENTS, 64BIT, FLEX_BG, CSUM_SEED, LARGEDIR: these change nothing for what is read here. */
const INCOMPAT_KNOWN = 0x2 | 0x4 | 0x40 | INCOMPAT_64BIT | 0x200 | 0x2000 | 0x4000;

const ROOT_INODE = 2;
const INODE_EXTENTS = 0x8_0000;
const TYPE_MASK = 0xf000;
const TYPE_FILE = 0x8000;
const TYPE_DIRECTORY = 0x4000;
const TYPE_LINK = 0xa000;
const INODE_BLOCKS = 40;
const INODE_BLOCK_BYTES = 60;

const EXTENT_MAGIC = 0xf30a;
const EXTENT_BYTES = 12;
const MOST_EXTENT_DEPTH = 5;
/** Nodes of one file's tree: a crafted one could name the same block again and again. */
const MOST_EXTENT_NODES = 100_000;
/** Longer ones are allocated and not written. */
const MOST_EXTENT_BLOCKS = 32768;

const MOST_FILE_BYTES = 512 << 20;
const MOST_DIRECTORY_BYTES = 16 << 20;
const MOST_LINKS = 8;

interface Inode {
  readonly number: number;
  readonly type: number;
  readonly sizeBytes: number;
  readonly hasExtents: boolean;
  readonly blocks: DataView;
}

interface Geometry {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly inodesPerGroup: number;
  readonly inodes: number;
  readonly inodeBytes: number;
  readonly descriptorBytes: number;
  readonly firstBlock: number;
}

export class Ext4 {
  readonly uuid: string;
  readonly #disk: DiskImage;
  readonly #partition: Partition;
  readonly #geometry: Geometry;

  private constructor(disk: DiskImage, partition: Partition, superblock: DataView) {
    this.#disk = disk;
    this.#partition = partition;
    this.#geometry = this.#readGeometry(superblock);
    const hex = Array.from({ length: 16 }, (_, i) =>
      superblock
        .getUint8(104 + i)
        .toString(16)
        .padStart(2, '0'),
    ).join('');
    this.uuid = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  }

  /** Undefined when the partition holds something else. @throws {ImageError} `unsupported`, `corrupt`, `io`. */
  static async open(disk: DiskImage, partition: Partition): Promise<Ext4 | undefined> {
    if (partition.lengthBytes < SUPERBLOCK + SUPERBLOCK_BYTES) return undefined;
    const bytes = new Uint8Array(SUPERBLOCK_BYTES);
    await disk.read(partition.offsetBytes + SUPERBLOCK, bytes);
    const view = new DataView(bytes.buffer);
    return view.getUint16(56, true) === MAGIC ? new Ext4(disk, partition, view) : undefined;
  }

  #readGeometry(view: DataView): Geometry {
    const incompatible = view.getUint32(96, true);
    if (incompatible & ~INCOMPAT_KNOWN)
      throw this.#error('unsupported', `ext4 features 0x${incompatible.toString(16)}`);
    const is64 = (incompatible & INCOMPAT_64BIT) !== 0;
    const geometry = {
      blockBytes: 1024 << (view.getUint32(24, true) & 31),
      blocks: view.getUint32(4, true) + (is64 ? view.getUint32(0x150, true) * 2 ** 32 : 0),
      inodesPerGroup: view.getUint32(40, true),
      inodes: view.getUint32(0, true),
      inodeBytes: view.getUint16(88, true),
      descriptorBytes: is64 ? view.getUint16(254, true) : 32,
      firstBlock: view.getUint32(20, true),
    };
    const { blockBytes, inodeBytes, descriptorBytes, inodesPerGroup } = geometry;
    const isSane =
      blockBytes >= 1024 &&
      blockBytes <= 65536 &&
      inodeBytes >= 128 &&
      inodeBytes <= blockBytes &&
      descriptorBytes >= 32 &&
      descriptorBytes <= blockBytes &&
      inodesPerGroup > 0;
    if (!isSane) throw this.#error('corrupt', 'a superblock that cannot be');
    return geometry;
  }

  #error(kind: 'unsupported' | 'corrupt' | 'not-found', what: string): ImageError {
    const { path } = this.#disk;
    const offsetBytes = this.#partition.offsetBytes;
    return new ImageError(kind, `${path}: file system at ${offsetBytes}: ${what}`, {
      path,
      offsetBytes,
    });
  }

  /** The content of a file; links are followed. @throws {ImageError} `not-found`, `corrupt`, … */
  async readFile(path: string): Promise<Uint8Array> {
    const inode = await this.#find(path);
    if (inode.type !== TYPE_FILE) throw this.#error('not-found', `${path} is no file`);
    return await this.#content(inode, MOST_FILE_BYTES);
  }

  /** Names in a directory. */
  async list(path: string): Promise<string[]> {
    const names: string[] = [];
    for (const { name } of await this.#entries(await this.#find(path))) names.push(name);
    return names;
  }

  async #find(path: string): Promise<Inode> {
    let parts = split(path);
    let links = 0;
    const above: Inode[] = [];
    let here = await this.#inode(ROOT_INODE);
    for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
      if (part === '..') {
        here = above.pop() ?? here;
        continue;
      }
      const next = await this.#child(here, part, path);
      if (next.type !== TYPE_LINK) {
        above.push(here);
        here = next;
        continue;
      }
      if (++links > MOST_LINKS) throw this.#error('corrupt', `${path}: too many links`);
      const target = new TextDecoder().decode(await this.#linkTarget(next));
      parts = [...split(target), ...parts];
      if (!target.startsWith('/')) continue;
      above.length = 0;
      here = await this.#inode(ROOT_INODE);
    }
    return here;
  }

  async #child(directory: Inode, name: string, path: string): Promise<Inode> {
    for (const entry of await this.#entries(directory))
      if (entry.name === name) return await this.#inode(entry.inode);
    throw this.#error('not-found', `there is no ${path}`);
  }

  async #linkTarget(link: Inode): Promise<Uint8Array> {
    if (link.hasExtents || link.sizeBytes >= INODE_BLOCK_BYTES)
      return await this.#content(link, this.#geometry.blockBytes);
    const { buffer, byteOffset } = link.blocks;
    return new Uint8Array(buffer, byteOffset, link.sizeBytes).slice();
  }

  /** Linear directories; the index of hashed ones looks like empty entries. */
  async #entries(directory: Inode): Promise<{ name: string; inode: number }[]> {
    if (directory.type !== TYPE_DIRECTORY) return [];
    const bytes = await this.#content(directory, MOST_DIRECTORY_BYTES);
    const view = new DataView(bytes.buffer);
    const entries: { name: string; inode: number }[] = [];
    for (let at = 0; at + 8 <= bytes.length; ) {
      const inode = view.getUint32(at, true);
      const lengthBytes = view.getUint16(at + 4, true);
      const nameBytes = view.getUint8(at + 6);
      if (lengthBytes < 8 + nameBytes || at + lengthBytes > bytes.length)
        throw this.#error('corrupt', `a directory entry of ${lengthBytes} bytes`);
      const name = new TextDecoder().decode(bytes.subarray(at + 8, at + 8 + nameBytes));
      if (inode !== 0 && name !== '.' && name !== '..') entries.push({ name, inode });
      at += lengthBytes;
    }
    return entries;
  }

  async #inode(number: number): Promise<Inode> {
    const { inodes, inodesPerGroup, inodeBytes, descriptorBytes, blockBytes, firstBlock } =
      this.#geometry;
    if (number < 1 || number > inodes) throw this.#error('corrupt', `inode ${number}`);
    const group = Math.floor((number - 1) / inodesPerGroup);
    const tableAt = (firstBlock + 1) * blockBytes + group * descriptorBytes;
    const descriptor = await this.#bytes(tableAt, descriptorBytes);
    const high = descriptorBytes >= 64 ? descriptor.getUint32(40, true) : 0;
    const table = descriptor.getUint32(8, true) + high * 2 ** 32;
    const index = (number - 1) % inodesPerGroup;
    const inode = await this.#bytes(table * blockBytes + index * inodeBytes, inodeBytes);
    return {
      number,
      type: inode.getUint16(0, true) & TYPE_MASK,
      sizeBytes: inode.getUint32(4, true) + inode.getUint32(108, true) * 2 ** 32,
      hasExtents: (inode.getUint32(32, true) & INODE_EXTENTS) !== 0,
      blocks: new DataView(inode.buffer, inode.byteOffset + INODE_BLOCKS, INODE_BLOCK_BYTES),
    };
  }

  async #content(inode: Inode, mostBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    if (inode.sizeBytes > mostBytes)
      throw this.#error('corrupt', `inode ${inode.number} has ${inode.sizeBytes} bytes`);
    if (!inode.hasExtents)
      throw this.#error('unsupported', `inode ${inode.number} is mapped without extents`);
    const bytes = new Uint8Array(inode.sizeBytes);
    await this.#fill(bytes, inode.blocks, { depth: MOST_EXTENT_DEPTH, left: MOST_EXTENT_NODES });
    return bytes;
  }

  /** Fills a file's content from a node of its tree of extents; holes stay zeros. Resolves with the nodes left to read. */
  async #fill(
    into: Uint8Array,
    node: DataView,
    limit: { readonly depth: number; readonly left: number },
  ): Promise<number> {
    const count = node.getUint16(2, true);
    const depth = node.getUint16(6, true);
    const isSane =
      node.getUint16(0, true) === EXTENT_MAGIC &&
      depth <= limit.depth &&
      limit.left > 0 &&
      (count + 1) * EXTENT_BYTES <= node.byteLength;
    if (!isSane) throw this.#error('corrupt', 'a bad tree of extents');
    const { blockBytes } = this.#geometry;
    let left = limit.left - 1;
    for (let at = EXTENT_BYTES; at <= count * EXTENT_BYTES; at += EXTENT_BYTES) {
      if (depth > 0) {
        const block = node.getUint32(at + 4, true) + node.getUint16(at + 8, true) * 2 ** 32;
        const child = await this.#bytes(block * blockBytes, blockBytes);
        left = await this.#fill(into, child, { depth: depth - 1, left });
        continue;
      }
      const blocks = node.getUint16(at + 4, true);
      if (blocks > MOST_EXTENT_BLOCKS) continue;
      const start = node.getUint32(at, true) * blockBytes;
      const end = Math.min(into.length, start + blocks * blockBytes);
      const from = node.getUint32(at + 8, true) + node.getUint16(at + 6, true) * 2 ** 32;
      if (start < end) await this.#readInto(from * blockBytes, into.subarray(start, end));
    }
    return left;
  }

  async #bytes(offsetBytes: number, lengthBytes: number): Promise<DataView> {
    const bytes = new Uint8Array(lengthBytes);
    await this.#readInto(offsetBytes, bytes);
    return new DataView(bytes.buffer);
  }

  /** Any bytes of the file system: the disk reads whole sectors. */
  async #readInto(offsetBytes: number, into: Uint8Array): Promise<void> {
    const { offsetBytes: base, lengthBytes } = this.#partition;
    if (offsetBytes + into.length > lengthBytes)
      throw this.#error('corrupt', `bytes at ${offsetBytes}, which is past its end`);
    const SECTOR = 512;
    const first = Math.floor(offsetBytes / SECTOR) * SECTOR;
    const last = Math.ceil((offsetBytes + into.length) / SECTOR) * SECTOR;
    if (first === offsetBytes && last === offsetBytes + into.length) {
      await this.#disk.read(base + first, into);
      return;
    }
    const sectors = new Uint8Array(last - first);
    await this.#disk.read(base + first, sectors);
    into.set(sectors.subarray(offsetBytes - first, offsetBytes - first + into.length));
  }
}

function split(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}
