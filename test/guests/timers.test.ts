import { describeGuest } from './guest-sections.ts';

// Sources: Intel 8254, Motorola MC146818A and Intel 82371SB data sheets; IA-PC HPET specification. The host may be busy:
// only what comes too early is wrong.

const MS = 1_000_000;

/** Both bytes of the count that channel `n` reads. */
const read16 = (n: number) => `inb 0x4${n}
  mov %al, %bl
  inb 0x4${n}
  mov %al, %bh
  mov %bx, %ax
  show16
`;
const GATE2_LOW = 'outb 0x61 0\n';
const GATE2_HIGH = 'outb 0x61 1\n';
/** The output of channel 2, as 0x20 or 0. */
const OUT2 = 'inb 0x61\nand $0x20, %al\nshow8\n';

describeGuest('interval timer 8254', [
  {
    name: 'a stopped gate keeps the count; byte orders, BCD and latches',
    body: `${GATE2_LOW}
      outb 0x43 0xb0
      outb 0x42 0x34
      outb 0x42 0x12
      ${read16(2)}
      outb 0x43 0x80
      outb 0x43 0xe8
      inb 0x42
      show8
      ${read16(2)}
      outb 0x43 0x90
      outb 0x42 0x77
      inb 0x42
      show8
      inb 0x42
      show8
      outb 0x43 0xa0
      outb 0x42 0x55
      inb 0x42
      show8
      outb 0x43 0xb1
      outb 0x42 0x99
      outb 0x42 0x09
      ${read16(2)}
      ${GATE2_HIGH}
      ns ${MS / 10}
      ${GATE2_LOW}
      inb 0x42
      mov %al, %bl
      inb 0x42
      mov %al, %bh
      mov $4, %ecx
      xor %ebp, %ebp
      1: mov %bl, %al
      and $15, %al
      cmp $10, %al
      jb 2f
      inc %ebp
      2: ror $4, %bx
      loop 1b
      mov %ebp, %eax
      show8`,
    // 0xe8 latches the status too: OUT low, loaded, both bytes, mode 0.
    expected: '1234 30 1234 77 77 55 0999 00',
  },
  {
    name: 'mode 0: OUT rises at the end of the count, stays, and a gate stops the count',
    body: `${GATE2_LOW}
      outb 0x43 0xb0
      outb 0x42 0xa9
      outb 0x42 0x04
      ${OUT2}
      ns ${2 * MS}
      ${OUT2}
      begin
      ${GATE2_HIGH}
      1: inb 0x61
      test $0x20, %al
      jz 1b
      took ${MS - 1000}
      ns ${MS}
      ${OUT2}
      outb 0x42 0
      ${OUT2}`,
    expected: '00 00 Y 20 00',
  },
  {
    name: 'mode 2: low for the last tick of each period alone; high while the gate is low',
    body: `${GATE2_HIGH}
      outb 0x43 0xb4
      outb 0x42 2
      outb 0x42 0
      xor %ebp, %ebp
      mov $400, %ecx
      1: inb 0x61
      test $0x20, %al
      jz 2f
      or $1, %ebp
      jmp 3f
      2: or $2, %ebp
      3: loop 1b
      mov %ebp, %eax
      show8
      ${GATE2_LOW}
      ${OUT2}
      mov $400, %ecx
      1: inb 0x61
      test $0x20, %al
      jz 2f
      loop 1b
      2: mov %cl, %al
      show8`,
    expected: '03 20 00',
  },
  {
    name: 'mode 3: as long high as low, counting by two',
    body: `${GATE2_HIGH}
      outb 0x43 0xb6
      begin
      outb 0x42 0x52
      outb 0x42 0x09
      1: inb 0x61
      test $0x20, %al
      jnz 1b
      1: inb 0x61
      test $0x20, %al
      jz 1b
      1: inb 0x61
      test $0x20, %al
      jnz 1b
      took ${2.99 * MS}
      movb $1, quiet
      mov $200, %ecx
      xor %ebp, %ebp
      1: outb 0x43 0x80
      inb 0x42
      mov %al, %bl
      inb 0x42
      mov %al, %bh
      or %ebx, %ebp
      loop 1b
      and $1, %ebp
      mov %ebp, %eax
      show8`,
    expected: 'Y 00',
  },
  {
    name: 'read-back: status with the null count, OUT and the mode, status before count',
    body: `${GATE2_LOW}
      outb 0x43 0xb8
      outb 0x43 0xe8
      inb 0x42
      show8
      outb 0x42 0x21
      outb 0x43 0xe8
      inb 0x42
      show8
      outb 0x42 0x43
      outb 0x43 0xc8
      outb 0x43 0xc8
      inb 0x42
      show8
      ${read16(2)}
      outb 0x43 0xee
      inb 0x40
      and $0x3f, %al
      show8
      inb 0x42
      show8`,
    // Channel 0 is as the start of the section has set it: mode 0, without a count.
    expected: 'f8 f8 b8 4321 30 b8',
  },
  {
    name: 'channel 0: IRQ 0 once in mode 0, again and again in mode 2',
    body: `outb PIC1+1 0xfe
      movl $pic_eoi, hook
      outb 0x43 0x30
      begin
      outb 0x40 0xa9
      outb 0x40 0x04
      await 0x20 1
      took ${MS - 1000}
      ns ${3 * MS}
      allow
      movb $1, quiet
      outb 0x43 0x34
      movl $0, counts+4*0x20
      begin
      outb 0x40 0xa9
      outb 0x40 0x04
      await 0x20 4
      took ${3 * MS}
      outb 0x43 0x30`,
    expected: 'i20 Y Y',
  },
]);

