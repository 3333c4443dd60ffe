import { LONG_RUNTIME } from './long-runtime.ts';
import { type SmallGuest, testSmallGuests } from './small-guests.ts';

// Source: Intel SDM vol. 2 (SYSCALL, SYSRET, IRET); vol. 3, 4.5 to 4.10 (paging), 5.8 and 6.14 (64-bit mode).

const guests: readonly SmallGuest[] = [
  {
    name: 'pages of 2 MiB and 1 GiB, and high addresses',
    body: `movl $0x1234, 0x300000
      print GIB+0x300000
      mov $HIGH, %rbx
      print 0x300000(%rbx)
      mov $0xffff800000000000, %rbx
      print 0x300000(%rbx)
      print directory+8
      movl $1, 0x300008(%rbx)
      print directory+8
      print pointers+8
      movl $1, GIB+0x300000
      print pointers+8
      ret`,
    expected: '00001234 00001234 00001234 002000e3 002000e3 000000a3 000000e3',
  },
  {
    name: 'page faults: rights of each level, NX, reserved bits',
    body: `.macro fetch address where
        try \\where
        mov $\\address, %rax
        jmp *%rax
      .endm
      try 1f
      mov 0xa00000, %eax
      1: mov pages+0x1ff*8, %rax
      btsq $63, pages+0x1ff*8
      fetch 0x1ff000, 2f
      2: btsq $52, pages+0x1ff*8
      btsq $51, pages+0x1ff*8
      reload
      try 3f
      mov 0x1ff000, %al
      3: btrq $51, pages+0x1ff*8
      reload
      mov 0x1ff000, %al
      orq $0x2000, directory+8
      reload
      try 4f
      mov %al, 0x200000
      4: andq $~0x2000, directory+8
      orq $0x2000, pointers+8
      try 5f
      mov GIB, %al
      5: movq $pointers+0x87, tables+8
      try 6f
      mov $0x8000000000, %rbx
      mov (%rbx), %al
      6: try 7f
      user
      mov 0x100000, %al
      7: try 8f
      user
      movb $1, 0x150000
      8: andq $~2, directory+32
      reload
      try 9f
      user
      movb $1, USER+0x150000
      9: ret`,
    expected:
      '0e:0000:0000000000a00000 0e:0011:00000000001ff000 0e:0009:00000000001ff000 0e:000b:0000000000200000 0e:0009:0000000040000000 0e:0009:0000008000000000 0e:0005:0000000000100000 0e:0007:0000000000150000 0e:0007:0000000000950000',
  },
  {
    name: 'NX without EFER.NXE is a reserved bit',
    body: `wrmsr_ 0xc0000080, 0x101
      btsq $63, pages+0x1ff*8
      try 1f
      mov 0x1ff000, %al
      1: wrmsr_ 0xc0000080, 0x901
      mov 0x1ff000, %al
      ret`,
    expected: '0e:0009:00000000001ff000',
  },
  {
    name: 'SMEP and SMAP, STAC, CLAC, and implicit accesses',
    body: `cr 4 0x300000
      movb $0xc3, 0x150000
      try 1f
      mov $USER+0x150000, %eax
      jmp *%rax
      1: try 2f
      mov USER+0x150000, %al
      2: try 3f
      movb $0xc3, USER+0x150000
      3: stac
      mov USER+0x150000, %al
      clac
      try 4f
      incb USER+0x150000
      4: stac
      mov $0x00008295, %eax
      movl $0x3f, gdt+GATE
      mov %eax, gdt+GATE+4
      mov $GATE, %eax
      lldt %ax
      try 5f
      mov $DATA|4, %eax
      mov %eax, %ds
      5: xor %eax, %eax
      lldt %ax
      try 6f
      user
      clac
      6: try 7f
      user
      mov USER+gdt+DATA, %rax
      ud2
      7: print %rax
      clac
      ret`,
    expected:
      '0e:0011:0000000000950000 0e:0001:0000000000950000 0e:0003:0000000000950000 0e:0003:0000000000950000 0e:0001:0000000000950010 06:0000 06:0000 0000ffff',
  },
  {
    name: 'global pages, INVLPG of a large page, PCID and MOV to CR3 that keeps',
    body: `mov GIB+0x300000, %eax
      movl $7, 0x300000
      movl $9, 0x301000
      movl $8, 0x500000
      mov $0x300000, %rbx
      mov 0x301000, %eax
      movl $0x400083, directory+8
      invlpg 0x3ff000
      print 0x300000
      print 0x301000
      movl $0x200083, directory+8
      reload
      print (%rbx)
      cr 4 0x20080
      mov (%rbx), %eax
      movl $0x400183, directory+8
      mov %cr3, %rax
      mov %rax, %cr3
      print (%rbx)
      mov %cr3, %rax
      or $5, %rax
      mov %rax, %cr3
      movl $0x200083, directory+8
      invlpg (%rbx)
      print (%rbx)
      mov %cr3, %rax
      mov %rax, %rdx
      and $0xfff, %edx
      print %rdx
      bts $63, %rax
      mov %rax, %cr3
      mov %cr3, %rax
      shr $32, %rax
      print %rax
      try 1f
      mov %cr4, %rax
      and $~0x20000, %rax
      mov %rax, %cr4
      mov %cr3, %rax
      bts $63, %rax
      mov %rax, %cr3
      1: mov %cr4, %rax
      try 2f
      or $0x20000, %rax
      mov %rax, %cr4
      2: ret`,
    expected: '00000008 00000000 00000007 00000008 00000007 00000005 00000000 0d:0000 0d:0000',
  },
  {
    name: 'canonical addresses: #GP, and #SS for the stack',
    body: `mov $0x800000000000, %rbx
      try 1f
      mov (%rbx), %al
      1: try 2f
      mov -4(%rbx), %rax
      2: mov %rbx, %rbp
      try 3f
      mov (%rbp), %al
      3: try 4f
      mov %rbx, %rcx
      lea resume_rsp, %rsi
      mov %ds:(%rbp), %al
      4: try 5f
      mov %rbx, %rax
      mov $0xc0000082, %ecx
      mov %rbx, %rdx
      shr $32, %rdx
      wrmsr
      5: try 6f
      push $USER_DATA
      push $0
      push $2
      push $USER_CODE
      push %rbx
      iretq
      6: try 7f
      mov %rbx, %rcx
      sysretq
      7: gate 12, stubs+12*16, 0x8e01
      try 8f
      mov %rbx, %rsp
      pop %rax
      8: ret`,
    expected: '0d:0000 0d:0000 0c:0000 0c:0000 0d:0000 0d:0000 0d:0000 0c:0000',
  },
  {
    name: 'an interrupt: SS:RSP always, aligned stack, null SS from ring 3, IST',
    body: `gate 0x2f, 9f
      gate 0x2e, 9f, 0x8e01
      gate 0x2d, 9f, 0xee00
      mov %rsp, %r12
      mov $stack-1003, %rsp
      mov %rsp, %rbx
      int $0x2f
      mov $stack-64, %rsp
      mov %rsp, %rbx
      int $0x2e
      mov %r12, %rsp
      try 1f
      mov $user_stack+USER, %ebx
      user
      int $0x2d
      hlt
      1: ret
      9: mov %rsp, %rax
      sub $stack, %rax
      print %rax
      mov 24(%rsp), %rax
      sub %rbx, %rax
      print %rax
      mov 32(%rsp), %rax
      print %rax
      mov %ss, %eax
      print %rax
      iretq`,
    expected:
      'fffffbe8 00000000 00000010 00000010 fffff7d8 00000000 00000010 00000010 ffffefd8 00000000 0000002b 00000000 0d:0000',
  },
  {
    name: 'SYSCALL and SYSRET: STAR, RF and IF in R11, masks, TF',
    body: `wrmsr_ 0xc0000081, 0x0023000800000000
      wrmsr_ 0xc0000082, 9f
      wrmsr_ 0xc0000084, 0x300
      try 1f
      user $0x10203
      syscall
      8: mov %cs, %eax
      mov %ss, %ebx
      pushf
      pop %rdx
      ud2
      1: print %rax
      print %rbx
      print %rdx
      try 2f
      user
      pushq $0x102
      popf
      syscall
      2: mov $8b, %ebx
      from 8b+USER
      print last_flags
      wrmsr_ 0xc0000080, 0x900
      try 3f
      syscall
      3: ret
      9: pushf
      pop %rax
      print %rax
      print %r11
      mov %cs, %eax
      print %rax
      mov %ss, %eax
      print %rax
      lea -8b-USER(%rcx), %rax
      print %rax
      mov $user_stack+USER, %esp
      sysretq`,
    expected:
      '00000003 00000203 00000008 00000010 00000000 06:0000 00000033 0000002b 00000203 00000002 00000102 00000008 00000010 0000005b 01:0000:0000000000004000 0000005b 00000102 06:0000',
  },
  {
    name: 'a 64-bit call gate: stack of the TSS, null SS, RETF back',
    body: `gate 0, 9f, 0xec00, CODE, gdt+GATE
      try 1f
      user
      lcall *7f+USER
      8: mov %cs, %eax
      mov %ss, %ebx
      mov %rsp, %rdx
      ud2
      1: print %rax
      print %rbx
      sub $user_stack+USER, %rdx
      print %rdx
      movb $1, gdt+GATE+13
      try 2f
      user
      lcall *7f+USER
      2: ret
      .balign 8
      7: .long 0
      .word GATE|3
      9: mov %rsp, %rax
      sub $stack-4096, %rax
      print %rax
      mov %ss, %eax
      print %rax
      mov 8(%rsp), %rax
      print %rax
      mov 24(%rsp), %rax
      print %rax
      lretq`,
    expected: 'ffffffe0 00000000 00000033 0000002b 06:0000 00000033 0000002b 00000000 0d:0048',
  },
  {
    name: 'compatibility mode and back, and IRET to null SS',
    body: `mov %rsp, %r12
      push $DATA
      push %rsp
      push $2
      push $CODE
      push $1f
      iretq
      1: push $0
      mov %rsp, %rax
      push %rax
      push $2
      push $CODE
      push $2f
      iretq
      2: mov %ss, %eax
      print %rax
      mov $DATA, %eax
      mov %eax, %ss
      ljmp *7f
      .code32
      3: mov $-1, %eax
      inc %eax
      dec %eax
      pushl $CODE
      pushl $4f
      lret
      .code64
      4: mov %r12, %rsp
      print %rax
      mov %rax, %rbx
      shr $32, %rbx
      print %rbx
      try 5f
      user $2, USER_COMPAT
      .code32
      movl $1, %fs:0
      .code64
      5: try 6f
      user $2, USER_COMPAT
      .code32
      mov $-1, %eax
      mov 0x10(%eax), %eax
      .code64
      6: ret
      .balign 8
      7: .long 3b
      .word COMPAT`,
    expected: '00000000 ffffffff 00000000 0d:0000 0e:0005:000000000000000f',
  },
  {
    name: 'a handler and a call gate of conforming code keep ring 3 and its stack',
    body: `gate 0x2d, 9f+USER, 0xee00, CONFORMING
      gate 0, 8f+USER, 0xec00, CONFORMING, gdt+GATE
      movq $0, gdt+GATE+8
      movl $GATE|3, page+4
      try 1f
      user
      mov $user_stack+USER-5, %esp
      int $0x2d
      mov %rsp, %r15
      mov $user_stack+USER, %esp
      mov $page+USER, %ebp
      lcall *(%rbp)
      hlt
      1: print %rbx
      print %r12
      print %r13
      print %r14
      print %r15
      print %r11
      print %r10
      print %r9
      ret
      9: mov %cs, %ebx
      mov $user_stack+USER, %r12d
      sub %rsp, %r12
      mov 8(%rsp), %r13d
      mov 32(%rsp), %r14d
      mov 24(%rsp), %r9d
      sub $user_stack+USER, %r9
      iretq
      8: mov %cs, %r11d
      mov $user_stack+USER, %r10d
      sub %rsp, %r10
      sub $user_stack+USER, %r15
      lretq`,
    expected: '0d:0000 0000005b 00000038 00000033 0000002b fffffffb 0000005b 00000010 fffffffb',
  },
  {
    name: 'BT and its kin: addresses of 32 bits wrap, and bases of segments are added after the index',
    body: `movl $0, 4
      movl $0, 12
      mov $-4, %ebx
      mov $65, %ecx
      bts %ecx, (%ebx)
      print 4
      wrmsr_ 0xc0000100, 0x1000000000
      mov $0x1000000000, %rdx
      mov $64, %ecx
      neg %rdx
      bts %rcx, %fs:4(%rdx)
      print 12
      mov $-128, %rcx
      btc %rcx, %fs:20(%rdx)
      print 4
      try 1f
      mov $0x7fffffffffff, %rdx
      mov $64, %ecx
      bt %rcx, (%rdx)
      1: mov $-0x7ffffffffff8*8, %rcx
      sub $7, %rdx
      bt %rcx, (%rdx)
      ret`,
    expected: '00000002 00000001 00000003 0d:0000',
  },
  {
    name: 'INVPCID: one address, one PCID, all, all but global; global pages live through a change of PCID',
    body: `.macro inv type pcid address=0
        movq $\\pcid, page
        mov $\\address, %rdx
        mov %rdx, page+8
        mov $\\type, %edx
        invpcid page, %rdx
      .endm
      movl $7, 0x300000
      movl $8, 0x500000
      mov $0x300000, %rbx
      cr 4 0x20080
      movl $0x200183, directory+8
      inv 2, 0
      mov (%rbx), %eax
      movl $0x400183, directory+8
      mov %cr3, %rax
      or $5, %rax
      mov %rax, %cr3
      print (%rbx)
      inv 1, 5
      print (%rbx)
      inv 3, 0
      print (%rbx)
      inv 2, 0
      print (%rbx)
      movl $0x200083, directory+8
      inv 0, 5, 0x3ff000
      print (%rbx)
      movl $0x400083, directory+8
      inv 1, 5
      print (%rbx)
      movl $0x200083, directory+8
      inv 3, 0
      print (%rbx)
      try 1f
      inv 4, 0
      1: try 2f
      inv 1, 0x1000
      2: try 3f
      inv 0, 5, 0x800000000000
      3: try 4f
      user
      xor %edx, %edx
      invpcid page+USER, %rdx
      4: mov %cr3, %rax
      and $~0xfff, %rax
      mov %rax, %cr3
      mov %cr4, %rax
      and $~0x20000, %rax
      mov %rax, %cr4
      ret`,
    expected:
      '00000007 00000007 00000007 00000008 00000007 00000008 00000007 0d:0000 0d:0000 0d:0000 0d:0000',
  },
];

testSmallGuests('long mode', LONG_RUNTIME, guests);
