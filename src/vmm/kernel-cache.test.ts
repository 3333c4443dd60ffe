import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { keptKernels } from './kernel-cache.ts';

const PAYLOAD = Uint8Array.of(1, 2, 3);
const UNPACKED = Uint8Array.from({ length: 1001 }, (_, i) => i);

let folder = '';
let unpacked = 0;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'ring0-kernels-'));
  unpacked = 0;
});
afterEach(() => rmSync(folder, { recursive: true }));

function unpack(payload: Uint8Array): Uint8Array | undefined {
  const kept = keptKernels(folder, (write) => write());
  const found = kept(payload, () => {
    unpacked++;
    return UNPACKED;
  });
  return found && Uint8Array.from(found);
}

/** Changes the only file in the folder. */
function change(how: (bytes: Buffer) => Uint8Array): void {
  const file = path.join(folder, readdirSync(folder)[0] ?? '');
  writeFileSync(file, how(readFileSync(file)));
}

it('unpacks a payload once', () => {
  assert.deepEqual([unpack(PAYLOAD), unpack(PAYLOAD)], [UNPACKED, UNPACKED]);
  assert.equal(unpacked, 1);
});

it('tells payloads apart', () => {
  unpack(PAYLOAD);
  unpack(PAYLOAD.subarray(1));
  assert.equal(unpacked, 2);
});

const DAMAGES: Readonly<Record<string, (bytes: Buffer) => Uint8Array>> = {
  'a bit of it': (bytes) => bytes.with(bytes.length - 100, 0),
  'a bit of its head': (bytes) => bytes.with(41, 0),
  'its end cut off': (bytes) => bytes.subarray(0, bytes.length - 500),
  'most cut off': (bytes) => bytes.subarray(0, 20),
  'nothing left': () => new Uint8Array(),
};
for (const [name, damage] of Object.entries(DAMAGES))
  it(`unpacks again where a file is damaged: ${name}`, () => {
    unpack(PAYLOAD);
    change(damage);
    assert.deepEqual(unpack(PAYLOAD), UNPACKED);
    assert.equal(unpacked, 2);
  });
