// Virtual hard disks of Virtual PC and Hyper-V 2008, big-endian.
// Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0 (2006).
export const FOOTER_BYTES = 512;
export const COOKIE = 'conectix';
export const F_FEATURES = 8;
export const FEATURES_RESERVED = 2; // always set
export const F_VERSION = 12;
export const VERSION_1 = 0x0001_0000;
export const F_DATA_OFFSET = 16;
export const F_TIMESTAMP = 24;
export const F_CREATOR = 28;
export const F_CREATOR_VERSION = 32;
export const F_CREATOR_HOST = 36;
export const F_ORIGINAL_SIZE = 40;
export const F_SIZE = 48;
export const F_CYLINDERS = 56;
export const F_HEADS = 58;
export const F_SECTORS = 59;
export const F_TYPE = 60;
export const F_CHECKSUM = 64;
export const F_UUID = 68;

export const TYPE_FIXED = 2;
export const TYPE_DYNAMIC = 3;
export const TYPE_DIFFERENCING = 4;

export const DYNAMIC_BYTES = 1024;
export const DYNAMIC_COOKIE = 'cxsparse';
export const D_DATA_OFFSET = 8;
export const D_TABLE_OFFSET = 16;
export const D_VERSION = 24;
export const D_ENTRIES = 28;
export const D_BLOCK_SIZE = 32;
export const D_CHECKSUM = 36;
export const D_PARENT_UUID = 40;
export const D_PARENT_TIMESTAMP = 56;
/** UTF-16, big-endian. */
export const D_PARENT_NAME = 64;
export const PARENT_NAME_BYTES = 512;
export const D_LOCATORS = 576;
export const LOCATORS = 8;
export const LOCATOR_BYTES = 24;
export const L_SPACE = 4;
export const L_LENGTH = 8;
export const L_OFFSET = 16;
export const MAX_LOCATOR_LENGTH = 64 * 1024;

export const BLOCK_BYTES = 2 << 20;
export const ENTRY_FREE = 0xffff_ffff;
/** Offsets that lead nowhere. */
export const NOWHERE = 0xffff_ffff;

/** Disks end at 2040 GiB. */
export const MAX_SIZE_BYTES = 0xff00_0000 * 512;
/** The most that a geometry can say (appendix: CHS calculation). */
export const MAX_CHS_SECTORS = 65535 * 16 * 255;
/** Seconds from 1970 to 2000, where time stamps start. */
export const EPOCH_2000 = 946_684_800;
/** Programs whose footers have the size right; others mean the geometry. */
export const SIZE_CREATORS = ['win ', 'qem2', 'd2v ', 'tap\0', 'CTXS', 'wa\0\0'];
