// SCSI. Sources: SPC-4 (commands for all), SBC-3 (disks), SAM-5 (status); virtio 1.2, 5.6 (the host).

export const TEST_UNIT_READY = 0x00;
export const REQUEST_SENSE = 0x03;
export const READ_6 = 0x08;
export const WRITE_6 = 0x0a;
export const INQUIRY = 0x12;
export const MODE_SENSE_6 = 0x1a;
export const START_STOP = 0x1b;
export const PREVENT_REMOVAL = 0x1e;
export const READ_CAPACITY_10 = 0x25;
export const READ_10 = 0x28;
export const WRITE_10 = 0x2a;
export const VERIFY_10 = 0x2f;
export const SYNCHRONIZE_CACHE_10 = 0x35;
export const WRITE_SAME_10 = 0x41;
export const UNMAP = 0x42;
export const LOG_SENSE = 0x4d;
export const MODE_SENSE_10 = 0x5a;
export const READ_16 = 0x88;
export const WRITE_16 = 0x8a;
export const VERIFY_16 = 0x8f;
export const SYNCHRONIZE_CACHE_16 = 0x91;
export const WRITE_SAME_16 = 0x93;
export const SERVICE_ACTION_IN_16 = 0x9e;
export const READ_CAPACITY_16 = 0x10; // its service action
export const REPORT_LUNS = 0xa0;
export const MAINTENANCE_IN = 0xa3;
export const SUPPORTED_OPCODES = 0x0c; // its service action
export const READ_12 = 0xa8;
export const WRITE_12 = 0xaa;
export const VERIFY_12 = 0xaf;

export const STATUS_CHECK_CONDITION = 0x02;

/** Sense key, additional sense code and its qualifier. */
export interface Sense {
  readonly key: number;
  readonly code: number;
  readonly qualifier: number;
}

const sense = (key: number, code: number, qualifier = 0): Sense => ({ key, code, qualifier });
export const NO_SENSE = sense(0, 0);
export const READ_ERROR = sense(3, 0x11);
export const WRITE_ERROR = sense(3, 0x0c);
export const INVALID_OPCODE = sense(5, 0x20);
export const OUT_OF_RANGE = sense(5, 0x21);
export const LUN_NOT_SUPPORTED = sense(5, 0x25);
export const CAPACITY_CHANGED = sense(6, 0x2a, 9);
export const LUNS_CHANGED = sense(6, 0x3f, 0x0e);
export const INVALID_FIELD = sense(5, 0x24);
export const INVALID_PARAMETER = sense(5, 0x26);
export const WRITE_PROTECTED = sense(7, 0x27);
export const NO_SPACE = sense(7, 0x27, 7);
export const MISCOMPARE = sense(0xe, 0x1d);

export const SENSE_BYTES = 18;

/** Fixed format (SPC-4, 4.5.3). */
export function senseData({ key, code, qualifier }: Sense): Uint8Array {
  const bytes = new Uint8Array(SENSE_BYTES);
  bytes[0] = 0x70;
  bytes[2] = key;
  bytes[7] = SENSE_BYTES - 8;
  bytes[12] = code;
  bytes[13] = qualifier;
  return bytes;
}

export const BLOCK_BYTES = 512;
/** Of a WRITE SAME or an UNMAP, and ranges of the latter, as page B0 tells. */
export const MOST_BLOCKS = 0x40_0000;
export const MOST_UNMAP_RANGES = 256;
export const MOST_TRANSFER_BYTES = 64 << 20;
