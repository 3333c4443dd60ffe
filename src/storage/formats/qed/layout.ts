// QEMU Enhanced Disk, little-endian. Source: docs/interop/qed_spec.txt of QEMU.
export const MAGIC = 0x0044_4551;
export const HEADER_BYTES = 64;
export const H_CLUSTER = 4;
export const H_TABLE = 8; // clusters of each table
export const H_HEADER = 12; // clusters of the header
export const H_FEATURES = 16;
export const FEATURE_BACKING = 1;
export const FEATURE_NEED_CHECK = 2;
export const FEATURE_BACKING_RAW = 4;
export const H_AUTOCLEAR = 32;
export const H_L1 = 40;
export const H_SIZE = 48;
export const H_BACKING_OFFSET = 56;
export const H_BACKING_BYTES = 60;

export const ENTRY_BYTES = 8;
/** An entry of an L2 table that means: zeros, whatever the backing file has. */
export const ENTRY_ZERO = 1;
export const MIN_CLUSTER_BYTES = 4096;
export const MAX_CLUSTER_BYTES = 64 << 20;
export const CLUSTER_BYTES = 65536;
export const MAX_TABLE_CLUSTERS = 16;
export const TABLE_CLUSTERS = 4;
export const MAX_BACKING_BYTES = 1023;
