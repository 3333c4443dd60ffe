import { describeGuest } from './guest-sections.ts';

// x87 exceptions that are not masked. Sources: Intel SDM vol. 1, 8.7, and vol. 3, 6.9; Intel 82371SB data sheet, port 0xf0.

/** 1 / 0 with zero-divide not masked: the exception waits. */
const DIVIDE = `fninit
  movw $0x37b, control
  fldcw control
  fld1
  fldz
  fdivrp
`;
const CR0 = (clear: number, set: number) => `mov %cr0, %eax
  and $~${clear}, %eax
  or $${set}, %eax
  mov %eax, %cr0
`;
const NE = 0x20;
const IRQ13 = `outb PIC1+1 0xfb
  outb PIC2+1 0xdf
`;
const VARIABLES = `ret
  .pushsection .bss
  control: .skip 4
  environment: .skip 32
  .popsection`;

describeGuest('x87 exceptions', [
  {
    name: 'with CR0.NE set: #MF at the next instruction that waits',
    body: `${CR0(0, NE)} ${DIVIDE}
      tell '-'
      fnstsw %ax
      show16
      try 1f
      fld1
      1: fninit
      ${VARIABLES}`,
    expected: '- b084 10:0000',
  },
  {
    name: 'with CR0.NE clear: IRQ 13 through port 0xf0, and IGNNE# until the next exception',
    body: `${IRQ13} ${CR0(NE, 0)} ${DIVIDE}
      movl $ignore, hook
      sti
      tell '-'
      fld1
      tell '+'
      fwait
      fstp %st(0)
      fnclex
      fld1
      fldz
      fdivrp
      fwait
      cli
      count 0x2d
      fninit
      ret
      ignore: mov $0, %al
      out %al, $0xf0
      jmp pic_eoi`,
    expected: '- i2d + i2d 02',
  },
  {
    name: 'with CR0.NE clear: the handler may also clear the exception',
    body: `${IRQ13} ${CR0(NE, 0)} ${DIVIDE}
      movl $clear, hook
      sti
      tell '-'
      fwait
      cli
      fnstsw %ax
      show16
      fninit
      ret
      clear: mov $0, %al
      out %al, $0xf0
      fnclex
      jmp pic_eoi`,
    expected: '- i2d 3000',
  },
  {
    name: 'with CR0.NE clear and IRQ 13 masked the processor stands still but for other interrupts',
    body: `outb PIC1+1 0xff
      outb PIC2+1 0xff
      ${CR0(NE, 0)} ${DIVIDE}
      apic 0x3e0 0xb
      apic 0x320 0x60
      movl $clear_later, hook
      apic 0x380 1000000
      sti
      fwait
      cli
      tell '-'
      outb 0xf0 0
      fninit
      ret
      clear_later: fnclex
      jmp lapic_eoi`,
    expected: 'i60 -',
  },
  {
    name: 'FIP, FOP and FDP: those of the exception that was not masked; FCS and FDS are not kept',
    body: `fninit
      1: fldl one
      fnstenv environment
      mov environment+12, %eax
      sub $1b, %eax
      show8
      mov environment+20, %eax
      show
      movw $0x37b, control
      fldcw control
      mov $zero-16, %ebx
      mov $2, %ecx
      fdivl (%ebx,%ecx,8)
      fnstenv environment
      fnclex
      mov environment+16, %eax
      show
      mov environment+20, %eax
      sub $zero, %eax
      show
      mov environment+24, %eax
      show
      fninit
      ret
      .pushsection .data
      .balign 8
      one: .double 1
      zero: .double 0
      .popsection`,
    expected: '00 00000000 04340000 00000000 ffff0000',
  },
  // The last, because it leaves paging on.
  {
    name: 'an exception that waits is reported before the page fault of an operand, if the instruction waits',
    body: `call paging
      ${CR0(0, NE)} ${DIVIDE}
      movl $0, directory+4*4
      mov %cr3, %eax
      mov %eax, %cr3
      .macro order insn:vararg
        try 9f
        \\insn
        9:
      .endm
      order fldl 0x1000000
      order fistpl 0x1000000
      order fldcw 0x1000000
      order frstor 0x1000000
      order movq 0x1000000, %mm0
      order fnstcw 0x1000000
      order fxsave 0x1000000
      fninit
      order fldl 0x1000000`,
    expected:
      '10:0000 10:0000 10:0000 10:0000 10:0000 0e:0002:01000000 0e:0002:01000000 0e:0000:01000000',
  },
]);
