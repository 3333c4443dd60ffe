import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crashes, RecordingHost } from '../../blocks/testing.ts';
import type { DiskImage } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { testKills } from '../killing/testing.ts';
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

testKills({
  format: qcow2,
  qemuName: 'qcow2',
  variants: [{ cluster_size: 16384 }, { cluster_size: 16384, lazy_refcounts: true }],
});

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
