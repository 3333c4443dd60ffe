import { Buffer } from 'node:buffer';
import * as v from './layout.ts';

// Images, which no program of a Linux host makes.

export interface Part {
  readonly type: number;
  readonly sectors: number;
  readonly stored: Uint8Array;
}

/** An image as hdiutil makes it: chunks, the property list, the trailer. */
export function makeDmg(parts: readonly Part[]): Uint8Array {
  const table = Buffer.alloc(v.B_CHUNKS + (parts.length + 1) * v.CHUNK_BYTES);
  table.write(v.TABLE_MAGIC, 0, 'latin1');
  table.writeUInt32BE(1, 4);
  table.writeUInt32BE(parts.length + 1, v.B_COUNT);
  let sector = 0;
  let offset = 0;
  for (const [index, { type, sectors, stored }] of parts.entries()) {
    const at = v.B_CHUNKS + index * v.CHUNK_BYTES;
    table.writeUInt32BE(type, at);
    table.writeBigUInt64BE(BigInt(sector), at + v.C_SECTOR);
    table.writeBigUInt64BE(BigInt(sectors), at + v.C_SECTORS);
    table.writeBigUInt64BE(BigInt(offset), at + v.C_OFFSET);
    table.writeBigUInt64BE(BigInt(stored.length), at + v.C_LENGTH);
    sector += sectors;
    offset += stored.length;
  }
  table.writeUInt32BE(v.TYPE_END, v.B_CHUNKS + parts.length * v.CHUNK_BYTES);
  table.writeBigUInt64BE(BigInt(sector), 16);
  const xml = Buffer.from(
    `<?xml version="1.0"?><plist version="1.0"><dict><key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data</key><data>\n${table.toString('base64')}\n</data></dict></array></dict></dict></plist>`,
  );
  const trailer = Buffer.alloc(v.TRAILER_BYTES);
  trailer.write(v.TRAILER_MAGIC, 0, 'latin1');
  trailer.writeUInt32BE(4, 4);
  trailer.writeUInt32BE(512, 8);
  trailer.writeBigUInt64BE(BigInt(offset), 32);
  trailer.writeBigUInt64BE(BigInt(offset), v.T_XML_OFFSET);
  trailer.writeBigUInt64BE(BigInt(xml.length), v.T_XML_LENGTH);
  trailer.writeBigUInt64BE(BigInt(sector), v.T_SECTORS);
  return Buffer.concat([...parts.map(({ stored }) => stored), xml, trailer]);
}
