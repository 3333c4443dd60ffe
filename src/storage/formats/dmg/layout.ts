// Apple disk images (UDIF), big-endian. Source: Vine, "Demystifying the DMG File Format" (2011); QEMU's driver for names.
export const TRAILER_BYTES = 512;
export const TRAILER_MAGIC = 'koly';
export const T_DATA_OFFSET = 24;
export const T_XML_OFFSET = 216;
export const T_XML_LENGTH = 224;
export const T_SECTORS = 492;
/** Some 300,000 chunks. */
export const MAX_XML_BYTES = 16 << 20;

// A table of chunks, in base64 in the XML
export const TABLE_MAGIC = 'mish';
export const B_FIRST_SECTOR = 8;
export const B_DATA_OFFSET = 24;
export const B_COUNT = 200;
export const B_CHUNKS = 204;
export const CHUNK_BYTES = 40;
export const C_SECTOR = 8;
export const C_SECTORS = 16;
export const C_OFFSET = 24;
export const C_LENGTH = 32;

export const TYPE_ZERO = 0;
export const TYPE_RAW = 1;
export const TYPE_IGNORE = 2;
export const TYPE_ADC = 0x8000_0004;
export const TYPE_ZLIB = 0x8000_0005;
export const TYPE_BZIP2 = 0x8000_0006;
export const TYPE_LZFSE = 0x8000_0007;
export const TYPE_LZMA = 0x8000_0008;
export const TYPE_COMMENT = 0x7fff_fffe;
export const TYPE_END = 0xffff_ffff;

/** Of a compressed chunk, and of what it holds. */
export const MAX_CHUNK_BYTES = 64 << 20;
