import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PAGE_DIRTY, S_PAGE_MAP } from '#ir/state.ts';
import { runInEachTier } from './each-tier.ts';
import {
  assemble,
  CODE,
  DATA,
  DATA_PADDR,
  DATA_TABLE,
  GuestMachine,
  missingTools,
} from './guest-machine.ts';

// Code that is a page-table entry, and changes when the processor marks it as accessed or dirty.

const TURNS = 60;
/** RAM that nothing else uses. */
const TARGET = 0x180000;
/** What of its address lies in an instruction that begins with the entry: the opcode is a byte. */
const OPERAND = TARGET >> 8;
const INDEX = 0x40;
const PAGE = DATA + INDEX * 4096;
const DIRECTORY = DATA_TABLE + 4096;
const DIRECTORY_INDEX = 5;

/** An entry for TARGET that is `add $OPERAND, %eax; add %al, %al`, and once it is accessed `and $OPERAND, %eax; …`; a return is behind it. */
const ADD_OR_AND = `0x3ec0000000000005 + TARGET`;
/** Behind the byte 0xb0 `mov $7, %al; ret`: $0x27 once the entry is accessed, $0x67 once it is written to. */
const IMMEDIATE = `0xc307 + TARGET`;

/** Instructions that read at RSI, which is in PAGE or `before` it. */
const readers: { readonly name: string; readonly read: string; readonly before?: number }[] = [
  { name: 'MOV', read: 'mov (%rsi), %edx' },
  { name: 'CMP', read: 'cmpb $1, (%rsi)' },
  { name: 'LODS', read: 'push %rax\n lodsb\n pop %rax' },
  { name: 'REP MOVS', read: 'mov $9, %ecx\n lea scratch, %rdi\n rep movsb' },
  { name: 'REPE CMPS', read: 'mov $9, %ecx\n lea scratch, %rdi\n repe cmpsb' },
  { name: 'MOVDQU', read: 'movdqu (%rsi), %xmm1' },
  { name: 'ADDPS', read: 'addps (%rsi), %xmm1' },
  { name: 'FLD', read: 'fldl (%rsi)\n fstp %st(0)' },
  { name: 'FLD of 80 bits', read: 'fldt (%rsi)\n fstp %st(0)' },
  { name: 'FRSTOR', read: 'frstor (%rsi)\n fninit' },
  { name: 'POP', read: 'mov %rsp, %rbp\n mov %rsi, %rsp\n pop %rdx\n mov %rbp, %rsp' },
  { name: 'an access to two pages', read: 'mov (%rsi), %rdx', before: 4 },
  { name: '16 bytes in two pages', read: 'movdqu (%rsi), %xmm1', before: 8 },
];

interface Guest {
  readonly name: string;
  /** Body of a loop of TURNS turns: CALL_… are calls of the entry's code. */
  readonly body: string;
  readonly expected: number;
}

const FRESH = `movabs $${ADD_OR_AND}, %rax\n mov %rax, ENTRY\n invlpg PAGE`;
/** Gives OLD, or, once the entry is accessed, 0. */
const ASK = 'mov $0x100, %eax\n call ENTRY\n add %rax, %r14';
const OLD = OPERAND + 0x100;

