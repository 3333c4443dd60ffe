import { type CreateRequest, type HostFile, ImageError } from '../../image.ts';
import { Walk } from './check-walk.ts';
import { type Header, type HeaderExtension, readHeader } from './header.ts';
import { featureNames } from './header-encode.ts';
import * as q from './layout.ts';
import type { Mapping } from './mapping.ts';
import type { Metadata } from './metadata.ts';
import { rebuildRefcounts } from './rebuild.ts';
import { CountCodec } from './refcount-block.ts';
import type { SnapshotTree } from './snapshot-tree.ts';
import type { Writer } from './writer.ts';
import type { Zeroing } from './zeroing.ts';

const ZEROS_BYTES = 1 << 20;
/** Smaller clusters have no room for names of features. */
const MIN_NAMES_CLUSTER_BITS = 12;

/** What `amend` changes of the header; undefined: stays. */
export interface Amendment {
  readonly version: 2 | 3 | undefined;
  readonly refcountBits: number | undefined;
  readonly lazy: boolean | undefined;
  readonly dataFile: string | undefined;
  readonly dataFileRaw: boolean | undefined;
}

interface Disk {
  readonly meta: Metadata;
  readonly mapping: Mapping;
  readonly writer: Writer;
  readonly zeroing: Zeroing;
  readonly tree: SnapshotTree;
  /** Of the image that shows through where this one has nothing. */
  readonly backingBytes: number;
}

/** What the options ask for. @throws {ImageError} `bad-option` when this image cannot be so. */
export function planAmendment(
  options: CreateRequest['options'],
  header: Header,
  image: { readonly path: string; readonly hasBitmaps: boolean },
): Amendment {
  const { path } = image;
  const need = (isMet: boolean, what: string): void => {
    if (!isMet) throw new ImageError('bad-option', `${path}: ${what}`, { path });
  };
  const text = (name: string): string | undefined => options.get(name)?.toString();
  const compat = text('compat');
  need(
    compat === undefined || ['0.10', '1.1', 'v2', 'v3'].includes(compat),
    `compat: 0.10 or 1.1, not '${compat}'`,
  );
  const wanted = compat === '0.10' || compat === 'v2' ? 2 : 3;
  const version = compat === undefined || wanted === header.version ? undefined : wanted;
  const lazy = options.get('lazy_refcounts');
  const raw = options.get('data_file_raw');
  const amendment: Amendment = {
    version,
    refcountBits: options.has('refcount_bits') ? Number(options.get('refcount_bits')) : undefined,
    lazy: typeof lazy === 'boolean' ? lazy : undefined,
    dataFile: text('data_file'),
    dataFileRaw: typeof raw === 'boolean' ? raw : undefined,
  };
  checkAmendment(amendment, header, need);
  if (version === 2) checkDowngrade(amendment, header, image.hasBitmaps, need);
  return amendment;
}

type Need = (isMet: boolean, what: string) => void;

function checkAmendment(amendment: Amendment, header: Header, need: Need): void {
  const { refcountBits = header.refcountBits, dataFile, dataFileRaw } = amendment;
  const version = amendment.version ?? header.version;
  need(
    [1, 2, 4, 8, 16, 32, 64].includes(refcountBits),
    'refcount_bits: a power of two from 1 to 64',
  );
  need(
    version === 3 || (refcountBits === 16 && amendment.lazy !== true),
    'version 2 images have refcount_bits=16 and no lazy_refcounts; add compat=1.1',
  );
  need(
    dataFile === undefined || (dataFile !== '' && header.dataFile !== undefined),
    'data_file: only images with a data file get another; convert it',
  );
  need(
    dataFileRaw !== true || (header.autoclear & q.AUTOCLEAR_RAW_DATA) !== 0,
    'data_file_raw: cannot be set on an image that is there; convert it',
  );
}

function checkDowngrade(
  amendment: Amendment,
  header: Header,
  hasBitmaps: boolean,
  need: Need,
): void {
  const kept = header.incompatible & ~q.INCOMPATIBLE_DIRTY;
  need(
    kept === 0,
    'compat=0.10 has no data file, zstd or extended L2 entries; convert the image instead',
  );
  need(
    (amendment.refcountBits ?? header.refcountBits) === 16,
    'compat=0.10 has refcount_bits=16; add that',
  );
  need(!hasBitmaps, 'compat=0.10 has no bitmaps; remove them first');
  need(header.snapshotCount === 0, 'compat=0.10: delete the snapshots first, or convert the image');
}

