import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readState } from '#cpu/vcpu-state.ts';
import { S_STAT_DROPPED } from '#ir/state.ts';
import { runInEachTier } from './each-tier.ts';
import { assemble, GuestMachine, missingTools } from './guest-machine.ts';

// Code that changes while it is translated and runs. Each guest gives its result in R14; what it must be follows from the
// program, and the interpreter, translated code and both in lockstep must come to it.

const TURNS = 60;
/** 60 + 59 + … + 1. */
const SUM = BigInt((TURNS * (TURNS + 1)) / 2);

interface Guest {
  readonly name: string;
  /** Body of a loop of TURNS turns, counted down in R15. */
  readonly body: string;
  /** Behind the loop. */
  readonly more?: string;
  readonly expected: bigint;
  /** The blocks that the changes may drop at most: immediates are read from memory once they have changed. */
  readonly dropped?: number;
}

/** RBX gets what R15 was when `write` has put it into the next instruction. */
const PATCHED = 'patched: movabs $0, %rbx\n add %rbx, %r14';

const writers: { name: string; write: string }[] = [
  { name: 'MOV', write: 'mov %r15, patched + 2' },
  { name: 'XCHG', write: 'mov %r15, %rax\n xchg %rax, patched + 2' },
  {
    name: 'CMPXCHG',
    write: 'mov patched + 2, %rax\n lock cmpxchg %r15, patched + 2',
  },
  { name: 'PUSH', write: 'mov %rsp, %rbp\n lea patched + 10, %rsp\n push %r15\n mov %rbp, %rsp' },
  {
    name: 'STOS',
    write: 'mov %r15, %rax\n mov $patched + 2, %edi\n stosq',
  },
  {
    name: 'REP STOS',
    write: 'mov %r15, %rax\n mov $patched + 2, %edi\n mov $1, %ecx\n rep stosq',
  },
  {
    name: 'REP MOVS',
    write: 'mov %r15, word\n mov $word, %esi\n mov $patched + 2, %edi\n mov $8, %ecx\n rep movsb',
  },
  { name: 'MOVQ', write: 'movq %r15, %xmm3\n movq %xmm3, patched + 2' },
  {
    name: '16 bytes',
    write: 'movdqu patched + 2, %xmm3\n pinsrq $0, %r15, %xmm3\n movdqu %xmm3, patched + 2',
  },
  { name: 'FISTP', write: 'mov %r15, word\n fildll word\n fistpll patched + 2' },
  { name: 'ADD', write: 'addq $1, patched + 2' },
  { name: 'another address', write: 'mov %r15, patched + 2 + (ALIAS - CODE)' },
  {
    name: 'REP MOVS at another address',
    write:
      'mov %r15, word\n mov $word, %esi\n mov $patched + 2 + (ALIAS - CODE), %edi\n mov $8, %ecx\n rep movsb',
  },
  {
    name: 'two halves',
    write: 'mov %r15d, patched + 2\n mov %r15, %rax\n shr $32, %rax\n mov %eax, patched + 6',
  },
];

const MARKER = Buffer.of(0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77);
/** Instructions that give RBX an immediate in which AX, RAX's low half, has been put. */
const immediates: {
  readonly name: string;
  readonly write: string;
  readonly insn: string;
  readonly of: (turn: bigint) => bigint;
}[] = [
  {
    name: '8 bits, sign-extended',
    write: 'neg %eax\n mov %al, patched + 3',
    insn: 'patched: add $1, %rbx',
    of: (turn) => -turn,
  },
  {
    name: '8 bits',
    write: 'neg %eax\n mov %al, patched + 1',
    insn: 'patched: mov $1, %bl',
    of: (turn) => 256n - turn,
  },
  {
    name: '16 bits',
    write: 'neg %eax\n mov %ax, patched + 3',
    insn: 'patched: add $0x1234, %bx',
    of: (turn) => 65536n - turn,
  },
  {
    name: '32 bits',
    write: 'neg %eax\n mov %eax, patched + 2',
    insn: 'patched: add $0x12345678, %ebx',
    of: (turn) => (1n << 32n) - turn,
  },
  {
    name: '32 bits, sign-extended',
    write: 'neg %eax\n mov %eax, patched + 3',
    insn: 'patched: add $0x12345678, %rbx',
    of: (turn) => -turn,
  },
  {
    name: '64 bits, of which 8 change',
    write: 'mov %al, patched + 9',
    insn: 'patched: movabs $0x77665544332211, %rbx',
    // No region that has it in its code may outlive the run.
    of: (turn) => (turn << 56n) | 0x77665544332211n,
  },
  {
    name: 'a shift',
    write: 'and $15, %eax\n mov %al, patched + 3',
    insn: 'mov $1, %ebx\n patched: shl $2, %rbx',
    of: (turn) => 1n << (turn & 15n),
  },
  {
    name: 'an instruction with an operand in memory, some bytes of it',
    write: 'push $0\n mov %ax, patched + 3',
    insn: 'patched: addl $0x12345678, (%rsp)\n pop %rbx\n movzwl %bx, %ebx',
    of: (turn) => turn,
  },
];

