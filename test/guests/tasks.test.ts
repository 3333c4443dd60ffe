import { RUNTIME } from './ring0-runtime.ts';
import { type SmallGuest, testSmallGuests } from './small-guests.ts';

// Hardware task switches. Source: Intel SDM vol. 3, chapter 7.

/** `second` fills the second TSS so that its task begins at a label in ring 0, on a stack of its own. */
const MACROS = `.macro second where flags=$2
  movl $\\where, task2+0x20
  movl \\flags, task2+0x24
  movl $stack-1024, task2+0x38
  movl $CODE, task2+0x4c
  movl $DATA, task2+0x48
  movl $DATA, task2+0x50
  movl $DATA, task2+0x54
  movl $0x77, task2+0x28
  movw $104, task2+102
  movl $0, task2
  push %eax
  mov %cr3, %eax
  mov %eax, task2+0x1c
  pop %eax
.endm
.macro busy selector
  movzbl gdt+\\selector+5, %eax
  print %eax
.endm
.macro task_now
  str %eax
  print %eax
.endm
`;

const guests: readonly SmallGuest[] = [
  {
    name: 'CALL and IRET: the link, NT, busy bits, CR0.TS, registers',
    body: `second 1f
      mov $0x1234, %ebx
      lcall $TASK2, $0
      0: print %ebx
      task_now
      busy TASK
      busy TASK2
      pushf
      popl %eax
      and $0x4000, %eax
      print %eax
      mov task2+0x20, %eax
      sub $2f, %eax
      print %eax
      clts
      ret
      1: print %eax
      task_now
      busy TASK
      busy TASK2
      pushf
      popl %eax
      and $0x4000, %eax
      print %eax
      print task2
      mov %cr0, %eax
      print %eax
      mov task+0x20, %eax
      sub $0b, %eax
      print %eax
      print task+0x34
      xor %ebx, %ebx
      iret
      2: ud2`,
    expected:
      '00000077 00000060 0000008b 0000008b 00004000 00000038 00000019 00000000 00001234 00001234 00000038 0000008b 00000089 00000000 00000000',
  },
  {
    name: 'JMP: no link, the old task is free, and back by JMP',
    body: `second 1f
      ljmp $TASK2, $0
      task_now
      busy TASK
      busy TASK2
      clts
      ret
      1: task_now
      busy TASK
      busy TASK2
      print task2
      pushf
      popl %eax
      and $0x4000, %eax
      print %eax
      ljmp $TASK, $0`,
    expected: '00000060 00000089 0000008b 00000000 00000000 00000038 0000008b 00000089',
  },
  {
    name: 'a task gate, by CALL and for an exception with its error code',
    body: `second 1f
      movl $0x00600000, gdt+GATE
      movl $0x0000e500, gdt+GATE+4
      lcall $GATE, $0
      task_now
      second 2f
      gate 13, 0, 0x8500, TASK2
      mov $NOWHERE, %eax
      mov %eax, %fs
      3: task_now
      clts
      ret
      1: task_now
      iret
      2: popl %eax
      print %eax
      task_now
      mov task+0x20, %eax
      sub $3b-2, %eax
      print %eax
      movl $3b, task+0x20
      iret`,
    expected: '00000060 00000038 000000f8 00000060 00000000 00000038',
  },
  {
    name: 'what a switch is refused for',
    body: `try 1f
      ljmp $TASK, $0
      1: try 2f
      andb $0x7f, gdt+TASK2+5
      lcall $TASK2, $0
      2: orb $0x80, gdt+TASK2+5
      movw $0x66, gdt+TASK2
      try 3f
      lcall $TASK2, $0
      3: movw $0x67, gdt+TASK2
      try 4f
      movw $TASK2, task
      pushl $0x4002
      popf
      iret
      4: try 5f
      movw $DATA, task
      pushl $0x4002
      popf
      iret
      5: try 6f
      user
      lcall $TASK2, $0
      6: ret`,
    expected: '0d:0038 0b:0060 0a:0060 0a:0060 0a:0010 0d:0060',
  },
  {
    name: 'a new task with wrong segments faults in that task',
    body: `movl $0x67, gdt+GATE
      movl $0x8900, gdt+GATE+4
      base GATE task3
      gate 10, 0, 0x8500, GATE
      gate 11, 0, 0x8500, GATE
      gate 12, 0, 0x8500, GATE
      .macro wrong offset selector
        second 9f
        movl $\\selector, task2+\\offset
        mov $task2, %esi
        mov $task3, %edi
        mov $26, %ecx
        rep movsl
        movl $0, task3+0x60
        movl $CODE, task3+0x4c
        movl $DATA, task3+0x48
        movl $DATA, task3+0x50
        movl $DATA, task3+0x54
        movl $8f, task3+0x20
        lcall $TASK2, $0
        movb $0x89, gdt+TASK2+5
        movb $0x89, gdt+GATE+5
      .endm
      wrong 0x4c, USER_CODE
      wrong 0x4c, 0
      wrong 0x54, ABSENT
      wrong 0x48, NOWHERE
      wrong 0x50, ABSENT
      wrong 0x50, CODE
      wrong 0x60, DATA
      clts
      ret
      9: ud2
      8: popl %eax
      print %eax
      print task3
      mov task2+0x20, %eax
      sub $9b, %eax
      print %eax
      movb $0x89, gdt+TASK+5
      ljmp $TASK, $0`,
    expected:
      '00000010 00000060 00000000 00000000 00000060 00000000 00000018 00000060 00000000 000000f8 00000060 00000000 00000018 00000060 00000000 00000008 00000060 00000000 00000010 00000060 00000000',
  },
  {
    name: 'CR3 and the trap bit of the new task',
    body: `call paging
      second 1f
      mov $directory, %esi
      mov $page, %edi
      mov $1024, %ecx
      rep movsl
      movl $tables+7, page+8
      movl $page, task2+0x1c
      movl $directory, task+0x1c
      movw $1, task2+0x64
      gate 1, 2f
      lcall $TASK2, $0
      mov %cr3, %eax
      sub $directory, %eax
      print %eax
      try 3f
      mov 0x800000, %eax
      3: clts
      ret
      2: mov %dr6, %eax
      print %eax
      mov $0xffff0ff0, %eax
      mov %eax, %dr6
      mov (%esp), %eax
      sub $1f, %eax
      print %eax
      iret
      1: mov 0x800000+pristine+8, %eax
      print %eax
      iret`,
    expected: 'ffff8ff0 00000000 0000ffff 00000000 0e:0000:00800000',
  },
  {
    name: 'a 16-bit TSS: words, and registers whose upper halves are set',
    body: `movb $0x81, gdt+TASK2+5
      movw $0x2b, gdt+TASK2
      local 0, 1f, 0x00409b00, 0xff
      movw $0, task2+0x0e
      movw $2, task2+0x10
      movw $0x77, task2+0x12
      movw $0xff0, task2+0x1a
      movw $0x2222, task2+0x14
      movw $DATA, task2+0x22
      movw $4, task2+0x24
      base SMALL page
      movb $0x93, gdt+SMALL+5
      movw $SMALL, task2+0x26
      movw $DATA, task2+0x28
      movw $LDT, task2+0x2a
      mov $0x12345678, %ebx
      lcall $TASK2, $0
      print %ebx
      task_now
      clts
      ret
      1: mov %eax, %edi
      mov %ecx, %esi
      mov %esp, %ebx
      ljmp $CODE, $2f
      2: mov $DATA, %eax
      mov %eax, %ss
      mov $stack-1024, %esp
      print %ebx
      print %edi
      print %esi
      task_now
      iret`,
    expected: 'ffff0ff0 ffff0077 ffff2222 00000060 12345678 00000038',
  },
  {
    name: 'debug registers: a switch clears the local breakpoints',
    body: `second 1f
      mov $page, %eax
      mov %eax, %dr0
      mov $0x10003, %eax
      mov %eax, %dr7
      lcall $TASK2, $0
      xor %eax, %eax
      mov %eax, %dr7
      clts
      ret
      1: mov %dr7, %eax
      print %eax
      iret`,
    expected: '00010402',
  },
  {
    name: 'virtual-8086 mode by a switch: EFLAGS.VM of the TSS, segments without descriptors',
    body: `second 0
      mov $1f, %esi
      mov $0x8000, %edi
      mov $2f-1f, %ecx
      rep movsb
      movl $0x20002, task2+0x24
      movl $0x12340000, task2+0x28
      movl $0xfff0, task2+0x38
      movl $0x901, task2+0x48
      movl $0x800, task2+0x4c
      movl $0x902, task2+0x50
      movl $0x903, task2+0x54
      movl $0x904, task2+0x58
      movl $0x905, task2+0x5c
      movl $stack-1024, task2+4
      movl $DATA, task2+8
      try 3f
      ljmp $TASK2, $0
      task_now
      clts
      ret
      3: print last
      print last_cs
      mov last_flags, %eax
      and $0x20000, %eax
      print %eax
      print last_eax
      print last_ecx
      print last_edx
      print last_ss
      print last_esp
      busy TASK2
      task_now
      ljmp $TASK, $0
      .code16
      1: mov %ds, %ax
      mov %gs, %cx
      mov %es, %dx
      pushw $0x55
      hlt
      2:
      .code32`,
    expected:
      '0d:0000 00000008 00000800 00020000 12340903 00000905 00000901 00000902 0000ffee 0000008b 00000060 00000038',
  },
];

testSmallGuests('task switches', RUNTIME + MACROS, guests);
