import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { ATTN_INTERRUPT, S_ATTENTION } from '#ir/state.ts';
import { assemble, DATA_PADDR, GuestMachine, missingTools } from './guest-machine.ts';

// Another thread asks for attention while translated code runs, which has no clock of its own here: how many turns of
// its loop go by until it looks?

/** Instructions of the longest region, and of the block behind it: more do not run when a look around is due. */
const MOST_BEYOND = 464;
const WARM_TURNS = 2_000_000;

/** Loops that count their turns in the first word of DATA, for ever. */
const loops = [
  { name: 'a loop of one block', body: '1: incl DATA\n jmp 1b' },
  {
    name: 'nested loops',
    body: '1: mov $1000, %ecx\n 2: incl DATA\n dec %ecx\n jnz 2b\n jmp 1b',
  },
  { name: 'a loop around calls', body: '1: call f\n call f\n jmp 1b\n f: incl DATA\n ret' },
  {
    name: 'a loop by way of indirect jumps',
    body: '1: incl DATA\n mov $2f, %eax\n jmp *%rax\n .balign 4096\n 2: mov $1b, %eax\n jmp *%rax',
  },
  {
    name: 'a recursion',
    body: '1: mov $50, %ecx\n call f\n jmp 1b\n f: incl DATA\n dec %ecx\n jz 2f\n call f\n 2: ret',
  },
  {
    name: 'a way into the middle of a loop',
    body: '1: test $1, %cl\n jz 3f\n 2: incl DATA\n add $3, %ecx\n 3: incl DATA\n add $1, %ecx\n cmp $900, %cx\n jb 2b\n jmp 1b',
  },
  {
    name: 'string instructions in a loop',
    body: '1: incl DATA\n mov $DATA + 64, %edi\n mov $10, %ecx\n rep stosb\n jmp 1b',
  },
  {
    name: 'a loop that is longer than a region',
    body: `1: ${'incl DATA\n test %eax, %eax\n jnz 1b\n '.repeat(300)} jmp 1b`,
  },
];

/** Instructions after which one is due. */
const SLICE = 1000;
const SLICES = 300;

const OBSERVER = `
  const { workerData } = require('node:worker_threads');
  const { words, counter, attention, bit, warm, report } = workerData;
  while (Atomics.load(words, counter) < warm);
  Atomics.or(words, attention, bit);
  const seen = Atomics.load(words, counter);
  Atomics.store(report, 1, seen);
  Atomics.store(report, 0, 1);
`;

/** Turns between the request and the look around. */
function turnsUntilLook(machine: GuestMachine, report: Int32Array): Promise<number> {
  const words = new Int32Array(machine.memory.buffer);
  const counter = (machine.ram + DATA_PADDR) >> 2;
  const worker = new Worker(OBSERVER, {
    eval: true,
    workerData: {
      words,
      counter,
      attention: (machine.cpu + S_ATTENTION) >> 2,
      bit: ATTN_INTERRUPT,
      warm: WARM_TURNS,
      report,
    },
  });
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('online', () => {
      machine.run();
      const turns = (words[counter] ?? 0) - Atomics.load(report, 1);
      worker.once('exit', () => resolve(turns));
    });
  });
}

const skip = missingTools();

describe('attention in translated code', { skip, timeout: 300_000 }, () => {
  for (const { name, body } of loops) {
    it(name, async () => {
      const report = new Int32Array(new SharedArrayBuffer(8));
      const machine = new GuestMachine({
        verify: false,
        slice: () => 2 ** 31 - 1,
        boundary: (m) => {
          // The first looks are for regions that have been made.
          if ((m.view.getInt32(m.ram + DATA_PADDR, true) | 0) < WARM_TURNS) return;
          while (Atomics.load(report, 0) === 0);
          m.end();
        },
      });
      machine.load(assemble(`on_irq: on_fault: hlt\n start: xor %ecx, %ecx\n ${body}\n`));
      const turns = await turnsUntilLook(machine, report);
      assert.ok(turns >= 0 && turns <= MOST_BEYOND, `${turns} turns`);
      assert.ok((machine.vcpu.hotStats?.executed ?? 0) > WARM_TURNS);
    });
  }
});

describe('slices of translated code', { skip }, () => {
  for (const { name, body } of loops) {
    it(`end in time: ${name}`, () => {
      let before = 0;
      const lengths: number[] = [];
      const machine = new GuestMachine({
        verify: false,
        slice: () => SLICE,
        boundary: (m) => {
          lengths.push(m.vcpu.instructions - before);
          before = m.vcpu.instructions;
          if (lengths.length === SLICES) m.end();
        },
      });
      machine.load(assemble(`on_irq: on_fault: hlt\n start: xor %ecx, %ecx\n ${body}\n`));
      machine.run();
      const longest = Math.max(...lengths);
      assert.ok(longest >= SLICE && longest <= SLICE + MOST_BEYOND, `${longest} instructions`);
      assert.ok((machine.vcpu.hotStats?.executed ?? 0) > (SLICE * SLICES) / 4);
    });
  }
});
