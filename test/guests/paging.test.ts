import { RUNTIME } from './ring0-runtime.ts';
import { type SmallGuest, testSmallGuests } from './small-guests.ts';

// 32-bit and PAE paging. Source: Intel SDM vol. 3, 4.3 to 4.7, 4.10.

/** `pae` maps 8 MiB: the first 2 MiB in pages of 4 KiB (`tables`), the others in pages of 2 MiB, all for ring 3. */
const MACROS = `
.set POINTERS, 0x150000
.set TOP, 0x151000
.macro long_word at low high=0
  movl $\\low, \\at
  movl $\\high, \\at+4
.endm
pae: mov $POINTERS, %edi
  mov $0x800, %ecx
  xor %eax, %eax
  rep stosl
  mov $tables, %edi
  mov $7, %eax
  mov $512, %ecx
1: mov %eax, (%edi)
  movl $0, 4(%edi)
  add $8, %edi
  add $0x1000, %eax
  loop 1b
  long_word POINTERS, TOP+1
  long_word TOP, tables+7
  long_word TOP+8, 0x200087
  long_word TOP+16, 0x400087
  long_word TOP+24, 0x600087
  mov $0x20, %eax
  mov %eax, %cr4
  mov $POINTERS, %eax
  mov %eax, %cr3
  cr 0 0x80000000
  ret
.macro efer bits
  mov $0xc0000080, %ecx
  mov $\\bits, %eax
  xor %edx, %edx
  wrmsr
.endm
`;

