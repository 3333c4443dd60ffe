// NVMe. Source: NVM Express base specification 1.4: registers 3.1, commands 5 and 6, status 4.6.1.

// Controller registers: offsets.
export const CAP = 0x00; // 8 bytes
export const VS = 0x08;
export const INTMS = 0x0c;
export const INTMC = 0x10;
export const CC = 0x14;
export const CSTS = 0x1c;
export const AQA = 0x24;
export const ASQ = 0x28; // 8 bytes
export const ACQ = 0x30; // 8 bytes
export const DOORBELLS = 0x1000; // 4 bytes each: SQ 0 tail, CQ 0 head, SQ 1 tail, …

export const VERSION_1_4 = 0x0001_0400;
export const CAP_CQR = 1 << 16; // queues are physically contiguous
export const CAP_TO_SHIFT = 24; // in 500 ms
export const CAP_HIGH_NVM = 1 << 5; // bit 37: the NVM command set

export const CC_EN = 1 << 0;
export const CC_MPS_SHIFT = 7; // 4 bits: memory page size is 2^(12 + MPS)
export const CC_SHN_SHIFT = 14; // 2 bits
export const CC_IOSQES_SHIFT = 16; // 4 bits: 2^n bytes; IOCQES is in the 4 above
export const CSTS_RDY = 1 << 0;
export const CSTS_CFS = 1 << 1; // fatal
export const CSTS_SHST_DONE = 2 << 2;

export const SQE_BYTES = 64;
export const CQE_BYTES = 16;

// Admin commands.
export const ADMIN_DELETE_SQ = 0x00;
export const ADMIN_CREATE_SQ = 0x01;
export const ADMIN_GET_LOG = 0x02;
export const ADMIN_DELETE_CQ = 0x04;
export const ADMIN_CREATE_CQ = 0x05;
export const ADMIN_IDENTIFY = 0x06;
export const ADMIN_ABORT = 0x08;
export const ADMIN_SET_FEATURES = 0x09;
export const ADMIN_GET_FEATURES = 0x0a;
export const ADMIN_ASYNC_EVENT = 0x0c;
export const ADMIN_FORMAT = 0x80;

// I/O commands.
export const IO_FLUSH = 0x00;
export const IO_WRITE = 0x01;
export const IO_READ = 0x02;
export const IO_WRITE_ZEROES = 0x08;
export const IO_DSM = 0x09;

export const RW_FUA = 1 << 30; // CDW12
export const WZ_DEALLOCATE = 1 << 25; // CDW12
export const DSM_DEALLOCATE = 1 << 2; // CDW11

export const FEATURE_ARBITRATION = 0x01;
export const FEATURE_POWER = 0x02;
export const FEATURE_TEMPERATURE = 0x04;
export const FEATURE_ERROR_RECOVERY = 0x05;
export const FEATURE_WRITE_CACHE = 0x06;
export const FEATURE_QUEUES = 0x07;
export const FEATURE_COALESCING = 0x08;
export const FEATURE_VECTOR = 0x09;
export const FEATURE_ATOMICITY = 0x0a;
export const FEATURE_ASYNC_EVENTS = 0x0b;

/** Namespace attributes, in Identify Controller's OAES and in the feature of events. */
export const EVENT_NAMESPACE = 1 << 8;
export const LOG_CHANGED_NAMESPACES = 4;
/** Type 2, a notice; 0, namespace attributes; and the log page that tells more (5.2.1). */
export const NOTICE_NAMESPACE = 2 | (LOG_CHANGED_NAMESPACES << 16);

// Status: type in bits 10:8, code in 7:0. DNR, bit 14: the same will fail again.
const DNR = 1 << 14;
export const OK = 0;
export const INVALID_OPCODE = 0x01 | DNR;
export const INVALID_FIELD = 0x02 | DNR;
export const DATA_TRANSFER_ERROR = 0x04;
export const INVALID_NAMESPACE = 0x0b | DNR;
export const PRP_OFFSET_INVALID = 0x13 | DNR;
export const LBA_OUT_OF_RANGE = 0x80 | DNR;
export const CAPACITY_EXCEEDED = 0x81;
export const CQ_INVALID = 0x100 | DNR;
export const QID_INVALID = 0x101 | DNR;
export const QUEUE_SIZE_INVALID = 0x102 | DNR;
export const EVENT_LIMIT_EXCEEDED = 0x105 | DNR;
export const VECTOR_INVALID = 0x108 | DNR;
export const LOG_INVALID = 0x109 | DNR;
export const FORMAT_INVALID = 0x10a | DNR;
export const QUEUE_DELETION_INVALID = 0x10c | DNR;
export const READ_ONLY_RANGE = 0x182 | DNR;
export const WRITE_FAULT = 0x280;
export const READ_ERROR = 0x281;

/** Largest transfer, in units of 4 KiB as a power of two (Identify Controller, MDTS). */
export const MDTS = 8;
export const MOST_TRANSFER_BYTES = 4096 << MDTS;
export const BLOCK_BYTES = 512;
/** Namespace identifiers are 1 to this (Identify Controller, NN). */
export const MOST_NAMESPACES = 256;
export const ALL_NAMESPACES = 0xffff_ffff;
