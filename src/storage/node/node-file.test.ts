import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ImageError } from '../image.ts';
import { noise } from '../testing.ts';
import { parseFilefrag } from './holes.ts';
import { NodeFile } from './node-file.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-node-file-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);

describe('NodeFile', () => {
  it('reads what was written and zeros past the end', async () => {
    const file = await NodeFile.open(at('a'), { access: 'create' });
    await file.write(1000, noise(100, 1));
    const into = new Uint8Array(300).fill(1);
    assert.equal(await file.read(900, into), 200);
    assert.deepEqual(into.subarray(100, 200), noise(100, 1));
    assert.ok(into.subarray(200).every((byte) => byte === 0));
    await file.close();
  });

  it('refuses a second writer until the first closes, by any name of the file', async () => {
    const first = await NodeFile.open(at('b'), { access: 'create' });
    await first.write(0, noise(10, 1));
    spawnSync('ln', [at('b'), at('b2')]);
    for (const access of ['write', 'create'] as const)
      await assert.rejects(
        NodeFile.open(at('b2'), { access }),
        (error: ImageError) => error.kind === 'locked',
      );
    assert.equal(await first.size(), 10, 'a refused create leaves the file as it was');
    const reader = await NodeFile.open(at('b'));
    await reader.close();
    await first.close();
    await first.close();
    await (await NodeFile.open(at('b'), { access: 'write' })).close();
  });

  // To open it would wait for somebody at its other end.
  spawnSync('mkfifo', [at('pipe')]);
  const failures = [
    { name: 'a pipe', path: at('pipe'), access: 'read', kind: 'bad-format' },
    { name: 'a pipe to write', path: at('pipe'), access: 'create', kind: 'bad-format' },
    { name: 'a file that is not there', path: at('none'), access: 'read', kind: 'not-found' },
    { name: 'a directory', path: dir, access: 'read', kind: 'bad-format' },
    { name: 'a new file that is there', path: at('a'), access: 'create-new', kind: 'exists' },
  ] as const;
  for (const { name, path: file, access, kind } of failures)
    it(`fails with ${kind} on ${name}`, async () => {
      await assert.rejects(
        NodeFile.open(file, { access }),
        (error: ImageError) => error.kind === kind && error.message.startsWith(file),
      );
    });

  it('tells holes of a sparse file from data, or says data', async () => {
    writeFileSync(at('c'), '');
    truncateSync(at('c'), 1 << 30);
    const file = await NodeFile.open(at('c'), { access: 'write' });
    assert.deepEqual(await file.extent(0, 1 << 30), { data: false, lengthBytes: 1 << 30 });
    await file.write(1 << 20, noise(65536, 1));
    const run = await file.extent(1 << 20, 1 << 20);
    assert.equal(run.data, true);
    const before = await file.extent(0, 1 << 30);
    assert.ok(before.data || before.lengthBytes === 1 << 20);
    await file.close();
  });

  it('does not look for holes that are smaller than asked', async () => {
    writeFileSync(at('few-holes'), noise(65536, 1));
    truncateSync(at('few-holes'), 1 << 20);
    const file = await NodeFile.open(at('few-holes'), { soonBytes: 1 << 20 });
    assert.deepEqual(await file.extent(0, 1 << 20), { data: true, lengthBytes: 1 << 20 });
    await file.close();
  });

  it('takes all for data, a part at once, until holes are found', async () => {
    const size = 64 << 20;
    writeFileSync(at('holes'), noise(65536, 1));
    truncateSync(at('holes'), size);
    const exact = await NodeFile.open(at('holes'));
    const soon = await NodeFile.open(at('holes'), { soonBytes: 1 << 20 });
    const first = await soon.extent(1 << 20, size - (1 << 20));
    assert.deepEqual(first, { data: true, lengthBytes: 8 << 20 });
    const hole = await exact.extent(1 << 20, size - (1 << 20));
    let found = first;
    for (let turn = 0; found.data !== hole.data && turn < 1000; turn++) {
      await sleep(10);
      found = await soon.extent(1 << 20, size - (1 << 20));
    }
    assert.deepEqual(found, hole);
    await exact.close();
    await soon.close();
  });

  it('punches holes that read as zeros, or says that it cannot', async () => {
    const file = await NodeFile.open(at('d'), { access: 'create' });
    const data = noise(1 << 22, 1);
    await file.write(0, data);
    const punched = await file.punch(1 << 20, 1 << 20);
    if (punched) data.fill(0, 1 << 20, 1 << 21);
    const into = new Uint8Array(1 << 22);
    await file.read(0, into);
    assert.ok(Buffer.compare(into, data) === 0);
    assert.equal(await file.size(), 1 << 22);
    await file.close();
  });
});

describe('parseFilefrag', () => {
  const cases = [
    {
      name: 'extents that touch are one, unwritten ones are holes',
      text: '   0:        0..    4095:  34816..  38911:   4096:\n   1:  4096..  8191: 5000..9095: 4096: last\n   2: 16384.. 20479: 1..2: 4096: 1: unwritten\n',
      expected: [{ startBytes: 0, endBytes: 8192 }],
    },
    { name: 'other output is no answer', text: 'filefrag: broken\n', expected: undefined },
    {
      name: 'overlaps are no answer',
      text: '0: 0..4095: 1..2: 3:\n1: 100..200: 1..2: 3:\n',
      expected: undefined,
    },
  ];
  for (const { name, text, expected } of cases)
    it(name, () => assert.deepEqual(parseFilefrag(text), expected));
});
