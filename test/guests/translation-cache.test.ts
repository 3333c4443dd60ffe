import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import type { VmStats } from '#control/vm.ts';
import { createVm } from '#index.ts';
import { smallKernel } from './small-kernel.ts';

const FUNCTIONS = 24;
const ROUNDS = 60;

/** Calls functions that stand in pages of their own, many times each, and prints the sum of what they return. */
function busyKernel(constant: number, rounds = ROUNDS): Uint8Array {
  const functions = Array.from(
    { length: FUNCTIONS },
    (_, i) => `.balign 2048
f${i}: mov $20000, %ecx
1: add $${constant + i}, %eax
  rol $3, %eax
  call leaf
  dec %ecx
  jnz 1b
  ret
`,
  );
  const calls = Array.from({ length: FUNCTIONS }, (_, i) => `  call f${i}\n`).join('');
  return smallKernel(`
_start: mov $stack, %esp
  xor %eax, %eax
  mov rounds, %ebx
2:${calls}
  dec %ebx
  jnz 2b
  mov $8, %ecx
3: rol $4, %eax
  mov %eax, %edx
  push %eax
  and $15, %al
  add $'A', %al
  out %al, $0xe9
  pop %eax
  loop 3b
  xor %al, %al
  out %al, $0xf4
.balign 65536 # what comes before tells guests apart
rounds: .long ${rounds}
leaf: xor %ecx, %eax
  ret
${functions.join('')}
.lcomm space, 4096
.set stack, space + 4096
`);
}

/** What `busyKernel` prints, by the same steps. */
function busyOutput(constant: number, rounds = ROUNDS): string {
  let sum = 0;
  for (let round = 0; round < rounds; round++)
    for (let f = 0; f < FUNCTIONS; f++)
      for (let count = 20000; count > 0; count--) {
        sum = (sum + constant + f) >>> 0;
        sum = ((sum << 3) | (sum >>> 29)) ^ count;
      }
  const letter = (shift: number) => String.fromCharCode(65 + ((sum >>> shift) & 15));
  return [28, 24, 20, 16, 12, 8, 4, 0].map(letter).join('');
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'ring0-translations-'));
after(() => rmSync(folder, { recursive: true }));

async function run(kernel: Uint8Array, verify = false): Promise<{ text: string; stats: VmStats }> {
  const vm = await createVm({
    kernel,
    memoryBytes: 8 * MIB,
    append: '',
    cpuModel: 'ring0-v2',
    accel: 'software',
    noReboot: true,
    stats: true,
    translationCache: folder,
    verify,
  });
  let text = '';
  vm.console.onOutput((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
  });
  try {
    assert.deepEqual(await vm.run(), { type: 'debug-exit', status: 1 });
    return { text, stats: vm.stats() };
  } finally {
    await vm.stop();
  }
}

/** The one file of regions in the folder. */
function cacheFile(): string {
  const names = readdirSync(folder).filter((name) => name.endsWith('.regions'));
  assert.equal(names.length, 1);
  return path.join(folder, names[0] ?? '');
}

describe('the translation cache', () => {
  const kernel = busyKernel(0x1234567);
  const expected = busyOutput(0x1234567);

  it('gives later runs the code of the first', async () => {
    const first = await run(kernel);
    assert.equal(first.text, expected);
    assert.equal(first.stats.translation?.kept, 0);
    // How much is translated while a guest runs depends on how busy the host is.
    let most = 0;
    for (let i = 0; i < 5 && most < FUNCTIONS / 2; i++) {
      const { text, stats } = await run(kernel);
      assert.equal(text, expected);
      most = Math.max(most, stats.translation?.kept ?? 0);
    }
    assert.ok(most >= FUNCTIONS / 2);
  });

  it('gives code that comes to the same results as the interpreter', async () => {
    // A guest may be over before they are there, where the host is busy.
    let kept = 0;
    for (let rounds = 3; kept === 0 && rounds < 50; rounds *= 2) {
      const { text, stats } = await run(busyKernel(0x1234567, rounds), true);
      assert.equal(text, busyOutput(0x1234567, rounds));
      kept = Math.min(stats.translation?.kept ?? 0, stats.verified?.compared ?? 0);
    }
    assert.ok(kept > 0);
  });

  it('takes code for what its bytes are', async () => {
    const other = await run(busyKernel(0x1234568));
    assert.equal(other.text, busyOutput(0x1234568));
    cacheFile();
  });

  it('does without a damaged file', async () => {
    const file = cacheFile();
    const whole = readFileSync(file);
    // Its head is behind a hash and its length: docs/adr/0009.
    const body = 40 + Math.ceil(whole.readUInt32LE(32) / 8) * 8;
    const changed = (at: number) => whole.with(at, (whole[at] ?? 0) ^ 1);
    for (const damage of [
      whole.subarray(0, whole.length / 100),
      whole.subarray(0, body + 8),
      Buffer.alloc(0),
      changed(50),
      changed(body + 8),
    ]) {
      writeFileSync(file, damage);
      const { text, stats } = await run(kernel);
      assert.equal(text, expected);
      assert.equal(stats.translation?.kept, 0);
    }
  });
});