const guests: Guest[] = [
  ...readers.map(({ name, read, before = 0 }) => ({
    name: `the next block, by ${name}`,
    body: `${FRESH}\n ${ASK}\n lea PAGE - ${before}, %rsi\n ${read}\n ${ASK}`,
    expected: OLD * TURNS,
  })),
  ...readers
    .filter(({ before }) => before === undefined)
    .map(({ name, read }) => ({
      name: `the next instruction, by ${name}`,
      // What reads is put right before the entry, where that of the page before PAGE is.
      body: `${FRESH}
      lea 1f, %rsi
      lea ENTRY - (2f - 1f), %rdi
      mov $(2f - 1f), %ecx
      rep movsb
      lea PAGE, %rsi
      mov $0xffffff00, %eax
      call ENTRY - (2f - 1f)
      add %rax, %r14
      jmp 2f
      1: ${read}
      2:`,
      expected: OPERAND * TURNS,
    })),
  {
    name: 'in the middle of a loop that is hot',
    body: `${FRESH}
      mov $40, %ecx
      1: ${ASK}
      cmp $20, %ecx
      jne 2f
      mov PAGE, %edx
      2: dec %ecx
      jnz 1b`,
    expected: OLD * 21 * TURNS,
  },
  {
    name: 'by a fetch of instructions',
    body: `movb $0xc3, TARGET\n ${FRESH}\n ${ASK}\n lea PAGE, %rdx\n call *%rdx\n ${ASK}`,
    expected: OLD * TURNS,
  },
  {
    name: 'in a page directory',
    body: `movabs $${ADD_OR_AND}, %rax
      mov %rax, DIRECTORY_ENTRY
      movq $TARGET + 0x1027, TARGET
      invlpg DIRECTORY_INDEX << 21
      mov $0x100, %eax
      call DIRECTORY_ENTRY
      add %rax, %r14
      mov DIRECTORY_INDEX << 21, %edx
      mov $0x100, %eax
      call DIRECTORY_ENTRY
      add %rax, %r14`,
    expected: OLD * TURNS,
  },
  ...['mov %eax, (%rsi)', 'lock incl (%rsi)', 'mov %rsi, %rdi\n stosl', 'fstl (%rsi)'].map(
    (write) => ({
      name: `as dirty, by ${write}`,
      body: `movb $0xb0, ENTRY - 1
        movabs $${IMMEDIATE}, %rax
        mov %rax, ENTRY
        invlpg PAGE
        lea PAGE, %rsi
        xor %eax, %eax
        call ENTRY - 1
        add %rax, %r14
        mov (%rsi), %edx
        call ENTRY - 1
        add %rax, %r14
        ${write}
        xor %eax, %eax
        call ENTRY - 1
        add %rax, %r14`,
      expected: (0x07 + 0x27 + 0x67) * TURNS,
    }),
  ),
];

const SYMBOLS = {
  PAGE,
  TARGET,
  ENTRY: DATA_TABLE + INDEX * 8,
  DIRECTORY_INDEX,
  DIRECTORY_ENTRY: DIRECTORY + DIRECTORY_INDEX * 8,
};
const symbols = Object.entries(SYMBOLS).map(([name, value]) => `.set ${name}, ${value}\n`);

function assembleGuest(body: string): Uint8Array {
  return assemble(`${symbols.join('')}
    on_irq: on_fault: hlt
    .balign 64
    scratch: .skip 64
    start: fninit
    # The page before PAGE is there too.
    movq $TARGET + 0x1067, ENTRY - 8
    movb $0xc3, ENTRY + 8
    movb $0xc3, DIRECTORY_ENTRY + 8
    mov $${TURNS}, %r15d
    xor %r14d, %r14d
    0: ${body}
    next_turn\n`);
}

const skip = missingTools();

describe('code that a page walk marks', { skip }, () => {
  for (const { name, body, expected } of guests) {
    it(name, () => void runInEachTier(assembleGuest(body), 1, BigInt(expected)));
  }
});

describe('the dirty log', { skip }, () => {
  for (const [name, heat] of [
    ['interpreted', 0],
    ['translated', 1],
  ] as const) {
    it(`has page tables that walks mark, ${name}`, () => {
      const machine = new GuestMachine({ verify: false, heat });
      const map = machine.view.getUint32(machine.cpu + S_PAGE_MAP, true);
      const isDirty = (paddr: number) =>
        ((machine.bytes[map + paddr / 4096] ?? 0) & PAGE_DIRTY) !== 0;
      machine.load(
        assemble(
          'on_irq: on_fault: hlt\n start: mov DATA, %eax\n dec %r15b\n jnz start\n out %al, $0xf4\n 1: jmp 1b\n',
        ),
      );
      assert.ok(!isDirty(DATA_TABLE));
      machine.run();
      assert.ok(isDirty(DATA_TABLE));
      assert.ok(!isDirty(DATA_PADDR), 'it was read alone');
      assert.ok(!isDirty(CODE));
    });
  }
});
