import { RUNTIME } from './ring0-runtime.ts';
import { type SmallGuest, testSmallGuests } from './small-guests.ts';

// Source: Intel SDM vol. 3, chapter 5 (protection), 6.12 (gates); vol. 1, 19.5 (ports).

/** A return to ring 3, with segments that may stay and some that may not. */
const toRing3 = (name: string, go: string): SmallGuest => ({
  name: `${name} to ring 3 drops data segments of ring 0 and keeps conforming code`,
  body: `mov $DATA, %eax
    mov %eax, %es
    mov $USER_DATA, %eax
    mov %eax, %fs
    mov $CONFORMING, %eax
    mov %eax, %gs
    try 1f
    pushl $USER_DATA
    pushl $user_stack
    ${go}
    0: mov %ds, %eax
    mov %es, %ebx
    mov %fs, %ecx
    mov %gs, %edx
    mov %esp, %esi
    hlt
    1: print %eax
    print %ebx
    print %ecx
    print %edx
    sub $user_stack, %esi
    print %esi
    ret`,
  expected: '0d:0000 00000000 00000000 00000033 00000058 00000000',
});

const guests: readonly SmallGuest[] = [
  {
    name: 'a 32-bit call gate: stack switch, parameters, and RETF back',
    body: `callgate 1f, 2
      try 2f
      user $0x3002
      mov $USER_DATA, %eax
      mov %eax, %ds
      pushl $0x11111111
      pushl $0x22222222
      lcall $GATE|3, $0
      mov %esp, %eax
      sub $user_stack, %eax
      print %eax
      mov %ss, %eax
      print %eax
      ud2
      1: mov 8(%esp), %eax
      print %eax
      mov 12(%esp), %eax
      print %eax
      mov 16(%esp), %eax
      sub $user_stack, %eax
      print %eax
      mov 20(%esp), %eax
      print %eax
      mov 4(%esp), %eax
      print %eax
      mov %cs, %eax
      print %eax
      lret $8
      2: ret`,
    expected: '22222222 11111111 fffffff8 00000033 0000002b 00000008 00000000 00000033 06:0000',
  },
  {
    name: 'a 16-bit call gate: a frame of words',
    body: `local 0, 1f, 0x00409b00, 0xff
      callgate 0, 1, 0xe400, 4
      try 2f
      user $0x3002
      mov $USER_DATA, %eax
      mov %eax, %ds
      pushl $0x33331111
      lcall $GATE|3, $0
      0: .set after, 0b
      1: mov 2(%esp), %eax
      movzwl %ax, %ecx
      mov (%esp), %edx
      mov $after, %esi
      sub %esi, %edx
      movzwl %dx, %edx
      mov 6(%esp), %ebx
      mov $user_stack-4, %esi
      sub %si, %bx
      ljmp $CODE, $3f
      3: print %edx
      print %ecx
      print %eax
      print %ebx
      ud2
      2: ret`,
    expected: '00000000 0000002b 1111002b 00330000 06:0000',
  },
  {
    name: 'conforming code keeps the privilege of its caller',
    body: `try 1f
      user
      lcall $CONFORMING|3, $0f
      0: mov %cs, %eax
      mov (%esp), %ebx
      hlt
      1: print %eax
      sub $0b, %ebx
      print %ebx
      try 2f
      lcall $0x5b, $0f
      0: mov %cs, %eax
      ud2
      2: print %eax
      try 3f
      user
      ljmp $CODE, $0b
      3: movb $0xff, gdt+CONFORMING+5
      try 4f
      ljmp $CONFORMING, $0b
      4: ret`,
    expected: '0d:0000 0000005b 00000000 06:0000 00000058 0d:0008 0d:0058',
  },
  toRing3('RETF', 'pushl $USER_CODE\n pushl $0f\n lret'),
  toRing3('IRET', 'pushl $2\n pushl $USER_CODE\n pushl $0f\n iret'),
  {
    name: 'IRET in ring 3 leaves IF and IOPL alone',
    body: `try 1f
      user
      pushl $0x3202
      pushl $USER_CODE
      pushl $0f
      iret
      0: pushf
      pop %eax
      hlt
      1: and $0x3200, %eax
      print %eax
      ret`,
    expected: '0d:0000 00000000',
  },
  {
    name: 'RETF and IRET to a more privileged level, and to null',
    body: `try 1f
      user
      pushl $CODE
      pushl $0
      lret
      1: try 2f
      user
      pushl $2
      pushl $CODE
      pushl $0
      iret
      2: try 3f
      pushl $2
      pushl $3
      pushl $0
      iret
      3: try 4f
      pushl $0
      pushl $user_stack
      pushl $USER_CODE
      pushl $0
      lret
      4: ret`,
    expected: '0d:0008 0d:0008 0d:0000 0d:0000',
  },
  {
    name: 'rights of data and code segments',
    body: `try 1f
      movl $1, %cs:page
      1: movb $0x99, gdt+RING1_CODE-1+5
      try 2f
      mov $RING1_CODE-1, %eax
      mov %eax, %fs
      2: movb $0x91, gdt+SMALL+5
      mov $SMALL, %eax
      mov %eax, %fs
      try 3f
      mov %fs:0, %eax
      movl $1, %fs:0
      3: try 4f
      mov $SMALL, %eax
      mov %eax, %ss
      4: try 5f
      xor %eax, %eax
      mov %eax, %ss
      5: try 6f
      mov $CODE, %eax
      mov %eax, %ss
      6: try 7f
      lock incl %fs:0
      7: try 8f
      mov $LDT, %eax
      mov %eax, %gs
      8: ret`,
    expected: '0d:0000 0d:0078 0d:0000 0d:0020 0d:0000 0d:0008 0d:0000 0d:0070',
  },
  {
    name: 'the limit of CS inside a block that has run, smaller and larger',
    body: `local 0, 1f, 0x00409b00, 0xff
      xor %eax, %eax
      try 2f
      lcall $4, $0
      say '-'
      movw $2, ldt
      lcall $4, $0
      2: print %eax
      print last
      movw $0xff, ldt
      lcall $4, $0
      print %eax
      movw $3, ldt
      try 3f
      lcall $4, $0
      3: print last
      movw $0xff, ldt
      lcall $4, $0
      print %eax
      ret
      1: inc %eax
      inc %eax
      add $0x100, %eax
      lret`,
    expected: '-0d:0000 00000104 00000002 00000206 0d:0000 00000002 0000030a',
  },
  {
    name: 'an inner stack that the TSS gives wrong',
    body: `callgate 0f, 0, 0xec00, RING1_CODE
      .macro stack1 selector where
        movl $\\selector, task+16
        movl $stack-2048, task+12
        try \\where
        user
        lcall $GATE|3, $0
      .endm
      stack1 DATA, 1f
      1: stack1 0, 2f
      2: stack1 NOWHERE|1, 3f
      3: andb $0x7f, gdt+RING1_DATA-1+5
      stack1 RING1_DATA, 4f
      4: orb $0x80, gdt+RING1_DATA-1+5
      andb $0xfd, gdt+TASK+5
      movw $14, gdt+TASK
      mov $TASK, %eax
      ltr %ax
      stack1 RING1_DATA, 5f
      5: ret
      0: ud2`,
    expected: '0a:0010 0a:0000 0a:00f8 0c:0080 0a:0038',
  },
  {
    name: 'gates: DPL, presence, type; IF, TF and NT in the handler; a handler that conforms',
    body: `gate 0x2f, 0f, 0xef00
      gate 0x2e, 0f, 0xee00
      try 1f
      pushl $0x4202
      popf
      int $0x2f
      1: try 2f
      pushl $0x4202
      popf
      int $0x2e
      2: try 3f
      gate 0x2d, 0f, 0x6e00
      int $0x2d
      3: gate 0x2d, 0f, 0x8900
      try 4f
      int $0x2d
      4: gate 0x2d, 0f, 0x8e00, DATA
      try 5f
      int $0x2d
      5: gate 0x2d, 0f, 0x8e00, 0
      try 6f
      int $0x2d
      6: gate 0x2d, 8f, 0xee00, CONFORMING
      try 7f
      user
      int $0x2d
      8: mov %cs, %eax
      mov %esp, %ebx
      ud2
      7: print %eax
      sub $user_stack, %ebx
      print %ebx
      ret
      0: pushf
      popl %eax
      pushl $2
      popf
      print %eax
      pushl 8(%esp)
      call print_word
      ud2`,
    expected:
      '00000202 00004202 06:0000 00000002 00004202 06:0000 0b:016a 0d:016a 0d:0010 0d:0000 06:0000 0000005b fffffff4',
  },
  {
    name: 'the I/O permission bitmap',
    body: `movb $2, task+104+0x60/8
      .macro port number from=in to=%al where=1
        try \\where\\()f
        user
        mov $\\number, %edx
        \\from %dx, \\to
        mov %eax, %ebx
        ud2
      .endm
      xor %eax, %eax
      port 0x60
      1: print %ebx
      port 0x61
      1: port 0x60, in, %ax
      1: port 0x5e, in, %eax
      1: port 0xfff7
      1: port 0xfff8
      1: movw $0x2069, task+102
      port 0x20
      1: ret`,
    expected: '06:0000 00000060 0d:0000 0d:0000 0d:0000 06:0000 0d:0000 0d:0000',
  },
  {
    name: 'one fault of several',
    body: `call paging
      movl $0, tables+0x3ff*4
      reload
      mov $SMALL, %eax
      mov %eax, %fs
      mov $0x3ff000, %ebx
      xor %ecx, %ecx
      try 1f
      divl (%ebx)
      1: try 2f
      .byte 0xf0, 0x8b, 0x03
      2: try 3f
      mov %fs:(%ebx), %eax
      3: try 4f
      user
      lldt (%ebx)
      4: try 5f
      user
      mov $2, %esp
      pushl (%ebx)
      5: ret`,
    expected: '0e:0000:003ff000 06:0000 0d:0000 0d:0000 0e:0004:003ff000',
  },
  {
    name: 'LAR, LSL, VERR, VERW',
    body: `.macro ask insn selector
        mov $0x55, %eax
        mov $\\selector, %ebx
        \\insn %ebx, %eax
        setz %cl
        movzx %cl, %ecx
        print %eax
        print %ecx
      .endm
      ask lar CODE
      ask lsl CODE
      ask lsl SMALL
      ask lar NOWHERE
      ask lar TASK
      callgate 0f
      0: ask lar GATE
      ask lsl GATE
      ask lar RING1_CODE+2
      ret`,
    expected:
      '00cf9b00 00000001 ffffffff 00000001 00000fff 00000001 00000055 00000000 00008b00 00000001 0010ec00 00000001 00000055 00000000 00000055 00000000',
  },
  {
    name: 'BT and its kin: the index in a register moves the address before it is wrapped and checked',
    body: `base SMALL page
      mov $SMALL, %eax
      mov %eax, %fs
      movl $1, page+0xffc
      movl $0, page+4
      movl $0, page+8
      mov $0x1000, %ebx
      mov $-32, %ecx
      bt %ecx, %fs:(%ebx)
      setc %al
      movzbl %al, %eax
      print %eax
      mov $-4096*8, %ecx
      bts %ecx, %fs:4(%ebx)
      print page+4
      try 1f
      xor %ebx, %ebx
      mov $0x8000, %ecx
      bt %ecx, %fs:(%ebx)
      1: try 2f
      mov $-1, %ecx
      btc %ecx, %fs:(%ebx)
      2: mov $0x80001, %ecx
      addr16 bts %ecx, %fs:8(%bx)
      print page+8
      mov $-64, %cx
      addr16 btsw %cx, %fs:16(%bx)
      print page+8
      try 3f
      mov $-1, %ecx
      addr16 btr %ecx, %fs:(%bx)
      3: try 4f
      mov $0, %ecx
      bts %ecx, %cs:page
      4: try 5f
      mov $NOWHERE-8, %ebx
      bt %ecx, %fs:page(%ebx)
      5: ret`,
    expected: '00000001 00000001 0d:0000 0d:0000 00000002 00000003 0d:0000 0d:0000 0d:0000',
  },
];

testSmallGuests('segments and gates', RUNTIME, guests);
