import { LONG_RUNTIME } from './long-runtime.ts';
import { RUNTIME } from './ring0-runtime.ts';
import { testSmallGuests } from './small-guests.ts';

// SYSENTER and SYSEXIT. Source: Intel SDM vol. 2, their operations; vol. 3, 5.8.7.

const MSRS = `.macro msr number value
  mov $\\number, %ecx
  mov $\\value, %eax
  xor %edx, %edx
  wrmsr
.endm
.macro entry where stack
  msr 0x174, 0x0b
  msr 0x175, \\stack
  msr 0x176, \\where
.endm
`;

const LONG_MACROS = `.macro far label base register
  mov $\\base, \\register
  add $\\label, \\register
.endm
.macro high number label
  far \\label, HIGH, %rax
  mov $\\number, %ecx
  mov %rax, %rdx
  shr $32, %rdx
  wrmsr
.endm
`;

testSmallGuests('SYSENTER and SYSEXIT in 32-bit code', RUNTIME + MSRS, [
  {
    name: 'flat segments of ring 0 and of ring 3, whatever the descriptors; IF is cleared',
    body: `entry 1f, stack-512
      try 3f
      mov %esp, %ebp
      movl $0, gdt+CODE
      movl $0, gdt+DATA
      user $0x3202
      sysenter
      1: mov %cs, %eax
      mov %ss, %ebx
      mov %esp, %esi
      pushf
      popl %edi
      mov $2f, %edx
      mov $user_stack, %ecx
      sysexit
      2: pushf
      push %eax
      mov %cs, %eax
      mov %ss, %edx
      hlt
      3: movl $0xffff, gdt+CODE
      movl $0xffff, gdt+DATA
      print %eax
      print %edx
      print last_cs
      print last_ss
      mov last_esp, %eax
      sub $user_stack, %eax
      print %eax
      mov user_stack-8, %eax
      print %eax
      print %ebx
      sub $stack, %esi
      print %esi
      print %edi
      print user_stack-4
      ret`,
    expected:
      '0d:0000 0000001b 00000023 0000001b 00000023 fffffff8 00000008 00000010 fffffe00 00003002 00003002',
  },
  {
    name: 'the step of SYSENTER is in ring 0',
    body: `entry 1f, stack-512
      try 2f
      user $0x102
      sysenter
      1: ud2
      2: from 1b
      print last_cs
      mov last_flags, %eax
      print %eax
      ret`,
    expected: '01:0000:00004000 00000000 00000008 00000102',
  },
  {
    name: 'from virtual-8086 mode',
    body: `entry 1f, stack-512
      movl $0xf4340f, 0x8000
      pushl $0
      pushl $0
      pushl $0
      pushl $0
      pushl $0x900
      pushl $0xfff0
      pushl $0x20202
      pushl $0x800
      pushl $0
      mov %esp, %ebp
      iret
      1: pushf
      popl %edx
      mov %cs, %eax
      mov %ss, %ebx
      mov %esp, %ecx
      sub $stack, %ecx
      mov %ebp, %esp
      add $36, %esp
      mov $DATA, %esi
      mov %esi, %ds
      mov %esi, %es
      print %eax
      print %ebx
      print %ecx
      print %edx
      ret`,
    expected: '00000008 00000010 fffffe00 00000002',
  },
  {
    name: 'a null selector, and SYSEXIT in ring 3',
    body: `msr 0x174, 3
      try 1f
      sysenter
      1: try 2f
      sysexit
      2: try 3f
      user
      sysenter
      3: msr 0x174, 0x108
      try 4f
      user
      mov $1b, %edx
      sysexit
      4: print last_cs
      ret`,
    expected: '0d:0000 0d:0000 0d:0000 0d:0000 0000002b',
  },
]);

testSmallGuests('SYSENTER and SYSEXIT in IA-32e mode', LONG_RUNTIME + LONG_MACROS, [
  {
    name: 'from 64-bit code and back, with addresses of 64 bits',
    body: `wrmsr_ 0x174, 0x0b
      high 0x175, stack-512
      high 0x176, 1f
      try 3f
      user $0x202
      sysenter
      1: mov %cs, %ebx
      mov %ss, %esi
      mov %rsp, %rdi
      pushf
      pop %rbp
      lea 1b(%rip), %r8
      mov $2f+USER, %edx
      mov $user_stack+USER, %ecx
      sysexitq
      2: mov %cs, %ebp
      mov %ss, %r9d
      hlt
      3: print %rbx
      print %rsi
      far stack, HIGH, %rax
      sub %rdi, %rax
      print64 %rax
      far 1b, HIGH, %rax
      sub %r8, %rax
      print64 %rax
      print %rbp
      print %r9
      mov last_rsp, %rax
      sub $user_stack+USER, %rax
      print64 %rax
      ret`,
    expected:
      '0d:0000 00000008 00000010 0000000000000200 0000000000000000 0000002b 00000033 0000000000000000',
  },
  {
    name: 'SYSEXIT to compatibility mode cuts RIP and RSP; SYSENTER from there',
    body: `wrmsr_ 0x174, 0x08
      wrmsr_ 0x175, stack-512
      wrmsr_ 0x176, 3f
      try 4f
      far 2f+USER, 0x1200000000, %rdx
      far user_stack+USER, 0x3400000000, %rcx
      sysexitl
      .code32
      2: mov %cs, %ebx
      mov %ss, %esi
      mov %esp, %edi
      mov $1, %eax
      dec %eax
      sysenter
      .code64
      3: print %rbx
      print %rsi
      mov %rdi, %rax
      sub $user_stack+USER, %rax
      print64 %rax
      mov %cs, %eax
      print %rax
      jmp 5f
      5: ud2
      4: mov last_cs, %rax
      print %rax
      ret`,
    expected: '0000001b 00000023 0000000000000000 00000008 06:0000 00000008',
  },
  {
    name: 'what SYSEXIT refuses: addresses that are not canonical, ring 3, a null selector',
    body: `wrmsr_ 0x174, 8
      mov $0x800000000000, %rdx
      mov $user_stack+USER, %ecx
      try 1f
      sysexitq
      1: mov $0x800000000000, %rcx
      mov $1b+USER, %edx
      try 2f
      sysexitq
      2: try 3f
      user
      sysexitq
      3: wrmsr_ 0x174, 2
      try 4f
      mov $1b+USER, %edx
      sysexitq
      4: try 5f
      user
      sysenter
      5: print last_cs
      try 6f
      wrmsr_ 0x176, 0x800000000000
      6: ret`,
    expected: '0d:0000 0d:0000 0d:0000 0d:0000 0d:0000 00000033 0d:0000',
  },
]);
