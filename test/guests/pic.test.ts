import { describeGuest } from './guest-sections.ts';

// Source: Intel 8259A data sheet. COM2 is IRQ 3, COM1 IRQ 4, the keyboard IRQ 1, the clock IRQ 8.

/** The register that OCW3 chooses: 0x0a IRR, 0x0b ISR. */
const show = (ocw3: string, chip = 'PIC1') => `outb ${chip} ${ocw3}\ninb ${chip}\nshow8\n`;
const IRR = show('0x0a');
const ISR = show('0x0b');
const KEY = 'outb 0x64 0xd2\noutb 0x60 0x55\n';

describeGuest('interrupt controllers 8259A', [
  {
    name: 'a masked request waits in IRR; unmasked it is taken; the EOI ends its service',
    body: `outb PIC1+1 0xff
      raise COM1
      ${IRR} ${ISR}
      inb PIC1+1
      show8
      allow
      outb PIC1+1 0xef
      allow
      ${IRR} ${ISR}
      outb PIC1 0x20
      ${ISR}
      movl $pic_eoi, hook
      lower COM1
      raise COM1
      allow
      ${ISR}`,
    // The first handler sends its EOI to the local APIC, which has nothing to do with it.
    expected: '10 00 ff i24 00 10 00 i24 00',
  },
  {
    name: 'the lowest number comes first, and interrupts a service of lower priority alone',
    body: `outb PIC1+1 0xe5
      movl $pic_eoi, hook
      raise COM1
      raise COM2
      ${KEY}
      allow
      lower COM1
      lower COM2
      inb 0x60
      movl $no_eoi, hook
      raise COM2
      allow
      raise COM1
      allow
      ${KEY}
      allow
      ${ISR} ${IRR}
      outb PIC1 0x20
      ${ISR}
      allow
      outb PIC1 0x20
      allow
      ${ISR}
      outb PIC1 0x64
      ${ISR}`,
    expected: 'i21 i23 i24 i23 i21 0a 10 08 i24 10 00',
  },
  {
    name: 'priorities rotate with the EOI, or as set',
    body: `outb PIC1+1 0xe7
      movl $no_eoi, hook
      raise COM2
      allow
      outb PIC1 0xa0
      lower COM2
      raise COM2
      raise COM1
      allow
      outb PIC1 0x20
      allow
      outb PIC1 0x20
      lower COM1
      lower COM2
      outb PIC1 0xc3
      raise COM2
      raise COM1
      allow
      outb PIC1 0xe4
      allow
      lower COM1
      raise COM1
      allow
      outb PIC1 0xe3
      ${ISR}
      allow`,
    expected: 'i23 i24 i23 i24 i23 00 i24',
  },
  {
    name: 'automatic EOI leaves nothing in service',
    body: `outb PIC1 0x11
      outb PIC1+1 0x40
      outb PIC1+1 4
      outb PIC1+1 3
      outb PIC1+1 0xe7
      movl $no_eoi, hook
      raise COM2
      allow
      ${ISR}
      raise COM1
      allow
      ${ISR}`,
    expected: 'i43 00 i44 00',
  },
  {
    name: 'special mask mode opens the way for lower priorities',
    body: `outb PIC1+1 0xe7
      movl $no_eoi, hook
      raise COM2
      allow
      raise COM1
      allow
      tell '-'
      outb PIC1+1 0xef
      outb PIC1 0x68
      allow
      ${ISR}
      outb PIC1 0x48`,
    expected: 'i23 - i24 18',
  },
  {
    name: 'the slave: its vector, and an EOI for each chip',
    body: `outb PIC1+1 0xfb
      outb PIC2+1 0xfe
      movl $no_eoi, hook
      ns 2000000
      outb 0x70 0x0b
      outb 0x71 0x42
      allow
      ${ISR} ${show('0x0b', 'PIC2')}
      outb PIC2 0x20
      outb PIC1 0x20
      ${ISR} ${show('0x0b', 'PIC2')}
      ns 2000000
      allow
      outb 0x70 0x0c
      inb 0x71
      ns 2000000
      movl $pic_eoi, hook
      allow`,
    expected: 'i28 04 01 00 00 i28',
  },
  {
    name: 'asked for a vector with no request it gives its input 7, and has nothing in service',
    body: `entry 4 0x700
      movl $no_eoi, hook
      raise COM1
      allow
      lower COM1
      ${ISR} ${show('0x0b', 'PIC2')}
      outb PIC1+1 0x7f
      raise COM1
      allow
      ${ISR}`,
    expected: 'i27 00 00 i27 00',
  },
  {
    name: 'a level that ends, or is masked, before it is taken leaves no spurious interrupt',
    body: `outb 0x4d0 0x10
      outb 0x4d1 0x01
      outb PIC1+1 0xeb
      movl $no_eoi, hook
      raise COM1
      ${IRR}
      lower COM1
      allow
      ${ISR}
      raise COM1
      outb PIC1+1 0xff
      allow
      ${ISR}
      outb PIC1+1 0xeb
      allow
      ${ISR}`,
    expected: '10 00 00 i24 10',
  },
  {
    name: 'ELCR: an edge interrupts once, a level as long as it lasts',
    body: `outb 0x4d0 0xff
      outb 0x4d1 0xff
      inb 0x4d0
      show8
      inb 0x4d1
      show8
      outb 0x4d0 0
      outb PIC1+1 0xef
      movl $pic_eoi, hook
      raise COM1
      allow
      allow
      tell '-'
      outb 0x4d0 0x10
      movl $no_eoi, hook
      allow
      outb PIC1 0x20
      allow
      lower COM1
      outb PIC1 0x20
      allow`,
    expected: 'f8 de i24 - i24 i24',
  },
  {
    name: 'a request that is withdrawn in time brings no interrupt',
    body: `outb 0x4d0 0x10
      outb PIC1+1 0xef
      raise COM1
      ${IRR}
      lower COM1
      ${IRR}
      allow`,
    expected: '10 00',
  },
  {
    name: 'the poll command stands for an acknowledge',
    body: `outb PIC1+1 0xef
      outb PIC1 0x0c
      inb PIC1
      show8
      raise COM1
      outb PIC1 0x0c
      inb PIC1
      show8
      ${ISR}
      allow`,
    expected: '00 84 10',
  },
  {
    name: 'all its interrupts pass LINT0 of the local APIC',
    body: `outb PIC1+1 0xef
      movl $pic_eoi, hook
      apic 0x350 0x10700
      raise COM1
      allow
      tell '-'
      apic 0x350 0x700
      allow
      lower COM1
      apic 0x350 0x45
      movl $lapic_eoi, hook
      raise COM1
      allow
      lower COM1
      outb PIC1 0x0c
      inb PIC1
      show8
      outb PIC1 0x20
      wrmsr_at 0x1b 0xfee00100
      movl $pic_eoi, hook
      raise COM1
      allow
      wrmsr_at 0x1b 0xfee00900`,
    expected: '- i24 i45 84 i24',
  },
]);
