import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { after, describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { crashes, Random, RecordingHost } from '../blocks/testing.ts';
import {
  type CheckResult,
  type DiskImage,
  ImageError,
  type ImageFormat,
  SECTOR_BYTES,
  type StorageHost,
} from '../image.ts';
import { nodeStorageHost } from '../node/node-host.ts';
import { openImage } from '../open.ts';
import { MemoryHost, noise } from '../testing.ts';
import { isZero } from '../zeros.ts';

const MIB = 1 << 20;
export const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

export type Options = Readonly<Record<string, string | number | boolean>>;

export interface Variant {
  readonly name: string;
  readonly options: Options;
  /** Whether qemu-img reads such an image; default: yes. */
  readonly qemu?: boolean;
}

export interface FormatSuite {
  readonly format: ImageFormat;
  /** Qemu-img's name of the format, and of its check, if it has one. */
  readonly qemuName: string;
  readonly qemuChecks: boolean;
  readonly variants: readonly Variant[];
  /** What `qemu-img create -o` is given for images that we write to. */
  readonly qemuOptions: readonly string[];
  /** Whether QEMU opens disks of no bytes that it makes with these options, or we as this variant; default: it does. */
  readonly qemuOpensEmpty?: (variant: string) => boolean;
  /** Sizes of disks, in bytes, as the format has them: what is asked for may be rounded. */
  readonly sizes: readonly number[];
  /** A size beyond 2 TiB, or the format's largest. */
  readonly hugeBytes: number;
}

/** Runs a program in `dir`; its output. */
export function run(dir: string, program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: dir, encoding: 'utf8' });
  assert.equal(status, 0, `${program} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

/** A folder that goes with the test file. */
export function tempDir(name: string): string {
  const dir = mkdtempSync(path.join(tmpdir(), `ring0-${name}-`));
  after(() => rmSync(dir, { recursive: true }));
  return dir;
}

export async function createImage(
  format: ImageFormat,
  host: StorageHost,
  file: string,
  sizeBytes: number,
  options: Options = {},
): Promise<void> {
  const out = await host.openFile(file, { access: 'create' });
  try {
    await format.create?.(out, { sizeBytes, options: new Map(Object.entries(options)) }, host);
  } finally {
    await out.close();
  }
}

export async function checkImage(
  format: ImageFormat,
  host: StorageHost,
  path: string,
  repair: 'none' | 'leaks' | 'all' = 'none',
): Promise<CheckResult> {
  const file = await host.openFile(path, { access: repair === 'none' ? 'read' : 'write' });
  const context = {
    host,
    readOnly: repair === 'none',
    anyBacking: true,
    openBacking: async () => undefined,
  };
  try {
    const result = await format.check?.(file, { repair }, context);
    assert.ok(result !== undefined, `${format.name} has no check`);
    return result;
  } finally {
    await file.close();
  }
}

/** Random changes to a disk, of whose first part `expected` is a copy; and that reads agree on the way. */
export async function exercise(
  image: DiskImage,
  expected: Uint8Array,
  seed: number,
  steps: number,
  each: (step: number, firstSector: number, sectors: number) => void = () => {},
): Promise<void> {
  const random = new Random(seed);
  const total = expected.length / SECTOR_BYTES;
  for (let step = 0; step < steps && total > 0; step++) {
    const first = random.below(total);
    const most = random.below(4) === 0 ? 4096 : 24;
    const sectors = 1 + random.below(Math.min(total - first, most));
    const offset = first * SECTOR_BYTES;
    const length = sectors * SECTOR_BYTES;
    each(step, first, sectors);
    await change(image, expected.subarray(offset, offset + length), offset, random.below(9), step);
    if (step % 10 === 9) {
      await image.flush();
      const into = new Uint8Array(length);
      await image.read(offset, into);
      assertSame(into, expected.subarray(offset, offset + length), `step ${step}`);
    }
  }
}

async function change(
  image: DiskImage,
  expected: Uint8Array,
  offset: number,
  kind: number,
  seed: number,
): Promise<void> {
  if (kind < 6) {
    expected.set(noise(expected.length, seed + 1));
    await image.write(offset, expected);
  } else if (kind < 8) {
    expected.fill(0);
    await image.writeZeroes(offset, expected.length, { mayUnmap: kind === 7 });
  } else {
    const before = expected.slice();
    await image.discard(offset, expected.length);
    await image.read(offset, expected);
    for (let at = 0; at < expected.length; at += SECTOR_BYTES) {
      const sector = expected.subarray(at, at + SECTOR_BYTES);
      const isZero = sector.every((byte) => byte === 0);
      if (!isZero) assertSame(sector, before.subarray(at, at + SECTOR_BYTES), 'after a discard');
    }
  }
}

function assertSame(actual: Uint8Array, expected: Uint8Array, what: string): void {
  if (isDeepStrictEqual(actual.slice(), expected.slice())) return;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  assert.fail(`${what}: differs at ${at} of ${actual.length}`);
}

export async function readAll(image: DiskImage): Promise<Uint8Array> {
  const bytes = new Uint8Array(image.sizeBytes);
  for (let done = 0; done < bytes.length; done += MIB)
    await image.read(done, bytes.subarray(done, done + MIB));
  return bytes;
}

/** What every format that can be written must do, against qemu-img where that has the format too. */
export function testFormat(suite: FormatSuite): void {
  const { format } = suite;
  const dir = tempDir(format.name);
  const at = (name: string): string => path.join(dir, name);
  const opensEmpty = suite.qemuOpensEmpty ?? (() => true);
  describe(`${format.name}: what we make`, () => {
    for (const { name, options, qemu = true } of suite.variants)
      for (const size of suite.sizes)
        it(`${name}, ${size} bytes`, async () => {
          await createImage(format, nodeStorageHost, at('ours'), size, options);
          const expected = await changeAndReopen(suite, at('ours'), size + 1);
          if (qemu && hasQemu && (size > 0 || opensEmpty(name)))
            compareByQemu(suite, dir, 'ours', expected);
        });
    it(`a disk of ${suite.hugeBytes} bytes takes no room`, async () => {
      await createImage(format, nodeStorageHost, at('huge'), suite.hugeBytes);
      const image = await openImage(at('huge'), nodeStorageHost, { format: format.name });
      const last = image.sizeBytes - SECTOR_BYTES;
      await image.write(last, noise(SECTOR_BYTES, 1).fill(0x5a));
      await image.close();
      if (hasQemu)
        run(dir, 'qemu-io', '-f', suite.qemuName, '-c', `read -P 0x5a ${last} 512`, 'huge');
      const file = await nodeStorageHost.openFile(at('huge'));
      assert.ok((await file.allocatedBytes()) < 80 * MIB);
      await file.close();
      rmSync(at('huge'));
    });
  });
  describe(`${format.name}: what qemu-img makes`, { skip: !hasQemu && 'no qemu-img' }, () => {
    for (const options of suite.qemuOptions)
      for (const size of suite.sizes.filter((one) => one > 0 || opensEmpty(options)))
        it(`${options === '' ? 'plain' : options}, ${size} bytes`, async () => {
          const flags = options === '' ? [] : ['-o', options];
          run(dir, 'qemu-img', 'create', '-q', '-f', suite.qemuName, ...flags, 'qemu', `${size}`);
          const expected = await changeAndReopen(suite, at('qemu'), size + 2);
          compareByQemu(suite, dir, 'qemu', expected);
          await letQemuWrite(suite, dir, 'qemu', expected);
        });
  });
}

async function changeAndReopen(
  { format }: FormatSuite,
  file: string,
  seed: number,
): Promise<Uint8Array> {
  const image = await openImage(file, nodeStorageHost, { format: format.name });
  const expected = await readAll(image);
  await exercise(image, expected, seed, 25);
  await image.close();
  const again = await openImage(file, nodeStorageHost, { format: format.name, readOnly: true });
  assertSame(await readAll(again), expected, 'after opening again');
  await again.close();
  if (format.check === undefined) return expected;
  const result = await checkImage(format, nodeStorageHost, file);
  assert.deepEqual([result.corruptions, result.leaks, result.messages], [0, 0, []]);
  return expected;
}

function compareByQemu(suite: FormatSuite, dir: string, file: string, expected: Uint8Array): void {
  writeFileSync(path.join(dir, 'expected'), expected);
  const info: unknown = JSON.parse(
    run(dir, 'qemu-img', 'info', '-f', suite.qemuName, '--output=json', file),
  );
  assert.ok(info instanceof Object && 'virtual-size' in info);
  assert.equal(info['virtual-size'], expected.length);
  run(dir, 'qemu-img', 'compare', '-f', suite.qemuName, '-F', 'raw', file, 'expected');
  if (suite.qemuChecks) run(dir, 'qemu-img', 'check', '-q', '-f', suite.qemuName, file);
}

async function letQemuWrite(
  suite: FormatSuite,
  dir: string,
  file: string,
  expected: Uint8Array,
): Promise<void> {
  if (expected.length < MIB) return;
  const [offset, length] = [expected.length - 70_144, 66_048];
  run(dir, 'qemu-io', '-f', suite.qemuName, '-c', `write -q -P 0x33 ${offset} ${length}`, file);
  expected.fill(0x33, offset, offset + length);
  const image = await openImage(path.join(dir, file), nodeStorageHost, {
    format: suite.format.name,
    readOnly: true,
  });
  assertSame(await readAll(image), expected, 'after qemu-io wrote');
  await image.close();
}

/** Kills the power after every write of a workload, and of some repairs: the image is sound, and what was flushed is there. */
export async function testCrashes(
  format: ImageFormat,
  sizeBytes: number,
  options: Options,
  seed: number,
  prepare: (host: MemoryHost) => Promise<void> = async () => {},
): Promise<number> {
  const host = new RecordingHost();
  await prepare(host);
  await createImage(format, host, '/d', sizeBytes, options);
  const start = new MemoryHost();
  for (const [name, file] of host.files) start.files.set(name, file.clone());
  host.events.length = 0;
  const image = await openImage('/d', host, { format: format.name });
  const expected = await readAll(image);
  /** The disk when a flush was over, and how often each sector was written to by then. */
  const flushed = [{ events: 0, bytes: expected.slice(), steps: 0 }];
  const touched: { first: number; sectors: number }[] = [];
  for (let round = 0; round < 4; round++) {
    await exercise(image, expected, seed + round, 6, (_step, first, sectors) => {
      touched.push({ first, sectors });
    });
    await image.flush();
    flushed.push({ events: host.events.length, bytes: expected.slice(), steps: touched.length });
  }
  let points = 0;
  for (const crash of crashes(start, host.events, seed)) {
    points++;
    const last = flushed.findLast(({ events }) => events <= crash.events);
    assert.ok(last !== undefined);
    const found = { flushed: last.bytes, touched: touched.slice(last.steps) };
    if (points % REPAIRS_EVERY === 0 && format.check !== undefined)
      await crashRepair(format, crash.host, found, seed);
    await checkCrash(format, crash.host, found);
  }
  return points;
}

/** How many crashes there are for one whose repair crashes, too. */
const REPAIRS_EVERY = 5;

interface Found {
  readonly flushed: Uint8Array;
  /** What may have been written since. */
  readonly touched: readonly { first: number; sectors: number }[];
}

/** Kills the power after every write of a repair. */
async function crashRepair(
  format: ImageFormat,
  crashed: MemoryHost,
  found: Found,
  seed: number,
): Promise<void> {
  const host = new RecordingHost();
  for (const [name, file] of crashed.files) host.files.set(name, file.clone());
  await checkImage(format, host, '/d', 'all');
  for (const crash of crashes(crashed, host.events, seed))
    await checkCrash(format, crash.host, found);
}

async function checkCrash(
  format: ImageFormat,
  host: MemoryHost,
  { flushed, touched }: Found,
): Promise<void> {
  if (format.check !== undefined) {
    const first = await checkImage(format, host, '/d', 'leaks');
    assert.deepEqual([first.corruptions, first.leaks], [0, 0], first.messages.join('\n'));
  }
  const image = await openImage('/d', host, { format: format.name, readOnly: true });
  const bytes = await readAll(image);
  await image.close();
  const kept = flushed.slice();
  for (const { first: sector, sectors } of touched)
    for (const one of [bytes, kept])
      one.fill(0, sector * SECTOR_BYTES, (sector + sectors) * SECTOR_BYTES);
  assertSame(bytes, kept, 'what was flushed');
}

/** Places in a file that a fuzzer likes best: headers and tables. */
export type Hot = readonly (readonly [fromBytes: number, toBytes: number])[];

/** Damages images in thousands of ways: every failure is an ImageError that names the file, soon, and takes no room. */
export function fuzzImage(
  format: ImageFormat,
  base: Uint8Array,
  hot: Hot,
  seed: number,
  rounds: number,
  reseal?: (bytes: Uint8Array) => void,
): Promise<{ opened: number; refused: number }> {
  const use = (host: MemoryHost, random: Random): Promise<void> => useDamaged(format, host, random);
  return fuzzFile({ base, hot, use, ...(reseal === undefined ? {} : { reseal }) }, seed, rounds);
}

export interface FuzzedFile {
  readonly base: Uint8Array;
  readonly hot: Hot;
  /** Opens and uses `/fuzz`. */
  readonly use: (host: MemoryHost, random: Random) => Promise<void>;
  /** Makes checksums right again, so that what lies behind them is reached; called for half of the rounds. */
  readonly reseal?: (bytes: Uint8Array) => void;
}

/** As `fuzzImage`, of any file. */
export async function fuzzFile(
  { base, hot, use, reseal }: FuzzedFile,
  seed: number,
  rounds: number,
): Promise<{ opened: number; refused: number }> {
  const random = new Random(seed);
  const result = { opened: 0, refused: 0 };
  for (let round = 0; round < rounds; round++) {
    const host = new FuzzHost();
    const file = await host.openFile('/fuzz', { access: 'create' });
    const bytes = damaged(base, hot, random);
    if (round % 2 === 0) reseal?.(bytes);
    await file.truncate(bytes.length);
    for (let at = 0; at < bytes.length; at += 4096) {
      const page = bytes.subarray(at, at + 4096);
      if (!isZero(page)) await file.write(at, page);
    }
    const before = process.cpuUsage();
    try {
      await use(host, random);
      result.opened++;
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      assert.match(error.message, /\/fuzz/, `round ${round}: the error does not name the file`);
      result.refused++;
    }
    // Time of the processor: others work on this machine, too.
    const { user } = process.cpuUsage(before);
    assert.ok(user < 5_000_000, `round ${round} took ${user} us`);
  }
  return result;
}

class FuzzHost extends MemoryHost {
  override async openFile(
    ...args: Parameters<MemoryHost['openFile']>
  ): ReturnType<MemoryHost['openFile']> {
    const file = await super.openFile(...args);
    const read = file.read.bind(file);
    file.read = (offsetBytes, into) => {
      assert.ok(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0, `read at ${offsetBytes}`);
      assert.ok(into.length <= 64 * MIB, `a read of ${into.length} bytes`);
      return read(offsetBytes, into);
    };
    return file;
  }
}

function damaged(base: Uint8Array, hot: Hot, random: Random): Uint8Array {
  const bytes = base.slice(0, random.below(20) === 0 ? random.below(base.length) : base.length);
  const view = new DataView(bytes.buffer);
  const count = 1 + random.below(3);
  for (let index = 0; index < count && bytes.length >= 16; index++) {
    const [from, to] = hot[random.below(hot.length)] ?? [0, 512];
    const at = Math.min(from + random.below(to - from), bytes.length - 8);
    const values = [0, 1, 0xff, 0x7f, 0x80, 0xffff_ffff, 0x7fff_ffff, 0x8000_0000, 0x1000];
    const value = values[random.below(values.length)] ?? 0;
    const kind = random.below(6);
    const aligned = at - (at % 4);
    if (kind === 0) view.setUint8(at, value);
    else if (kind === 1) view.setUint8(at, view.getUint8(at) ^ (1 << random.below(8)));
    else if (kind === 2) view.setUint32(aligned, value, true);
    else if (kind === 3) view.setUint32(aligned, value);
    else if (kind === 4) view.setUint32(aligned, random.below(2 ** 32), true);
    else
      view.setBigUint64(Math.min(aligned, bytes.length - 8), BigInt(random.below(2 ** 48)), true);
  }
  return bytes;
}

/** What changes all of an image. */
async function changeDamaged(image: DiskImage): Promise<void> {
  for (const { name, inconsistent } of (await image.bitmaps?.list()) ?? []) {
    let runs = 0;
    if (!inconsistent)
      for await (const { lengthBytes } of image.bitmaps?.runs(name) ?? []) {
        assert.ok(lengthBytes > 0);
        if (++runs > 10_000) break;
      }
    await image.bitmaps?.remove(name);
  }
  await image.bitmaps?.add('new');
  const keepsSize = (error: unknown): void => {
    if (!(error instanceof ImageError) || error.kind !== 'unsupported') throw error;
  };
  const half = Math.ceil(image.sizeBytes / MIB / 2) * MIB;
  await image.resize?.(image.sizeBytes + MIB).catch(keepsSize);
  await image.resize?.(half, { shrink: true }).catch(keepsSize);
}

async function useDamaged(format: ImageFormat, host: MemoryHost, random: Random): Promise<void> {
  const pristine = host.files.get('/fuzz')?.clone();
  if (format.check !== undefined) {
    await checkImage(format, host, '/fuzz');
    await checkImage(format, host, '/fuzz', 'all');
  }
  if (pristine !== undefined) host.files.set('/fuzz', pristine);
  const readOnly = format.create === undefined;
  const image = await openImage('/fuzz', host, { format: format.name, readOnly });
  try {
    const sectors = image.sizeBytes / SECTOR_BYTES;
    const length = Math.min(image.sizeBytes, 128 * SECTOR_BYTES);
    for (let step = 0; step < 6; step++) {
      const offset = random.below(Math.max(1, sectors - length / SECTOR_BYTES + 1)) * SECTOR_BYTES;
      await image.extent(offset, length);
      await image.read(offset, new Uint8Array(length));
      if (readOnly) continue;
      await image.write(offset, noise(Math.min(length, 4096), step));
      await image.writeZeroes(offset, length, { mayUnmap: step % 2 === 1 });
      await image.discard(offset, length);
      await image.flush();
    }
    if (!readOnly) await changeDamaged(image);
  } finally {
    await image.close();
  }
}
