import { describeGuest } from './guest-sections.ts';

// Sources: Intel 82093AA data sheet; Intel SDM vol. 3A, chapter 11. COM2 is pin 3, COM1 pin 4.

describeGuest('I/O APIC', [
  {
    name: 'an edge interrupts once; one that comes while masked is lost',
    body: `entry 4 0x50
      raise COM1
      allow
      allow
      tell '-'
      lower COM1
      raise COM1
      allow
      show_entry 4
      entry 4 0x10050
      lower COM1
      raise COM1
      entry 4 0x50
      allow`,
    expected: 'i50 - i50 00000050',
  },
  {
    name: 'a level interrupts again after each EOI as long as it lasts, and sets remote IRR in between',
    body: `entry 4 0x8051
      movl $no_eoi, hook
      raise COM1
      allow
      show_entry 4
      allow
      tell '-'
      apic 0xb0 0
      allow
      lower COM1
      show_entry 4
      apic 0xb0 0
      show_entry 4
      allow`,
    expected: 'i51 0000c051 - i51 0000c051 00008051',
  },
  {
    name: 'a level that was masked is not lost; one made an edge for a moment is ended',
    body: `entry 4 0x18052
      movl $com1_lower, hook
      raise COM1
      allow
      tell '-'
      entry 4 0x8052
      allow
      movl $no_eoi, hook
      raise COM1
      allow
      show_entry 4
      lower COM1
      entry 4 0x10052
      entry 4 0x18052
      show_entry 4`,
    expected: '- i52 i52 0000c052 00018052',
  },
  {
    name: 'the EOI register, when the local APIC does not broadcast',
    body: `apic 0xf0 0x11ff
      entry 4 0x8053
      raise COM1
      allow
      show_entry 4
      lower COM1
      movl $0x53, IOAPIC+0x40
      show_entry 4`,
    expected: 'i53 0000c053 00008053',
  },
  {
    name: 'the higher vector first, whatever came first',
    body: `entry 3 0x61
      entry 4 0x81
      raise COM2
      raise COM1
      allow`,
    expected: 'i81 i61',
  },
  {
    name: 'destinations: another APIC, a logical set, and everybody',
    body: `movl $0x19, IOAPIC
      movl $0x05000000, IOAPIC+0x10
      entry 4 0x54
      raise COM1
      allow
      tell '-'
      lower COM1
      movl $0x19, IOAPIC
      movl $0x03000000, IOAPIC+0x10
      entry 4 0x855
      raise COM1
      allow
      lower COM1
      movl $0x19, IOAPIC
      movl $0x02000000, IOAPIC+0x10
      raise COM1
      allow
      tell '-'
      lower COM1
      movl $0x19, IOAPIC
      movl $0xff000000, IOAPIC+0x10
      entry 4 0x156
      raise COM1
      allow`,
    expected: '- i55 - i56',
  },
  {
    name: 'registers: version, and what cannot be written',
    body: `movl $1, IOAPIC
      mov IOAPIC+0x10, %eax
      show
      movl $0x18, IOAPIC
      movl $0xffffffff, IOAPIC+0x10
      mov IOAPIC+0x10, %eax
      show
      movl $0x19, IOAPIC
      movl $0xffffffff, IOAPIC+0x10
      mov IOAPIC+0x10, %eax
      show`,
    expected: '00170020 0001afff ff000000',
  },
]);

const LEAST_NS = 1_000_000;
/** A busy host takes the processor away for longer than LEAST_NS, and a deadline that is over reads 0. */
const DEADLINE_NS = 200 * LEAST_NS;

