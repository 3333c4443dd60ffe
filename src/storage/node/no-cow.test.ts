import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, it } from 'node:test';
import { formatNamed } from '../open.ts';
import { createImage } from '../ops/create.ts';
import { nodeStorageHost } from './node-host.ts';
import { StagingHost } from './staging-host.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-no-cow-'));
after(() => rmSync(dir, { recursive: true }));
const { PATH } = process.env;
afterEach(() => {
  process.env['PATH'] = PATH;
});

/** Makes a disk in two files, and resolves with what a program called chattr was asked for. */
async function asked(noCow: boolean, script: string): Promise<string> {
  const log = path.join(dir, 'log');
  writeFileSync(log, '');
  writeFileSync(path.join(dir, 'chattr'), `#!/bin/sh\n${script}\n`);
  chmodSync(path.join(dir, 'chattr'), 0o755);
  process.env['PATH'] = `${dir}:${PATH}`;
  const host = new StagingHost(nodeStorageHost, { flushes: true, noCow });
  const vmdk = await formatNamed('vmdk');
  const options = new Map([['subformat', 'monolithicFlat']]);
  await createImage(path.join(dir, 'd.vmdk'), host, vmdk, { sizeBytes: 1 << 20, options });
  await host.commit();
  return readFileSync(log, 'utf8');
}

const note = `echo "$1 $(stat -c %s "$2") $(basename "$2")" >> ${dir}/log`;

it('files of a new image are marked while they are empty, all of them', async () => {
  const lines = (await asked(true, note)).trim().split('\n').sort();
  assert.equal(lines.length, 2);
  assert.match(lines[0] ?? '', /^\+C 0 \.d-flat\.vmdk\.ring0-/);
  assert.match(lines[1] ?? '', /^\+C 0 \.d\.vmdk\.ring0-/);
});

it('without the wish nothing is marked', async () => assert.equal(await asked(false, note), ''));

it('a file system that has no such mark keeps nobody from making an image', async () => {
  assert.equal(await asked(true, 'exit 1'), '');
});
