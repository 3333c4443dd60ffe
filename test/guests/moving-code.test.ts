import { LONG_RUNTIME } from './long-runtime.ts';
import { RUNTIME } from './ring0-runtime.ts';
import { type SmallGuest, testSmallGuests } from './small-guests.ts';

// Code at an address whose page is another one later. Source: Intel SDM vol. 3, 4.10 (what translations may be kept).

/** Lays a function at an address that returns a number. */
const MACROS = `
.macro function at value
  movb $0xb8, \\at
  movl $\\value, \\at+1
  movb $0xc3, \\at+5
.endm
`;

const guests: readonly SmallGuest[] = [
  {
    name: 'a direct branch to another page goes where that page is now',
    body: `call paging
      .set ELSEWHERE, 0x160000
      .macro branch page
        movl $\\page, tables+0x160*4
        invlpg ELSEWHERE
        call 7f
        call 7f
        print %eax
      .endm
      function 0x150000 1
      function 0x151000 2
      branch 0x150007
      branch 0x151007
      branch 0x150007
      movl $0x151007, tables+0x160*4
      reload
      call 7f
      print %eax
      movb $3, 0x151001
      call 7f
      print %eax
      try 1f
      branch 0
      1: ret
      7: call ELSEWHERE
      ret`,
    expected: '00000001 00000002 00000001 00000002 00000003 0e:0000:00160000',
  },
];

const longGuests: readonly SmallGuest[] = [
  {
    name: 'code in the upper half goes where its page is now, and a global page stays over a load of CR3',
    body: `.set HERE, HIGH+0x1f0000
      .macro place page
        movq $\\page, pages+0x1f0*8
      .endm
      .macro called
        call *%rbx
        call *%rbx
        print %rax
      .endm
      function 0x150000 1
      function 0x151000 2
      movb $0xe9, 0x152000
      movl $-0x1005, 0x152001
      movq $0x152003, pages+0x1f1*8
      mov $HERE+0x1000, %rbx
      place 0x150003
      reload
      called
      place 0x151003
      reload
      called
      place 0x150003
      invlpg -0x1000(%rbx)
      called
      xor %ecx, %ecx
      1: orl $0x100, pages(,%rcx,8)
      inc %ecx
      cmp $512, %ecx
      jne 1b
      cr 4 0x80
      mov $HIGH, %rax
      add $2f, %rax
      jmp *%rax
      2: called
      place 0x151103
      reload
      called
      invlpg 0x1f0000
      called
      invlpg -0x1000(%rbx)
      called
      place 0x150003
      invlpg -0x1000(%rbx)
      called
      place 0x151003
      reload
      called
      ret`,
    expected: '00000001 00000002 00000001 00000001 00000001 00000001 00000002 00000001 00000002',
  },
];

testSmallGuests('code that moves', RUNTIME + MACROS, guests);
testSmallGuests('code that moves, in long mode', LONG_RUNTIME + MACROS, longGuests);
