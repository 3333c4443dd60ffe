import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deflateRawSync, deflateSync, zstdCompressSync } from 'node:zlib';
import { crc32c } from './blocks/crc32c.ts';
import * as dmg from './formats/dmg/layout.ts';
import { makeDmg } from './formats/dmg/testing.ts';
import * as qcow2 from './formats/qcow2/layout.ts';
import { createImage, type Options, readAll } from './formats/testing.ts';
import * as vdi from './formats/vdi/layout.ts';
import * as vhdx from './formats/vhdx/layout.ts';
import * as vpc from './formats/vpc/layout.ts';
import { type Codec, ImageError } from './image.ts';
import { formatNamed, openImage } from './open.ts';
import { statusAt } from './ops/status.ts';
import { MemoryFile, MemoryHost } from './testing.ts';

// Images from strangers that would cost their reader more than they are worth.

const MIB = 1 << 20;

async function bytesOf(host: MemoryHost, name: string): Promise<Buffer> {
  const file = await host.openFile(name);
  const bytes = Buffer.alloc(await file.size());
  await file.read(0, bytes);
  return bytes;
}

async function store(host: MemoryHost, name: string, bytes: Uint8Array): Promise<void> {
  await (await host.openFile(name, { access: 'create' })).write(0, bytes);
}

/** A copy in which one text stands in another's place, which is as long. */
function renamed(bytes: Buffer, from: string, to: string): Buffer {
  const copy = Buffer.from(bytes);
  const at = copy.indexOf(from);
  assert.ok(at >= 0 && from.length === to.length, `${from} as ${to}`);
  copy.write(to, at, 'latin1');
  return copy;
}

/** Images of two formats in turn, `/i000`, `/i001` and on, each of which names the next one as its backing file. */
async function chain(length: number, last: string): Promise<MemoryHost> {
  const host = new MemoryHost();
  const models: Buffer[] = [];
  for (const [name, other] of [
    ['qcow2', 'qed'],
    ['qed', 'qcow2'],
  ] as const) {
    await createImage(await formatNamed(other), host, '/base', MIB);
    const options = { backing_file: '/base', backing_fmt: other };
    await createImage(await formatNamed(name), host, '/model', MIB, options);
    models.push(await bytesOf(host, '/model'));
  }
  const nameOf = (index: number): string => `/i${String(index).padStart(3, '0')}`;
  for (let index = 0; index < length; index++) {
    const next = index === length - 1 ? last : nameOf(index + 1);
    await store(host, nameOf(index), renamed(models[index % 2] ?? Buffer.of(), '/base', next));
  }
  return host;
}

/** Makes an image what another is taken for by images that differ from that: formats that tell parents by no mark have none. */
const MARKS: Readonly<Record<string, (image: Buffer, other: Buffer) => void>> = {
  qcow2: () => {},
  qed: () => {},
  vmdk: (image, other) => {
    const [own, its] = [image, other].map((one) => /^CID=\w{8}/m.exec(one.toString('latin1')));
    assert.ok(own && its);
    image.write(its[0], own.index, 'latin1');
  },
  vdi: (image, other) => {
    for (const at of [vdi.H_UUID, vdi.H_UUID_MODIFY]) other.copy(image, at, at, at + 16);
  },
  vpc: (image, other) => {
    for (const footer of [0, image.length - vpc.FOOTER_BYTES]) {
      const bytes = image.subarray(footer, footer + vpc.FOOTER_BYTES);
      other.copy(bytes, vpc.F_UUID, vpc.F_UUID, vpc.F_UUID + 16);
      bytes.writeUInt32BE(0, vpc.F_CHECKSUM);
      const sum = bytes.reduce((total, byte) => total + byte, 0);
      bytes.writeUInt32BE(~sum >>> 0, vpc.F_CHECKSUM);
    }
  },
  vhdx: (image, other) => {
    for (const header of vhdx.HEADER_OFFSETS) {
      const bytes = image.subarray(header, header + vhdx.HEADER_BYTES);
      other.copy(bytes, vhdx.H_DATA_WRITE, header + vhdx.H_DATA_WRITE, header + vhdx.H_LOG_GUID);
      bytes.writeUInt32LE(0, vhdx.CHECKSUM_AT);
      bytes.writeUInt32LE(crc32c(bytes), vhdx.CHECKSUM_AT);
    }
  },
};

