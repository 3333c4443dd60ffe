import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { parseImageOpts } from './image-opts.ts';
import { ring0Image } from './testing.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-image-opts-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);

describe('--image-opts', () => {
  const good: readonly [string, string, string | undefined][] = [
    ['driver=qcow2,file.filename=a.img', 'a.img', 'qcow2'],
    ['file.filename=a.img', 'a.img', undefined],
    ['driver=raw,file.driver=file,file.filename=a,,b=c', 'a,b=c', 'raw'],
    ['driver=file,filename=a.img', 'a.img', 'raw'],
    [
      'driver=vpc,file.driver=https,file.url=https://h/a.vhd,cache.direct=on',
      'https://h/a.vhd',
      'vpc',
    ],
  ];
  for (const [text, file, format] of good)
    it(`${text} is ${file}`, () =>
      assert.deepEqual(parseImageOpts(text), { file, format, backing: undefined }));

  for (const [text, why] of [
    ['', /file\.filename is missing/],
    ['driver=qcow2', /file\.filename is missing/],
    ['a.img', /'a\.img' has no value/],
    ['driver=qcow2,file.filename=a,offset=5', /'offset' is none/],
    ['driver=raw,file.filename=a,offset=-5', /'offset' is no size: -5/],
    ['driver=raw,file.filename=a,size=5', /'size' is no multiple of 512: 5/],
    ['driver=raw,file.driver=nbd,file.filename=a', /no driver 'nbd'/],
  ] as const)
    it(`'${text}' is refused`, () => assert.throws(() => parseImageOpts(text), why));

  it('names what commands work on', async () => {
    writeFileSync(at('a.raw'), new Uint8Array(1 << 20).fill(3));
    const raw = `driver=raw,file.filename=${at('a.raw')}`;
    const vdi = `driver=vdi,file.filename=${at('a.vdi')}`;
    const run = async (...args: readonly string[]): Promise<string> => {
      const { status, stdout, stderr } = await ring0Image(...args);
      assert.equal(status, 0, stderr);
      return stdout;
    };
    await run('convert', '--image-opts', '-O', 'vdi', raw, at('a.vdi'));
    assert.match(await run('compare', '--image-opts', raw, vdi), /identical/);
    assert.match(await run('info', '--image-opts', vdi), /file format: vdi/);
    assert.match(await run('resize', '--image-opts', vdi, '+1M'), /resized/);
    const { stderr: warned } = await ring0Image('resize', '--image-opts', raw, '1M');
    assert.equal(warned, '', 'the driver names the format');
    await run('dd', '--image-opts', `if=${vdi}`, `of=${at('d.raw')}`, 'bs=1M', 'count=1');
    assert.match(await run('compare', '-f', 'raw', '-F', 'raw', at('a.raw'), at('d.raw')), /iden/);
    await run('create', '-q', '-f', 'vdi', at('t.vdi'), '1M');
    const target = `driver=vdi,file.filename=${at('t.vdi')}`;
    await run('convert', '-n', '--target-image-opts', '-f', 'raw', at('a.raw'), target);
    assert.match(await run('compare', '-f', 'raw', '-F', 'vdi', at('a.raw'), at('t.vdi')), /iden/);
    const fresh = await ring0Image('convert', '--target-image-opts', at('a.raw'), target);
    assert.match(fresh.stderr, /add -n/);
    const { status, stderr } = await ring0Image('info', '--image-opts', '-f', 'raw', vdi);
    assert.equal(status, 1);
    assert.match(stderr, /leave -f out/);
  });
});
