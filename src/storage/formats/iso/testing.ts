import { Buffer } from 'node:buffer';

/** A disc of so many sectors with a primary volume descriptor, and nothing on it. */
export function makeIso(sectors: number): Uint8Array {
  const disc = Buffer.alloc(sectors * 2048);
  const descriptor = disc.subarray(16 * 2048);
  descriptor.write('\x01CD001\x01', 0, 'latin1');
  descriptor.write('DEBIAN 12'.padEnd(32), 40, 'latin1');
  descriptor.writeUInt32LE(sectors, 80);
  return disc;
}
