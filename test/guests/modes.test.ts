import { RUNTIME } from './ring0-runtime.ts';
import { type SmallGuest, testSmallGuests } from './small-guests.ts';

// Real, virtual-8086 and 16-bit code. Source: Intel SDM vol. 3, 9.9 (mode switches), chapter 20 (8086 emulation), vol. 2.

/**
 * `low` copies the 16-bit code between two labels to 0x8000, `real` runs it in real mode with CS 0x800, and comes back
 * when it jumps to 0:0x7000; registers but EAX and EBP are kept. `vm86` runs it in virtual-8086 mode.
 */
const MACROS = `
.macro low from to
  mov $\\from, %esi
  mov $0x8000, %edi
  mov $\\to-\\from, %ecx
  rep movsb
.endm
.macro real from to
  low \\from, \\to
  call to_real
.endm
.macro vm86 flags=$0x20002
  try .Lvm\\@
  pushl $0
  pushl $0
  pushl $0x900
  pushl $0x900
  pushl $0x900
  pushl $0xfff0
  pushl \\flags
  pushl $0x800
  pushl $0
  iret
  .Lvm\\@:
.endm
to_real: mov $.Lback, %esi
  mov $0x7000, %edi
  mov $.Lback_end-.Lback, %ecx
  rep movsb
  mov $.Lthere, %esi
  mov $0x7800, %edi
  mov $.Lback-.Lthere, %ecx
  rep movsb
  mov %esp, resume_esp
  ljmp $CODE16, $0x7800
.code16
.Lthere: mov $DATA16, %ax
  mov %ax, %ds
  mov %ax, %es
  mov %ax, %ss
  mov %cr0, %eax
  and $~1, %eax
  mov %eax, %cr0
  ljmp $0, $0x7800+.Lreal-.Lthere
.Lreal: xor %ax, %ax
  mov %ax, %ss
  mov $0x6ff0, %sp
  lidtw %cs:0x7800+.Lvectors-.Lthere
  mov $0x900, %ax
  mov %ax, %ds
  mov %ax, %es
  ljmp $0x800, $0
.Lvectors: .word 0x3ff
  .long 0
.Lback: mov %cr0, %eax
  or $1, %eax
  mov %eax, %cr0
  ljmpl $CODE, $.Lflat
.code32
.Lback_end:
.Lflat: mov $DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov resume_esp, %esp
  lidt idtr
  ret
`;

