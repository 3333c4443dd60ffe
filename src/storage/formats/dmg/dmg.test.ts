import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { deflateSync } from 'node:zlib';
import type { ImageError } from '../../image.ts';
import { openImage, probeFormat } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { fuzzImage, hasQemu, readAll, run, tempDir } from '../testing.ts';
import { unpackAdc } from './adc.ts';
import { bunzip2 } from './bunzip2.ts';
import { dmg } from './dmg.ts';
import * as v from './layout.ts';
import { makeDmg, type Part } from './testing.ts';

const CHUNK = 128 * 1024;
const dir = tempDir('dmg');
const hasBzip2 = spawnSync('bzip2', ['--help']).status === 0;

function bzip2(bytes: Uint8Array, level = 9): Uint8Array {
  return spawnSync('bzip2', [`-${level}`, '-c'], { input: bytes }).stdout;
}

const text = new Uint8Array(CHUNK).map((_, at) => (at % 7) * (at % 11));
const sectors = CHUNK / 512;
const none = new Uint8Array(0);
const plainParts: readonly Part[] = [
  { type: v.TYPE_RAW, sectors, stored: noise(CHUNK, 1) },
  { type: v.TYPE_ZERO, sectors: 16, stored: none },
  { type: v.TYPE_ZLIB, sectors, stored: deflateSync(text) },
  { type: v.TYPE_IGNORE, sectors: 8, stored: none },
];
const plain = Buffer.concat([noise(CHUNK, 1), Buffer.alloc(16 * 512), text, Buffer.alloc(8 * 512)]);

async function open(bytes: Uint8Array) {
  const host = new MemoryHost();
  const file = await host.openFile('/d.dmg', { access: 'create' });
  await file.write(0, bytes);
  assert.equal((await probeFormat(file)).name, 'dmg');
  return await openImage('/d.dmg', host, { format: 'dmg', readOnly: true });
}

describe('DMG images', () => {
  it('of plain, zero and zlib chunks are read as QEMU does', async () => {
    const bytes = makeDmg(plainParts);
    assert.deepEqual(await readAll(await open(bytes)), new Uint8Array(plain));
    if (!hasQemu) return;
    writeFileSync(path.join(dir, 'd.dmg'), bytes);
    writeFileSync(path.join(dir, 'raw'), plain);
    run(dir, 'qemu-img', 'compare', '-f', 'dmg', '-F', 'raw', 'd.dmg', 'raw');
  });

  it('of ADC chunks are read', async () => {
    // "abc", then 7 bytes from 3 back, then 4 from 1 back.
    const stored = new Uint8Array([0x82, 97, 98, 99, 0x10, 0x02, 0x40, 0x00, 0x00]);
    const start = Buffer.from('abcabcabcaaaaa');
    assert.deepEqual(Buffer.from(unpackAdc(stored, 100)), start);
    const rest = Buffer.alloc(512 - start.length, 7);
    const packed = Buffer.concat(
      [stored, ...[0, 1, 2, 3].map((n) => rest.subarray(n * 128, n * 128 + 128))].flatMap(
        (part, n) =>
          n === 0 || part.length === 0 ? [part] : [Buffer.from([0x7f + part.length]), part],
      ),
    );
    const image = await open(makeDmg([{ type: v.TYPE_ADC, sectors: 1, stored: packed }]));
    assert.deepEqual(await readAll(image), new Uint8Array(Buffer.concat([start, rest])));
  });

  it('of bzip2 chunks are read', { skip: !hasBzip2 && 'there is no bzip2' }, async () => {
    const contents = [text, noise(CHUNK, 3), new Uint8Array(CHUNK).fill(65)];
    const parts = contents.map((bytes) => ({ type: v.TYPE_BZIP2, sectors, stored: bzip2(bytes) }));
    assert.deepEqual(
      await readAll(await open(makeDmg(parts))),
      new Uint8Array(Buffer.concat(contents)),
    );
  });

  it('of LZFSE chunks are named as what they are', async () => {
    await assert.rejects(
      open(makeDmg([{ type: v.TYPE_LZFSE, sectors, stored: noise(100, 1) }])),
      (error: ImageError) => error.kind === 'unsupported' && /LZFSE.*hdiutil/.test(error.message),
    );
  });

  it('are refused or read, and nothing else, when damaged', async () => {
    const bytes = makeDmg(plainParts);
    const hot = [
      [bytes.length - 512, bytes.length],
      [bytes.length - 1400, bytes.length - 512],
    ] as const;
    const { opened, refused } = await fuzzImage(dmg, bytes, hot, 5, 100);
    assert.ok(opened > 3 && refused > 3, `${opened} opened, ${refused} refused`);
  });
});

describe('bunzip2', { skip: !hasBzip2 && 'there is no bzip2' }, () => {
  const cases = [
    { name: 'nothing', bytes: none },
    { name: 'one byte', bytes: Uint8Array.of(7) },
    { name: 'a long run', bytes: new Uint8Array(400_000) },
    { name: 'several blocks of noise', bytes: noise(250_000, 1) },
    {
      name: 'runs of 4, 5, 255 and 260',
      bytes: Buffer.from(`aaaab${'c'.repeat(5)}${'d'.repeat(255)}${'e'.repeat(260)}`),
    },
  ];
  for (const { name, bytes } of cases)
    it(name, () =>
      assert.deepEqual(Buffer.from(bunzip2(bzip2(bytes, 1), bytes.length)), Buffer.from(bytes)),
    );

  it('says what is damaged, cut off or too long', () => {
    const packed = bzip2(noise(2000, 1));
    for (const at of [4, 12, 60, 400, packed.length - 20]) {
      const damaged = Uint8Array.from(packed, (byte, index) => (index === at ? byte ^ 0x10 : byte));
      assert.throws(() => bunzip2(damaged, 2000), { name: 'DamagedStream' });
      assert.throws(() => bunzip2(packed.subarray(0, at), 2000), { name: 'DamagedStream' });
    }
    assert.throws(() => bunzip2(packed, 1999), /too long/);
  });
});
