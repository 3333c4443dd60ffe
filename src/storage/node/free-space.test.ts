import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, it } from 'node:test';
import { overSubscribed } from './free-space.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-space-'));
after(() => rmSync(dir, { recursive: true }));

it('tells of disks that may outgrow their file system together, though none does alone', async () => {
  const { bavail, bsize } = statfsSync(dir);
  const sizeBytes = Math.floor(bavail * bsize * 0.6);
  const files = ['a', 'b'].map((name) => path.join(dir, name));
  for (const file of files) writeFileSync(file, '');
  const disks = files.map((file) => ({ file, sizeBytes }));
  assert.deepEqual(await overSubscribed(disks.slice(0, 1)), []);
  const [line = '', ...others] = await overSubscribed(disks);
  assert.deepEqual(others, []);
  assert.ok(line.startsWith(`${files.join(', ')}: may grow by `), line);
});

it('counts the room that a file takes already, and no devices', async () => {
  const file = path.join(dir, 'sparse');
  writeFileSync(file, 'x');
  truncateSync(file, 1 << 20);
  const devices = { file: '/dev/null', sizeBytes: Number.MAX_SAFE_INTEGER };
  assert.deepEqual(await overSubscribed([{ file, sizeBytes: 1 << 20 }, devices]), []);
});
