// VirtualBox disk images, version 1.1, little-endian. Source: VirtualBox's documented header as QEMU and
// libvdi describe it; offsets count from the start of the file.
export const HEADER_BYTES = 512;
export const TEXT = '<<< Oracle VM VirtualBox Disk Image >>>\n';
export const SIGNATURE = 0xbeda107f;
export const VERSION_1_1 = 0x0001_0001;

export const H_SIGNATURE = 0x40;
export const H_VERSION = 0x44;
/** Counted from itself. */
export const H_HEADER_SIZE = 0x48;
export const H_IMAGE_TYPE = 0x4c;
export const H_MAP_OFFSET = 0x154;
export const H_DATA_OFFSET = 0x158;
export const H_SECTOR_SIZE = 0x168;
export const H_DISK_SIZE = 0x170;
export const H_BLOCK_SIZE = 0x178;
/** Bytes before each block that are not of the disk. */
export const H_BLOCK_EXTRA = 0x17c;
export const H_BLOCKS = 0x180;
export const H_ALLOCATED = 0x184;
export const H_UUID = 0x188;
/** Changes with the content. */
export const H_UUID_MODIFY = 0x198;
export const H_UUID_PARENT = 0x1a8;
export const H_UUID_PARENT_MODIFY = 0x1b8;

export const HEADER_SIZE = 0x190;
export const TYPE_DYNAMIC = 1;
export const TYPE_FIXED = 2;
export const TYPE_UNDO = 3;
export const TYPE_DIFFERENCING = 4;

export const BLOCK_BYTES = 1 << 20;
/** Entries of the block map that lead nowhere: ask the parent, and zeros. */
export const ENTRY_FREE = 0xffff_ffff;
export const ENTRY_ZERO = 0xffff_fffe;
/** What the map's size in bytes fits into 32 bits with. */
export const MAX_BLOCKS = 0x3fff_ffff;
/** QEMU opens no image with more: it reads the map in one request, of less than 2 GiB and of whole sectors. */
export const MAX_NEW_BLOCKS = 0x1fff_ff80;
/** Blocks that have been freed and may not be taken yet, beyond as many as the disk has. */
export const MAX_FREED = 1024;
