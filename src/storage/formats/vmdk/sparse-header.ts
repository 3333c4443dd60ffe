import { latin1Text } from '#base/latin1.ts';
import { Fields, readExactly } from '../../blocks/fields.ts';
import { type HostFile, SECTOR_BYTES } from '../../image.ts';
import * as v from './layout.ts';

/** What stands before the grains of a sparse extent, all in bytes. */
export interface SparseHeader {
  readonly capacity: number;
  readonly grainBytes: number;
  readonly descriptorOffset: number;
  readonly descriptorBytes: number;
  readonly entriesPerTable: number;
  readonly directory: number;
  /** 0: there is none. */
  readonly redundantDirectory: number;
  readonly tables: number;
  readonly overhead: number;
  readonly zeroGrains: boolean;
  readonly compressed: boolean;
  /** Whether the tables stand at the file's end, as those of streams do. */
  readonly atEnd: boolean;
}

export function isSparse(head: Uint8Array): boolean {
  return latin1Text(head.subarray(0, 4)) === v.MAGIC;
}

/** @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. */
export async function readSparseHeader(file: HostFile): Promise<SparseHeader> {
  const first = new Fields(await readExactly(file, 0, v.HEADER_BYTES, 'header'), {
    path: file.path,
    littleEndian: true,
  });
  if (first.text(0, 4) !== v.MAGIC)
    throw first.bad('bad-format', 0, 'not a sparse VMDK extent: the magic number is missing');
  const isAtEnd =
    first.u32(v.H_DIRECTORY) === v.AT_END && first.u32(v.H_DIRECTORY + 4) === v.AT_END;
  const header = isAtEnd ? await readFooter(file) : first;
  const parsed = parse(header, isAtEnd);
  checkShape(header, parsed, await file.size());
  return parsed;
}

/** Streams end with a footer, a copy of the header that knows where the tables came to lie. */
async function readFooter(file: HostFile): Promise<Fields> {
  const offsetBytes = (await file.size()) - v.FOOTER_FROM_END;
  const bytes = await readExactly(file, Math.max(0, offsetBytes), v.HEADER_BYTES, 'footer');
  const fields = new Fields(bytes, { path: file.path, offsetBytes, littleEndian: true });
  if (fields.text(0, 4) === v.MAGIC) return fields;
  throw fields.bad('corrupt', 0, 'the footer is missing: the file was cut off');
}

function parse(fields: Fields, atEnd: boolean): SparseHeader {
  const version = fields.u32(v.H_VERSION);
  if (version < 1 || version > 3)
    throw fields.bad('unsupported', v.H_VERSION, `version ${version}; 1 to 3 are`);
  const flags = fields.u32(v.H_FLAGS);
  const bytesAt = (at: number): number => fields.u64(at) * SECTOR_BYTES;
  const compressed = (flags & v.FLAG_COMPRESSED) !== 0;
  if (compressed && fields.u16(v.H_COMPRESSION) !== v.COMPRESSION_DEFLATE)
    throw fields.bad('unsupported', v.H_COMPRESSION, 'a compression other than deflate');
  if (compressed && (flags & v.FLAG_MARKERS) === 0)
    throw fields.bad('unsupported', v.H_FLAGS, 'compressed grains without markers');
  const capacity = bytesAt(v.H_CAPACITY);
  const grainBytes = bytesAt(v.H_GRAIN);
  const entriesPerTable = fields.u32(v.H_ENTRIES);
  return {
    capacity,
    grainBytes,
    entriesPerTable,
    descriptorOffset: bytesAt(v.H_DESCRIPTOR),
    descriptorBytes: bytesAt(v.H_DESCRIPTOR_SIZE),
    directory: bytesAt(v.H_DIRECTORY),
    redundantDirectory: (flags & v.FLAG_REDUNDANT) === 0 ? 0 : bytesAt(v.H_REDUNDANT_DIRECTORY),
    tables: Math.ceil(capacity / grainBytes / entriesPerTable),
    overhead: bytesAt(v.H_OVERHEAD),
    zeroGrains: (flags & v.FLAG_ZERO_GRAINS) !== 0,
    compressed,
    atEnd,
  };
}

function checkShape(fields: Fields, header: SparseHeader, fileBytes: number): void {
  const { grainBytes, entriesPerTable, tables } = header;
  if (grainBytes < 4096 || grainBytes > 1 << 21 || (grainBytes & (grainBytes - 1)) !== 0)
    throw fields.bad('unsupported', v.H_GRAIN, `grains of ${grainBytes} bytes`);
  if (entriesPerTable !== v.ENTRIES_PER_TABLE)
    throw fields.bad('unsupported', v.H_ENTRIES, `tables of ${entriesPerTable} grains; 512 are`);
  if (!Number.isSafeInteger(header.capacity))
    throw fields.bad('corrupt', v.H_CAPACITY, 'a disk beyond all limits');
  const directories = [
    [v.H_DIRECTORY, header.directory],
    [v.H_REDUNDANT_DIRECTORY, header.redundantDirectory],
  ] as const;
  for (const [at, offset] of directories) {
    if (offset === 0 && at === v.H_REDUNDANT_DIRECTORY) continue;
    if (offset === 0 || offset + tables * 4 > fileBytes)
      throw fields.bad('corrupt', at, `a grain directory at ${offset}, beyond the file's end`);
    if (!header.atEnd && header.overhead > 0 && offset + tables * 4 > header.overhead)
      throw fields.bad('corrupt', at, `a grain directory at ${offset}, among the grains`);
  }
  if (header.overhead > Number.MAX_SAFE_INTEGER / 2 ** 9)
    throw fields.bad('corrupt', v.H_OVERHEAD, 'grains start beyond all files');
  if (header.descriptorOffset > fileBytes)
    throw fields.bad('corrupt', v.H_DESCRIPTOR, "a descriptor beyond the file's end");
  if (header.descriptorBytes > v.MAX_DESCRIPTOR_BYTES)
    throw fields.bad('corrupt', v.H_DESCRIPTOR_SIZE, 'a descriptor of more than 1 MiB');
}
