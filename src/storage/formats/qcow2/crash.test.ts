import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { crashes, RecordingHost } from '../../blocks/testing.ts';
import type { DiskImage } from '../../image.ts';
import { nodeStorageHost } from '../../node/node-host.ts';
import { openImage } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { fuzzImage, type Options, readAll, testCrashes } from '../testing.ts';
import { qcow2 } from './qcow2.ts';
import { checkImage, createImage } from './testing.ts';

const MIB = 1 << 20;

async function base(host: MemoryHost): Promise<void> {
  const file = await host.openFile('/base', { access: 'create' });
  await file.write(0, noise(700 * 1024, 7));
}

describe('qcow2 when the power fails', () => {
  const cases: { name: string; options: Options }[] = [
    { name: 'plain', options: {} },
    { name: 'small clusters', options: { cluster_size: 2048 } },
    { name: 'version 2', options: { compat: '0.10', cluster_size: 4096 } },
    { name: 'lazy refcounts', options: { lazy_refcounts: true } },
    { name: 'subclusters', options: { extended_l2: true, cluster_size: 16384 } },
    {
      name: 'a backing file',
      options: { backing_file: 'base', backing_fmt: 'raw', cluster_size: 16384 },
    },
  ];
  for (const [index, { name, options }] of cases.entries())
    it(`${name}: sound at every write, with all that was flushed`, async () => {
      assert.ok((await testCrashes(qcow2, MIB, options, 5 + index, base)) > 20);
    });

  const versions = ['0.10', '1.1'];
  for (const compat of versions)
    it(`snapshots in version ${compat} happen as a whole or not at all`, async () => {
      const host = new RecordingHost();
      await createImage(host, '/d', {
        sizeBytes: MIB / 4,
        options: new Map<string, string | number>([
          ['compat', compat],
          ['cluster_size', 4096],
        ]),
      });
      const start = new MemoryHost();
      for (const [name, file] of host.files) start.files.set(name, file.clone());
      host.events.length = 0;
      const states = await snapshotSteps(host);
      let points = 0;
      for (const { host: found, events } of crashes(start, host.events, 3)) {
        points++;
        const at = states.findLastIndex((state) => state.events <= events);
        await checkStates(found, states[at]?.bytes, states[at + 1]?.bytes);
      }
      assert.ok(points > 50);
    });
});

interface State {
  readonly events: number;
  readonly bytes: Uint8Array;
}

/** Snapshots made, applied and deleted with writes between; what the disk held after each step. */
async function snapshotSteps(host: RecordingHost): Promise<State[]> {
  const image = await openImage('/d', host, { format: 'qcow2' });
  const steps: ((image: DiskImage) => Promise<unknown> | undefined)[] = [
    () => undefined,
    (disk) => disk.write(8192, noise(65536, 1)),
    (disk) => disk.snapshots?.create('one'),
    (disk) => disk.write(4096, noise(20480, 2)),
    (disk) => disk.snapshots?.create('two'),
    (disk) => disk.writeZeroes(12288, 16384, { mayUnmap: true }),
    (disk) => disk.snapshots?.apply('one'),
    (disk) => disk.write(131072, noise(8192, 3)),
    (disk) => disk.snapshots?.delete('one'),
    (disk) => disk.resize?.(MIB / 2),
    (disk) => disk.snapshots?.apply('2'),
    (disk) => disk.snapshots?.delete('2'),
    (disk) => disk.write(0, noise(4096, 4)),
  ];
  const states: State[] = [];
  for (const step of steps) {
    // Version 2 cannot be resized with snapshots.
    await Promise.resolve(step(image)).catch((error: Error) =>
      assert.match(error.message, /version 2/),
    );
    await image.flush();
    states.push({ events: host.events.length, bytes: await readAll(image) });
  }
  await image.close();
  return states;
}

