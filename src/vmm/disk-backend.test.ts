import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { IoLimits } from '#control/vm.ts';
import { type DiskImage, ImageError } from '#storage/image.ts';
import { openImage } from '#storage/open.ts';
import { MemoryFile, MemoryHost, noise } from '#storage/testing.ts';
import { DiskBackend, type DiskPolicy } from './disk-backend.ts';
import { IoLimiter } from './io-limit.ts';

const BYTES = [new Uint8Array(512)];

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
  const stalls: (string | undefined)[] = [];
  const backend = new DiskBackend(image, {
    serial: 's',
    onFull: 'wait',
    failed: (message) => told.push(message),
    stalled: (why) => stalls.push(why),
    retry: () => Promise.resolve(true),
    soon: () => Promise.resolve(false),
    ...policy,
  });
  return { backend, told, image, stalls };
}

describe('a disk of the machine', () => {
  it('says each failure once, and gives it to the guest', async () => {
    const { backend, told } = await rig({}, ['io', 'io', 'read-only']);
    const statuses = [];
    for (let i = 0; i < 4; i++) statuses.push(await backend.write(0, BYTES));
    assert.deepEqual(statuses, ['io-error', 'io-error', 'read-only', 'ok']);
    assert.deepEqual(told, ['it is io', 'it is read-only']);
  });

  it('reads and writes memory in pieces', async () => {
    const { backend, image } = await rig({});
    const bytes = noise(4096, 1);
    const pieces = [bytes.subarray(0, 512), bytes.subarray(1024, 3072), bytes.subarray(3072)];
    const whole = Uint8Array.from(pieces.flatMap((piece) => [...piece]));
    assert.equal(await backend.write(8192, pieces), 'ok');
    const there = new Uint8Array(whole.length);
    await image.read(8192, there);
    assert.deepEqual(there, whole);
    const into = pieces.map(({ length }) => new Uint8Array(length));
    assert.equal(await backend.read(8192, into), 'ok');
    assert.deepEqual(
      into,
      pieces.map((piece) => piece.slice()),
    );
  });

  it('has a guest discard parts of large units, which are punched where they lie', async () => {
    const { backend, image } = await rig({});
    assert.equal(backend.unitBytes, image.unitBytes);
    Object.defineProperty(image, 'unitBytes', { value: 32 << 20 });
    assert.equal(backend.unitBytes, 64 << 10);
  });

  it('waits for room, when the host has none', async () => {
    const { backend, told, stalls } = await rig({}, ['no-space', 'no-space', 'no-space']);
    assert.equal(await backend.write(0, BYTES), 'ok');
    assert.deepEqual(stalls, ['it is no-space', undefined]);
    assert.deepEqual(told, []);
  });

  it('does not wait when the machine ends, or when it is told to report', async () => {
    const ending = await rig({ retry: () => Promise.resolve(false) }, ['no-space', 'no-space']);
    assert.equal(await ending.backend.write(0, BYTES), 'no-space');
    const reporting = await rig({ onFull: 'report' }, ['no-space', 'no-space']);
    assert.equal(await reporting.backend.write(0, BYTES), 'no-space');
    assert.deepEqual(reporting.told, ['it is no-space']);
  });

  it('flushes for room: what the guest has freed is room when that is durable', async () => {
    const { backend, image, stalls } = await rig({}, ['no-space']);
    let flushes = 0;
    image.flush = async () => void flushes++;
    assert.equal(await backend.write(0, BYTES), 'ok');
    assert.deepEqual([flushes, stalls], [1, []]);
  });

  it('gives back by itself what a guest frees that flushes nothing', async () => {
    let pass: (goesOn: boolean) => void = () => {};
    const soon = () =>
      new Promise<boolean>((resolve) => {
        pass = resolve;
      });
    const { backend, image } = await rig({ soon });
    let flushes = 0;
    image.flush = async () => void flushes++;
    for (const goesOn of [true, false]) {
      await backend.discard(0, 512);
      await backend.writeZeroes(512, 512, true);
      pass(goesOn);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(flushes, 1);
  });

  it('fails what is asked when it has been taken away, and waits for what was asked before', async () => {
    let finish: () => void = () => {};
    const { backend, image, told } = await rig({});
    image.read = async () => {
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
    };
    const before = backend.read(0, BYTES.slice());
    let hasEnded = false;
    const end = backend.end().then(() => {
      hasEnded = true;
    });
    assert.equal(await backend.write(0, BYTES), 'io-error');
    assert.equal(backend.tryRead(0, BYTES.slice()), false);
    assert.equal(hasEnded, false);
    finish();
    await end;
    assert.deepEqual([await before, await backend.flush(), told], ['ok', 'io-error', []]);
  });

  it('changes its size between requests, and tells of it', async () => {
    const log: string[] = [];
    let finish: () => void = () => {};
    const { backend, image } = await rig({});
    const { read, resize } = image;
    image.read = async (offsetBytes, into) => {
      log.push('read');
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      await read.call(image, offsetBytes, into);
      log.push('done');
    };
    image.resize = async (sizeBytes, options) => {
      log.push('resize');
      await resize?.call(image, sizeBytes, options);
    };
    backend.onResize(() => log.push(`told ${backend.sizeBytes}`));
    const first = backend.read(0, [new Uint8Array(512)]);
    const resized = backend.resize(2 << 20, false);
    const second = backend.write((2 << 20) - 512, BYTES);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(log, ['read']);
    finish();
    assert.equal(await first, 'ok');
    await resized;
    assert.equal(await second, 'ok');
    assert.deepEqual(log, ['read', 'done', 'resize', `told ${2 << 20}`]);
    await assert.rejects(backend.resize(512, false), ImageError);
    assert.equal(await backend.write(0, BYTES), 'ok');
  });

  it('has nothing done at once that is limited, or fails', async () => {
    const { backend } = await rig({});
    const into = new Uint8Array(512);
    assert.equal(backend.tryWrite(512, [new Uint8Array(256).fill(1), new Uint8Array(256)]), true);
    assert.equal(backend.tryRead(512, [into.subarray(0, 100), into.subarray(100)]), true);
    assert.equal(into[255], 1);
    assert.equal(backend.tryRead(1 << 20, [into]), false);
    const clock = { nowMs: () => 0, wait: () => Promise.resolve() };
    const limiter = new IoLimiter({ requests: { total: { perSecond: 1 } } }, clock);
    assert.equal((await rig({ limiter })).backend.tryRead(512, [into]), false);
  });
});

describe('limits', () => {
  const rate = (perSecond: number): IoLimits => ({ requests: { total: { perSecond } } });
  const bytes = (perSecond: number): IoLimits => ({ bytes: { total: { perSecond } } });

  /** When requests of so many bytes begin that all come at 0. */
  async function begins(limits: IoLimits, sizes: readonly number[]): Promise<number[]> {
    const times: number[] = [];
    const clock = { nowMs: () => 0, wait: (ms: number) => Promise.resolve(void times.push(ms)) };
    const limiter = new IoLimiter(limits, clock);
    for (const size of sizes) {
      const turn = limiter.admit('read', size);
      if (turn === undefined) times.push(0);
      await turn;
    }
    return times.map(Math.round);
  }

  const cases = [
    { name: 'none', limits: {}, sizes: [1e9, 1e9], expected: [0, 0] },
    { name: 'requests', limits: rate(20), sizes: [1, 1, 1, 1], expected: [0, 0, 50, 100] },
    { name: 'bytes', limits: bytes(1000), sizes: [100, 500, 500], expected: [0, 500, 1000] },
    {
      name: 'both',
      limits: { ...rate(10), ...bytes(1000) },
      sizes: [0, 0, 1000],
      expected: [0, 100, 900],
    },
    {
      name: 'requests by their size',
      limits: { ...rate(20), bytesPerRequest: 4096 },
      sizes: [4096, 4097, 1, 1],
      expected: [0, 50, 100, 150],
    },
    {
      name: 'writes alone',
      limits: { bytes: { write: { perSecond: 1 } } },
      sizes: [1e9, 1e9],
      expected: [0, 0],
    },
  ];
  for (const { name, limits, sizes, expected } of cases)
    it(name, async () => assert.deepEqual(await begins(limits, sizes), expected));

  it('give back with time, but no more than a burst', () => {
    let nowMs = 0;
    const clock = { nowMs: () => nowMs, wait: () => Promise.resolve() };
    const limiter = new IoLimiter(rate(10), clock);
    assert.equal(limiter.admit('read', 0), undefined);
    nowMs = 10_000;
    assert.equal(limiter.admit('write', 0), undefined);
    assert.ok(limiter.admit('read', 0));
  });

  /** Requests that a guest completes in each second which always has one under way. */
  function perSecond(limits: IoLimits, seconds: number, idleSeconds = 0): number[] {
    let nowMs = 0;
    let waited = 0;
    const wait = (ms: number): Promise<void> => {
      waited = ms;
      return Promise.resolve();
    };
    const limiter = new IoLimiter(limits, { nowMs: () => nowMs, wait });
    const counts = new Array<number>(seconds).fill(0);
    nowMs = idleSeconds * 1000;
    for (;;) {
      waited = 0;
      void limiter.admit('write', 4096);
      nowMs += waited + 0.01;
      const second = Math.floor(nowMs / 1000 - idleSeconds);
      if (second >= seconds) return counts;
      counts[second] = (counts[second] ?? 0) + 1;
    }
  }

  it('let a burst have its rate for its time, then the steady one, and a new burst after a pause', () => {
    const burst = { perSecond: 1000, seconds: 2 };
    const limits = { requests: { total: { perSecond: 100, burst } } };
    for (const idleSeconds of [0, 60]) {
      const [first = 0, second = 0, third = 0, ...rest] = perSecond(limits, 8, idleSeconds);
      // A tenth of a second's worth more, at the beginning.
      assert.ok(first >= 1000 && first <= 1101, `${first}`);
      assert.ok(second >= 999 && second <= 1001, `${second}`);
      assert.ok(third <= 301, `${third}`);
      for (const count of rest) assert.ok(count >= 99 && count <= 101, `${count}`);
    }
  });
});
