import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { crashes, RecordingHost } from '../../blocks/testing.ts';
import { type DiskImage, ImageError, type ImageFormat, SECTOR_BYTES } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { isZero } from '../../zeros.ts';
import {
  checkImage,
  createImage,
  exercise,
  hasQemu,
  type Options,
  readAll,
  run,
  tempDir,
} from '../testing.ts';

const KIB = 1024;
const MIB = 1 << 20;
const CHUNK_BYTES = 4 * MIB;
/** What the disk has at first, and what of it the tests write to. */
const USED_BYTES = 3 * MIB + SECTOR_BYTES;

export interface ResizeCase {
  readonly name: string;
  readonly options: Options;
  /** A size for which the tables have no room where they are. */
  readonly largeBytes: number;
  readonly shrinks: boolean;
  /** Whether the tables keep their units whatever is discarded: these are punched out of the file where they are. */
  readonly keepsUnits?: boolean;
}

export interface ResizeSuite {
  readonly format: ImageFormat;
  readonly qemuName: string;
  readonly cases: readonly ResizeCase[];
}

/** Grow, write, grow, shrink: what is on the disk stays, what is new reads as zeros, and QEMU sees the same. */
export function testResizing({ format, qemuName, cases }: ResizeSuite): void {
  const dir = tempDir(`resize-${format.name}`);
  describe(`${format.name}: other sizes`, () => {
    for (const one of cases) {
      it(`${one.name}: what was written stays`, async () => {
        const host = new MemoryHost();
        const expected = await changeSizes(format, host, one);
        if (!hasQemu) return;
        for (const [name, file] of host.files) {
          const bytes = new Uint8Array(await file.size());
          await file.read(0, bytes);
          writeFileSync(path.join(dir, path.basename(name)), bytes);
        }
        writeFileSync(path.join(dir, 'raw'), expected);
        run(dir, 'qemu-img', 'compare', '-f', qemuName, '-F', 'raw', 'd', 'raw');
      });
      it(`${one.name}: power may be lost while it grows`, async () => {
        assert.ok((await crashWhile(format, one, one.largeBytes)) > 1);
      });
      it(`${one.name}: what is discarded gives its room back`, async () => {
        await discardAndReuse(format, one);
      });
      it(`${one.name}: a host without room costs nothing, however often it is asked`, async () => {
        await fillHost(format, one);
      });
      if (one.shrinks)
        it(`${one.name}: power may be lost while it shrinks`, async () => {
          assert.ok((await crashWhile(format, one, MIB)) > 1);
        });
    }
  });
}

async function changeSizes(
  format: ImageFormat,
  host: MemoryHost,
  { options, largeBytes, shrinks }: ResizeCase,
): Promise<Uint8Array> {
  await createImage(format, host, '/d', USED_BYTES, options);
  let image = await openImage('/d', host, { format: format.name });
  let expected = await readAll(image);
  await exercise(image, expected, 1, 20);
  await image.resize?.(largeBytes);
  await checkGrown(image, expected, largeBytes);
  await exercise(image, expected, 2, 10);
  const last = noise(SECTOR_BYTES, 3);
  await image.write(largeBytes - SECTOR_BYTES, last);
  if (!shrinks) await assert.rejects(async () => await image.resize?.(MIB, { shrink: true }));
  await image.close();
  image = await openImage('/d', host, { format: format.name });
  const atEnd = new Uint8Array(SECTOR_BYTES);
  await image.read(largeBytes - SECTOR_BYTES, atEnd);
  assert.deepEqual(atEnd, last);
  if (shrinks) {
    await assert.rejects(async () => await image.resize?.(2 * MIB), /shrink/);
    await image.resize?.(2 * MIB + SECTOR_BYTES, { shrink: true });
    await image.resize?.(USED_BYTES);
    expected.fill(0, 2 * MIB + SECTOR_BYTES);
    await checkGrown(image, expected, USED_BYTES);
  } else {
    const grown = new Uint8Array(largeBytes);
    grown.set(expected);
    grown.set(last, largeBytes - SECTOR_BYTES);
    expected = grown;
  }
  await image.close();
  if (format.check !== undefined)
    assert.deepEqual((await checkImage(format, host, '/d')).messages, []);
  return expected;
}

async function checkGrown(
  image: DiskImage,
  expected: Uint8Array,
  sizeBytes: number,
): Promise<void> {
  assert.equal(image.sizeBytes, sizeBytes);
  for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, sizeBytes - at));
    await image.read(at, bytes);
    const known = expected.subarray(at, at + CHUNK_BYTES);
    assert.ok(isDeepStrictEqual(known, bytes.subarray(0, known.length)), `what was at ${at}`);
    assert.ok(isZero(bytes.subarray(known.length)), `not zeros after ${at + known.length}`);
  }
}

