// VMware virtual disks, little-endian. Source: VMware, Virtual Disk Format 5.0 (2011); offsets of tables and grains count
// sectors of 512 bytes.
export const MAGIC = 'KDMV';
export const MAGIC_COW = 'COWD';
export const HEADER_BYTES = 512;
export const H_VERSION = 4;
export const H_FLAGS = 8;
export const FLAG_NEWLINES = 1 << 0;
export const FLAG_REDUNDANT = 1 << 1;
export const FLAG_ZERO_GRAINS = 1 << 2;
export const FLAG_COMPRESSED = 1 << 16;
export const FLAG_MARKERS = 1 << 17;
export const H_CAPACITY = 12;
export const H_GRAIN = 20;
export const H_DESCRIPTOR = 28;
export const H_DESCRIPTOR_SIZE = 36;
export const H_ENTRIES = 44; // of a grain table
export const H_REDUNDANT_DIRECTORY = 48;
export const H_DIRECTORY = 56;
export const H_OVERHEAD = 64;
export const H_NEWLINES = 73;
export const H_COMPRESSION = 77;
export const COMPRESSION_DEFLATE = 1;
/** Halves of a directory offset that means: the footer says. */
export const AT_END = 0xffff_ffff;
/** Where in the file's last bytes the footer, a copy of the header, stands. */
export const FOOTER_FROM_END = 1024;

/** A grain that reads as zeros, where FLAG_ZERO_GRAINS is set. */
export const ENTRY_ZERO = 1;
export const GRAIN_BYTES = 64 * 1024;
export const ENTRIES_PER_TABLE = 512;

/** Before compressed grains: their sector on the disk, and how many bytes follow. */
export const MARKER_BYTES = 12;
export const M_SIZE = 8;

export const DESCRIPTOR_START = '# Disk DescriptorFile';
export const DESCRIPTOR_SECTORS = 20;
export const MAX_DESCRIPTOR_BYTES = 1 << 20;
export const NO_PARENT = 'ffffffff';
/** What the parts of a split disk hold: 2047 MiB, so that they fit where files end at 2 GiB. */
export const SPLIT_BYTES = 2047 << 20;
