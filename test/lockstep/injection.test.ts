import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readState } from '#cpu/vcpu-state.ts';
import { Random } from '../x86/random.ts';
import {
  assemble,
  CODE,
  DATA_PADDR,
  DATA_PAGES,
  DATA_TABLE,
  GuestMachine,
  type GuestOptions,
  LOW_TABLE,
  missingTools,
  VECTOR_IRQ,
} from './guest-machine.ts';

// A guest that works on a memory which is taken away from it, moved and rewritten, with interrupts in between, all at
// random: both tiers in lockstep, and in the end the result that it has undisturbed. RING0_SEED replays a run.

const PAGE = 4096;
const FRAME = 0x000f_ffff_ffff_f000n;
const PRESENT = 1n;
const WRITABLE = 2n;
const ACCESSED_DIRTY = 0x60n;
/** Where moved pages go: as many again. */
const SPARE_PADDR = DATA_PADDR + 2 * DATA_PAGES * PAGE;
/** The first page of code has the handlers; these are the worker's, which may be missing. */
const WORK_PAGES = 3;
const MOST_SLICE = 400;
const ROUNDS = 16;
const seeds = process.env['RING0_SEED']
  ? [Number(process.env['RING0_SEED'])]
  : [1, 2, Math.floor(Math.random() * 2 ** 31)];

const GUEST = `
  # Makes the page at CR2 present and writable again, and goes back to the instruction.
  on_fault: push %rax
    push %rcx
    mov %cr2, %rcx
    mov %rcx, %rax
    shr $12, %rax
    cmp $DATA >> 12, %rax
    jae 1f
    orq $3, LOW_TABLE(, %rax, 8)
    jmp 2f
  1: sub $DATA >> 12, %rax
    orq $3, DATA_TABLE(, %rax, 8)
  2: invlpg (%rcx)
    incq faults
    pop %rcx
    pop %rax
    add $8, %rsp
    iretq
  on_irq: incq ticks
    iretq
  .balign 8
  faults: .quad 0
  ticks: .quad 0
  start: fninit
    mov $${ROUNDS}, %r15d
    xor %r14, %r14
    jmp work

  .balign 4096
  # Fills the data, sums it up in several ways, changes the code that does, and again.
  work: mov $DATA, %edi
    mov %r15, %rax
    mov $${DATA_PAGES * 64}, %ecx
  1: imul $0x343fd, %rax, %rax
    add $0x269ec3, %rax
    mov %rax, (%rdi)
    mov %eax, 12(%rdi)
    add $64, %rdi
    dec %ecx
    jnz 1b
    # The same function with another constant each round.
    mov %r15b, constant(%rip)
    mov $DATA, %ebx
    mov $${DATA_PAGES * 8 - 8}, %r13d
  2: mov 0xffc(%rbx), %rdx
    call mix
    call *pointer(%rip)
    push %rdx
    addq $3, (%rsp)
    pop 0x10(%rbx)
    add $512, %rbx
    dec %r13d
    jnz 2b
    jmp strings

  .balign 4096
  .skip 4088
  # Its constant lies on the next page.
  mix: add %rdx, %r14
    rol $5, %r14
    .byte 0x49, 0x81, 0xc6
  constant: .long 0x01020304
    xor %r13, %r14
    test $8, %r14b
    jz 1f
    lea 7(%r14, %r14, 2), %r14
  1: ret
  other: sub %rdx, %r14
    bt $3, %r14
    adc $0, %r14
    ret
  .balign 8
  pointer: .quad other

  strings: mov $DATA + 100, %esi
    mov $DATA + 5 * 4096 + 33, %edi
    mov $9000, %ecx
    rep movsb
    lea (%r14d), %eax
    mov $3000, %ecx
    rep stosw
    mov $DATA + 3, %ebx
    mov $200, %ecx
    pxor %xmm0, %xmm0
  1: movdqu (%rbx), %xmm1
    paddd %xmm1, %xmm0
    pshufd $0x39, %xmm0, %xmm0
    movdqu %xmm0, 40(%rbx)
    lock xaddl %ecx, 0x800(%rbx)
    movzwl 0x800(%rbx), %ecx
    sub %cx, 0x800(%rbx)
    mov %r15d, %ecx
    add $328, %rbx
    cmp $DATA + 0xf000, %ebx
    jb 1b
    movq %xmm0, %rax
    xor %rax, %r14
    mov $DATA + 0x1000, %ebx
    mov $50, %ecx
    fldz
  2: filds (%rbx)
    faddp
    fistl 0x20(%rbx)
    add $0x20, %ebx
    mov %rcx, %rax
    cqo
    orl $1, 0xff4(%rbx)
    idivl 0xff4(%rbx)
    add %rdx, %r14
    dec %ecx
    jnz 2b
    fistpll 0x40(%rbx)
    add 0x40(%rbx), %r14
    cpuid
    dec %r15d
    jnz work
    mov %r14, result
    out %al, $0xf4
  1: jmp 1b
  result: .quad 0
`;

