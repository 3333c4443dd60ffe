import { latin1Text } from '#base/latin1.ts';
import { badAt, Fields, readExactly } from '../../blocks/fields.ts';
import { type HostFile, SECTOR_BYTES } from '../../image.ts';
import * as v from './layout.ts';

/** A run of the disk, all of it stored in one way. */
export interface Chunk {
  readonly type: number;
  readonly startBytes: number;
  readonly lengthBytes: number;
  readonly hostOffset: number;
  readonly storedBytes: number;
}

export interface Contents {
  readonly sizeBytes: number;
  /** In order, without overlaps; what none covers is zeros. */
  readonly chunks: readonly Chunk[];
}

export function isTrailer(bytes: Uint8Array): boolean {
  return latin1Text(bytes.subarray(0, 4)) === v.TRAILER_MAGIC;
}

const UNSUPPORTED: ReadonlyMap<number, string> = new Map([
  [v.TYPE_LZFSE, 'LZFSE'],
  [v.TYPE_LZMA, 'LZMA'],
]);

/** @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. */
export async function readContents(file: HostFile): Promise<Contents> {
  const fileBytes = await file.size();
  const offsetBytes = Math.max(0, fileBytes - v.TRAILER_BYTES);
  const bytes = await readExactly(file, offsetBytes, v.TRAILER_BYTES, 'trailer');
  const trailer = new Fields(bytes, { path: file.path, offsetBytes, littleEndian: false });
  if (!isTrailer(bytes)) throw trailer.bad('bad-format', 0, 'not a DMG image: no trailer is here');
  const xmlOffset = trailer.u64(v.T_XML_OFFSET);
  const xmlBytes = trailer.u64(v.T_XML_LENGTH);
  if (xmlBytes === 0)
    throw trailer.bad('unsupported', v.T_XML_LENGTH, 'an image without a property list');
  if (xmlBytes > v.MAX_XML_BYTES || xmlOffset + xmlBytes > fileBytes)
    throw trailer.bad('corrupt', v.T_XML_LENGTH, `a property list of ${xmlBytes} bytes`);
  const xml = await readExactly(file, xmlOffset, xmlBytes, 'property list');
  const dataOffset = trailer.u64(v.T_DATA_OFFSET);
  const where = { path: file.path, xmlOffset, dataOffset, fileBytes };
  const chunks = tablesOf(new TextDecoder().decode(xml)).flatMap((table) =>
    parseTable(table, where),
  );
  chunks.sort((a, b) => a.startBytes - b.startBytes);
  const sizeBytes = trailer.u64(v.T_SECTORS) * SECTOR_BYTES;
  checkOrder(chunks, sizeBytes, where);
  return { sizeBytes, chunks };
}

/** The base64 texts under the key "blkx" of the property list. */
function tablesOf(xml: string): Uint8Array[] {
  const from = xml.indexOf('<key>blkx</key>');
  if (from < 0) return [];
  const end = xml.indexOf('</array>', from);
  const texts = xml
    .slice(from, end < 0 ? undefined : end)
    .split('<data>')
    .slice(1);
  return texts.map((text) => base64(text.slice(0, Math.max(0, text.indexOf('</data>')))));
}

function base64(text: string): Uint8Array {
  const clean = text.replace(/[^A-Za-z0-9+/]/g, '');
  return Uint8Array.from(
    atob(clean.slice(0, clean.length - (clean.length % 4 === 1 ? 1 : 0))),
    (char) => char.charCodeAt(0),
  );
}

interface Where {
  readonly path: string;
  readonly xmlOffset: number;
  readonly dataOffset: number;
  readonly fileBytes: number;
}

function parseTable(table: Uint8Array, where: Where): Chunk[] {
  const at = { path: where.path, offsetBytes: where.xmlOffset, littleEndian: false };
  const fields = new Fields(table, at);
  // A table that is no table may describe something else.
  if (table.length < v.B_CHUNKS || fields.text(0, 4) !== v.TABLE_MAGIC) return [];
  const count = fields.u32(v.B_COUNT);
  if (v.B_CHUNKS + count * v.CHUNK_BYTES > table.length)
    throw badAt('corrupt', where.path, where.xmlOffset, `a table of ${count} chunks, cut off`);
  const chunks: Chunk[] = [];
  for (let index = 0; index < count; index++) {
    const chunk = parseChunk(fields, v.B_CHUNKS + index * v.CHUNK_BYTES, where);
    if (chunk !== undefined) chunks.push(chunk);
  }
  return chunks;
}

function parseChunk(fields: Fields, at: number, where: Where): Chunk | undefined {
  const type = fields.u32(at);
  if (type === v.TYPE_COMMENT || type === v.TYPE_END) return undefined;
  const bad = (kind: 'corrupt' | 'unsupported', what: string) =>
    badAt(kind, where.path, where.xmlOffset, what);
  const chunk: Chunk = {
    type,
    startBytes: (fields.u64(v.B_FIRST_SECTOR) + fields.u64(at + v.C_SECTOR)) * SECTOR_BYTES,
    lengthBytes: fields.u64(at + v.C_SECTORS) * SECTOR_BYTES,
    hostOffset: where.dataOffset + fields.u64(v.B_DATA_OFFSET) + fields.u64(at + v.C_OFFSET),
    storedBytes: fields.u64(at + v.C_LENGTH),
  };
  if (chunk.lengthBytes === 0) return undefined;
  if (type === v.TYPE_ZERO || type === v.TYPE_IGNORE) return chunk;
  const name = UNSUPPORTED.get(type);
  if (name !== undefined)
    throw bad(
      'unsupported',
      `${name} compression; convert it on a Mac: hdiutil convert -format UDZO`,
    );
  const isKnown = [v.TYPE_RAW, v.TYPE_ADC, v.TYPE_ZLIB, v.TYPE_BZIP2].includes(type);
  if (!isKnown) throw bad('unsupported', `chunks of type 0x${type.toString(16)}`);
  const isLarge =
    type !== v.TYPE_RAW && Math.max(chunk.lengthBytes, chunk.storedBytes) > v.MAX_CHUNK_BYTES;
  if (isLarge || chunk.hostOffset + chunk.storedBytes > where.fileBytes)
    throw bad('corrupt', `a chunk of ${chunk.storedBytes} bytes at ${chunk.hostOffset}`);
  if (type === v.TYPE_RAW && chunk.storedBytes < chunk.lengthBytes)
    throw bad('corrupt', `a plain chunk at ${chunk.hostOffset} that is too short`);
  return chunk;
}

function checkOrder(chunks: readonly Chunk[], sizeBytes: number, where: Where): void {
  let end = 0;
  for (const { startBytes, lengthBytes } of chunks) {
    if (startBytes < end)
      throw badAt('corrupt', where.path, where.xmlOffset, `two chunks for ${startBytes}`);
    end = startBytes + lengthBytes;
  }
  if (end > sizeBytes || !Number.isSafeInteger(sizeBytes))
    throw badAt(
      'corrupt',
      where.path,
      where.xmlOffset,
      `chunks up to ${end} of ${sizeBytes} bytes`,
    );
}
