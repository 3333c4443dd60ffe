import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readState } from '#cpu/vcpu-state.ts';
import { assemble, DATA, DATA_PADDR, GuestMachine, missingTools } from './guest-machine.ts';

// Functions that change where they return to, every fourth turn: by 4 bytes, over an instruction that counts in R14. What
// translated code knows of return addresses that it has pushed must end with whatever may write there.

const TURNS = 200;
/** On a page that the identity map shows too. */
const STACK = DATA + 0x800;
const ALIAS = DATA_PADDR + 0x800 - 8;

/** Each adds RBX, 0 or 4, to the return address; RAX and RDI are free. */
const BODIES = [
  { name: 'nothing', body: 'nop', skips: false },
  { name: 'ADD', body: 'add %rbx, (%rsp)' },
  { name: 'one byte of it', body: 'add %bl, (%rsp)' },
  { name: 'its second byte', body: 'mov 1(%rsp), %al\n mov %al, 1(%rsp)\n add %ebx, (%rsp)' },
  { name: 'POP and PUSH', body: 'pop %rax\n add %rbx, %rax\n push %rax' },
  { name: 'POP and a jump', body: 'pop %rax\n add %rbx, %rax\n jmp *%rax' },
  { name: 'a copy of RSP', body: 'mov %rsp, %rdi\n add %rbx, (%rdi)' },
  { name: 'a pointer from memory', body: 'mov pointer, %rdi\n add %rbx, (%rdi)' },
  { name: 'another address', body: `mov $${ALIAS}, %edi\n add %rbx, (%rdi)` },
  {
    name: 'words that overlap',
    body: 'mov (%rsp), %rax\n add %rbx, %rax\n mov %eax, %edi\n shr $16, %rax\n mov %rax, 2(%rsp)\n mov %di, (%rsp)',
  },
  { name: 'STOS', body: 'mov (%rsp), %rax\n add %rbx, %rax\n mov %rsp, %rdi\n stosq' },
  {
    name: '16 bytes',
    body: 'movdqu -8(%rsp), %xmm0\n mov (%rsp), %rax\n add %rbx, %rax\n pinsrq $1, %rax, %xmm0\n movdqu %xmm0, -8(%rsp)',
  },
  { name: 'FISTP', body: 'add %rbx, (%rsp)\n fildll (%rsp)\n fistpll (%rsp)' },
  { name: 'what lies beside it', body: 'push %rbx\n mov %rbx, 16(%rsp)\n pop %rax', skips: false },
  { name: 'a call within', body: 'call 2f\n add %rbx, (%rsp)\n ret\n 2: add $1, %r14' },
] as const;

const program = (body: string): Uint8Array =>
  assemble(`
    on_irq: on_fault: hlt
    pointer: .quad ${STACK - 8}
    start: fninit
    mov $${STACK}, %esp
    mov $${TURNS}, %r15d
    xor %r14d, %r14d
    0: xor %ebx, %ebx
    test $3, %r15b
    setz %bl
    shl $2, %ebx
    call 1f
    add $7, %r14
    dec %r15d
    jnz 0b
    out %al, $0xf4
    3: jmp 3b
    .balign 64
    1: ${body}
    ret\n`);

function run(image: Uint8Array, verify: boolean, heat: number): { result: bigint; hot: number } {
  const machine = new GuestMachine({ verify, heat });
  machine.load(image);
  machine.run();
  const result = readState(machine.memory, machine.cpu).regs[14] ?? 0n;
  return { result, hot: machine.vcpu.hotStats?.executed ?? 0 };
}

describe('return addresses', { skip: missingTools() }, () => {
  for (const { name, body, ...rest } of BODIES) {
    it(`changed by ${name}`, () => {
      const image = program(body);
      const { result } = run(image, false, 0);
      const expected = 'skips' in rest ? TURNS : (TURNS * 3) / 4;
      assert.equal(result, BigInt(7 * expected + (name === 'a call within' ? TURNS : 0)));
      const translated = run(image, false, 30);
      assert.equal(translated.result, result, 'translated');
      assert.ok(translated.hot > TURNS);
      assert.equal(run(image, true, 30).result, result, 'in lockstep');
    });
  }
});
