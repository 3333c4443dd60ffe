import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { after, describe, it } from 'node:test';
import { type Libc, libc } from '#base/node/libc.ts';
import { newFileFor } from './new-file.ts';
import { NodeFile } from './node-file.ts';

const skip = libc() === null && 'there is no @koromix/koffi-linux-x64';
const root = mkdtempSync(path.join(tmpdir(), 'ring0-new-file-'));
after(() => rmSync(root, { recursive: true }));
const folder = (): string => mkdtempSync(path.join(root, 'x'));
const noLinks = { linkat: () => -1 } as unknown as Libc;

/** Makes a file with a text in it, and says so. */
const WRITER = `
  const [, staging, host, file] = process.argv;
  const { StagingHost } = await import(staging);
  const { nodeStorageHost } = await import(host);
  const made = await new StagingHost(nodeStorageHost, { flushes: true }).openFile(file, { access: 'create' });
  await made.write(0, new TextEncoder().encode('new'));
  console.log('made');
  setInterval(() => {}, 1000);`;

describe('newFileFor', () => {
  for (const { how, host, isHidden } of [
    { how: 'without a name', host: libc(), isHidden: false },
    { how: 'without a name, which it cannot get', host: noLinks, isHidden: false },
    { how: 'hidden', host: null, isHidden: true },
  ])
    for (const there of [[], ['disk']])
      it(`${how}: takes a place, or leaves it (${there})`, { skip }, async () => {
        const dir = folder();
        const place = path.join(dir, 'disk');
        for (const name of there) writeFileSync(path.join(dir, name), 'old');
        for (const end of ['remove', 'moveTo'] as const) {
          const made = newFileFor(place, host);
          const file = await NodeFile.open(made.path, { access: made.access, lock: false });
          await file.write(0, new TextEncoder().encode('new'));
          await file.close();
          assert.equal(readdirSync(dir).length, there.length + (isHidden ? 1 : 0));
          made[end](place);
          if (end === 'remove') assert.deepEqual(readdirSync(dir), there);
        }
        assert.deepEqual(readdirSync(dir), ['disk']);
        assert.equal(readFileSync(place, 'utf8'), 'new');
      });

  it('leaves nothing when its place cannot be taken', { skip }, () => {
    const dir = folder();
    const made = newFileFor(path.join(dir, 'disk'), libc());
    const other = path.join(dir, 'folder');
    rmSync(other, { force: true });
    assert.throws(() => made.moveTo(path.join(dir, 'none', 'disk')), /ENOENT/);
    made.remove();
    assert.deepEqual(readdirSync(dir), []);
  });

  it('is gone when the process is killed', { skip }, async () => {
    const dir = folder();
    const urls = ['./staging-host.ts', './node-host.ts'].map(
      (one) => new URL(one, import.meta.url).href,
    );
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', WRITER, ...urls, path.join(dir, 'disk')],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.deepEqual(readdirSync(dir), []);
  });
});