/** Carries an amendment out. When refcounts change their width, nothing in memory holds any more. */
export async function amend(disk: Disk, amendment: Amendment): Promise<void> {
  const { meta } = disk;
  await meta.settle();
  if (amendment.version === 3) await upgrade(disk);
  const { lazy, dataFile, dataFileRaw, refcountBits } = amendment;
  if (lazy !== undefined) await setLazy(meta, lazy);
  if (dataFile !== undefined) {
    const data = new TextEncoder().encode(dataFile);
    const rest = meta.header.extensions.filter((one) => one.type !== q.EXT_DATA_FILE);
    const extensions = [{ type: q.EXT_DATA_FILE, data }, ...rest];
    await meta.store.rewrite({ dataFile, extensions });
  }
  if (dataFileRaw === false)
    await meta.store.update({ autoclear: meta.header.autoclear & ~q.AUTOCLEAR_RAW_DATA });
  if (amendment.version === 2) await expandZeros(disk);
  if (refcountBits !== undefined && refcountBits !== meta.header.refcountBits)
    await setRefcountBits(meta.file, refcountBits);
  if (amendment.version === 2) await downgrade(disk);
}

async function setLazy(meta: Metadata, lazy: boolean): Promise<void> {
  const { compatible } = meta.header;
  await meta.store.update({
    compatible: lazy
      ? compatible | q.COMPATIBLE_LAZY_REFCOUNTS
      : compatible & ~q.COMPATIBLE_LAZY_REFCOUNTS,
  });
  if (!lazy) await meta.setDirty(false);
}

/** Version 3 wants sizes in each entry of the snapshot table, which version 2 allows. */
async function upgrade({ meta, tree }: Disk): Promise<void> {
  if (meta.header.snapshotCount > 0) await tree.rewrite();
  const names: HeaderExtension[] =
    meta.header.clusterBits >= MIN_NAMES_CLUSTER_BITS
      ? [{ type: q.EXT_FEATURE_NAMES, data: featureNames() }]
      : [];
  await meta.store.rewrite({
    version: 3,
    headerBytes: q.KNOWN_HEADER_BYTES,
    extensions: [...meta.header.extensions, ...names],
  });
}

async function downgrade({ meta }: Disk): Promise<void> {
  const known = [q.EXT_BACKING_FORMAT];
  // What a change of the width wrote is in the file alone.
  const { refcountTableOffset, refcountTableClusters, refcountBits } = await readHeader(meta.file);
  await meta.store.rewrite({
    ...{ refcountTableOffset, refcountTableClusters, refcountBits },
    version: 2,
    headerBytes: q.V2_HEADER_BYTES,
    incompatible: 0,
    compatible: 0,
    autoclear: 0,
    extensions: meta.header.extensions.filter(({ type }) => known.includes(type)),
    unknownFields: new Uint8Array(0),
  });
}

/** Version 2 has no entries that say zeros: they say nothing where nothing shows through, and else lead to zeros. */
async function expandZeros({ meta, mapping, writer, zeroing, backingBytes }: Disk): Promise<void> {
  const { clusterBytes } = meta;
  const { sizeBytes } = meta.header;
  for (let at = 0; at < sizeBytes; ) {
    const run = mapping.run(at, sizeBytes - at);
    if (run === undefined) {
      await mapping.load(at);
      continue;
    }
    const end = at + run.lengthBytes;
    if (run.kind === 'zero') {
      const covered = Math.min(end, Math.ceil(backingBytes / clusterBytes) * clusterBytes);
      for (let to = at; to < covered; to += ZEROS_BYTES)
        await writer.write(to, new Uint8Array(Math.min(ZEROS_BYTES, covered - to)));
      const bare = Math.max(at, covered);
      if (bare < end) await zeroing.unmap(bare / clusterBytes, Math.ceil(end / clusterBytes));
    }
    at = end;
  }
  await meta.settle();
}

/** All counts are written anew, in the other width; the header leads to them in one write. */
async function setRefcountBits(file: HostFile, refcountBits: number): Promise<void> {
  const header = await readHeader(file);
  const walk = new Walk(file, header, await file.size());
  await walk.run();
  if (walk.corruptions > 0)
    throw new ImageError(
      'corrupt',
      `${file.path}: its tables are damaged; repair it with a check`,
      {
        path: file.path,
      },
    );
  const { max } = new CountCodec(refcountBits);
  walk.tally.each((cluster, count) => {
    if (count <= max) return;
    const offsetBytes = cluster * 2 ** header.clusterBits;
    throw new ImageError(
      'bad-option',
      `${file.path}: refcount_bits=${refcountBits}: the cluster at ${offsetBytes} has ${count} references; delete snapshots, or choose more bits`,
      { path: file.path, offsetBytes },
    );
  });
  await rebuildRefcounts(file, { ...header, refcountBits }, walk);
}
