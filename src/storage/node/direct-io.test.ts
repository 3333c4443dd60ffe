import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { MemoryFile, noise } from '../testing.ts';
import { type BlockFile, DirectIo } from './direct-io.ts';
import { NodeFile } from './node-file.ts';

const KIB = 1024;

/** A file that refuses what a host does when it is opened with O_DIRECT, and answers out of order. */
class StrictFile implements BlockFile {
  readonly file = new MemoryFile('strict');
  readonly #blockBytes: number;
  #requests = 0;

  constructor(blockBytes: number) {
    this.#blockBytes = blockBytes;
  }

  async #check(offsetBytes: number, { length, byteOffset }: Uint8Array): Promise<void> {
    for (const place of [offsetBytes, length, byteOffset])
      assert.equal(place % this.#blockBytes, 0, `${place} is not at a block`);
    for (let turn = this.#requests++ % 3; turn > 0; turn--) await Promise.resolve();
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    await this.#check(offsetBytes, into);
    return await this.file.read(offsetBytes, into);
  }

  async write(offsetBytes: number, from: Uint8Array): Promise<number> {
    const bytes = from.slice();
    await this.#check(offsetBytes, from);
    await this.file.write(offsetBytes, bytes);
    return bytes.length;
  }

  size(): Promise<number> {
    return this.file.size();
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.file.truncate(sizeBytes);
  }
}

/** Writes, several at a time in places apart, and what the file is to hold then. */
async function fill(
  write: (offsetBytes: number, from: Uint8Array) => Promise<void>,
): Promise<Uint8Array> {
  const model = new Uint8Array(2048 * KIB);
  let sizeBytes = 0;
  const lengths = [1, 512, 700, 4096, 65_536, 131_072, 200_000, 511, 8192];
  for (let round = 0; round < 12; round++) {
    const writes: Promise<void>[] = [];
    let at = ((round * 37 * 512) % (256 * KIB)) + (round % 4) * 100;
    for (const [index, length] of lengths.entries()) {
      const bytes = noise(length, round * 16 + index);
      model.set(bytes, at);
      sizeBytes = Math.max(sizeBytes, at + length);
      writes.push(write(at, bytes));
      at += length;
      if (index % 2 === 1) at = Math.ceil(at / 4096) * 4096;
    }
    await Promise.all(writes);
  }
  return model.subarray(0, sizeBytes);
}

describe('direct I/O', () => {
  for (const blockBytes of [512, 4096])
    it(`does requests of all lengths in whole blocks of ${blockBytes}`, async () => {
      const strict = new StrictFile(blockBytes);
      const direct = new DirectIo(strict, blockBytes);
      const model = await fill((at, from) => direct.write(at, from));
      assert.equal(await strict.size(), model.length);
      for (const [from, length] of [
        [0, model.length + 1000],
        [777, 300_000],
        [4096, 4096],
      ] as const) {
        const into = new Uint8Array(length);
        const there = Math.min(length, model.length - from);
        assert.equal(await direct.read(from, into), there);
        assert.deepEqual(into.subarray(0, there), model.subarray(from, from + there));
      }
    });

  it('keeps apart writes into one block', async () => {
    const strict = new StrictFile(4096);
    const direct = new DirectIo(strict, 4096);
    const model = noise(4096 * 4, 1);
    const writes: Promise<void>[] = [];
    for (let at = 0; at < model.length; at += 256)
      writes.push(direct.write(at, model.subarray(at, at + 256)));
    await Promise.all(writes);
    const into = new Uint8Array(model.length);
    await direct.read(0, into);
    assert.deepEqual(into, model);
  });

  it('changes the file otherwise behind writes into blocks, and before those that come later', async () => {
    const strict = new StrictFile(4096);
    const direct = new DirectIo(strict, 4096);
    await direct.write(0, noise(8192, 1));
    const gate = Promise.withResolvers<void>();
    const read = strict.read.bind(strict);
    strict.read = async (offsetBytes, into) => {
      const count = await read(offsetBytes, into);
      await gate.promise;
      return count;
    };
    const model = new Uint8Array(8192);
    model.set([1, 2, 3]);
    model.set([4, 5], 6000);
    const before = direct.write(0, model.subarray(0, 3));
    const clear = direct.alone(() => strict.file.write(0, new Uint8Array(8192)));
    const behind = direct.write(6000, model.subarray(6000, 6002));
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    gate.resolve();
    await Promise.all([before, clear, behind]);
    const into = new Uint8Array(8192);
    await direct.read(0, into);
    model.fill(0, 0, 3);
    assert.deepEqual(into, model);
  });

  it('passes errors on, and goes on', async () => {
    const strict = new StrictFile(512);
    const direct = new DirectIo(strict, 512);
    const { read } = strict;
    strict.read = () => Promise.reject(new Error('broken'));
    for (let count = 0; count < 40; count++)
      await assert.rejects(direct.read(0, new Uint8Array(512)), /broken/);
    strict.read = read.bind(strict);
    assert.equal(await direct.read(0, new Uint8Array(512)), 0);
  });
});

describe('a file past the cache of the host', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'ring0-direct-io-'));
  after(() => rmSync(dir, { recursive: true }));

  it('holds what was written, or says that it cannot pass the cache', async () => {
    const place = path.join(dir, 'a');
    writeFileSync(place, '');
    const told: string[] = [];
    const file = await NodeFile.open(place, {
      access: 'write',
      onNotDirect: (line) => told.push(line),
    });
    const model = await fill((at, from) => file.write(at, from));
    assert.equal(file.tryRead(0, [new Uint8Array(512)]), told.length > 0);
    await file.flush();
    await file.close();
    assert.equal(statSync(place).size, model.length);
    assert.deepEqual(new Uint8Array(readFileSync(place)), model);
    for (const line of told) assert.match(line, /a: .*O_DIRECT.*cache=none/);
  });

  it('has zeros where it was punched while parts of the same blocks were written', async () => {
    const place = path.join(dir, 'punched');
    for (let round = 0; round < 5; round++) {
      const model = noise(3072 * KIB, round);
      writeFileSync(place, model);
      const file = await NodeFile.open(place, { access: 'write', onNotDirect: () => {} });
      let isPunched = false;
      const punch = file.punch(100, 2048 * KIB).then((done) => {
        isPunched = true;
        return done;
      });
      // One of them is between its read and its write whenever the range is cleared, unless that waits.
      for (let count = 0; !isPunched; count++) {
        model.fill(count, 0, 100);
        await file.write(0, model.subarray(0, 100));
      }
      if (await punch) model.fill(0, 100, 100 + 2048 * KIB);
      await file.close();
      assert.ok(readFileSync(place).equals(model), `round ${round}`);
    }
  });

  it('is read as it is', async () => {
    const place = path.join(dir, 'b');
    const model = noise(300_100, 1);
    writeFileSync(place, model);
    const file = await NodeFile.open(place, { onNotDirect: () => {} });
    const into = new Uint8Array(300_000);
    assert.equal(await file.read(512, into), 299_588);
    assert.deepEqual(into.subarray(0, 299_588), model.subarray(512));
    assert.ok(into.subarray(299_588).every((byte) => byte === 0));
    await file.close();
  });
});
