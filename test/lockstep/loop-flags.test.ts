import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runInEachTier } from './each-tier.ts';
import { assemble, missingTools } from './guest-machine.ts';

// Loops that are entered with the flags of one operation and go round with those of another. The interpreter, translated
// code and both in lockstep must come to the same R14.

const TURNS = 100;

/** What sets the flags before a loop, and before another round of it. */
const ENTRIES = ['cmp %r8, %r9', 'inc %r8', 'shr $1, %r8'];
const ROUNDS = ['dec %r9', 'sub %r9, %r8', 'xor %r9d, %r8d', 'adc %r8, %r9', 'neg %r9b'];

/** What stands where the loop begins. */
const HEADS = [
  { name: 'the carry is read', code: 'adc $3, %r8' },
  { name: 'the carry is kept', code: 'dec %r8\n adc $0, %r9' },
  { name: 'a branch reads the carry', code: 'jc 4f\n lea 1(%r9), %r9\n 4:' },
  { name: 'a branch reads sign and overflow', code: 'jl 4f\n lea 1(%r9), %r9\n 4:' },
  { name: 'the parity is read', code: 'setp %al\n movzbl %al, %eax\n xor %rax, %r8' },
  {
    name: 'it may be left before flags are set',
    code: 'mov word, %rax\n add %rax, %r8\n incq word',
  },
  { name: 'flags are stored', code: 'pushf\n pop %rax\n and $0x8d5, %eax\n add %rax, %r14' },
];

function program(head: string): string {
  const loops = ENTRIES.flatMap((entry) =>
    ROUNDS.map(
      (round) => `
        ${entry}
        mov $3, %ecx
        1: ${head}
        lea 7(%r14, %r14, 4), %r14
        ${round}
        lea -1(%rcx), %rcx
        jrcxz 2f
        jmp 1b
        2: lea (%r14, %r8), %r14
        lea (%r14, %r9, 2), %r14`,
    ),
  );
  return `
    on_irq: on_fault: hlt
    .balign 64
    word: .quad 0
    start: mov $${TURNS}, %r15d
    mov $0x12345, %r8
    mov $0x6789a, %r9
    xor %r14d, %r14d
    0: ${loops.join('\n')}
    next_turn\n`;
}

describe('flags of loops', { skip: missingTools() }, () => {
  for (const { name, code } of HEADS) {
    it(name, () => {
      const image = assemble(program(code));
      const { vcpu } = runInEachTier(image, 30);
      assert.ok((vcpu.hotStats?.executed ?? 0) > TURNS);
    });
  }
});