const sumOf = (of: (turn: bigint) => bigint): bigint =>
  Array.from({ length: TURNS }, (_, i) => of(BigInt(i + 1))).reduce((sum, value) => sum + value);

const guests: Guest[] = [
  ...writers.map(({ name, write }) => ({
    name: `the next instruction, by ${name}`,
    body: `${write}\n ${PATCHED}`,
    expected: SUM,
  })),
  ...writers.map(({ name, write }) => ({
    name: `a callee, by ${name}`,
    body: `${write}\n call callee`,
    more: `callee: ${PATCHED}\n ret`,
    expected: SUM,
  })),
  ...writers.map(({ name, write }) => ({
    name: `an instruction over two pages, by ${name}`,
    body: `${write}\n call callee`,
    more: `.balign 4096\n .skip 4091\n callee: ${PATCHED}\n ret`,
    expected: SUM,
  })),
  {
    name: 'what the callee comes back to',
    body: 'call 1f\n patched: mov $0, %al\n movzbl %al, %eax\n add %rax, %r14\n jmp 2f\n 1: mov %r15b, patched + 1\n ret\n 2:',
    expected: SUM,
  },
  ...immediates.map(({ name, write, insn, of }) => ({
    name: `an immediate of ${name}`,
    body: `mov %r15, %rax\n ${write}\n xor %ebx, %ebx\n ${insn}\n add %rbx, %r14`,
    expected: BigInt.asUintN(64, sumOf(of)),
    dropped: 8,
  })),
  {
    name: 'the immediate of the instruction that changes it',
    // ADD of a doubleword of its own to itself.
    body: `inc %ecx
      own: .byte 0x81, 0x04, 0x25
      .long own + 7, 1
      mov own + 7, %eax
      add %rax, %r14`,
    expected: (1n << 32n) - 2n,
    dropped: 8,
  },
  {
    name: 'an immediate, then the opcode before it',
    body: `mov %r15b, patched + 1
      mov $1, %ecx
      call callee
      movb $0x2c, patched
      call callee
      movb $0x04, patched
      movzbl %cl, %ecx
      add %rcx, %r14`,
    more: 'callee: mov %cl, %al\n patched: add $0, %al\n mov %al, %cl\n ret',
    expected: BigInt(TURNS),
  },
  {
    name: 'the opcode of a branch',
    body: 'xorb $1, patched\n xor %eax, %eax\n patched: jnz 1f\n inc %r14\n 1:',
    expected: BigInt(TURNS / 2),
  },
  {
    name: 'the target of a branch',
    // To the addition, which is four bytes long, or behind it.
    body: 'xorb $4, patched + 1\n patched: jmp 1f\n 1: add $1, %r14\n inc %r14',
    expected: BigInt((TURNS / 2) * 3),
  },
  {
    name: 'now and then, in a loop that is long hot',
    body: `mov %r15, patched + 2
      mov $50, %ecx
      1: ${PATCHED}
      dec %ecx
      jnz 1b`,
    expected: 50n * SUM,
  },
  {
    name: 'data beside code, which is no change of it',
    body: 'add %r15, counter\n addl $1, counter + 8\n jmp 1f\n counter: .quad 0, 0\n 1: mov counter, %r14',
    expected: SUM,
  },
  {
    name: 'a store that begins in data and ends in code',
    body: `mov %r15, %rax
      shl $32, %rax
      mov $0xb8000000, %ecx
      or %rcx, %rax
      mov %rax, callee - 3
      call callee
      add %rax, %r14`,
    more: '.balign 4096\n .skip 4096\n callee: mov $0, %eax\n ret',
    expected: SUM,
  },
  {
    name: 'one function copied over another',
    body: `mov $first, %esi
      test $1, %r15b
      jz 1f
      mov $second, %esi
      1: mov $callee, %edi
      mov $16, %ecx
      rep movsb
      call callee
      add %rax, %r14`,
    more: `.balign 64\n callee: .skip 64
      first: mov $5, %eax\n ret\n .skip 16
      second: mov $7, %eax\n add $4, %eax\n ret\n .skip 16`,
    expected: BigInt((TURNS / 2) * (5 + 11)),
  },
  ...['invlpg frame1', 'mov %cr3, %rax\n mov %rax, %cr3'].map((flush) => ({
    name: `a page mapped elsewhere, by ${flush.split('\n').pop()}`,
    body: `xorq $0x1000, LOW_TABLE + 0x12 * 8\n ${flush}\n call frame1\n add %rax, %r14`,
    more: `.balign 4096\n .skip 4096
      frame1: mov $5, %eax\n ret\n .balign 4096
      mov $7, %eax\n add $4, %eax\n ret\n .balign 4096`,
    expected: BigInt((TURNS / 2) * (5 + 11)),
  })),
];

