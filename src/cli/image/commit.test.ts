import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { after, describe, it } from 'node:test';
import { createImage } from '#storage/formats/testing.ts';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { formatNamed, openImage } from '#storage/open.ts';
import { noise } from '#storage/testing.ts';
import { imageCommit } from './commit.ts';
import type { ImageContext } from './context.ts';

const MIB = 1 << 20;
const SIZE_BYTES = 2048 * MIB;
/** Of a header of qcow2: where the L1 table stands. */
const L1_OFFSET_AT = 40;

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-commit-'));
after(() => rmSync(dir, { recursive: true }));

async function makeChain(): Promise<string> {
  const [base, top] = [path.join(dir, 'base.qcow2'), path.join(dir, 'top.qcow2')];
  const qcow2 = await formatNamed('qcow2');
  await createImage(qcow2, nodeStorageHost, base, SIZE_BYTES);
  const options = { backing_file: base, backing_fmt: 'qcow2' };
  await createImage(qcow2, nodeStorageHost, top, SIZE_BYTES, options);
  const image = await openImage(top, nodeStorageHost, { format: 'qcow2' });
  for (let at = 0; at < SIZE_BYTES; at += 512 * MIB) await image.write(at, noise(MIB, 1));
  await image.close();
  return top;
}

function isEmpty(file: string): boolean {
  const bytes = readFileSync(file);
  const l1 = Number(bytes.readBigUInt64BE(L1_OFFSET_AT));
  return bytes.subarray(l1, l1 + (SIZE_BYTES / (512 * MIB)) * 8).every((byte) => byte === 0);
}

describe('ring0 image commit', () => {
  for (const drop of [false, true])
    it(`is at its end when all is done (${drop ? 'the top stays' : 'the top is emptied'})`, async () => {
      const top = await makeChain();
      const seen: number[] = [];
      let [total, done, hasEnded] = [0, 0, false];
      const progress: ImageContext['progress'] = {
        start: (bytes) => {
          total = bytes;
        },
        add: (bytes) => {
          done += bytes;
          seen.push(done / total);
        },
        end: () => {
          hasEnded = true;
          assert.equal(done, total);
          assert.equal(isEmpty(top), !drop);
        },
      };
      const host = { stdout: new PassThrough(), stderr: new PassThrough() };
      const context = { host, signal: new AbortController().signal, progress, quiet: true };
      await imageCommit(top, { drop }, context as unknown as ImageContext);
      assert.ok(hasEnded);
      assert.ok(seen.every((one, index) => one <= 1 && one >= (seen[index - 1] ?? 0)));
      // A step a table.
      assert.equal(seen.filter((one) => one > 64 / 65 && !drop).length, drop ? 0 : 4);
    });
});