describeGuest('local APIC', [
  {
    name: 'task and processor priority hold back their class and those below',
    body: `apic 0x80 0x50
      apic 0x300 0x40058
      apic 0x300 0x40061
      allow
      mov LAPIC+0xa0, %eax
      show8
      mov LAPIC+0x220, %eax
      show
      movl $no_eoi, hook
      apic 0x80 0x4f
      allow
      mov LAPIC+0xa0, %eax
      show8
      apic 0x300 0x40057
      apic 0x300 0x40062
      allow
      apic 0xb0 0
      allow
      mov LAPIC+0x120, %eax
      show
      mov LAPIC+0x220, %eax
      show`,
    // 0x58 is in service, so that 0x57 goes on waiting.
    expected: 'i61 50 01000000 i58 50 i62 01000000 00800000',
  },
  {
    name: 'a priority raised above what waits holds it back, with no spurious interrupt',
    body: `apic 0xf0 0x1ef
      apic 0x300 0x40058
      apic 0x80 0x60
      allow
      tell '-'
      mov LAPIC+0x220, %eax
      show
      apic 0x80 0x50
      allow
      tell '-'
      apic 0x80 0x40
      allow
      mov LAPIC+0xf0, %eax
      show`,
    expected: '- 01000000 - i58 000001ef',
  },
  {
    name: 'shorthands and destinations of interprocessor interrupts',
    body: `apic 0x300 0x40060
      allow
      apic 0x300 0x80061
      allow
      tell '-'
      apic 0x300 0xc0062
      allow
      tell '-'
      apic 0x310 0
      apic 0x300 0x63
      allow
      apic 0x310 0x01000000
      apic 0x300 0x64
      allow
      tell '-'
      apic 0x300 0x865
      allow
      apic 0xd0 0x31000000
      apic 0xe0 0x0fffffff
      apic 0x310 0x32000000
      apic 0x300 0x866
      allow
      tell '-'
      apic 0x310 0x33000000
      apic 0x300 0x867
      allow
      mov LAPIC+0x300, %eax
      show`,
    expected: 'i60 i61 - - i63 - i65 - i67 00000867',
  },
  {
    name: 'a second request of a vector in service waits; a third is lost',
    body: `movl $no_eoi, hook
      apic 0x300 0x40070
      allow
      apic 0x300 0x40070
      apic 0x300 0x40070
      allow
      tell '-'
      apic 0xb0 0
      allow
      apic 0xb0 0
      allow`,
    expected: 'i70 - i70',
  },
  {
    name: 'errors: illegal vectors and registers, told by ESR and an interrupt',
    body: `apic 0x370 0x5e
      apic 0x300 0x40008
      allow
      mov LAPIC+0x280, %eax
      show8
      apic 0x280 0
      mov LAPIC+0x280, %eax
      show8
      apic 0x280 0
      mov LAPIC+0x280, %eax
      show8
      mov LAPIC+0x40, %eax
      allow
      apic 0x280 0
      mov LAPIC+0x280, %eax
      show8
      entry 4 9
      raise COM1
      allow
      apic 0x280 0
      mov LAPIC+0x280, %eax
      show8`,
    expected: 'i5e 00 20 00 i5e 80 i5e 40',
  },
  {
    name: 'the timer, one shot: once, not too early, and over',
    body: `apic 0x3e0 0xb
      apic 0x320 0x55
      begin
      apic 0x380 ${LEAST_NS}
      await 0x55 1
      took ${LEAST_NS}
      mov LAPIC+0x390, %eax
      show
      ns ${LEAST_NS}
      allow
      apic 0x320 0x10056
      apic 0x380 ${LEAST_NS / 2}
      ns ${LEAST_NS}
      apic 0x320 0x56
      allow`,
    expected: 'i55 Y 00000000',
  },
  {
    name: 'the timer, periodic: divided, again and again, and stopped by a count of 0',
    body: `apic 0x3e0 8
      apic 0x320 0x20057
      movb $1, quiet
      begin
      apic 0x380 6250
      await 0x57 5
      took 500000
      mov LAPIC+0x390, %eax
      cmp $6250, %eax
      setbe %al
      show8
      apic 0x380 0
      allow
      movl $0, counts+4*0x57
      ns ${LEAST_NS}
      allow
      count 0x57
      mov LAPIC+0x390, %eax
      show`,
    expected: 'Y 01 00 00000000',
  },
  {
    name: 'the timer by TSC deadline: at its time, at once when that is over, never when disarmed',
    body: `apic 0x320 0x40058
      begin
      add $${DEADLINE_NS}, %eax
      adc $0, %edx
      mov $0x6e0, %ecx
      wrmsr
      rdmsr
      sub began, %eax
      show
      await 0x58 1
      took ${DEADLINE_NS}
      mov $0x6e0, %ecx
      rdmsr
      show
      wrmsr_at 0x6e0 1
      allow
      rdtsc
      add $${DEADLINE_NS}, %eax
      adc $0, %edx
      mov $0x6e0, %ecx
      wrmsr
      wrmsr_at 0x6e0 0
      ns ${DEADLINE_NS * 2}
      allow
      apic 0x380 100
      mov LAPIC+0x390, %eax
      show
      apic 0x320 0x59
      wrmsr_at 0x6e0 1
      allow
      mov $0x6e0, %ecx
      rdmsr
      show`,
    expected: '0bebc200 i58 Y 00000000 i58 00000000 00000000',
  },
  {
    name: 'disabled by software it masks its sources and takes nothing but what it must',
    body: `apic 0x320 0x5a
      apic 0xf0 0xff
      mov LAPIC+0x320, %eax
      show
      apic 0x320 0x5a
      mov LAPIC+0x320, %eax
      show
      apic 0x300 0x40060
      apic 0xf0 0x1ff
      allow
      mov LAPIC+0xf0, %eax
      show`,
    expected: '0001005a 0001005a 000001ff',
  },
  {
    name: 'NMI passes IF, waits for IRET while another is handled, and ends HLT',
    body: `movl $nested, hook
      apic 0x310 0
      apic 0x300 0x400
      jmp 1f
      1: tell '-'
      count 2
      apic 0x3e0 0xb
      apic 0x320 0x5b
      movl $nmi_on_timer, hook
      apic 0x380 ${LEAST_NS}
      sti
      hlt
      cli
      count 2
      ret
      nmi_on_timer: apic 0xb0 0
      cmp $2, %ebx
      je 1f
      apic 0x300 0x400
      1: ret
      nested: cmpl $3, counts+8
      jae 1f
      apic 0x300 0x400
      apic 0x300 0x400
      jmp 2f
      2: mov $'.', %al
      out %al, $0xe9
      1:`,
    // Of the two sent by each handler one is kept: three in all, none inside another.
    expected: 'i02 .i02 .i02 - 03 i5b i02 04',
  },
  {
    name: 'an NMI ends HLT with interrupts off',
    body: `movl $no_eoi, hook
      apic 0x310 0
      apic 0x300 0x400
      hlt
      count 2`,
    expected: 'i02 01',
  },
  {
    name: 'x2APIC: registers as MSRs, no memory-mapped ones, illegal accesses and transitions',
    body: `wrmsr_at 0x1b 0xfee00d00
      mov $0x802, %ecx
      rdmsr
      show
      mov LAPIC+0x30, %eax
      show
      movl $x2_eoi, hook
      wrmsr_at 0x83f 0x60
      allow
      wrmsr_at 0x830 0x40061
      allow
      mov $0x80d, %ecx
      rdmsr
      show
      wrmsr_at 0x808 0x70
      wrmsr_at 0x83f 0x62
      allow
      wrmsr_at 0x808 0
      allow
      try 1f
      wrmsr_at 0x80b 1
      1: try 2f
      mov $0x80e, %ecx
      rdmsr
      2: try 3f
      wrmsr_at 0x1b 0xfee00900
      3: try 4f
      mov $0x83f, %ecx
      rdmsr
      4: wrmsr_at 0x1b 0xfee00100
      try 5f
      wrmsr_at 0x1b 0xfee00d00
      5: wrmsr_at 0x1b 0xfee00900
      mov LAPIC+0xf0, %eax
      show
      ret
      x2_eoi: wrmsr_at 0x80b 0`,
    expected:
      '00000000 ffffffff i60 i61 00000001 i62 0d:0000 0d:0000 0d:0000 0d:0000 0d:0000 000000ff',
  },
  {
    name: 'identity: version, and the ID that no write changes',
    body: `mov LAPIC+0x30, %eax
      show
      apic 0x20 0x0f000000
      mov LAPIC+0x20, %eax
      show
      mov LAPIC+0x80, %al
      show8
      mov $0x1b, %ecx
      rdmsr
      show`,
    expected: '01060014 00000000 00 fee00900',
  },
]);
