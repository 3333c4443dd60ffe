import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { PassThrough } from 'node:stream';
import { after, it } from 'node:test';
import { noise } from '#storage/testing.ts';
import { main } from '../main.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-appliance-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);

async function ring0(...args: string[]): Promise<{ status: number; text: string }> {
  let text = '';
  const stream = new PassThrough();
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const status = await main(['appliance', ...args], {
    env: {},
    stdin: new PassThrough(),
    stdout: stream,
    stderr: stream,
    createVm: () => Promise.reject(new Error('no VM is wanted here')),
    explain: () => {
      throw new Error('nothing is to be explained here');
    },
  });
  return { status, text };
}

it('a machine goes out and comes in again', async () => {
  const disk = new Uint8Array(3 << 20);
  disk.set(noise(100_000, 1), 1 << 20);
  writeFileSync(at('disk.raw'), disk);
  const flags = ['--memory', '2G', '--cpus', '2', '-f', 'raw'];
  assert.deepEqual(await ring0('export', at('m.ova'), at('disk.raw'), ...flags), {
    status: 0,
    text: '',
  });
  const info = await ring0('info', at('m.ova'));
  assert.equal(info.status, 0, info.text);
  assert.match(info.text, /machine: m\nprocessors: 2\nmemory: 2 GiB\ndisk disk1: 3 MiB, vmdk in/);
  assert.match(info.text, /manifest: all files are as they were made/);
  const taken = await ring0('import', at('m.ova'), '-o', dir, '-O', 'raw');
  assert.equal(taken.status, 0, taken.text);
  assert.deepEqual(new Uint8Array(readFileSync(at('m-disk1.raw'))), disk);
});

it('several disks go out and come in again, each by its own name', async () => {
  const folder = at('several');
  mkdirSync(folder);
  for (const [index, name] of ['one.raw', 'two.raw'].entries())
    writeFileSync(path.join(folder, name), noise((1 + index) << 20, index));
  const disks = ['one.raw', 'two.raw'].map((name) => path.join(folder, name));
  const made = await ring0('export', at('two.ova'), ...disks, '-f', 'raw');
  assert.equal(made.status, 0, made.text);
  assert.equal((await ring0('import', at('two.ova'), '-o', folder, '-O', 'raw')).status, 0);
  for (const [index, disk] of disks.entries())
    assert.ok(
      readFileSync(path.join(folder, `two-disk${index + 1}.raw`)).equals(readFileSync(disk)),
    );
  // Packages of others may call two disks the same but for the ending.
  assert.equal(spawnSync('tar', ['xf', at('two.ova'), '-C', folder]).status, 0);
  const text = readFileSync(path.join(folder, 'two.ovf'), 'utf8');
  renameSync(path.join(folder, 'two-disk1.vmdk'), path.join(folder, 'same.vmdk'));
  renameSync(path.join(folder, 'two-disk2.vmdk'), path.join(folder, 'same.img'));
  const renamed = text.replace('two-disk1.vmdk', 'same.vmdk').replace('two-disk2.vmdk', 'same.img');
  writeFileSync(path.join(folder, 'same.ovf'), renamed);
  const taken = await ring0('import', path.join(folder, 'same.ovf'), '-o', folder, '-O', 'raw');
  assert.equal(taken.status, 0, taken.text);
  for (const [index, name] of ['same.raw', 'same-2.raw'].entries())
    assert.ok(readFileSync(path.join(folder, name)).equals(readFileSync(disks[index] ?? '')), name);
});

it('a damaged package leaves nothing, and is said to be so', async () => {
  const bytes = readFileSync(at('m.ova'));
  writeFileSync(at('bad.ova'), bytes.fill(1, 80_000, 80_010));
  const before = readdirSync(dir);
  const { status, text } = await ring0('import', at('bad.ova'), '-o', dir, '-O', 'vdi');
  assert.equal(status, 1);
  assert.match(text, /bad\.ova.*was changed or damaged/);
  assert.deepEqual(readdirSync(dir), before);
});

it('an unpacked package is checked too, by its name alone, and comes into a new folder', async () => {
  const folder = at('unpacked');
  mkdirSync(folder);
  assert.equal(spawnSync('tar', ['xf', at('m.ova'), '-C', folder]).status, 0);
  const here = process.cwd();
  process.chdir(folder);
  try {
    assert.match((await ring0('info', 'm.ovf')).text, /manifest: all files are as they were made/);
    const { status, text } = await ring0('import', 'm.ovf', '-o', 'new/one', '-O', 'raw');
    assert.equal(status, 0, text);
    assert.deepEqual(readFileSync('new/one/m-disk1.raw'), readFileSync(at('disk.raw')));
    writeFileSync('m.mf', readFileSync('m.mf', 'utf8').replace(/= ./, '= x'));
    assert.equal((await ring0('info', 'm.ovf')).status, 1);
  } finally {
    process.chdir(here);
  }
});