/** Images `/0.…`, `/1.…` and on that differ from each other in turn, and the first from the last. */
async function ring(name: string, length: number): Promise<MemoryHost> {
  const host = new MemoryHost();
  const format = await formatNamed(name);
  const at = (index: number): string => `/${index}.${name}`;
  await createImage(format, host, at(0), MIB);
  const first = await bytesOf(host, at(0));
  for (let index = 1; index <= length; index++)
    await createImage(format, host, at(index), MIB, {
      backing_file: at(index - 1),
      backing_fmt: name,
    });
  const last = await bytesOf(host, at(length));
  MARKS[name]?.(last, first);
  await store(host, at(0), last);
  return host;
}

class CountedFile extends MemoryFile {
  override readonly readOnly = true;
  reads = 0;

  override read(offsetBytes: number, into: Uint8Array): Promise<number> {
    this.reads++;
    return super.read(offsetBytes, into);
  }
}

describe('qcow2 tables from strangers', () => {
  it('that all lie past the end of the file are not looked for one by one', async () => {
    const host = new MemoryHost();
    const sizeBytes = 2 ** 40;
    await createImage(await formatNamed('qcow2'), host, '/made', sizeBytes);
    const bytes = await bytesOf(host, '/made');
    const l1Offset = Number(bytes.readBigUInt64BE(qcow2.H_L1_OFFSET));
    const tables = bytes.readUInt32BE(qcow2.H_L1_SIZE);
    assert.equal(tables, 2048);
    const image = Buffer.concat([bytes, Buffer.alloc(MIB)]);
    for (let index = 0; index < tables; index++)
      image.writeBigUInt64BE(2n ** 63n + 2n ** 40n + BigInt(index * 65536), l1Offset + index * 8);
    const file = new CountedFile('/disk');
    file.apply(0, image);
    host.files.set('/disk', file);
    const disk = await openImage('/disk', host, { format: 'qcow2', readOnly: true });
    const before = file.reads;
    let [at, asked] = [0, 0];
    while (at < sizeBytes) {
      const { kind, lengthBytes } = await statusAt(disk, at, sizeBytes - at);
      assert.equal(kind, 'zero');
      at += lengthBytes;
      asked++;
    }
    assert.ok(file.reads - before <= 2, `${file.reads - before} reads`);
    assert.ok(asked <= 4, `asked ${asked} times`);
    const sector = new Uint8Array(512).fill(1);
    await disk.read(sizeBytes / 2, sector);
    assert.ok(sector.every((byte) => byte === 0));
    await disk.close();
  });
});

describe('chains of images from strangers', () => {
  it('over two formats are followed when they end', async () => {
    const host = await chain(6, '/raw0');
    await createImage(await formatNamed('qcow2'), host, '/raw0', MIB);
    const image = await openImage('/i000', host, { probe: true, readOnly: true });
    assert.equal((await readAll(image)).length, MIB);
    await image.close();
  });

  for (const length of [1, 2, 5])
    it(`of ${length} that lead back are refused`, async () => {
      const host = await chain(length * 2, '/i000');
      await assert.rejects(
        openImage('/i000', host, { probe: true, readOnly: true }),
        (error: unknown) => error instanceof ImageError && /leads back/.test(error.message),
      );
    });

  it('too deep are refused before all of them are opened', async () => {
    const host = await chain(300, '/none');
    await assert.rejects(
      openImage('/i000', host, { probe: true, readOnly: true }),
      (error: unknown) => error instanceof ImageError && /more than 256/.test(error.message),
    );
  });

  for (const name of Object.keys(MARKS))
    for (const length of [1, 2, 3])
      it(`of ${length} ${name} images that lead back are refused`, async () => {
        const host = await ring(name, length);
        await assert.rejects(
          openImage(`/0.${name}`, host, { probe: true, readOnly: true }),
          (error: unknown) => error instanceof ImageError && /leads back/.test(error.message),
        );
      });
});

/** What a stream holds that is far longer than the unit that it shall fill, or that has no end. */
const LONG = new Uint8Array(32 * MIB);
const STREAMS: readonly { readonly name: string; cut(bytes: Buffer): Buffer }[] = [
  { name: 'expands to 32 MiB', cut: (bytes) => bytes },
  { name: 'has no end', cut: (bytes) => bytes.subarray(0, 20) },
  { name: 'is no stream', cut: (bytes) => Buffer.alloc(bytes.length, 0xee) },
];

/** Compresses everything to the same, and notes how long what comes out again may be. */
class HostileHost extends MemoryHost {
  mostBytes = 0;
  override readonly codec: Codec;