const guests: readonly SmallGuest[] = [
  {
    // add $0x1100, %eax; ret, in the entry of 0x340000 and the one behind it: and $0x1100, %eax, once it is accessed.
    name: 'code that is a page-table entry, and is marked',
    body: `call paging
      movl $0x110005, tables+0x340*4
      movl $0xc300, tables+0x341*4
      invlpg 0x340000
      mov $0x100, %eax
      call tables+0x340*4
      print %eax
      mov 0x340000, %ecx
      mov $0x100, %eax
      call tables+0x340*4
      print %eax
      print tables+0x340*4
      ret`,
    expected: '00001200 00000100 00110025',
  },
  {
    name: 'pages of 4 MiB: accessed, dirty, rights, and INVLPG of all of it',
    body: `call paging
      cr 4 0x10
      movl $0x83, directory+4
      mov 0x400000+pristine, %eax
      print directory+4
      movl $5, 0x600000
      print directory+4
      mov 0x700000, %eax
      movl $0x400083, directory+4
      invlpg 0x400000
      print 0x600000
      try 1f
      user
      mov 0x600000, %al
      1: ret`,
    expected: '000000a3 000000e3 00000000 0e:0005:00600000',
  },
  {
    name: 'INVLPG of a page of 4 MiB of which the other half alone was used',
    body: `call paging
      cr 4 0x10
      movl $1, 0x250000
      movl $0x83, directory+4
      print 0x650000
      movl $0x400083, directory+4
      invlpg 0x400000
      print 0x650000
      ret`,
    expected: '00000001 00000000',
  },
  {
    name: 'rights are those of both levels; WP',
    body: `call paging
      .macro rights directory table
        movl $tables+\\directory, directory+4
        movl $0x150000+\\table, tables+0x150*4
        reload
      .endm
      rights 7, 5
      try 1f
      user
      movb $1, 0x550000
      1: movb $2, 0x550000
      cr 0 0x10000
      try 2f
      movb $3, 0x550000
      2: rights 7, 3
      try 3f
      user
      mov 0x550000, %al
      3: movb $4, 0x550000
      movl $tables+5, directory+4
      reload
      try 4f
      movb $5, 0x550000
      4: mov %cr0, %eax
      and $~0x10000, %eax
      mov %eax, %cr0
      print 0x150000
      ret`,
    expected: '0e:0007:00550000 0e:0003:00550000 0e:0005:00550000 0e:0003:00550000 00000004',
  },
  {
    // 32 MiB apart: the TLB has one entry for both.
    name: 'a global page lives through a load of CR3, and another does not, whichever was in the TLB before it',
    body: `call paging
      movl $tables+7, directory+8*4
      movl $1, 0x150000
      movl $2, 0x151000
      cr 4 0x80
      mov 0x150000, %eax
      movl $0x150107, tables+0x150*4
      mov 0x2150000, %eax
      movl $0x151107, tables+0x150*4
      reload
      print 0x2150000
      movl $0x150007, tables+0x150*4
      mov 0x150000, %eax
      movl $0x151007, tables+0x150*4
      reload
      print 0x150000
      movl $0x150107, tables+0x150*4
      mov 0x2150000, %eax
      movl $0x151107, tables+0x150*4
      reload
      print 0x2150000
      mov %cr4, %eax
      xor $0x80, %eax
      mov %eax, %cr4
      print 0x2150000
      ret`,
    expected: '00000001 00000002 00000001 00000002',
  },
  {
    name: 'an old translation lives until INVLPG, a load of CR3, or for global pages a change of CR4.PGE',
    body: `call paging
      movl $1, 0x150000
      movl $2, 0x151000
      movl $0x151007, tables+0x150*4
      invlpg 0x150000
      print 0x150000
      cr 4 0x80
      movl $0x150107, tables+0x150*4
      reload
      mov 0x150000, %eax
      movl $0x151107, tables+0x150*4
      mov %cr4, %eax
      xor $0x80, %eax
      mov %eax, %cr4
      print 0x150000
      ret`,
    expected: '00000002 00000002',
  },
  {
    name: 'PAE: pointers are read with CR3, reserved bits, pages of 2 MiB',
    body: `call pae
      movl $7, 0x300000
      long_word POINTERS+8, TOP+1
      try 1f
      mov 0x40300000, %eax
      1: reload
      print 0x40300000
      print TOP+8
      long_word POINTERS+16, TOP+3
      try 2f
      reload
      2: long_word POINTERS+16, 0
      movl $0x202087, TOP+8
      reload
      try 3f
      mov 0x40200000, %eax
      3: try 4f
      movl $0x200087, TOP+8
      movl $0x100000, TOP+12
      reload
      mov 0x40200000, %eax
      4: movl $0, TOP+12
      movl $0x80000000, TOP+28
      reload
      try 5f
      mov 0x600000, %eax
      5: efer 0x800
      try 6f
      mov 0x600000, %eax
      mov $0x600000, %eax
      jmp *%eax
      6: movl $0, TOP+28
      efer 0
      ret`,
    expected:
      '0e:0000:40300000 00000007 002000e7 0d:0000 0e:0009:40200000 0e:0009:40200000 0e:0009:00600000 0e:0011:00600000',
  },
  {
    name: 'SMEP and SMAP in 32-bit paging',
    body: `call paging
      mov $1024, %ecx
      1: andl $~4, tables-4(,%ecx,4)
      loop 1b
      orl $4, tables+0x150*4
      cr 4 0x300000
      try 2f
      mov $0x150000, %eax
      jmp *%eax
      2: try 3f
      incb 0x150000
      3: stac
      incb 0x150000
      pushf
      popl %eax
      clac
      and $0x40000, %eax
      print %eax
      ret`,
    expected: '0e:0011:00150000 0e:0003:00150000 00040000',
  },
  {
    name: 'accesses over two pages of which one is missing, read, written, both',
    body: `call paging
      .macro across
        movl $0x151007, tables+0x151*4
        movl $0x11223344, 0x150ffe
        movl $0, tables+0x151*4
        reload
      .endm
      across
      try 1f
      mov 0x150ffe, %eax
      1: try 2f
      xchg %eax, 0x150ffd
      2: try 3f
      movsd 0x100000, %xmm0
      3: mov $0x150ffe, %edi
      try 4f
      stosl
      4: try 5f
      pushw 0x150fff
      5: try 6f
      lock cmpxchg8b 0x150ffc
      6: mov %cr3, %eax
      movzwl 0x150ffe, %eax
      print %eax
      ret`,
    expected:
      '0e:0000:00151000 0e:0002:00151000 06:0000 0e:0002:00151000 0e:0000:00151000 0e:0002:00151000 00003344',
  },
  {
    name: 'code over two pages: changed in the second, missing, mapped elsewhere',
    body: `call paging
      movb $0xb8, 0x150ffe
      movl $0x00000011, 0x150fff
      movb $0xc3, 0x151003
      mov $0x150ffe, %ebx
      call *%ebx
      print %eax
      movb $0x22, 0x151000
      call *%ebx
      print %eax
      movl $0x152007, tables+0x151*4
      invlpg 0x151000
      movl $0x00440000, 0x152000
      movb $0xc3, 0x152003
      call *%ebx
      print %eax
      movl $0, tables+0x151*4
      invlpg 0x151000
      try 1f
      call *%ebx
      1: ret`,
    expected: '00000011 00002211 44000011 0e:0000:00151000',
  },
];

testSmallGuests('paging', RUNTIME + MACROS, guests);
