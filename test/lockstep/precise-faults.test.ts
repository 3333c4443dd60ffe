import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readState } from '#cpu/vcpu-state.ts';
import { runInEachTier } from './each-tier.ts';
import { assemble, DATA, DATA_TABLE, missingTools } from './guest-machine.ts';

// Accesses of every kind to a page that is there, or for a turn is not, in a loop that is hot. The handler adds up what the processor
// was when it faulted, makes the page present, and has the instruction done again.

const TURNS = 96;
/** Every so many turns the page is not there. */
const EVERY = 8;

interface Guest {
  readonly name: string;
  /** Before the page goes. RSI is PAGE. */
  readonly before?: string;
  /** The instruction that faults at PAGE; a second one may stand before it. */
  readonly access: string;
  readonly after?: string;
}

/** RSP while the access is made; what an exception pushes lies below PAGE. */
const withStack = (rsp: string, access: string): Omit<Guest, 'name'> => ({
  access: `lea ${rsp}, %rsp\n cmp %r8, %r9\n ${access}`,
  after: 'mov saved, %rsp',
});

const guests: Guest[] = [
  { name: 'MOV, a load', access: 'mov (%rsi), %rdx' },
  { name: 'MOV, a load of a byte', access: 'mov (%rsi), %dl' },
  { name: 'MOV, a load from two pages', access: 'mov -3(%rsi), %rdx' },
  { name: 'MOV, a store', access: 'mov %r8, (%rsi)' },
  { name: 'MOV, a store to two pages', access: 'mov %r8, -3(%rsi)' },
  { name: 'a store of 16 bits to two pages', access: 'mov %r8w, -1(%rsi)' },
  { name: 'MOVZX', access: 'movzwl (%rsi), %edx' },
  { name: 'two loads off one base', access: 'mov -64(%rsi), %rdx\n add (%rsi), %rdx' },
  { name: 'two stores off one base', access: 'mov %r9, -64(%rsi)\n mov %r8, (%rsi)' },
  { name: 'ADD to memory', access: 'add %r8, (%rsi)' },
  { name: 'ADC to two pages', access: 'adc %r8, -5(%rsi)' },
  { name: 'INC', access: 'incl (%rsi)' },
  { name: 'SHL by CL', access: 'mov %r8b, %cl\n shlq %cl, (%rsi)' },
  { name: 'SHLD', access: 'shld $7, %r8, (%rsi)' },
  { name: 'BTS of a bit far away', access: 'mov $512, %edx\n bts %edx, -64(%rsi)' },
  { name: 'SETcc', access: 'setc (%rsi)' },
  { name: 'CMOVcc, whether it moves or not', access: 'cmovc (%rsi), %rdx' },
  { name: 'XCHG', access: 'xchg %rdx, (%rsi)' },
  { name: 'XADD', access: 'lock xadd %rdx, (%rsi)' },
  { name: 'CMPXCHG', access: 'lock cmpxchg %r8, (%rsi)' },
  { name: 'CMPXCHG16B', access: 'mov %r8, %rbx\n lock cmpxchg16b (%rsi)' },
  { name: 'DIV', before: 'movl $5, (%rsi)', access: 'mov $0, %edx\n mov %r8d, %eax\n divl (%rsi)' },
  { name: 'MUL', access: 'mov %r8, %rax\n mulq (%rsi)' },
  { name: 'PUSH', ...withStack('8(%rsi)', 'push %r8') },
  { name: 'PUSH of memory', ...withStack('-64(%rsi)', 'push (%rsi)') },
  { name: 'POP', ...withStack('(%rsi)', 'pop %rdx') },
  { name: 'PUSHF', ...withStack('8(%rsi)', 'pushf') },
  { name: 'CALL', ...withStack('8(%rsi)', 'call 3f\n 3:') },
  { name: 'RET', before: 'movq $3f, (%rsi)', ...withStack('(%rsi)', 'ret\n 3:') },
  { name: 'LEAVE', access: 'mov %rsi, %rbp\n cmp %r8, %r9\n leave', after: 'mov saved, %rsp' },
  { name: 'JMP by memory', before: 'movq $3f, (%rsi)', access: 'jmp *(%rsi)\n 3:' },
  { name: 'CALL by memory', before: 'movq $3f, (%rsi)', access: 'call *(%rsi)\n 3: pop %rdx' },
  { name: 'XLAT', access: 'mov $0, %al\n mov %rsi, %rbx\n xlat' },
  { name: 'MOVDQU, a load', access: 'movdqu (%rsi), %xmm1' },
  { name: 'MOVDQU, a load from two pages', access: 'movdqu -7(%rsi), %xmm1' },
  { name: 'MOVDQU, a store', access: 'movdqu %xmm1, (%rsi)' },
  { name: 'MOVDQU, a store to two pages', access: 'movdqu %xmm1, -7(%rsi)' },
  { name: 'MOVAPS', access: 'movaps %xmm1, (%rsi)' },
  { name: 'MOVHPS', access: 'movhps (%rsi), %xmm1' },
  { name: 'PADDQ', access: 'paddq (%rsi), %xmm1' },
  { name: 'ADDSD', access: 'addsd (%rsi), %xmm2' },
  { name: 'CVTSI2SD', access: 'cvtsi2sdq (%rsi), %xmm2' },
  { name: 'PINSRW', access: 'pinsrw $3, (%rsi), %xmm1' },
  { name: 'MASKMOVDQU', access: 'pcmpeqd %xmm3, %xmm3\n mov %rsi, %rdi\n maskmovdqu %xmm3, %xmm1' },
  { name: 'MOVQ of an MMX register', access: 'movq %r8, %mm2\n movq %mm2, (%rsi)', after: 'emms' },
  { name: 'FLD', access: 'fldl (%rsi)', after: 'fstp %st(0)' },
  { name: 'FLD of 80 bits from two pages', access: 'fldt -5(%rsi)', after: 'fstp %st(0)' },
  { name: 'FADD', access: 'fld1\n fadds (%rsi)', after: 'fstp %st(0)' },
  { name: 'FSTP', access: 'fld1\n fstpl (%rsi)' },
  { name: 'FSTP of 80 bits to two pages', access: 'fldpi\n fstpt -5(%rsi)' },
  { name: 'FISTP', access: 'fldpi\n fistpll (%rsi)' },
  { name: 'FNSAVE', access: 'fnsave (%rsi)', after: 'fninit' },
  { name: 'FXSAVE', access: 'fxsave (%rsi)' },
  { name: 'MOVS', access: 'lea -64(%rsi), %rdi\n movsq', after: 'lea PAGE, %rsi' },
  { name: 'STOS', access: 'mov %rsi, %rdi\n stosq' },
  { name: 'LODS', access: 'lodsl', after: 'lea PAGE, %rsi' },
  {
    name: 'REP MOVS, in the middle',
    access: 'lea -20(%rsi), %rdi\n lea scratch, %rsi\n mov $48, %ecx\n cmp %r8, %r9\n rep movsb',
  },
  {
    name: 'REP MOVS of quadwords, one of which lies in two pages',
    access: 'lea -20(%rsi), %rdi\n lea scratch, %rsi\n mov $6, %ecx\n cmp %r8, %r9\n rep movsq',
  },
  { name: 'REP STOS, in the middle', access: 'lea -24(%rsi), %rdi\n mov $6, %ecx\n rep stosq' },
  {
    name: 'REPE CMPS, in the middle',
    before: 'movq $0, -8(%rsi)\n movq $0, (%rsi)',
    access: 'lea -8(%rsi), %rdi\n lea scratch, %rsi\n mov $16, %ecx\n repe cmpsb',
  },
  {
    name: 'REPNE SCAS, in the middle',
    before: 'movq $0, -8(%rsi)\n movq $0, (%rsi)',
    access: 'lea -8(%rsi), %rdi\n mov $1, %al\n mov $16, %ecx\n repne scasb',
  },
];