/** Reads a byte of the clock into AL, or writes one. */
const cmos = (index: string) => `outb 0x70 ${index}\ninb 0x71\n`;
const setCmos = (index: string, value: string) => `outb 0x70 ${index}\noutb 0x71 ${value}\n`;
const CLOCK_IRQ = `outb PIC1+1 0xfb
  outb PIC2+1 0xfe
  movl $pic_eoi, hook
`;

/** The time bytes, hours to seconds, then century, year, month, day and weekday. */
const SHOW_TIME = ['4', '2', '0', '0x32', '9', '8', '7', '6']
  .map((index) => `${cmos(index)}show8\n`)
  .join('');
/** New Year's Eve of 1999, two seconds before its end. */
const SET_TIME = [
  ['11', '0x82'],
  ...[
    ['4', '0x23'],
    ['2', '0x59'],
    ['0', '0x58'],
    ['0x32', '0x19'],
  ],
  ...[
    ['9', '0x99'],
    ['8', '0x12'],
    ['7', '0x31'],
  ],
]
  .map(([index, value]) => setCmos(index ?? '', value ?? ''))
  .join('');

describeGuest('real-time clock', [
  {
    name: 'its memory keeps what is written; the NMI bit of the index is none of it',
    body: `${setCmos('0x50', '0xa5')} ${setCmos('0xd1', '0x3c')}
      ${cmos('0xd0')} show8
      ${cmos('0x51')} show8
      ${cmos('0x0d')} show8
      outb 0x70 0`,
    expected: 'a5 3c 80',
  },
  {
    name: 'the update and the alarm interrupt together, across the end of a century',
    body: `${CLOCK_IRQ}
      ${setCmos('1', '0xc0')} ${setCmos('3', '0')} ${setCmos('5', '0')}
      ${SET_TIME}
      begin
      ${setCmos('11', '0x32')}
      ${cmos('12')}
      await 0x28 1
      took ${900 * MS}
      ${cmos('12')} show8
      await 0x28 2
      ${cmos('12')} show8
      ${SHOW_TIME}
      ${setCmos('11', '0x00')}
      ${cmos('4')} show8
      ${setCmos('11', '0x06')}
      ${cmos('0x32')} show8
      ${setCmos('11', '0x02')}`,
    // The periodic flag goes up whether or not it interrupts.
    expected: 'i28 Y d0 i28 f0 00 00 00 20 00 01 01 07 12 14',
  },
  {
    name: 'periodic: again only when register C was read',
    body: `${CLOCK_IRQ}
      ${setCmos('10', '0x23')}
      ${cmos('12')}
      ${setCmos('11', '0x42')}
      await 0x28 1
      ns ${MS}
      allow
      tell '-'
      movb $1, quiet
      movl $read_c, hook
      begin
      ${cmos('12')} show8
      await 0x28 5
      took ${3 * 122_070}
      ${setCmos('11', '0x02')}
      ${setCmos('10', '0x26')}
      ret
      read_c: ${cmos('12')}
      jmp pic_eoi`,
    expected: 'i28 - c0 Y',
  },
]);

const ROUTE_20 = 20 << 9;
const hpet = (register: string, value: number | string) => `movl $${value}, HPET+${register}\n`;
/** Timer 0 is due so many ticks of 10 ns from now. */
const DUE_IN = (ticks: number) => `mov HPET+0xf0, %eax
  add $${ticks}, %eax
  mov %eax, HPET+0x108
`;

