// Parallels expanding disks, little-endian. Source: docs/interop/parallels.txt of QEMU; data are measured in sectors of
// 512 bytes.
export const MAGIC = 'WithoutFreeSpace'; // entries of the table count sectors
export const MAGIC_EXT = 'WithouFreSpacExt'; // they count clusters
export const H_VERSION = 16;
export const VERSION = 2;
export const H_HEADS = 20;
export const H_CYLINDERS = 24;
export const H_CLUSTER = 28; // sectors
export const H_ENTRIES = 32;
export const H_SECTORS = 36;
export const H_IN_USE = 44;
export const IN_USE = 0x746f_6e59;
export const H_DATA = 48;
export const H_EXTENSION = 56;
export const HEADER_BYTES = 64;
export const MAX_CLUSTER_BYTES = 1 << 28;
export const CLUSTER_BYTES = 1 << 20;
