// A target for each image format: images as they come from strangers.
import { deflateSync } from 'node:zlib';
import * as v from '#storage/formats/dmg/layout.ts';
import { makeDmg } from '#storage/formats/dmg/testing.ts';
import { makeIso } from '#storage/formats/iso/testing.ts';
import { createImage, fuzzImage, type Hot, type Options } from '#storage/formats/testing.ts';
import type { ImageFormat } from '#storage/image.ts';
import { allFormats, openImage } from '#storage/open.ts';
import { MemoryHost, noise } from '#storage/testing.ts';

const KIB = 1024;
const DISK_BYTES = 4096 * KIB;

/** Options that change how a format's tables look; of the others the default is taken. */
const VARIANTS: Readonly<Record<string, readonly Options[]>> = {
  qcow2: [
    {},
    { cluster_size: 512, refcount_bits: 2 },
    { cluster_size: 16 * KIB, extended_l2: true },
    { compat: '0.10' },
  ],
  vhdx: [{ block_size: 1024 * KIB }],
  vmdk: [{}, { zeroed_grain: true }, { subformat: 'streamOptimized' }],
};

/** Images of formats that are read alone. */
const READ_ONLY: Readonly<Record<string, () => Uint8Array>> = {
  dmg: () =>
    makeDmg([
      { type: v.TYPE_RAW, sectors: 64, stored: noise(32 * KIB, 1) },
      { type: v.TYPE_ZERO, sectors: 16, stored: new Uint8Array(0) },
      { type: v.TYPE_ZLIB, sectors: 128, stored: deflateSync(new Uint8Array(64 * KIB).fill(7)) },
      // 128 bytes as they are, then what stands one back again and again.
      {
        type: v.TYPE_ADC,
        sectors: 1,
        stored: Uint8Array.of(0xff, ...noise(128, 2), ...Array(6).fill([0x7f, 0, 0]).flat()),
      },
    ]),
  iso: () => makeIso(64),
};

export interface Target {
  readonly name: string;
  /** Damages images in `rounds` ways that `seed` decides. @throws when one is not refused as it should be. */
  run(seed: number, rounds: number): Promise<{ opened: number; refused: number }>;
}

/** All that can be fuzzed, by the names of the formats. A raw disk has nothing to parse. */
export const TARGETS: readonly Target[] = (await allFormats())
  .filter(({ name }) => name !== 'raw')
  .map((format) => {
    const bases = (VARIANTS[format.name] ?? [{}]).map((options) => {
      let made: Promise<Uint8Array> | undefined;
      return () => (made ??= makeBase(format, options));
    });
    return {
      name: format.name,
      run: async (seed, rounds) => {
        const base = await bases[seed % bases.length]?.();
        if (base === undefined) throw new Error(`${format.name} has no image to start from`);
        return await fuzzImage(format, base, hotPlaces(base), seed, rounds);
      },
    };
  });

/** A small image with data, zeros and, where there are some, a snapshot: something behind each table. */
async function makeBase(format: ImageFormat, options: Options): Promise<Uint8Array> {
  const given = READ_ONLY[format.name];
  if (given !== undefined) return given();
  const host = new MemoryHost();
  await createImage(format, host, '/base', DISK_BYTES, options);
  const image = await openImage('/base', host, { format: format.name });
  await image.write(0, noise(80 * KIB, 1));
  await image.snapshots?.create('one');
  if (options['compat'] !== '0.10') await image.bitmaps?.add('two', { granularityBytes: 4 * KIB });
  await image.write(64 * KIB, noise(4 * KIB, 2));
  await image.writeZeroes(32 * KIB, 64 * KIB);
  await image.write(DISK_BYTES - 512, noise(512, 3));
  await image.close();
  const file = host.files.get('/base');
  if (file === undefined) throw new Error('the image that was made is gone');
  const bytes = new Uint8Array(await file.size());
  await file.read(0, bytes);
  return bytes;
}

/** The header, its neighbourhood, and the file's first part as a whole, where most formats have their tables. */
function hotPlaces({ length }: Uint8Array): Hot {
  const upTo = (bytes: number): number => Math.min(bytes, length);
  return [
    [0, upTo(512)],
    [0, upTo(4 * KIB)],
    [0, upTo(512 * KIB)],
    [Math.max(0, length - 64 * KIB), length],
  ];
}