const PAGE = DATA + 4096;
const ENTRY = DATA_TABLE + 8;

/** R14 is the sum of all that was seen, R13 the faults less those with another CR2. */
function program({ before = '', access, after = '' }: Guest): string {
  return `
    .set PAGE, ${PAGE}
    .set ENTRY, ${ENTRY}
    .balign 64
    scratch: .skip 64
    saved: .quad 0
    on_irq: hlt
    on_fault: push %rax
      push %rbx
      mov %cr2, %rax
      cmp $PAGE, %rax
      jne 1f
      inc %r13
      1: imul $31, %r14
      ${['rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'r8', 'r9'].map((r) => `add %${r}, %r14\n rol %r14`).join('\n')}
      ${[0, 8, 16, 24, 40, 48].map((at) => `add ${at}(%rsp), %r14\n rol %r14`).join('\n')}
      # What lies before the page.
      add PAGE - 128, %r14
      add PAGE - 120, %r14
      orb $1, ENTRY
      pop %rbx
      pop %rax
      add $8, %rsp
      iretq
    start: fninit
      mov %rsp, saved
      mov $${TURNS}, %r15d
      xor %r14d, %r14d
      xor %r13d, %r13d
      mov $0x123456789abcdef, %r8
      mov $0x1000, %r9d
    0: xor %eax, %eax
      xor %ebx, %ebx
      xor %ecx, %ecx
      xor %edx, %edx
      add %r15, %r8
      rol $5, %r8
      lea PAGE, %rsi
      ${before}
      test $${EVERY - 1}, %r15b
      jnz 2f
      andb $0xfe, ENTRY
      invlpg PAGE
    2: movq %r8, %xmm1
      movq %r15, %xmm2
      cmp %r8, %r9
      ${access}
      ${after}
      lea (%r14, %r14, 4), %r14
      lea (%r14, %rdx), %r14
      lea (%r14, %rax), %r14
      pushf
      pop %rax
      add %rax, %r14
      movq %xmm1, %rax
      add %rax, %r14
      lea PAGE, %rsi
      add -8(%rsi), %r14
      add (%rsi), %r14
      next_turn\n`;
}

describe('an instruction that faults in translated code', { skip: missingTools() }, () => {
  for (const guest of guests)
    it(guest.name, () => {
      const machine = runInEachTier(assemble(program(guest)), 10);
      const faults = readState(machine.memory, machine.cpu).regs[13];
      assert.equal(faults, BigInt(TURNS / EVERY), 'faults at PAGE');
      assert.ok((machine.vcpu.hotStats?.executed ?? 0) > TURNS);
    });
});