/** One thing at random that no program may notice but by its time. */
function disturb(machine: GuestMachine, random: Random, seen: Set<string>): void {
  const page = random.below(DATA_PAGES);
  const at = DATA_TABLE + page * 8;
  const code = CODE / PAGE + 1 + random.below(WORK_PAGES);
  const entry = machine.word(at);
  const what = random.pick([
    'irq',
    'unmap',
    'protect',
    'move',
    'forget',
    'code',
    'rewrite',
    'none',
  ]);
  seen.add(what);
  switch (what) {
    case 'irq':
      machine.irq = true;
      return;
    case 'unmap':
      machine.setWord(at, entry & ~PRESENT);
      break;
    case 'protect':
      machine.setWord(at, entry & ~WRITABLE);
      break;
    case 'move': {
      // To the place of the page in the other of two sets of frames.
      const from = Number(entry & FRAME);
      const to = (from < SPARE_PADDR ? SPARE_PADDR : DATA_PADDR) + page * PAGE;
      machine.dma(to, machine.bytes.slice(machine.ram + from, machine.ram + from + PAGE));
      machine.bytes.fill(0xcc, machine.ram + from, machine.ram + from + PAGE);
      machine.setWord(at, (entry & ~FRAME) | BigInt(to));
      break;
    }
    case 'forget':
      machine.setWord(at, entry & ~ACCESSED_DIRTY);
      break;
    case 'code':
      machine.setWord(LOW_TABLE + code * 8, machine.word(LOW_TABLE + code * 8) & ~PRESENT);
      break;
    case 'rewrite': {
      // The same bytes once more: the translated code of them is void.
      const from = code * PAGE + random.below(PAGE - 64);
      machine.dma(from, machine.bytes.slice(machine.ram + from, machine.ram + from + 64));
      return;
    }
    default:
      return;
  }
  machine.vcpu.core.flush_tlb(machine.cpu);
}

const modes = [
  { user: false, verify: true },
  { user: true, verify: true },
  { user: false, verify: false },
  { user: true, verify: false },
];
const skip = missingTools();
const code = skip ? new Uint8Array() : assemble(GUEST);
const RESULT_REGISTER = 14;

function resultOf(options: GuestOptions): { result: bigint; machine: GuestMachine } {
  const machine = new GuestMachine(options);
  machine.load(code);
  machine.run();
  return { result: readState(machine.memory, machine.cpu).regs[RESULT_REGISTER] ?? 0n, machine };
}

describe('a guest that is disturbed at random', { skip }, () => {
  for (const { user, verify } of modes) {
    const expected = skip ? 0n : resultOf({ verify: false, heat: 0, user }).result; // undisturbed
    for (const seed of seeds) {
      it(`in ring ${user ? 3 : 0}, ${verify ? 'in lockstep' : 'alone'}, seed ${seed}`, () => {
        const random = new Random(seed);
        const seen = new Set<string>();
        const { result, machine } = resultOf({
          verify,
          user,
          slice: () => 1 + random.below(MOST_SLICE),
          boundary: (m) => disturb(m, random, seen),
        });
        assert.equal(result, expected);
        assert.equal(seen.size, 8);
        assert.ok((machine.vcpu.interrupts[VECTOR_IRQ] ?? 0) > 10);
        assert.ok((machine.vcpu.hotStats?.executed ?? 0) > 10_000);
        if (verify) assert.ok((machine.vcpu.lockstepStats?.instructions ?? 0) > 10_000);
      });
    }
  }
});
