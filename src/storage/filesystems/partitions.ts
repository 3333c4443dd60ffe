import type { DiskImage } from '../image.ts';
import { SECTOR_BYTES } from '../image.ts';

// Partition tables. Sources: UEFI specification 2.10, 5.2 (MBR) and 5.3 (GPT).

/** A part of a disk, in bytes. */
export interface Partition {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

const MBR_TABLE = 446;
const MBR_ENTRY_BYTES = 16;
const MBR_ENTRIES = 4;
const MBR_SIGNATURE = 0xaa55;
const TYPE_GPT = 0xee;
const GPT_SIGNATURE = 'EFI PART';
/** More than any disk has, less than would hold us up. */
const MOST_GPT_ENTRIES = 256;
const GPT_ENTRY_BYTES = 128;

/** Partitions that lie on the disk, in the order of the table; none when there is no table. */
export async function readPartitions(disk: DiskImage): Promise<Partition[]> {
  if (disk.sizeBytes < 2 * SECTOR_BYTES) return [];
  const mbr = await read(disk, 0, SECTOR_BYTES);
  if (mbr.getUint16(510, true) !== MBR_SIGNATURE) return [];
  const partitions: Partition[] = [];
  for (let i = 0; i < MBR_ENTRIES; i++) {
    const at = MBR_TABLE + i * MBR_ENTRY_BYTES;
    if (mbr.getUint8(at + 4) === TYPE_GPT) return await readGpt(disk);
    const first = mbr.getUint32(at + 8, true);
    addTo(partitions, disk, first, mbr.getUint32(at + 12, true));
  }
  return partitions;
}

async function readGpt(disk: DiskImage): Promise<Partition[]> {
  const header = await read(disk, SECTOR_BYTES, SECTOR_BYTES);
  const signature = String.fromCharCode(...new Uint8Array(header.buffer, 0, 8));
  const tableBytes = Number(header.getBigUint64(72, true)) * SECTOR_BYTES;
  const count = Math.min(header.getUint32(80, true), MOST_GPT_ENTRIES);
  const lengthBytes = Math.ceil((count * GPT_ENTRY_BYTES) / SECTOR_BYTES) * SECTOR_BYTES;
  const isOurs = signature === GPT_SIGNATURE && header.getUint32(84, true) === GPT_ENTRY_BYTES;
  if (!isOurs || tableBytes + lengthBytes > disk.sizeBytes) return [];
  const table = await read(disk, tableBytes, lengthBytes);
  const partitions: Partition[] = [];
  for (let at = 0; at < count * GPT_ENTRY_BYTES; at += GPT_ENTRY_BYTES) {
    const first = Number(table.getBigUint64(at + 32, true));
    addTo(partitions, disk, first, Number(table.getBigUint64(at + 40, true)) - first + 1);
  }
  return partitions;
}

function addTo(list: Partition[], disk: DiskImage, first: number, sectors: number): void {
  if (first === 0 || sectors <= 0 || (first + sectors) * SECTOR_BYTES > disk.sizeBytes) return;
  list.push({ offsetBytes: first * SECTOR_BYTES, lengthBytes: sectors * SECTOR_BYTES });
}

async function read(disk: DiskImage, offsetBytes: number, lengthBytes: number): Promise<DataView> {
  const bytes = new Uint8Array(lengthBytes);
  await disk.read(offsetBytes, bytes);
  return new DataView(bytes.buffer);
}
