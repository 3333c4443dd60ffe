import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Translator } from '#cpu/hot-tier.ts';
import { LockstepError } from '#cpu/lockstep/lockstep-error.ts';
import { assemble, CODE, GuestMachine, missingTools } from './guest-machine.ts';

// Translated code that is wrong on purpose: while it is made, other bytes stand at `mistake` than the interpreter has.

interface Mistake {
  readonly name: string;
  /** The body of a loop; `mistake:` stands before bytes that are changed. */
  readonly body: string;
  readonly wrong: readonly number[];
  /** What lockstep mode says; undefined where the difference is none. */
  readonly report: RegExp | undefined;
}

const cases: Mistake[] = [
  {
    name: 'no difference',
    body: 'add $1, %rax; mov %rax, DATA; mistake: xor %ebx, %ebx',
    wrong: [0x31, 0xdb],
    report: undefined,
  },
  {
    name: 'a register',
    body: 'mistake: mov $1, %eax; cmp %eax, %eax',
    wrong: [0xb8, 2],
    report: /rax: translated 0x0000000000000002, interpreted 0x0000000000000001/,
  },
  {
    name: 'a flag',
    body: 'mov $5, %eax; mistake: cmp $5, %eax; lea 1(%rcx), %rcx',
    wrong: [0x83, 0xf8, 6],
    report: /flags: translated 0x1, interpreted 0x0/,
  },
  {
    name: 'a vector register',
    body: 'mistake: pcmpeqd %xmm3, %xmm3; cmp %ecx, %ecx',
    wrong: [0x66, 0x0f, 0xef, 0xdb],
    report: /xmm3: translated 0x0000000000000000, interpreted 0xffffffffffffffff/,
  },
  {
    name: 'the x87',
    body: 'mistake: fld1; fstp %st(0); cmp %ecx, %ecx',
    wrong: [0xd9, 0xee],
    report: /x87 r7: translated 0x0000000000000000, interpreted 0x8000000000000000/,
  },
  {
    name: 'a byte of memory',
    body: 'mov $0x1122, %eax; mov $DATA, %ebx; mistake: mov %al, 3(%rbx); cmp %eax, %eax',
    wrong: [0x88, 0x63, 3],
    report: /memory at physical 0x100003: translated 0x11, interpreted 0x22/,
  },
  {
    name: 'a page that translated code does not mark as written',
    body: 'andq $~0x40, DATA_TABLE; invlpg DATA; mov $DATA, %ebx; mov (%rbx), %eax; mistake: mov %eax, (%rbx); cmp %eax, %eax',
    wrong: [0x8b, 0x03],
    report: /memory at physical 0x[0-9a-f]+: translated 0x27, interpreted 0x67/,
  },
  {
    name: 'a byte that only translated code writes',
    body: 'mov $7, %eax; mov $DATA, %ebx; mistake: cmp %eax, 3(%rbx); cmp %eax, %eax',
    wrong: [0x89, 0x43, 3],
    report: /memory at physical 0x100003: translated 0x07, interpreted 0x00/,
  },
  {
    name: 'a byte that only the interpreter writes',
    body: 'mov %r15d, %eax; mov $DATA, %ebx; mistake: mov %eax, 3(%rbx); cmp %eax, %eax',
    wrong: [0x39, 0x43, 3],
    report: /memory at physical 0x100003: translated 0x.., interpreted 0x../,
  },
  {
    name: 'bytes that a string instruction writes',
    body: 'mov %r15d, %eax; mov $DATA, %edi; mov $5, %ecx; mistake: rep stosb; cmp %eax, %eax',
    wrong: [0xf3, 0xac],
    report: /memory at physical 0x10000[0-4]: /,
  },
  {
    name: 'what is written to a device',
    body: 'mov $DEVICE, %edi; mov $3, %eax; mistake: stosl; nop; cmp %eax, %eax',
    wrong: [0x90, 0xab],
    report: undefined, // the same, later
  },
  {
    name: 'how often a device is read',
    body: 'mov $DEVICE, %esi; mistake: nop; lodsl; cmp %eax, %eax',
    wrong: [0xad],
    report: /rax: |translated code alone/,
  },
  {
    name: 'the way',
    body: 'xor %eax, %eax; mistake: jz 1f; inc %ecx; 1: cmp %eax, %eax',
    wrong: [0x75],
    report: /rip: |rcx: /,
  },
  {
    name: 'an exception',
    body: 'mov $DATA, %esi; mistake: lodsl; nop; cmp %eax, %eax',
    wrong: [0x90],
    report: /rsi: /,
  },
];

/** Translates what stands at `mistake` as if it were `wrong`. */
function misled(real: Translator, machine: GuestMachine, at: number, wrong: readonly number[]) {
  return {
    request: (request, epoch) => real.request(request, epoch),
    hasNews: () => real.hasNews(),
    take: () => {
      const from = machine.ram + at;
      const right = machine.bytes.slice(from, from + wrong.length);
      machine.bytes.set(wrong, from);
      try {
        return real.take();
      } finally {
        machine.bytes.set(right, from);
      }
    },
  } satisfies Translator;
}

const TURNS = 2000;
const skip = missingTools();

describe('lockstep mode finds what translated code does wrong', { skip }, () => {
  for (const { name, body, wrong, report } of cases) {
    it(name, () => {
      // The third word says where the mistake is.
      const code = assemble(`
        .quad mistake
        on_irq: on_fault: hlt
        start: fninit
        mov $${TURNS}, %r15d
        0: ${body}
        next_turn
`);
      const at = Number(new DataView(code.buffer).getBigUint64(24, true));
      const machine = new GuestMachine({
        verify: true,
        translator: (real, m) => misled(real, m, at, wrong),
      });
      machine.load(code);
      assert.ok(at > CODE && at < CODE + code.length);
      if (report === undefined) {
        machine.run();
        assert.ok((machine.vcpu.lockstepStats?.instructions ?? 0) > TURNS);
      } else {
        assert.throws(
          () => machine.run(),
          (error) => {
            assert.ok(error instanceof LockstepError, String(error));
            assert.match(error.message, /differ after \d+ instructions from RIP 0x1[0-9a-f]{4}\n/);
            assert.match(error.message, report);
            return true;
          },
        );
      }
    });
  }
});
