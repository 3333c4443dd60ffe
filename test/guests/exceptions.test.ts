import { RUNTIME } from './ring0-runtime.ts';
import { type SmallGuest, testSmallGuests } from './small-guests.ts';

// What is printed is `vector:error[:CR2 or DR6]` for exceptions, and words.

const guests: readonly SmallGuest[] = [
  {
    name: 'faults and traps, each through its vector',
    body: `try 1f
      xor %ecx, %ecx
      div %ecx
      1: try 2f
      int3
      2: try 3f
      mov $0x7fffffff, %eax
      inc %eax
      into
      3: try 4f
      mov $9, %eax
      bound %eax, bounds
      4: try 5f
      ud2
      5: try 6f
      mov %cr0, %eax
      or $8, %eax
      mov %eax, %cr0
      fnop
      6: clts
      ret
      bounds: .long 0, 8`,
    expected: '00:0000 03:0000 04:0000 05:0000 06:0000 07:0000',
  },
  {
    name: 'selectors in error codes',
    body: `try 1f
      mov $NOWHERE, %eax
      mov %eax, %ds
      1: try 2f
      mov $ABSENT, %eax
      mov %eax, %es
      2: try 3f
      mov $ABSENT, %eax
      mov %eax, %ss
      3: try 4f
      int $0x30
      4: try 5f
      ljmp $DATA, $0
      5: try 6f
      mov $CODE|3, %eax
      mov %eax, %ss
      6: ret`,
    expected: '0d:00f8 0b:0018 0c:0018 0d:0182 0d:0010 0d:0008',
  },
  {
    name: 'LOCK on illegal forms, and more than 15 bytes',
    body: `try 1f
      .byte 0xf0, 0x01, 0xc0
      1: try 2f
      .byte 0xf0, 0x8b, 0x05, 0, 0, 0, 0
      2: try 3f
      .byte 0xf0, 0x90
      3: try 4f
      .fill 15, 1, 0x66
      nop
      4: try 5f
      .fill 14, 1, 0x66
      nop
      ud2
      5: ret`,
    expected: '06:0000 06:0000 06:0000 0d:0000 06:0000',
  },
  {
    name: 'segment limits on data access',
    body: `mov $SMALL, %eax
      mov %eax, %fs
      try 1f
      mov %fs:0xffc, %eax
      mov %fs:0xffd, %eax
      1: try 2f
      mov $DOWN, %eax
      mov %eax, %fs
      mov %fs:0x1000, %eax
      mov %fs:0xfff, %eax
      2: try 3f
      mov $SMALL, %eax
      mov %eax, %ss
      mov $0x800, %esp
      mov $0x2000, %ebp
      mov (%ebp), %eax
      3: try 4f
      xor %eax, %eax
      mov %eax, %gs
      mov %gs:0, %al
      4: try 5f
      mov $SMALL, %eax
      mov %eax, %fs
      mov $-1, %eax
      btl %eax, %fs:0x1000
      mov $32, %eax
      btl %eax, %fs:0xffc
      5: ret`,
    expected: '0d:0000 0d:0000 0c:0000 0d:0000 0d:0000',
  },
  {
    name: 'a double fault, and a handler that is not there three times',
    body: `try 1f
      movw $0, idt+13*8+4
      mov $NOWHERE, %eax
      mov %eax, %ds
      1: movw $0, idt+8*8+4
      mov $NOWHERE, %eax
      mov %eax, %ds
      ret`,
    expected: '08:0000 crash',
  },
  {
    name: 'debug exceptions: TF, ICEBP, data and instruction breakpoints',
    body: `try 1f
      pushl $0x102
      popf
      nop
      nop
      1: try 2f
      .byte 0xf1
      2: try 3f
      mov $page, %eax
      mov %eax, %dr0
      mov $0xd0001, %eax
      mov %eax, %dr7
      movl $5, page
      nop
      3: try 4f
      mov $here, %eax
      mov %eax, %dr1
      mov $0x4, %eax
      mov %eax, %dr7
      movl $6, page
      here: movl $7, page
      4: xor %eax, %eax
      mov %eax, %dr7
      print page
      ret`,
    expected: '01:0000:00004000 01:0000:00000000 01:0000:00000001 01:0000:00000002 00000006',
  },
  {
    name: 'MOV SS holds a single-step trap back by one instruction',
    body: `mov $DATA, %eax
      try 1f
      xor %ebx, %ebx
      pushl $0x102
      popf
      mov %eax, %ss
      inc %ebx
      inc %ebx
      1: print %ebx
      ret`,
    expected: '01:0000:00004000 00000001',
  },
  {
    name: 'page faults: error codes and CR2',
    body: `call paging
      try 1f
      mov 0x400000, %eax
      1: try 2f
      movl $1, 0x400004
      2: try 3f
      addl $1, 0x400008
      3: andl $~2, tables+0x3fe*4
      mov %cr3, %eax
      mov %eax, %cr3
      movl $1, 0x3fe000
      mov %cr0, %eax
      or $0x10000, %eax
      mov %eax, %cr0
      try 4f
      addl $1, 0x3fe008
      4: try 5f
      mov $0x400000, %eax
      jmp *%eax
      5: print 0x3fe000
      ret`,
    expected:
      '0e:0000:00400000 0e:0002:00400004 0e:0002:00400008 0e:0003:003fe008 0e:0000:00400000 00000001',
  },
  {
    name: 'a store that crosses into a fault changes nothing; accessed and dirty bits',
    body: `call paging
      movl $0, tables+0x3ff*4
      mov %cr3, %eax
      mov %eax, %cr3
      try 1f
      movl $0x12345678, 0x3feffe
      1: print 0x3feffc
      mov $0x3fe*4, %esi
      andl $~0x60, tables(%esi)
      mov %cr3, %eax
      mov %eax, %cr3
      mov 0x3fe000, %eax
      print tables(%esi)
      movl $1, 0x3fe000
      print tables(%esi)
      ret`,
    expected: '0e:0002:003ff000 00000000 003fe027 003fe067',
  },
  {
    name: 'REP stops at the element that faults',
    body: `call paging
      mov $0x3ffff0, %edi
      mov $0x20, %ecx
      mov $page, %esi
      try 1f
      rep movsb
      1: print %edi
      ret`,
    expected: '0e:0002:00400000 00400000',
  },
  {
    name: 'an instruction that straddles into a page that is not there',
    body: `call paging
      movb $0xb8, 0x3fffff
      try 1f
      mov $0x3fffff, %eax
      jmp *%eax
      1: ret`,
    expected: '0e:0000:00400000',
  },
  {
    name: 'a large page with a reserved bit set',
    body: `call paging
      mov %cr4, %eax
      or $0x10, %eax
      mov %eax, %cr4
      movl $0x000087, directory+8
      print 0x800000+pristine+8
      movl $0x200087, directory+12
      try 1f
      mov 0xc00000, %eax
      1: ret`,
    expected: '0000ffff 0e:0009:00c00000',
  },
  {
    name: 'code that changes itself in the running block, and through another address',
    body: `call paging
      movb $7, 1f+1
      1: mov $1, %al
      movzx %al, %eax
      print %eax
      movl $tables+7, directory+4
      movb $9, 0x400000+2f+1
      2: mov $1, %al
      movzx %al, %eax
      print %eax
      ret`,
    expected: '00000007 00000009',
  },
  {
    name: 'ring 3: privileged instructions, ports, gates, alignment',
    body: `call paging
      mov %cr0, %eax
      or $0x40000, %eax
      mov %eax, %cr0
      movw $0xffff, task+102
      try 1f
      user $2
      cli
      1: try 2f
      user $2
      in $0x60, %al
      2: try 3f
      user $2
      int $0x31
      3: try 4f
      user $2
      int $6
      4: try 5f
      user $2
      int3
      5: try 6f
      user $0x40002
      mov $page+1, %eax
      mov $USER_DATA, %edx
      mov %edx, %ds
      mov (%eax), %eax
      6: try 7f
      user $2
      hlt
      7: try 8f
      user $2
      mov $DATA, %eax
      mov %eax, %ds
      8: mov $USER_DATA-3, %eax
      try 9f
      user $2
      mov %cr0, %eax
      9: ret`,
    expected: '0d:0000 0d:0000 0d:018a 0d:0032 03:0000 11:0000 0d:0000 0d:0010 0d:0000',
  },
];

testSmallGuests('exceptions', RUNTIME, guests);
