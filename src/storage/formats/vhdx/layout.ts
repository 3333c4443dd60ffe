// Hyper-V virtual hard disks, version 2, little-endian. Source: Microsoft, [MS-VHDX] (2018).
export const MIB = 1 << 20;
export const SIGNATURE = 'vhdxfile';
export const CREATOR_AT = 8; // UTF-16

// 2.2.2 Headers: the one with the greater sequence number counts.
export const HEADER_OFFSETS = [64 * 1024, 128 * 1024] as const;
export const HEADER_BYTES = 4096;
export const HEADER_SIGNATURE = 'head';
export const CHECKSUM_AT = 4; // of headers, region tables and log entries alike
export const H_SEQUENCE = 8;
export const H_FILE_WRITE = 16;
export const H_DATA_WRITE = 32;
export const H_LOG_GUID = 48;
export const H_LOG_VERSION = 64;
export const H_VERSION = 66;
export const H_LOG_LENGTH = 68;
export const H_LOG_OFFSET = 72;

// 2.2.3 Region table, and its copy
export const REGION_OFFSETS = [192 * 1024, 256 * 1024] as const;
export const REGION_TABLE_BYTES = 64 * 1024;
export const REGION_SIGNATURE = 'regi';
export const R_COUNT = 8;
export const R_ENTRIES = 16;
export const REGION_ENTRY_BYTES = 32;
export const MAX_REGIONS = 2047;
export const E_OFFSET = 16;
export const E_LENGTH = 24;
export const E_REQUIRED = 28;
export const REGION_BAT = '2dc27766-f623-4200-9d64-115e9bfd4a08';
export const REGION_METADATA = '8b7ca206-4790-4b9a-b8fe-575f050f886e';

// 2.3 Log
export const LOG_SECTOR_BYTES = 4096;
export const LOG_SIGNATURE = 'loge';
export const L_LENGTH = 8;
export const L_TAIL = 12;
export const L_SEQUENCE = 16;
export const L_DESCRIPTORS = 24;
export const L_GUID = 32;
export const L_FLUSHED = 48;
export const L_LAST = 56;
export const L_FIRST_DESCRIPTOR = 64;
export const DESCRIPTOR_BYTES = 32;
export const ZERO_DESCRIPTOR = 'zero';
export const DATA_DESCRIPTOR = 'desc';
export const DATA_SECTOR = 'data';
export const D_TRAILING = 4; // the last 4 bytes of the page, in a data descriptor
export const D_LEADING = 8; // its first 8; how many bytes are zeros, in a zero descriptor
export const D_OFFSET = 16;
export const D_SEQUENCE = 24;
export const S_SEQUENCE_HIGH = 4;
export const S_SEQUENCE_LOW = 4092;

// 2.5 BAT
export const ENTRY_BYTES = 8;
export const STATE_MASK = 7;
export const NOT_PRESENT = 0;
export const STATE_ZERO = 2;
export const UNMAPPED = 3;
export const FULLY_PRESENT = 6;
export const PARTIALLY_PRESENT = 7;
/** Sectors that one sector bitmap block tells of (2.4). */
export const CHUNK_SECTORS = 2 ** 23;

// 2.6 Metadata
export const METADATA_SIGNATURE = 'metadata';
export const METADATA_TABLE_BYTES = 64 * 1024;
export const M_COUNT = 10;
export const M_ENTRIES = 32;
export const METADATA_ENTRY_BYTES = 32;
export const MAX_ITEMS = 2047;
export const I_OFFSET = 16;
export const I_LENGTH = 20;
export const I_FLAGS = 24;
export const FLAG_VIRTUAL_DISK = 2;
export const FLAG_REQUIRED = 4;
export const ITEM_PARAMETERS = 'caa16737-fa36-4d43-b3b6-33f0aa44e76b';
export const LEAVE_ALLOCATED = 1;
export const HAS_PARENT = 2;
export const ITEM_SIZE = '2fa54224-cd1b-4876-b211-5dbed83bf4b8';
export const ITEM_DISK_ID = 'beca12ab-b2e6-4523-93ef-c309e000c746';
export const ITEM_LOGICAL_SECTOR = '8141bf1d-a96f-4709-ba47-f233a8faab5f';
export const ITEM_PHYSICAL_SECTOR = 'cda348c7-445d-4471-9cc9-e9885251c556';
export const ITEM_PARENT = 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c';
export const LOCATOR_TYPE = 'b04aefb7-d19e-4a81-b789-25b8e9445913';
export const LOCATOR_COUNT = 18;
export const LOCATOR_ENTRIES = 20;
export const LOCATOR_ENTRY_BYTES = 12;

export const MAX_SIZE_BYTES = 64 * 2 ** 40;
