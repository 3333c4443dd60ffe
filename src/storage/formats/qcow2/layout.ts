// The qcow2 format, versions 2 and 3. Source: docs/interop/qcow2.txt of QEMU; names follow it. All numbers are big-endian.
export const MAGIC = 0x514649fb; // 'QFI\xfb'
export const V2_HEADER_BYTES = 72;
export const V3_HEADER_BYTES = 104;
export const KNOWN_HEADER_BYTES = 112; // with the compression type and its padding

// Offsets of header fields.
export const H_VERSION = 4;
export const H_BACKING_OFFSET = 8;
export const H_BACKING_SIZE = 16;
export const H_CLUSTER_BITS = 20;
export const H_SIZE = 24;
export const H_CRYPT_METHOD = 32;
export const H_L1_SIZE = 36;
export const H_L1_OFFSET = 40;
export const H_REFCOUNT_TABLE_OFFSET = 48;
export const H_REFCOUNT_TABLE_CLUSTERS = 56;
export const H_NB_SNAPSHOTS = 60;
export const H_SNAPSHOTS_OFFSET = 64;
export const H_INCOMPATIBLE = 72;
export const H_COMPATIBLE = 80;
export const H_AUTOCLEAR = 88;
export const H_REFCOUNT_ORDER = 96;
export const H_HEADER_LENGTH = 100;
export const H_COMPRESSION_TYPE = 104;

export const INCOMPATIBLE_DIRTY = 1 << 0;
export const INCOMPATIBLE_CORRUPT = 1 << 1;
export const INCOMPATIBLE_DATA_FILE = 1 << 2;
export const INCOMPATIBLE_COMPRESSION = 1 << 3;
export const INCOMPATIBLE_EXTENDED_L2 = 1 << 4;
export const COMPATIBLE_LAZY_REFCOUNTS = 1 << 0;
export const AUTOCLEAR_BITMAPS = 1 << 0;
export const AUTOCLEAR_RAW_DATA = 1 << 1;

export const COMPRESSION_ZLIB = 0;
export const COMPRESSION_ZSTD = 1;

// Types of header extensions.
export const EXT_END = 0;
export const EXT_BACKING_FORMAT = 0xe2792aca;
export const EXT_DATA_FILE = 0x44415441;
export const EXT_BITMAPS = 0x23852875;
export const EXT_FEATURE_NAMES = 0x6803f857;

export const MIN_CLUSTER_BITS = 9;
export const MAX_CLUSTER_BITS = 21; // QEMU's limit
export const MIN_EXTENDED_CLUSTER_BITS = 14;
export const SUBCLUSTERS = 32;
export const MAX_BACKING_NAME_BYTES = 1023;

// Limits of QEMU, which keep a crafted image from costing much memory.
export const MAX_L1_BYTES = 32 << 20;
export const MAX_REFCOUNT_TABLE_BYTES = 8 << 20;
export const MAX_SNAPSHOTS = 65536;
export const MAX_SNAPSHOT_TABLE_BYTES = 64 << 20;

// The high words of L1 and L2 entries.
export const HI_COPIED = 0x8000_0000; // bit 63
export const HI_COMPRESSED = 0x4000_0000; // bit 62
export const HI_OFFSET = 0x00ff_ffff; // bits 32-55
export const HI_L1_RESERVED = 0x7f00_0000; // bits 56-62
export const HI_L2_RESERVED = 0x3f00_0000; // bits 56-61
// The low words.
export const LO_OFFSET = 0xffff_fe00; // bits 9-31
export const LO_ZERO = 1; // bit 0
export const LO_RESERVED = 0x0000_01fe; // bits 1-8

export const TWO_32 = 2 ** 32;
