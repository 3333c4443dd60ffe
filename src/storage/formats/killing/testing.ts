import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import process from 'node:process';
import { describe, it } from 'node:test';
import type { ImageFormat } from '../../image.ts';
import { nodeStorageHost } from '../../node/node-host.ts';
import { openImage } from '../../open.ts';
import { checkImage, createImage, hasQemu, type Options, run, tempDir } from '../testing.ts';

const MIB = 1 << 20;
const BLOCK_BYTES = 4096;
/** Blocks go round in so many places. */
const PLACES = 1024;

export interface KillSuite {
  readonly format: ImageFormat;
  /** Undefined: QEMU's check of the format finds errors where room is left over, or there is none. */
  readonly qemuName?: string;
  readonly variants: readonly Options[];
}

/** Writes numbered blocks, and beside them larger parts that come and go; says which blocks are flushed. */
const WRITER = `
  const [, open, host, file, format] = process.argv;
  const { openImage } = await import(open);
  const { nodeStorageHost } = await import(host);
  const image = await openImage(file, nodeStorageHost, { format });
  const part = new Uint8Array(${MIB}).fill(0xee);
  for (let block = 1; ; block++) {
    await image.write(((block * 37) % ${PLACES}) * ${BLOCK_BYTES}, new Uint8Array(${BLOCK_BYTES}).fill(block));
    if (block % 7 === 0) await image.write((8 + (block % 8)) * ${MIB}, part);
    if (block % 11 === 0) await image.discard((8 + (block % 4)) * ${MIB}, 4 * ${MIB});
    if (block % 5 === 0) {
      await image.flush();
      process.stdout.write(block + '\\n');
    }
  }`;

/** SIGKILL while an image is written to, in the files of this machine: it is sound, and what was flushed is there. */
export function testKills({ format, qemuName, variants }: KillSuite): void {
  const dir = tempDir(`kill-${format.name}`);
  const file = path.join(dir, 'd');
  describe(`${format.name}: the process is killed`, () => {
    for (const [index, options] of variants.entries())
      it(`${JSON.stringify(options)}: all that it said was flushed is there`, async () => {
        await createImage(format, nodeStorageHost, file, 16 * MIB, options);
        const urls = ['../../open.ts', '../../node/node-host.ts'].map(
          (one) => new URL(one, import.meta.url).href,
        );
        const child = spawn(
          process.execPath,
          ['--input-type=module', '-e', WRITER, ...urls, file, format.name],
          { stdio: ['ignore', 'pipe', 'inherit'] },
        );
        const flushed = await killAfter(child, 150 + index * 77);
        const { corruptions, messages } = await checkImage(format, nodeStorageHost, file, 'leaks');
        assert.equal(corruptions, 0, messages.join('\n'));
        assert.deepEqual((await checkImage(format, nodeStorageHost, file)).messages, []);
        await assertFlushed(format, file, flushed);
        if (hasQemu && qemuName !== undefined) run(dir, 'qemu-img', 'check', '-f', qemuName, 'd');
      });
  });
}

async function assertFlushed(format: ImageFormat, file: string, flushed: number): Promise<void> {
  const image = await openImage(file, nodeStorageHost, { format: format.name });
  for (let block = Math.max(1, flushed - PLACES + 24); block <= flushed; block++) {
    const into = new Uint8Array(BLOCK_BYTES);
    await image.read(((block * 37) % PLACES) * BLOCK_BYTES, into);
    assert.ok(
      into.every((byte) => byte === block % 256),
      `block ${block} of ${flushed}`,
    );
  }
  await image.close();
}

/** Waits until the child has flushed `blocks`, and kills it; the last block that it said was flushed. */
async function killAfter(child: ChildProcess, blocks: number): Promise<number> {
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    if (Number(text.split('\n').at(-2) ?? 0) >= blocks) child.kill('SIGKILL');
  });
  await once(child, 'close');
  return Number(text.split('\n').at(-2) ?? 0);
}