describeGuest('HPET', [
  {
    name: 'capabilities; the counter holds still unless enabled, and goes on from what is written',
    body: `mov HPET, %eax
      show
      mov HPET+4, %eax
      show
      ${hpet('0xf0', 0x1234)} ${hpet('0xf4', 5)}
      ns ${MS}
      mov HPET+0xf0, %eax
      show
      ${hpet('0x10', 1)}
      ns ${MS}
      ${hpet('0x10', 0)}
      mov HPET+0xf0, %eax
      cmp $0x1234+${MS / 10}, %eax
      setae %al
      show8
      mov HPET+0xf4, %eax
      show8
      ${hpet('0xf0', '0xffffffff')} ${hpet('0x10', 1)}
      ns 1000
      mov HPET+0xf4, %eax
      show8`,
    expected: '8086a201 00989680 00001234 01 05 06',
  },
  {
    name: 'one shot: an edge at its time, and no second',
    body: `entry 20 0x60
      ${hpet('0xf0', 0)} ${hpet('0xf4', 0)} ${hpet('0x10', 1)}
      ${hpet('0x10c', 0)}
      begin
      ${DUE_IN(MS)}
      ${hpet('0x100', ROUTE_20 | 4)}
      await 0x60 1
      took ${10 * MS - 20_000}
      ns ${2 * MS}
      allow
      mov HPET+0x20, %eax
      show8`,
    expected: 'i60 Y 00',
  },
  {
    name: 'level: the line stays up until its status is cleared',
    body: `entry 20 0x8061
      movl $no_eoi, hook
      ${hpet('0xf0', 0)} ${hpet('0xf4', 0)} ${hpet('0x10', 1)}
      ${hpet('0x10c', 0)}
      ${DUE_IN(MS)}
      ${hpet('0x100', ROUTE_20 | 6)}
      await 0x61 1
      mov HPET+0x20, %eax
      show8
      apic 0xb0 0
      allow
      ${hpet('0x20', 1)}
      apic 0xb0 0
      allow
      mov HPET+0x20, %eax
      show8`,
    expected: 'i61 01 i61 00',
  },
  {
    name: 'periodic: from a comparator set by hand, a period apart',
    body: `entry 20 0x62
      movb $1, quiet
      ${hpet('0xf0', 0)} ${hpet('0xf4', 0)}
      ${hpet('0x100', ROUTE_20 | 4 | 8 | 0x40 | 0x100)}
      ${hpet('0x108', 50_000)} ${hpet('0x108', 10_000)}
      begin
      ${hpet('0x10', 1)}
      await 0x62 1
      took 500000
      await 0x62 4
      took 800000
      cli
      ${hpet('0x10', 0)}
      mov HPET+0x108, %eax
      xor %edx, %edx
      mov $10000, %ecx
      div %ecx
      mov %edx, %eax
      show`,
    expected: 'Y Y 00000000',
  },
  {
    name: '32 bits: a comparator behind the counter waits for it to come round',
    body: `entry 20 0x63
      ${hpet('0xf0', 0xffff_0000)} ${hpet('0xf4', 0)}
      ${hpet('0x100', ROUTE_20 | 4 | 0x100)}
      ${hpet('0x108', 0x1000)}
      begin
      ${hpet('0x10', 1)}
      await 0x63 1
      took ${(0x1_0000 + 0x1000) * 10 - 20_000}`,
    expected: 'i63 Y',
  },
  {
    name: 'legacy replacement: timer 0 in place of the 8254, timer 1 in place of the clock, and back',
    body: `outb PIC1+1 0xfa
      outb PIC2+1 0xfe
      movl $pic_eoi, hook
      outb 0x43 0x34
      outb 0x40 0xa9
      outb 0x40 0x04
      movb $1, quiet
      await 0x20 1
      ${hpet('0xf0', 0)} ${hpet('0xf4', 0)}
      ${hpet('0x10c', 0)} ${hpet('0x12c', 0)}
      ${hpet('0x10', 3)}
      allow
      movl $0, counts+4*0x20
      movb $0, quiet
      tell '-'
      ns ${3 * MS}
      allow
      ${setCmos('11', '0x42')}
      ns ${MS}
      allow
      tell '-'
      ${DUE_IN(MS)}
      ${hpet('0x100', 4)}
      await 0x20 1
      mov HPET+0xf0, %eax
      add $${MS}, %eax
      mov %eax, HPET+0x128
      ${hpet('0x120', 4)}
      await 0x28 1
      tell '-'
      movb $1, quiet
      movl $0, counts+4*0x20
      ${hpet('0x10', 0)}
      await 0x20 2
      await 0x28 2
      outb 0x43 0x30
      ${setCmos('11', '0x02')}
      ${cmos('12')}
      count 0x28`,
    expected: '- - i20 i28 - 02',
  },
]);