/** Room is taken anew while the image is open, and the file gets shorter when it is closed. */
async function discardAndReuse(
  format: ImageFormat,
  { options, keepsUnits = false }: ResizeCase,
): Promise<void> {
  const host = new MemoryHost();
  await createImage(format, host, '/d', 24 * MIB, options);
  const file = await host.openFile('/d');
  const emptyBytes = await file.size();
  let image = await openImage('/d', host, { format: format.name });
  const expected = noise(16 * MIB, 6);
  await image.write(0, expected);
  await image.flush();
  const fullBytes = await file.size();
  await image.discard(0, 6 * MIB);
  await image.writeZeroes(8 * MIB, 4 * MIB, { mayUnmap: true });
  await image.flush();
  // The host takes it back once the flush is over.
  await new Promise((resolve) => setImmediate(resolve));
  await image.write(16 * MIB, expected.subarray(0, 8 * MIB));
  await image.flush();
  if (!keepsUnits) assert.ok((await file.size()) <= fullBytes, 'the file grew');
  await image.discard(20 * MIB, 4 * MIB);
  await image.close();
  if (!keepsUnits) assert.ok((await file.size()) < emptyBytes + 11 * MIB, 'the file is as long');
  assert.ok((await file.allocatedBytes()) < emptyBytes + 11 * MIB, 'no room was given back');
  assert.deepEqual((await checkImage(format, host, '/d')).messages, []);
  image = await openImage('/d', host, { format: format.name, readOnly: true });
  const whole = new Uint8Array(24 * MIB);
  for (const [from, to] of [
    [6, 8],
    [12, 16],
  ] as const)
    whole.set(expected.subarray(from * MIB, to * MIB), from * MIB);
  whole.set(expected.subarray(0, 4 * MIB), 16 * MIB);
  assert.ok(isDeepStrictEqual(await readAll(image), whole), 'the wrong parts went');
  await image.close();
}

/** Writes that find no room, and are tried again, as a guest's are. */
async function fillHost(format: ImageFormat, { options }: ResizeCase): Promise<void> {
  const host = new MemoryHost();
  await createImage(format, host, '/d', 4 * MIB, options);
  const open = host.openFile.bind(host);
  let isFull = true;
  host.openFile = async (name, how) => {
    const file = await open(name, how);
    const [write, tryWrite] = [file.write.bind(file), file.tryWrite?.bind(file)];
    // Tables still find room.
    const hasRoom = (from: Uint8Array | undefined): boolean =>
      !isFull || from?.subarray(0, SECTOR_BYTES).every((byte) => byte === 0xa5) !== true;
    file.write = async (offsetBytes, from) => {
      if (!hasRoom(from)) throw new ImageError('no-space', `${name}: full`);
      await write(offsetBytes, from);
    };
    file.tryWrite = (offsetBytes, from) =>
      hasRoom(from[0]) && tryWrite?.(offsetBytes, from) === true;
    return file;
  };
  const image = await openImage('/d', host, { format: format.name });
  const bytes = new Uint8Array(2 * MIB).fill(0xa5);
  for (let round = 0; round < 12; round++) {
    await assert.rejects(image.write(0, bytes), /full/);
    await assert.rejects(image.write(3 * MIB, bytes.subarray(0, 10 * KIB)), /full/);
    await image.flush();
  }
  isFull = false;
  await image.write(0, bytes);
  await image.close();
  const fileBytes = await (await open('/d')).size();
  assert.ok(fileBytes < 12 * MIB, `${fileBytes} bytes`);
  const found = await checkImage(format, host, '/d');
  assert.deepEqual([found.corruptions, found.messages.join('\n')], [0, '']);
}

/** The disk has the old size or the new one, and what both have. */
async function crashWhile(
  format: ImageFormat,
  { options }: ResizeCase,
  toBytes: number,
): Promise<number> {
  const host = new RecordingHost();
  await createImage(format, host, '/d', USED_BYTES, options);
  const first = await openImage('/d', host, { format: format.name });
  const expected = await readAll(first);
  await exercise(first, expected, 4, 20);
  await first.close();
  const start = new MemoryHost();
  for (const [name, file] of host.files) start.files.set(name, file.clone());
  host.events.length = 0;
  const image = await openImage('/d', host, { format: format.name });
  await image.resize?.(toBytes, { shrink: true });
  await image.close();
  let points = 0;
  for (const crash of crashes(start, host.events, 5)) {
    points++;
    if (format.check !== undefined) {
      const found = await checkImage(format, crash.host, '/d', 'leaks');
      assert.deepEqual([found.corruptions, found.leaks], [0, 0], found.messages.join('\n'));
    }
    const after = await openImage('/d', crash.host, { format: format.name, readOnly: true });
    assert.ok([USED_BYTES, toBytes].includes(after.sizeBytes), `${after.sizeBytes} bytes`);
    const kept = new Uint8Array(Math.min(toBytes, USED_BYTES));
    await after.read(0, kept);
    // What a shrink that was cut off would have lost may be lost.
    assert.ok(isDeepStrictEqual(expected.subarray(0, kept.length), kept), 'what both have');
    await after.close();
  }
  return points;
}
