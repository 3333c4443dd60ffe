import { LONG_RUNTIME } from './long-runtime.ts';
import { RUNTIME } from './ring0-runtime.ts';
import { type SmallGuest, testSmallGuests } from './small-guests.ts';

// Near branches to where code cannot be fetched fault at the branch, with nothing changed. Source: Intel SDM vol. 2,
// the operations of JMP, Jcc, CALL, RET and LOOP; vol. 1, 3.3.7.1 (canonical addresses).

const RIGHTS = { 16: '0x00009b00', 32: '0x00409b00' } as const;

/** Code in a segment of 0x20 bytes: where it faults, the top of the stack and ECX there. */
function beyond(name: string, width: 16 | 32, code: string, expected: string): SmallGuest {
  return {
    name: `${name}, ${width}-bit code`,
    body: `local 0, 1f, ${RIGHTS[width]}, 0x1f
      mov $5, %ecx
      mov $1f+0x40, %eax
      sub $1f, %eax
      try 2f
      lcall $4, $0
      2: print last
      print last_esp
      print last_ecx
      ret
      .code${width}
      1: pushl $0x12345678
      ${code}
      .code32`,
    expected: `0d:0000 ${expected}`,
  };
}

testSmallGuests('near branches beyond the limit of CS', RUNTIME, [
  beyond('JMP', 32, 'jmp 1b+0x2000', '00000005 12345678 00000005'),
  beyond('JMP', 16, '.byte 0xe9; .word 0x100', '00000006 12345678 00000005'),
  beyond('JMP of 32 bits', 16, '.byte 0x66, 0xe9; .long 0x10000', '00000006 12345678 00000005'),
  beyond('JMP of 16 bits', 32, '.byte 0x66, 0xe9; .word 0x100', '00000005 12345678 00000005'),
  beyond('Jcc', 32, 'test %ecx, %ecx; jne 1b+0x40', '00000007 12345678 00000005'),
  beyond('Jcc', 16, 'test %cx, %cx; jne 1b+0x40', '00000008 12345678 00000005'),
  beyond('LOOP', 32, 'loop 1b+0x40', '00000005 12345678 00000005'),
  beyond('LOOP', 16, 'loop 1b+0x40', '00000006 12345678 00000005'),
  beyond('JECXZ', 32, 'dec %ecx; jnz .-1; jecxz 1b+0x40', '00000008 12345678 00000000'),
  beyond('CALL', 32, 'call 1b+0x40', '00000005 12345678 00000005'),
  beyond('CALL', 16, 'call 1b+0x40', '00000006 12345678 00000005'),
  beyond('CALL through a register', 32, 'call *%eax', '00000005 12345678 00000005'),
  beyond('CALL through a register', 16, 'call *%ax', '00000006 12345678 00000005'),
  beyond('JMP through a register', 32, 'jmp *%eax', '00000005 12345678 00000005'),
  beyond('RET', 32, 'push %eax; ret', '00000006 00000040 00000005'),
  beyond('RET', 16, 'push %eax; ret', '00000008 00000040 00000005'),
  beyond('LOOP that ends', 32, 'mov $1, %cl; loop 1b+64; jmp 1b+64', '00000009 12345678 00000000'),
  beyond('RET with parameters', 32, 'push %eax; ret $8', '00000006 00000040 00000005'),
]);

/** Code at the last page below the addresses that are not canonical, `at` bytes from its end; how far from there it faulted. */
function over(name: string, at: number, code: string, expected: string): SmallGuest {
  return {
    name,
    body: `movl $pointers+7, tables+255*8
      movl $directory+7, pointers+511*8
      movl $pages+7, directory+511*8
      mov $1f, %esi
      mov $0x200000-${at}, %edi
      mov $2f-1f, %ecx
      rep movsb
      mov $0x800000000000-${at}, %rbx
      mov $0x800000000000, %rax
      mov $5, %ecx
      try 2f
      mov %rsp, %rbp
      jmp *%rbx
      1: ${code}
      2: mov last, %rax
      sub %rbx, %rax
      print %rax
      mov last_rsp, %rax
      sub %rbp, %rax
      print %rax
      print %rcx
      ret`,
    expected: `0d:0000 ${expected}`,
  };
}

testSmallGuests('near branches to addresses that are not canonical', LONG_RUNTIME, [
  over('JMP', 64, 'nop; jmp 1b+0x1000', '00000001 00000000 00000005'),
  over('Jcc', 64, 'test %ecx, %ecx; jne 1b+64', '00000002 00000000 00000005'),
  over('LOOP', 64, 'loop 1b+64', '00000000 00000000 00000005'),
  over('CALL', 64, 'call 1b+64', '00000000 00000000 00000005'),
  over('CALL through a register', 64, 'call *%rax', '00000000 00000000 00000005'),
  over('CALL through memory', 64, 'push %rax; call *(%rsp)', '00000001 fffffff8 00000005'),
  over('JMP through a register', 64, 'jmp *%rax', '00000000 00000000 00000005'),
  over('RET', 64, 'push %rax; ret', '00000001 fffffff8 00000005'),
  over('RET with parameters', 64, 'push %rax; ret $16', '00000001 fffffff8 00000005'),
  over('what runs into them faults there', 2, 'nop; nop', '00000002 00000000 00000005'),
  over(
    'a loop up to the last byte',
    7,
    '1: dec %ecx; jnz 1b; jmp *%rax',
    '00000004 00000000 00000000',
  ),
  over('a jump that is not taken', 4, 'xor %ecx, %ecx; jne 1b+64', '00000004 00000000 00000000'),
]);
