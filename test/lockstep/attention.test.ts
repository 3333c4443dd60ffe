import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { readState } from '#cpu/vcpu-state.ts';
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
  { name: 'a loop over two pages', body: '1: incl DATA\n jmp 2f\n .balign 4096\n 2: jmp 1b' },
  {
    name: 'calls by a pointer, into another page',
    body: 'mov $f, %ebx\n 1: call *%rbx\n jmp 1b\n .balign 4096\n f: incl DATA\n ret',
  },
  { name: 'returns to where nothing has called', body: '1: incl DATA\n push $1b\n ret' },
  { name: 'LOOP', body: '1: incl DATA\n loop 1b\n jmp 1b' },
  { name: 'code that it writes', body: '1: incl DATA\n incb 2f+1\n 2: mov $0, %al\n jmp 1b' },
  { name: 'CLI and STI', body: '1: incl DATA\n cli\n sti\n jmp 1b' },
];

/** Loops of one instruction, which counts no turns. */
const tight = [
  { name: 'a jump to itself', body: '1: jmp 1b' },
  { name: 'a branch to itself', body: 'xor %eax, %eax\n 1: jz 1b' },
  { name: 'LOOP to itself', body: '1: loop 1b\n jmp 1b' },
  { name: 'an indirect jump to itself', body: 'mov $1f, %eax\n 1: jmp *%rax' },
  {
    name: 'a call of itself',
    body: '1: mov $0x1f0000, %esp\n 2: mov $300, %ecx\n jmp 4f\n 3: call 4f\n 4: loop 3b\n jmp 1b',
  },
];

const codeSizes = [
  { bits: 64, code32: false },
  { bits: 32, code32: true },
] as const;

/** A guest that runs `body`. Addresses of 64-bit registers are those of 32 bits there. */
function guestOf(body: string, code32: boolean): Uint8Array {
  const text = code32 ? `.code32\n ${body.replaceAll('*%r', '*%e')}` : body;
  return assemble(`on_irq: on_fault: hlt\n start: xor %ecx, %ecx\n ${text}\n`);
}

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

for (const { bits, code32 } of codeSizes) {
  describe(`attention in translated code of ${bits} bits`, { skip, timeout: 300_000 }, () => {
    for (const { name, body } of loops) {
      it(name, async () => {
        const report = new Int32Array(new SharedArrayBuffer(8));
        const machine = new GuestMachine({
          verify: false,
          code32,
          slice: () => 2 ** 31 - 1,
          boundary: (m) => {
            // The first looks are for regions that have been made.
            if ((m.view.getInt32(m.ram + DATA_PADDR, true) | 0) < WARM_TURNS) return;
            while (Atomics.load(report, 0) === 0);
            m.end();
          },
        });
        machine.load(guestOf(body, code32));
        const turns = await turnsUntilLook(machine, report);
        assert.ok(turns >= 0 && turns <= MOST_BEYOND, `${turns} turns`);
        assert.ok((machine.vcpu.hotStats?.executed ?? 0) > WARM_TURNS);
      });
    }
  });

  describe(`slices of translated code of ${bits} bits`, { skip }, () => {
    for (const { name, body } of [...loops, ...tight]) {
      it(`end in time: ${name}`, () => {
        let before = 0;
        const lengths: number[] = [];
        const machine = new GuestMachine({
          verify: false,
          code32,
          slice: () => SLICE,
          boundary: (m) => {
            lengths.push(m.vcpu.instructions - before);
            before = m.vcpu.instructions;
            if (lengths.length === SLICES) m.end();
          },
        });
        machine.load(guestOf(body, code32));
        machine.run();
        const longest = Math.max(...lengths);
        // A block that would go over it waits for the next.
        assert.ok(Math.abs(longest - SLICE) <= MOST_BEYOND, `${longest} instructions`);
        assert.ok((machine.vcpu.hotStats?.executed ?? 0) > (SLICE * SLICES) / 4);
      });
    }
  });
}

/** What a string instruction does at most between two looks; going down, or comparing, it does its elements one by one. */
const MOST_STRING_BYTES = 65536;
const MOST_ELEMENTS = 4096;
const STRING_BYTES = 0x70000;
const FROM = 0x100000;
const TO = 0x180000;

const forms = ['movs', 'stos', 'lods', 'cmps', 'scas'].flatMap((name) =>
  ([1, 8] as const).flatMap((size) =>
    [false, true].map((isDown) => ({ name, size, isDown, isBulk: /movs|stos/.test(name) })),
  ),
);

/** The most elements between two looks. */
function longestRun(code: Uint8Array, heat: number): number {
  const left: number[] = [];
  const machine = new GuestMachine({
    verify: false,
    heat,
    slice: () => 2 ** 31 - 1,
    boundary: (m) => left.push(Number(readState(m.memory, m.cpu).regs[1])),
  });
  machine.load(code);
  machine.run();
  assert.equal(left.at(-1), 0);
  return Math.max(...left.slice(1).map((count, i) => (left[i] ?? 0) - count));
}

describe('string instructions look around', { skip }, () => {
  for (const { name, size, isDown, isBulk } of forms)
    it(`REP ${name} of ${size} bytes, ${isDown ? 'down' : 'up'}`, () => {
      const start = isDown ? STRING_BYTES - 8 : 0;
      const code = assemble(`on_irq: on_fault: hlt
        start: ${isDown ? 'std' : 'cld'}
        mov $${FROM + start}, %esi
        mov $${TO + start}, %edi
        xor %eax, %eax
        mov $${STRING_BYTES / size - 8}, %ecx
        rep ${name}${size === 1 ? 'b' : 'q'}
        out %al, $0xf4
        1: jmp 1b`);
      const most = isBulk && !isDown ? MOST_STRING_BYTES / size : MOST_ELEMENTS;
      for (const heat of [0, 1]) {
        const longest = longestRun(code, heat);
        assert.ok(longest > 0 && longest <= most, `${longest} elements`);
      }
    });
});