const skip = missingTools();

describe('code that changes', { skip }, () => {
  for (const { name, body, more = '', expected, dropped } of guests) {
    it(name, () => {
      const code = assemble(`
        on_irq: on_fault: hlt
        .balign 64
        word: .quad 0
        start: fninit
        mov $${TURNS}, %r15d
        xor %r14d, %r14d
        0: ${body}
        next_turn
        ${more}\n`);
      const machine = runInEachTier(code, 1, expected);
      if (dropped === undefined) return;
      const drops = machine.view.getBigUint64(machine.cpu + S_STAT_DROPPED, true);
      assert.ok(drops <= dropped, `${drops} blocks were dropped`);
      const { vcpu } = runInEachTier(code, 20, expected);
      const kept = vcpu.usedRegions().flatMap(({ regions }) => regions);
      assert.ok(kept.every((r) => !Buffer.from(r?.code ?? []).includes(MARKER)));
    });
  }
});

describe('code that a device writes to', { skip }, () => {
  const patched = 'patched: mov $0, %eax';
  const places = [
    { name: 'in a loop', body: patched, more: '' },
    { name: 'in a callee', body: 'call callee', more: `callee: ${patched}\n ret` },
    {
      name: 'over two pages',
      body: 'call callee',
      more: `.balign 4096\n .skip 4092\n callee: ${patched}\n ret`,
    },
  ];
  const ENOUGH = 40;
  for (const { name, body, more } of places) {
    for (const verify of [false, true]) {
      it(`${name}${verify ? ', in lockstep' : ''}`, () => {
        const code = assemble(`
          .quad patched
          on_irq: on_fault: hlt
          start: ${body}
          inc %r14
          cmp $${ENOUGH}, %eax
          jb start
          out %al, $0xf4
          1: jmp 1b
          ${more}\n`);
        let looks = 0;
        let value = 0;
        const at = Number(new DataView(code.buffer).getBigUint64(24, true));
        const machine = new GuestMachine({
          verify,
          // Each write makes for a look around at once: the guest runs at the others.
          boundary: (m) => {
            if (looks++ % 4 === 0) m.dma(at + 1, Uint8Array.of(++value, 0, 0, 0));
          },
        });
        machine.load(code);
        machine.run(8 * ENOUGH);
        // The last write may have come after the end.
        assert.ok(value - Number(readState(machine.memory, machine.cpu).regs[0]) <= 1);
        assert.ok((machine.vcpu.hotStats?.executed ?? 0) > 10_000);
      });
    }
  }
});
