import { RUNTIME } from './ring0-runtime.ts';
import { type SmallGuest, testSmallGuests } from './small-guests.ts';

// Source: Intel SDM vol. 3, chapter 17 (debug registers, TF, RF), 6.7.1 (NMI), 6.8.3 (shadow of MOV SS).

/** A #DB handler that counts in EBP and remembers DR6 in EBX and where it came from in EDI, and goes on. */
const COUNTING = `gate 1, 9f
      xor %ebp, %ebp
      jmp 8f
      9: inc %ebp
      push %eax
      mov %dr6, %eax
      and $0xe00f, %eax
      mov %eax, %ebx
      mov $0xffff0ff0, %eax
      mov %eax, %dr6
      mov 12(%esp), %eax
      mov %eax, last_flags
      mov 4(%esp), %edi
      pop %eax
      iret
      8:`;
const DR7_EXECUTE = 1;

const guests: readonly SmallGuest[] = [
  {
    name: 'TF: one trap an instruction, and one for each element of REP',
    body: `${COUNTING}
      step
      nop
      walk
      print %ebp
      xor %ebp, %ebp
      mov $page, %esi
      lea 64(%esi), %edx
      mov $5, %ecx
      xchg %edi, %edx
      step
      rep lodsb
      walk
      print %ebp
      print %ecx
      xor %ebp, %ebp
      step
      rep lodsb
      walk
      print %ebp
      ret`,
    expected: '00000003 00000007 00000000 00000003',
  },
  {
    name: 'TF: between the elements of REP RF is pushed set, and at the end clear',
    body: `gate 1, 9f
      mov $page, %esi
      mov $3, %ecx
      pushl $0x102
      popf
      1: rep lodsw
      nop
      9: mov (%esp), %eax
      sub $1b, %eax
      print %eax
      mov 8(%esp), %eax
      and $0x10100, %eax
      print %eax
      print %ecx
      jecxz 2f
      iret
      2: add $12, %esp
      ret`,
    expected: '00000000 00010100 00000002 00000000 00010100 00000001 00000003 00000100 00000000',
  },
  {
    name: 'TF: INT clears it, its IRET brings it back',
    body: `${COUNTING}
      gate 0x2f, 7f
      step
      1: int $0x2f
      2: nop
      3: walk
      print %ebp
      ret
      7: pushf
      popl %eax
      and $0x100, %eax
      mov %edi, %edx
      iret`,
    expected: '00000003',
  },
  {
    name: 'a breakpoint on an instruction is a fault with RF clear, and RF lets it run once',
    body: `gate 1, 9f
      mov $1f, %eax
      mov %eax, %dr0
      mov $${DR7_EXECUTE}, %eax
      mov %eax, %dr7
      xor %ebp, %ebp
      xor %ecx, %ecx
      1: inc %ecx
      cmp $3, %ecx
      jb 1b
      xor %eax, %eax
      mov %eax, %dr7
      print %ebp
      print %ecx
      ret
      9: testl $0x10000, 8(%esp)
      jnz 8f
      inc %ebp
      8: orl $0x10000, 8(%esp)
      iret`,
    expected: '00000003 00000003',
  },
  {
    name: 'RF outlasts an interrupt that comes before the instruction',
    body: `gate 1, 9f
      gate 0x20, 7f
      mov $1f, %eax
      mov %eax, %dr0
      mov $${DR7_EXECUTE}, %eax
      mov %eax, %dr7
      xor %ebp, %ebp
      xor %ecx, %ecx
      mov $0x20, %al
      out %al, $0xf0
      pushl $0x10202
      pushl $CODE
      pushl $1f
      iret
      1: inc %ecx
      cli
      xor %eax, %eax
      mov %eax, %dr7
      print %ebp
      print %ecx
      ret
      9: inc %ebp
      orl $0x10000, 8(%esp)
      iret
      7: mov 8(%esp), %eax
      and $0x10200, %eax
      print %eax
      iret`,
    expected: '00010200 00000000 00000001',
  },
  {
    name: 'RF in what exceptions push: set by faults, clear by traps and INT n',
    body: `.macro rf
        mov last_flags, %eax
        and $0x10000, %eax
        print %eax
      .endm
      try 1f
      ud2
      1: rf
      try 2f
      int3
      2: rf
      try 3f
      int $0x2f
      3: rf
      try 4f
      pushl $0x102
      popf
      nop
      4: rf
      try 5f
      mov %cs:0xffffffff, %eax
      5: rf
      ret`,
    expected:
      '06:0000 00010000 03:0000 00000000 2f:0000 00000000 01:0000:00004000 00000000 0d:0000 00010000',
  },
  {
    name: 'breakpoints on data: kinds, lengths, alignment, and TF at once',
    body: `${COUNTING}
      .macro watch kind address
        mov $\\address, %eax
        mov %eax, %dr0
        mov $\\kind, %eax
        mov %eax, %dr7
        xor %ebp, %ebp
        xor %ebx, %ebx
      .endm
      .macro met
        print %ebp
        print %ebx
      .endm
      watch 0x10001, page
      mov page, %al
      met
      mov %al, page
      met
      watch 0x30001, page
      mov page, %al
      met
      watch 0xd0001, page+4
      movb $1, page+3
      met
      movw $1, page+3
      met
      watch 0x90001, page+8
      movb $1, page+15
      movl $1, page+4
      movl $1, page+16
      met
      watch 0xd0001, page+3
      movb $1, page+4
      met
      movb $1, page+3
      met
      watch 0x10001, page
      step
      incb page
      mov %ebx, %edx
      walk
      print %edx
      watch 0x10002, page
      push page
      pop page
      met
      xor %eax, %eax
      mov %eax, %dr7
      ret`,
    expected:
      '00000000 00000000 00000001 00000001 00000001 00000001 00000000 00000000 00000001 00000001 00000001 00000001 00000000 00000000 00000001 00000001 00004001 00000001 00000001',
  },
  {
    name: 'a breakpoint on data ends REP after the element',
    body: `mov $page, %edi
      lea 5(%edi), %eax
      mov %eax, %dr3
      mov $0x10000040, %eax
      mov %eax, %dr7
      mov $16, %ecx
      try 2f
      1: rep stosb
      2: sub $page, %edi
      print %edi
      print %ecx
      from 1b
      xor %eax, %eax
      mov %eax, %dr7
      ret`,
    expected: '01:0000:00000008 00000006 0000000a 00000000',
  },
  {
    name: 'breakpoints on ports, with CR4.DE',
    body: `cr 4 8
      mov $0x60, %eax
      mov %eax, %dr1
      mov $0x200004, %eax
      mov %eax, %dr7
      try 1f
      mov $7, %ebx
      in $0x61, %al
      in $0x60, %al
      dec %ebx
      1: print %ebx
      try 2f
      mov $0x60, %edx
      mov $page, %edi
      mov $4, %ecx
      rep insb
      2: print %ecx
      xor %eax, %eax
      mov %eax, %dr7
      try 3f
      mov %dr4, %eax
      3: ret`,
    expected: '01:0000:00000002 00000007 01:0000:00000002 00000003 06:0000',
  },
  {
    name: 'DR7.GD guards the debug registers, and the handler may use them',
    body: `mov $0x2400, %eax
      mov %eax, %dr7
      try 1f
      mov %dr3, %eax
      1: mov %dr7, %eax
      print %eax
      ret`,
    expected: '01:0000:00002000 00000400',
  },
  {
    name: 'a breakpoint met by MOV SS waits for the instruction after it',
    body: `mov $DATA, %eax
      mov %eax, page
      mov $page, %eax
      mov %eax, %dr0
      mov $0x30001, %eax
      mov %eax, %dr7
      xor %ebx, %ebx
      try 1f
      mov page, %ss
      inc %ebx
      inc %ebx
      1: print %ebx
      xor %eax, %eax
      mov %eax, %dr7
      ret`,
    expected: '01:0000:00000001 00000001',
  },
  {
    name: 'STI takes effect one instruction later, and not before CLI',
    body: `gate 0x20, 9f
      xor %ebx, %ebx
      mov $0x20, %al
      out %al, $0xf0
      sti
      cli
      print %ebx
      sti
      1: inc %ebx
      nop
      cli
      print %edi
      mov $0x20, %al
      xor %ebx, %ebx
      out %al, $0xf0
      sti
      hlt
      2: cli
      sub $2b, %ebp
      print %ebp
      ret
      9: mov %ebx, %edi
      mov (%esp), %ebp
      iret`,
    expected: '00000000 00000001 00000000',
  },
  {
    name: 'NMI waits for the IRET of the one before, even if that faults',
    body: `gate 2, 9f
      xor %ebx, %ebx
      out %al, $0xf1
      look
      print %ebx
      gate 2, 8f
      try 1f
      out %al, $0xf1
      look
      1: print %ebx
      ret
      9: inc %ebx
      cmp $2, %ebx
      je 7f
      out %al, $0xf1
      nop
      print %ebx
      7: iret
      8: inc %ebx
      cmp $4, %ebx
      je 7b
      out %al, $0xf1
      pushl $2
      pushl $NOWHERE
      pushl $0
      iret`,
    expected: '00000001 00000002 0d:00f8 00000004',
  },
  {
    name: 'an interrupt between the elements of REP pushes RF set, and behind the last one clear',
    // Of OUTS 64 elements are done before the processor looks around.
    body: `mov $0x2a, %al
      mov $page, %edi
      mov $80, %ecx
      rep stosb
      mov $0xf0, %edx
      mov $page, %esi
      mov $66, %ecx
      try 2f
      sti
      nop
      1: rep outsb
      ud2
      2: from 1b
      mov last_flags, %eax
      and $0x10000, %eax
      print %eax
      print last_ecx
      try 4f
      mov $1, %ecx
      sti
      nop
      3: rep outsb
      ud2
      4: from 3b
      mov last_flags, %eax
      and $0x10000, %eax
      print %eax
      print last_ecx
      ret`,
    expected: '2a:0000 00000000 00010000 00000002 2a:0000 00000002 00000000 00000000',
  },
];

testSmallGuests('debugging, shadows and NMI', RUNTIME, guests);
