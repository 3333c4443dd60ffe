import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runInEachTier } from './each-tier.ts';
import { assemble, missingTools } from './guest-machine.ts';

// Jumps and calls by a table, whose targets set the flags in different ways, and what follows reads them or does not. The
// index is random; the interpreter, translated code and both in lockstep must come to the same R14.

const TURNS = 400;

/** What the targets do: R8 and R9 change, flags are left as the last operation leaves them. */
const BODIES = [
  'add %r9, %r8',
  'sub %r9, %r8',
  'xor %r9, %r8',
  'inc %r8',
  'dec %r9\n rol $3, %r8',
  'shr $1, %r8',
  'shl %cl, %r9\n neg %r9',
  'cmp %r8, %r9',
  'mov %r8, word\n addb $200, word',
  'adc %r8d, %r9d',
  'bt $5, %r8',
  'lea 5(%r8, %r9), %r9',
] as const;

/** Where all meet again. */
const MEETINGS = [
  { name: 'sets all flags at once', code: 'add $3, %r8' },
  { name: 'reads the carry', code: 'adc $3, %r8' },
  { name: 'reads the zero flag', code: 'setz %al\n movzbl %al, %eax\n add %rax, %r8' },
  { name: 'may be left before it sets them', code: 'mov word, %rax\n add %rax, %r8\n incq word' },
  { name: 'keeps the carry', code: 'inc %r8\n adc $0, %r9' },
  {
    name: 'keeps the carry, and may be left with it',
    code: 'dec %r8\n mov word, %rax\n adc %rax, %r9\n incq word',
  },
  { name: 'branches', code: 'js 4f\n add $7, %r9\n 4: jc 5f\n lea 1(%r9), %r9\n 5:' },
  { name: 'goes on to a branch', code: 'lea 1(%r9), %r9\n test $1, %r9b\n jp 4f\n inc %r8\n 4:' },
  { name: 'stores them', code: 'pushf\n pop %rax\n and $0x8d5, %eax\n add %rax, %r14' },
] as const;

interface Way {
  readonly name: string;
  readonly go: string;
  /** Ends a target. */
  readonly back: string;
  /** Bytes between targets. */
  readonly apart: number;
}

const WAYS: readonly Way[] = [
  { name: 'jumps', go: 'jmp *table(, %rax, 8)', back: 'jmp 3f', apart: 16 },
  { name: 'jumps far apart', go: 'jmp *table(, %rax, 8)', back: 'jmp 3f', apart: 1024 },
  { name: 'calls', go: 'call *table(, %rax, 8)\n jmp 3f', back: 'ret', apart: 16 },
];

/** `few`: how many of the targets are met before the code is hot. */
function program({ go, back, apart }: Way, meeting: string, few: number): string {
  const targets = BODIES.map((body, i) => `.balign ${apart}\n target${i}: ${body}\n ${back}`);
  return `
    on_irq: on_fault: hlt
    .balign 64
    word: .quad 0
    table: ${BODIES.map((_, i) => `.quad target${i}`).join('\n')}
    start: mov $${TURNS}, %r15d
    mov $0x12345, %r8
    mov $0x6789a, %r9
    xor %r14d, %r14d
    mov $1, %r13d
    0: imul $1664525, %r13d, %r13d
    add $1013904223, %r13d
    mov %r13d, %eax
    shr $24, %eax
    mov $${few}, %ecx
    cmp $${TURNS - 100}, %r15d
    ja 1f
    mov $${BODIES.length}, %ecx
    1: xor %edx, %edx
    div %ecx
    mov %edx, %eax
    mov %r8d, %ecx
    ${go}
    ${targets.join('\n')}
    3: ${meeting}
    add %r8, %r14
    rol $1, %r14
    xor %r9, %r14
    next_turn\n`;
}

describe('indirect jumps', { skip: missingTools() }, () => {
  for (const way of WAYS) {
    for (const [i, { name, code }] of MEETINGS.entries()) {
      it(`${way.name}; what follows ${name}`, () => {
        const image = assemble(program(way, code, i % 2 === 0 ? BODIES.length : 7));
        const { vcpu } = runInEachTier(image, 30);
        assert.ok((vcpu.hotStats?.executed ?? 0) > TURNS);
      });
    }
  }
});
