import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type DiskImage, ImageError } from '#storage/image.ts';
import { openImage } from '#storage/open.ts';
import { MemoryFile, MemoryHost } from '#storage/testing.ts';
import { DiskBackend, type DiskPolicy } from './disk-backend.ts';
import { IoLimiter, type IoLimits } from './io-limit.ts';

const BYTES = new Uint8Array(512);

/** A disk whose next writes fail as told. */
async function rig(policy: Partial<DiskPolicy>, failures: ImageError['kind'][] = []) {
  const host = new MemoryHost();
  const file = new MemoryFile('disk');
  file.resizeTo(1 << 20);
  host.files.set('disk', file);
  const image: DiskImage = await openImage('disk', host, { format: 'raw' });
  const write = image.write.bind(image);
  image.write = async (offsetBytes, from) => {
    const kind = failures.shift();
    if (kind !== undefined) throw new ImageError(kind, `it is ${kind}`);
    await write(offsetBytes, from);
  };
  const told: string[] = [];
  const backend = new DiskBackend(image, {
    serial: 's',
    flushes: true,
    onFull: 'wait',
    failed: (message) => told.push(message),
    retry: () => Promise.resolve(true),
    ...policy,
  });
  return { backend, told };
}

describe('a disk of the machine', () => {
  it('says each failure once, and gives it to the guest', async () => {
    const { backend, told } = await rig({}, ['io', 'io', 'read-only']);
    const statuses = [];
    for (let i = 0; i < 4; i++) statuses.push(await backend.write(0, BYTES));
    assert.deepEqual(statuses, ['io-error', 'io-error', 'read-only', 'ok']);
    assert.deepEqual(told, ['it is io', 'it is read-only']);
  });

  it('waits for room, when the host has none', async () => {
    const { backend, told } = await rig({}, ['no-space', 'no-space']);
    assert.equal(await backend.write(0, BYTES), 'ok');
    assert.deepEqual(told, ['it is no-space']);
  });

  it('does not wait when the machine ends, or when it is told to report', async () => {
    const ending = await rig({ retry: () => Promise.resolve(false) }, ['no-space']);
    assert.equal(await ending.backend.write(0, BYTES), 'no-space');
    const reporting = await rig({ onFull: 'report' }, ['no-space']);
    assert.equal(await reporting.backend.write(0, BYTES), 'no-space');
  });

  it('keeps flushes to itself when told to', async () => {
    const { backend } = await rig({ flushes: false });
    assert.equal(await backend.flush(), 'ok');
  });
});

describe('limits', () => {
  /** When requests of so many bytes begin that all come at 0. */
  async function begins(limits: IoLimits, sizes: readonly number[]): Promise<number[]> {
    const times: number[] = [];
    const clock = { nowMs: () => 0, wait: (ms: number) => Promise.resolve(void times.push(ms)) };
    const limiter = new IoLimiter(limits, clock);
    for (const size of sizes) {
      const turn = limiter.admit(size);
      if (turn === undefined) times.push(0);
      await turn;
    }
    return times.map(Math.round);
  }

  const cases = [
    { name: 'none', limits: {}, sizes: [1e9, 1e9], expected: [0, 0] },
    {
      name: 'requests',
      limits: { requestsPerSecond: 20 },
      sizes: [1, 1, 1, 1],
      expected: [0, 0, 50, 100],
    },
    {
      name: 'bytes',
      limits: { bytesPerSecond: 1000 },
      sizes: [100, 500, 500],
      expected: [0, 500, 1000],
    },
    {
      name: 'both',
      limits: { requestsPerSecond: 10, bytesPerSecond: 1000 },
      sizes: [0, 0, 1000],
      expected: [0, 100, 900],
    },
  ];
  for (const { name, limits, sizes, expected } of cases)
    it(name, async () => assert.deepEqual(await begins(limits, sizes), expected));

  it('give back with time, but no more than a burst', () => {
    let nowMs = 0;
    const clock = { nowMs: () => nowMs, wait: () => Promise.resolve() };
    const limiter = new IoLimiter({ requestsPerSecond: 10 }, clock);
    assert.equal(limiter.admit(0), undefined);
    nowMs = 10_000;
    assert.equal(limiter.admit(0), undefined);
    assert.ok(limiter.admit(0));
  });
});