async function checkStates(
  host: MemoryHost,
  before: Uint8Array | undefined,
  next: Uint8Array | undefined,
): Promise<void> {
  const { corruptions, text } = await checkImage(host, '/d');
  assert.equal(corruptions, 0, text);
  const image = await openImage('/d', host, { format: 'qcow2' });
  const bytes = await readAll(image);
  for (let at = 0; at < bytes.length; at += 512) {
    const sector = Buffer.from(bytes.subarray(at, at + 512));
    const isKnown = [before, next].some(
      (state) => state !== undefined && sector.equals(padded(state, at)),
    );
    assert.ok(isKnown, `sector at ${at} is neither old nor new`);
  }
  await image.write(0, noise(8192, 5));
  await image.close();
  assert.equal((await checkImage(host, '/d', 'leaks')).leaks, 0);
  assert.deepEqual(await checkImage(host, '/d'), { corruptions: 0, leaks: 0, text: '' });
}

function padded(state: Uint8Array, at: number): Uint8Array {
  const sector = new Uint8Array(512);
  sector.set(state.subarray(at, at + 512));
  return sector;
}

describe('qcow2 when its process is killed', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'ring0-qcow2-kill-'));
  after(() => rmSync(dir, { recursive: true }));
  const file = path.join(dir, 'd');
  /** Writes blocks of 4 KiB, each with its number; says which are flushed. */
  const source = `
    const { openImage } = await import(process.argv[1]);
    const { nodeStorageHost } = await import(process.argv[2]);
    const image = await openImage(process.argv[3], nodeStorageHost, { format: 'qcow2' });
    for (let block = 1; ; block++) {
      await image.write(((block * 37) % 1024) * 4096, new Uint8Array(4096).fill(block));
      if (block % 5 === 0) {
        await image.flush();
        process.stdout.write(block + '\\n');
      }
    }`;
  for (const [index, lazy] of [false, true].entries())
    it(`keeps all that it said was flushed${lazy ? ', with lazy refcounts' : ''}`, async () => {
      const options = new Map<string, boolean | number>([
        ['lazy_refcounts', lazy],
        ['cluster_size', 16384],
      ]);
      await createImage(nodeStorageHost, file, { sizeBytes: 4 * MIB, options });
      const child = spawn(
        process.execPath,
        [
          '--input-type=module',
          '-e',
          source,
          new URL('../../open.ts', import.meta.url).href,
          new URL('../../node/node-host.ts', import.meta.url).href,
          file,
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      const flushed = await killAfter(child, 200 + index * 77);
      const { corruptions, text } = await checkImage(nodeStorageHost, file);
      assert.equal(corruptions, 0, text);
      const image = await openImage(file, nodeStorageHost, { format: 'qcow2' });
      for (let block = Math.max(1, flushed - 1000); block <= flushed; block++) {
        const into = new Uint8Array(4096);
        await image.read(((block * 37) % 1024) * 4096, into);
        assert.equal(into[0], block % 256, `block ${block} of ${flushed}`);
      }
      await image.close();
    });
});

/** Waits until the child has flushed `blocks`, and kills it; the last block that it said was flushed. */
async function killAfter(child: ChildProcess, blocks: number): Promise<number> {
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    const lines = text.split('\n');
    if (Number(lines.at(-2) ?? 0) >= blocks) child.kill('SIGKILL');
  });
  await once(child, 'close');
  return Number(text.split('\n').at(-2) ?? 0);
}

it('qcow2 images that are damaged are refused or read, never worse', async () => {
  for (const [seed, extended] of [false, true].entries()) {
    const host = new MemoryHost();
    const options = new Map<string, boolean | number>([
      ['extended_l2', extended],
      ['cluster_size', 16384],
    ]);
    await createImage(host, '/d', { sizeBytes: MIB, options });
    const image = await openImage('/d', host, { format: 'qcow2' });
    await image.write(0, noise(65536, 1));
    await image.writeCompressed?.(131072, new Uint8Array(65536).fill(7));
    await image.snapshots?.create('one');
    await image.write(4096, noise(8192, 2));
    await image.writeZeroes(32768, 16384);
    await image.close();
    const file = await host.openFile('/d');
    const bytes = new Uint8Array(await file.size());
    await file.read(0, bytes);
    const hot: [number, number][] = [
      [0, 112],
      [0, 600],
      [0, bytes.length],
    ];
    // The tables are the clusters that begin with a few numbers.
    for (let at = 16384; at < bytes.length; at += 16384) hot.push([at, at + 128]);
    const { opened, refused } = await fuzzImage(qcow2, bytes, hot, seed, 60);
    assert.ok(opened > 5 && refused > 5, `${opened} opened, ${refused} refused`);
  }
});
