import type { BlockBackend } from '#hw/block.ts';
import * as r from './nvme-regs.ts';

// Data structures of Identify. Source: NVM Express 1.4, figures 245, 247 and 249.

const IDENTIFY_BYTES = 4096;
const MODEL = 'ring0 NVMe disk';
const FIRMWARE = '1';

class Fields {
  readonly bytes = new Uint8Array(IDENTIFY_BYTES);
  readonly #view = new DataView(this.bytes.buffer);

  u8(at: number, value: number): this {
    this.#view.setUint8(at, value);
    return this;
  }

  u16(at: number, value: number): this {
    this.#view.setUint16(at, value, true);
    return this;
  }

  u32(at: number, value: number): this {
    this.#view.setUint32(at, value, true);
    return this;
  }

  u64(at: number, value: number): this {
    this.#view.setBigUint64(at, BigInt(value), true);
    return this;
  }

  /** ASCII, padded with spaces. */
  text(at: number, length: number, value: string): this {
    const text = value
      .replace(/[^ -~]/g, '?')
      .slice(0, length)
      .padEnd(length);
    this.bytes.set(new TextEncoder().encode(text), at);
    return this;
  }
}

export function identifyController(serial: string, vendorId: number): Uint8Array {
  const VOLATILE_CACHE = 1;
  const FORMAT_NVM = 1 << 1;
  const DSM_AND_WRITE_ZEROES = (1 << 2) | (1 << 3);
  const fields = new Fields()
    .u16(0, vendorId)
    .u16(2, vendorId)
    .text(4, 20, serial)
    .text(24, 40, MODEL)
    .text(64, 8, FIRMWARE)
    .u8(72, 6) // RAB: arbitration burst of 64 commands
    .u8(77, r.MDTS)
    .u32(80, r.VERSION_1_4)
    .u32(92, r.EVENT_NAMESPACE) // OAES
    .u8(111, 1); // CNTRLTYPE: I/O controller
  fields
    .u16(256, FORMAT_NVM) // OACS
    .u8(258, 3) // ACL, AERL, 0's based
    .u8(259, 3)
    .u8(260, 3) // FRMW: one slot, read only
    .u8(262, 0) // ELPE: one entry
    .u16(266, 343) // WCTEMP, CCTEMP: kelvin
    .u16(268, 373)
    .u8(512, 0x66) // SQES, CQES: smallest and largest, powers of two
    .u8(513, 0x44)
    .u32(516, r.MOST_NAMESPACES) // NN
    .u16(520, DSM_AND_WRITE_ZEROES)
    .u8(525, VOLATILE_CACHE);
  const name = new TextEncoder().encode(`nqn.2014-08.org.nvmexpress:uuid:${uuidOf(serial)}`);
  fields.bytes.set(name, 768);
  return fields
    .u16(2048, 2500)
    .u32(2048 + 16, 4)
    .u32(2048 + 20, 4).bytes;
}

export function identifyNamespace(disk: BlockBackend): Uint8Array {
  const blocks = disk.sizeBytes / r.BLOCK_BYTES;
  const THIN = 1;
  const DEALLOCATED_READS_ZEROS_AND_WRITE_ZEROES_DEALLOCATES = 1 | (1 << 3);
  const WRITE_PROTECTED = 1;
  return new Fields()
    .u64(0, blocks)
    .u64(8, blocks)
    .u64(16, blocks)
    .u8(24, THIN)
    .u8(33, DEALLOCATED_READS_ZEROS_AND_WRITE_ZEROES_DEALLOCATES)
    .u8(99, disk.readOnly ? WRITE_PROTECTED : 0)
    .u8(128 + 2, 9).bytes; // LBAF0: 512 bytes
}

/** Of an identifier that no namespace has (5.15.2.1). */
export function inactiveNamespace(): Uint8Array {
  return new Fields().bytes;
}

/** Identifiers, in order, and zeros (figure 246). */
export function namespaceList(nsids: readonly number[]): Uint8Array {
  const fields = new Fields();
  for (const [index, nsid] of nsids.entries()) fields.u32(index * 4, nsid);
  return fields.bytes;
}

/** A UUID (type 3) of the namespace. */
export function namespaceDescriptors(nsid: number, disk: BlockBackend): Uint8Array {
  const fields = new Fields().u8(0, 3).u8(1, 16);
  const hex = uuidOf(`${disk.serial}/${nsid}`).replaceAll('-', '');
  for (let i = 0; i < 16; i++) fields.u8(4 + i, Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
  return fields.bytes;
}

/** The same for the same name (FNV-1a, four times), marked as a UUID of no time and no place (RFC 9562, 5.8). */
function uuidOf(name: string): string {
  let hex = '';
  for (let part = 0; part < 4; part++) {
    let hash = 0x811c_9dc5 ^ part;
    for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x0100_0193);
    hex += (hash >>> 0).toString(16).padStart(8, '0');
  }
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
}