  constructor(real: Codec, stored: (kind: 'raw' | 'zlib' | 'zstd') => Uint8Array) {
    super();
    const bounded =
      (inflate: (from: Uint8Array, maxBytes: number) => Promise<Uint8Array>) =>
      (from: Uint8Array, maxBytes: number) => {
        this.mostBytes = Math.max(this.mostBytes, maxBytes);
        return inflate(from, maxBytes);
      };
    this.codec = {
      deflateRaw: () => Promise.resolve(stored('raw')),
      deflate: () => Promise.resolve(stored('zlib')),
      zstdCompress: () => Promise.resolve(stored('zstd')),
      inflateRaw: bounded((from, most) => real.inflateRaw(from, most)),
      inflate: bounded((from, most) => real.inflate(from, most)),
      zstdDecompress: bounded((from, most) => real.zstdDecompress(from, most)),
    };
  }
}

const packed = {
  raw: deflateRawSync(LONG),
  zlib: deflateSync(LONG),
  zstd: zstdCompressSync(LONG),
};

describe('compressed data from strangers', () => {
  const cases: readonly { format: string; options: Options; unitBytes: number }[] = [
    { format: 'qcow2', options: {}, unitBytes: 64 << 10 },
    { format: 'qcow2', options: { compression_type: 'zstd' }, unitBytes: 64 << 10 },
    { format: 'vmdk', options: { subformat: 'streamOptimized' }, unitBytes: 64 << 10 },
  ];
  for (const { format, options, unitBytes } of cases)
    for (const { name, cut } of STREAMS)
      it(`${format} ${JSON.stringify(options)}: a stream that ${name} is refused`, async () => {
        const host = new HostileHost(new MemoryHost().codec, (kind) => cut(packed[kind]));
        await createImage(await formatNamed(format), host, '/d', 4 * unitBytes, options);
        const image = await openImage('/d', host, { format });
        await image.writeCompressed?.(0, Buffer.alloc(unitBytes, 1));
        await image.close();
        const again = await openImage('/d', host, { format, readOnly: true });
        await assert.rejects(
          again.read(0, new Uint8Array(512)),
          (error: unknown) =>
            error instanceof ImageError && error.kind === 'corrupt' && error.message.includes('/d'),
        );
        await again.close();
        assert.ok(host.mostBytes <= unitBytes, `${host.mostBytes} bytes were allowed`);
      });

  const chunks = [
    { name: 'zlib', type: dmg.TYPE_ZLIB, stored: packed.zlib },
    { name: 'zlib without end', type: dmg.TYPE_ZLIB, stored: packed.zlib.subarray(0, 20) },
    { name: 'ADC', type: dmg.TYPE_ADC, stored: Buffer.alloc(3 << 10, Uint8Array.of(0x7f, 0, 0)) },
    { name: 'bzip2', type: dmg.TYPE_BZIP2, stored: Buffer.from('BZh91AY&SY no end') },
  ];
  for (const { name, type, stored } of chunks)
    it(`dmg: a chunk of ${name} is refused`, async () => {
      const host = new MemoryHost();
      await store(host, '/d', makeDmg([{ type, sectors: 8, stored }]));
      const image = await openImage('/d', host, { format: 'dmg', readOnly: true });
      await assert.rejects(
        image.read(0, new Uint8Array(512)),
        (error: unknown) =>
          error instanceof ImageError && error.kind === 'corrupt' && error.message.includes('/d'),
      );
    });

  it('dmg: a chunk that says it holds more than fits into memory is refused when it is opened', async () => {
    const host = new MemoryHost();
    const part = { type: dmg.TYPE_ZLIB, sectors: 2 ** 30, stored: packed.zlib };
    await store(host, '/d', makeDmg([part]));
    await assert.rejects(
      openImage('/d', host, { format: 'dmg', readOnly: true }),
      (error: unknown) => error instanceof ImageError && error.kind === 'corrupt',
    );
  });
});

describe('what looks raw', () => {
  for (const version of [1, 2])
    it(`and is LUKS ${version} is not taken for a disk, unless it is called raw`, async () => {
      const host = new MemoryHost();
      const disk = Buffer.alloc(MIB);
      disk.set([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, version]);
      await store(host, '/d', disk);
      await assert.rejects(
        openImage('/d', host, { probe: true, readOnly: true }),
        /\/d: an encrypted LUKS container.* name the format raw/,
      );
      const image = await openImage('/d', host, { format: 'raw', readOnly: true });
      assert.equal(image.sizeBytes, MIB);
    });
});