const guests: readonly SmallGuest[] = [
  {
    name: 'to real mode and back; SP and IP of 16 bits',
    body: `real 1f, 2f
      print %ebx
      print %ecx
      print %edx
      ret
      .code16
      1: mov $0x12345678, %ebx
      mov %cs, %cx
      mov $0xabcd0000, %esp
      mov $0x700, %dx
      mov %dx, %ss
      push %bx
      mov %esp, %edx
      movzwl %cx, %ecx
      cmpw $0x5678, %ss:0xfffe
      je 3f
      xor %ecx, %ecx
      3: ljmp $0, $0x7000
      2:
      .code32`,
    expected: '12345678 00000800 abcdfffe',
  },
  {
    name: 'real mode: an interrupt through the vector table, limits of 64 KiB, unreal mode',
    body: `movl $0x08000000+9f-1f, 0x21*4
      movl $0x08000000+8f-1f, 13*4
      movl $0x08000000+7f-1f, 12*4
      real 1f, 2f
      print %ebx
      print %ecx
      print %edx
      ret
      .code16
      1: xor %ecx, %ecx
      xor %edx, %edx
      sti
      int $0x21
      pushf
      pop %bx
      and $0x200, %ebx
      cli
      mov $0xffff, %di
      4: mov (%di), %ax
      xor %bp, %bp
      dec %bp
      5: mov (%bp), %ax
      ljmp $0, $0x7000
      9: inc %cx
      pushf
      pop %ax
      test $0x200, %ax
      jz 6f
      xor %cx, %cx
      6: iret
      8: or $0x100, %edx
      pop %ax
      add $2, %ax
      push %ax
      iret
      7: or $0x200, %edx
      pop %ax
      add $3, %ax
      push %ax
      iret
      2:
      .code32`,
    expected: '00000200 00000001 00000300',
  },
  {
    name: 'virtual-8086 mode: what needs IOPL 3, INT, and all segments in the frame',
    body: `low 1f, 2f
      gate 0x2f, stubs+0x2f*16, 0xee00
      .macro offset
        print last
        mov last_flags, %eax
        and $0x20000, %eax
        print %eax
      .endm
      vm86
      offset
      vm86 $0x23002
      offset
      print last_esp
      print last_ss
      ret
      .code16
      1: pushf
      3: pop %ax
      and $0x7000, %ax
      cmp $0x3000, %ax
      jne 3b
      cli
      mov %cs, %ax
      push %ax
      int $0x2f
      2:
      .code32`,
    expected: '0d:0000 00000000 00020000 2f:0000 00000010 00020000 0000ffee 00000900',
  },
  {
    name: 'virtual-8086 mode: IRET from ring 0 puts the frame of nine, segments null',
    body: `low 1f, 2f
      gate 0x2f, 9f, 0xee00
      vm86 $0x23002
      ret
      9: mov %ds, %eax
      mov $DATA, %ebx
      mov %ebx, %ds
      print %eax
      mov %es, %eax
      print %eax
      print 20(%esp)
      print 24(%esp)
      mov 4(%esp), %eax
      print %eax
      mov $stack-4096, %eax
      sub %esp, %eax
      print %eax
      ud2
      .code16
      1: int $0x2f
      2:
      .code32`,
    expected: '00000000 00000000 00000900 00000900 00000800 00000024 06:0000',
  },
  {
    name: 'VME: INT by the bitmap, VIF in the place of IF, VIP',
    body: `cr 4 1
      low 1f, 2f
      movl $0x08000000+9f-1f, 0x21*4
      movw $0x2000, task+102
      movl $0xffffffff, task+0x2000-32
      movb $0xfd, task+0x2000-32+4
      vm86 $0x20002
      print last
      print %ebx
      print %ecx
      vm86 $0x120002
      print last
      movb $0xff, task+0x2000-32+4
      vm86 $0x20002
      print last
      ret
      .code16
      1: sti
      3: pushf
      pop %bx
      movzwl %bx, %ebx
      int $0x21
      hlt
      9: pushf
      pop %cx
      movzwl %cx, %ecx
      iret
      2:
      .code32`,
    expected: '0d:0000 00000009 00003202 00003002 0d:0000 00000000 0d:0000 00000007',
  },
  {
    name: '16-bit protected code: PUSH wraps SP, 32-bit operands, IP beyond 64 KiB',
    body: `low 1f, 2f
      mov %esp, %ebp
      movl $0x8000ffff, gdt+CODE16
      movl $0x9000ffff, gdt+DATA16
      mov $DATA16, %eax
      mov %eax, %ss
      mov $0xdead0002, %esp
      ljmp $CODE16, $0
      9: mov $DATA, %edx
      mov %edx, %ss
      mov %ebp, %esp
      print %esi
      print %edi
      print %ebx
      print %ecx
      movzwl 0x18ffe, %eax
      print %eax
      ret
      .code16
      1: push %ax
      mov %esp, %esi
      mov $0x1234, %ax
      push %ax
      mov %esp, %edi
      push $0x7fff0000
      popl %ebx
      mov $0x12340000, %ebx
      mov %bx, %cx
      movl $0x11112222, %ecx
      ljmpl $CODE, $9b
      2:
      .code32`,
    expected: 'dead0000 deadfffe 12340000 11112222 00001234',
  },
];

testSmallGuests('modes', RUNTIME + MACROS, guests);
