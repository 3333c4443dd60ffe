import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { ManualClock } from '#hw/testing.ts';
import { IrqChip, irqChipStateSize } from './irqchip.ts';
import { PENDING_INIT, PENDING_NMI, PENDING_STARTUP } from './lapic-regs.ts';

const LAPIC = 0xfee0_0000;
const IOAPIC = 0xfec0_0000;
const SVR = 0xf0;
const ICR = 0x300;
const LVT_TIMER = 0x320;
const LVT_LINT0 = 0x350;
const X2 = 0xfee0_0c00n;

/** A chip with software-enabled local APICs, and a TSC of 2 GHz. */
class Rig {
  readonly clock = new ManualClock();
  readonly kicked = new Set<number>();
  readonly state;
  readonly chip: IrqChip;

  constructor(vcpus = 1) {
    this.state = newDeviceState(irqChipStateSize(vcpus));
    this.chip = this.second(vcpus);
    this.chip.reset();
    for (let vcpu = 0; vcpu < vcpus; vcpu++) this.write(SVR, 0x1ff, vcpu);
    this.kicked.clear();
  }

  /** Another chip over the same state, as another thread has it. */
  second(vcpus: number): IrqChip {
    return new IrqChip(this.state, {
      vcpus,
      clock: this.clock,
      paddrBits: 40,
      tscToNs: (_vcpu, tsc) => Number(tsc) / 2,
      attention: (vcpu) => this.kicked.add(vcpu),
    });
  }

  write(register: number, value: number, vcpu = 0): void {
    this.chip.writeMmio(vcpu, LAPIC + register, 4, value);
  }

  read(register: number, vcpu = 0): number {
    return this.chip.readMmio(vcpu, LAPIC + register, 4);
  }

  redirect(pin: number, low: number, dest = 0): void {
    for (const [register, value] of [
      [0x11 + 2 * pin, dest << 24],
      [0x10 + 2 * pin, low],
    ] as const) {
      this.chip.writeMmio(0, IOAPIC, 4, register);
      this.chip.writeMmio(0, IOAPIC + 0x10, 4, value >>> 0);
    }
  }

  redirection(pin: number): number {
    this.chip.writeMmio(0, IOAPIC, 4, 0x10 + 2 * pin);
    return this.chip.readMmio(0, IOAPIC + 0x10, 4);
  }

  eoi(vcpu = 0): void {
    this.write(0xb0, 0, vcpu);
  }

  /** Lets time pass to `ns`, stopping at every deadline; how many vectors of vCPU 0 were taken and ended. */
  run(ns: number): number {
    let taken = 0;
    for (;;) {
      this.clock.ns = Math.min(ns, Math.max(this.clock.ns, this.chip.nextDeadlineNs(0)));
      this.chip.advance(0, this.clock.ns);
      for (; this.chip.acknowledge(0) >= 0; taken++) this.eoi();
      if (this.clock.ns >= ns) return taken;
    }
  }
}

describe('local APIC', () => {
  it('has the registers a driver looks for', () => {
    const rig = new Rig(2);
    assert.equal(rig.read(0x30), 0x0106_0014);
    assert.equal(rig.read(0x20, 1), 0x0100_0000);
    assert.equal(rig.read(0xe0), 0xffff_ffff);
    rig.write(0x310, 0xa5a5_a5a5);
    assert.equal(rig.read(0x310), 0xa500_0000);
  });

  it('delivers by class of priority, holds lower ones until EOI, and obeys TPR', () => {
    const { chip } = new Rig();
    const lapic = chip.lapic(0);
    chip.sendMsi(LAPIC, 0x41);
    chip.sendMsi(LAPIC, 0x52);
    assert.equal(chip.acknowledge(0), 0x52);
    assert.equal(chip.hasInterrupt(0), false);
    lapic.writeMmio(0xb0, 4, 0);
    lapic.cr8 = 4;
    assert.equal(chip.hasInterrupt(0), false);
    lapic.cr8 = 3;
    assert.equal(chip.acknowledge(0), 0x41);
    assert.equal(lapic.readMmio(0xa0, 4), 0x40, 'PPR');
  });

  it('takes nothing new while disabled by software', () => {
    const rig = new Rig();
    rig.write(SVR, 0xff);
    assert.equal(rig.chip.sendMsi(LAPIC, 0x41), false);
    assert.equal(rig.read(LVT_LINT0) & 0x1_0000, 0x1_0000, 'and its LVT is masked');
  });

  const ipis = [
    { name: 'physical', high: 1, low: 0x4041, expected: [1] },
    {
      name: 'physical broadcast',
      high: 0xff,
      low: 0x4041,
      expected: [0, 1, 2],
    },
    { name: 'logical, flat', high: 0x06, low: 0x4841, expected: [1, 2] },
    {
      name: 'lowest priority goes to one',
      high: 0x06,
      low: 0x4941,
      expected: [1],
    },
    { name: 'self', high: 2, low: 0x4_4041, expected: [0] },
    { name: 'all', high: 0, low: 0x8_4041, expected: [0, 1, 2] },
    { name: 'all but self', high: 0, low: 0xc_4041, expected: [1, 2] },
  ];
  for (const { name, high, low, expected } of ipis)
    it(`sends an IPI: ${name}`, () => {
      const rig = new Rig(3);
      for (const vcpu of [0, 1, 2]) rig.write(0xd0, 1 << (24 + vcpu), vcpu);
      rig.write(ICR + 0x10, high << 24);
      rig.write(ICR, low);
      assert.deepEqual([...rig.kicked].sort(), expected);
      const got = [0, 1, 2].filter((vcpu) => rig.chip.acknowledge(vcpu) === 0x41);
      assert.deepEqual(got, expected);
    });

  it('starts another processor with INIT and start-up', () => {
    const rig = new Rig(2);
    const target = rig.chip.lapic(1);
    rig.write(ICR + 0x10, 1 << 24);
    rig.write(ICR, 0xc500);
    assert.equal(target.take(PENDING_INIT), true);
    rig.write(ICR, 0x8500); // de-assert
    assert.equal(target.pending, 0);
    rig.write(ICR, 0x4699);
    assert.equal(target.take(PENDING_STARTUP), true);
    assert.equal(target.startupVector, 0x99);
    rig.write(ICR, 0x4400);
    assert.equal(target.take(PENDING_NMI), true);
  });

  it('records illegal vectors and shows them after a write to ESR', () => {
    const rig = new Rig();
    rig.write(ICR, 0x4_4005);
    assert.equal(rig.read(0x280), 0);
    rig.write(0x280, 0);
    assert.equal(rig.read(0x280), 0x20);
  });

  it('another thread over the same state sees the request', () => {
    const rig = new Rig();
    rig.second(1).sendMsi(LAPIC, 0x61);
    assert.equal(rig.chip.acknowledge(0), 0x61);
  });

  const bases = [
    { name: 'to x2APIC', values: [X2], last: true },
    { name: 'x2APIC to xAPIC', values: [X2, 0xfee0_0800n], last: false },
    {
      name: 'x2APIC to disabled to xAPIC',
      values: [X2, 0xfee0_0000n, 0xfee0_0800n],
      last: true,
    },
    { name: 'disabled to x2APIC', values: [0xfee0_0000n, X2], last: false },
    { name: 'EXTD alone', values: [0xfee0_0400n], last: false },
    { name: 'a reserved bit', values: [0xfee0_0801n], last: false },
    {
      name: 'an address beyond the bus',
      values: [0x100_fee0_0800n],
      last: false,
    },
  ];
  for (const { name, values, last } of bases)
    it(`IA32_APIC_BASE: ${name}: ${last ? 'allowed' : '#GP'}`, () => {
      const rig = new Rig();
      assert.equal(values.map((value) => rig.chip.writeMsr(0, 0x1b, value)).at(-1), last);
    });

  const msrs = [
    { name: 'TPR', msr: 0x808, value: 0x20n, ok: true },
    { name: 'TPR, reserved bits', msr: 0x808, value: 0x100n, ok: false },
    { name: 'EOI of 0', msr: 0x80b, value: 0n, ok: true },
    { name: 'EOI of 1', msr: 0x80b, value: 1n, ok: false },
    { name: 'ID is read only', msr: 0x802, value: 0n, ok: false },
    { name: 'no DFR', msr: 0x80e, value: 0n, ok: false },
    { name: 'no second half of ICR', msr: 0x831, value: 0n, ok: false },
    {
      name: 'a register that does not exist',
      msr: 0x855,
      value: 0n,
      ok: false,
    },
    { name: 'more than 32 bits', msr: 0x80f, value: 1n << 32n, ok: false },
    {
      name: 'LVT timer in TSC-deadline mode',
      msr: 0x832,
      value: 0x4_00ecn,
      ok: true,
    },
  ];
  for (const { name, msr, value, ok } of msrs)
    it(`x2APIC write: ${name}: ${ok ? 'allowed' : '#GP'}`, () => {
      const rig = new Rig();
      assert.equal(rig.chip.writeMsr(0, msr, value), false, 'not in xAPIC mode');
      rig.chip.writeMsr(0, 0x1b, X2);
      assert.equal(rig.chip.writeMsr(0, msr, value), ok);
    });

  it('x2APIC: IDs, logical IDs and a 64-bit ICR', () => {
    const rig = new Rig(2);
    for (const vcpu of [0, 1]) assert.equal(rig.chip.writeMsr(vcpu, 0x1b, X2), true);
    assert.equal(rig.chip.readMsr(1, 0x802), 1n);
    assert.equal(rig.chip.readMsr(1, 0x80d), 2n);
    assert.equal(rig.chip.lapic(0).mmioPage, -1);
    rig.chip.writeMsr(0, 0x830, (2n << 32n) | 0x4871n); // logical, cluster 0
    assert.equal(rig.chip.acknowledge(1), 0x71);
    assert.equal(rig.chip.readMsr(1, 0x830), 0n);
    assert.equal(rig.chip.writeMsr(1, 0x83f, 0x72n), true);
    rig.chip.writeMsr(1, 0x80b, 0n);
    assert.equal(rig.chip.acknowledge(1), 0x72);
  });
});

describe('local APIC timer', () => {
  const counts = [
    { name: 'one-shot', lvt: 0xec, atNs: 3_000, count: 7_000 },
    { name: 'one-shot, over', lvt: 0xec, atNs: 30_000, count: 0 },
    { name: 'periodic', lvt: 0x2_00ec, atNs: 23_000, count: 7_000 },
    { name: 'periodic, masked', lvt: 0x3_00ec, atNs: 23_000, count: 7_000 },
  ];
  for (const { name, lvt, atNs, count } of counts)
    it(`counts down: ${name}`, () => {
      const rig = new Rig();
      rig.write(0x3e0, 0xb); // by 1: nanoseconds
      rig.write(LVT_TIMER, lvt);
      rig.write(0x380, 10_000);
      rig.clock.ns = atNs;
      assert.equal(rig.read(0x390), count);
    });

  const runs = [
    { name: 'one-shot fires once', lvt: 0xec, divide: 0xb, fired: 1 },
    {
      name: 'periodic fires each period',
      lvt: 0x2_00ec,
      divide: 0xb,
      fired: 10,
    },
    { name: 'divided by 2', lvt: 0x2_00ec, divide: 0, fired: 5 },
    { name: 'masked does not fire', lvt: 0x3_00ec, divide: 0xb, fired: 0 },
  ];
  for (const { name, lvt, divide, fired } of runs)
    it(name, () => {
      const rig = new Rig();
      rig.write(0x3e0, divide);
      rig.write(LVT_TIMER, lvt);
      rig.write(0x380, 10_000);
      assert.equal(rig.run(100_000), fired);
    });

  it('periods that were missed count once', () => {
    const rig = new Rig();
    rig.write(0x3e0, 0xb);
    rig.write(LVT_TIMER, 0x2_00ec);
    rig.write(0x380, 10_000);
    rig.clock.ns = 95_000;
    rig.chip.advance(0, 95_000);
    assert.equal(rig.chip.acknowledge(0), 0xec);
    assert.equal(rig.chip.hasInterrupt(0), false);
    assert.equal(rig.chip.nextDeadlineNs(0), 100_000);
  });

  it('fires on time when time is not whole nanoseconds', () => {
    const rig = new Rig();
    rig.clock.ns = 1234.56789;
    rig.write(0x3e0, 0xb);
    rig.write(LVT_TIMER, 0x2_00ec);
    rig.write(0x380, 10_000);
    assert.equal(rig.run(101_300), 10);
  });

  it('TSC deadline: fires then, clears the MSR; mode change disarms', () => {
    const rig = new Rig();
    assert.equal(rig.chip.writeMsr(0, 0x6e0, 5000n), true);
    assert.equal(rig.chip.readMsr(0, 0x6e0), 0n, 'ignored in another mode');
    rig.write(LVT_TIMER, 0x4_00ec);
    rig.chip.writeMsr(0, 0x6e0, 5000n);
    assert.equal(rig.chip.nextDeadlineNs(0), 2500);
    assert.equal(rig.chip.readMsr(0, 0x6e0), 5000n);
    assert.equal(rig.run(10_000), 1);
    assert.equal(rig.chip.readMsr(0, 0x6e0), 0n);
    rig.chip.writeMsr(0, 0x6e0, 1n);
    assert.equal(rig.run(10_001), 1, 'a deadline in the past fires at once');
    rig.chip.writeMsr(0, 0x6e0, (1n << 63n) - 1n);
    rig.write(LVT_TIMER, 0xec);
    assert.equal(rig.chip.nextDeadlineNs(0), Number.POSITIVE_INFINITY);
  });
});

describe('I/O APIC', () => {
  it('has version 0x20 and 24 inputs, masked after reset', () => {
    const rig = new Rig();
    rig.chip.writeMmio(0, IOAPIC, 4, 1);
    assert.equal(rig.chip.readMmio(0, IOAPIC + 0x10, 4), 0x17_0020);
    assert.equal(rig.redirection(23), 0x1_0000);
  });

  it('edge: one interrupt for each rise, lost while masked', () => {
    const rig = new Rig();
    rig.redirect(4, 0x1_0034);
    rig.chip.setGsi(4, true);
    rig.redirect(4, 0x34);
    assert.equal(rig.chip.hasInterrupt(0), false);
    rig.chip.setGsi(4, false);
    rig.chip.setGsi(4, true);
    rig.chip.setGsi(4, true);
    assert.equal(rig.chip.acknowledge(0), 0x34);
    rig.eoi();
    assert.equal(rig.chip.hasInterrupt(0), false);
  });

  it('level: remote IRR until EOI, and again while the line is asserted', () => {
    const rig = new Rig();
    rig.redirect(20, 0xa055);
    rig.chip.setGsi(20, true);
    assert.equal(rig.redirection(20), 0xe055);
    assert.equal(rig.chip.acknowledge(0), 0x55);
    assert.equal(rig.chip.hasInterrupt(0), false);
    rig.eoi();
    assert.equal(rig.chip.acknowledge(0), 0x55, 'still asserted');
    rig.chip.setGsi(20, false);
    rig.eoi();
    assert.equal(rig.redirection(20), 0xa055);
    assert.equal(rig.chip.hasInterrupt(0), false);
  });

  it('level, masked: arrives when unmasked; the EOI register and the switch to edge end it', () => {
    const rig = new Rig();
    rig.redirect(20, 0x1_8055);
    rig.chip.setGsi(20, true);
    rig.redirect(20, 0x8055);
    assert.equal(rig.chip.acknowledge(0), 0x55);
    rig.chip.setGsi(20, false);
    rig.chip.writeMmio(0, IOAPIC + 0x40, 4, 0x55);
    assert.equal(rig.redirection(20), 0x8055);
    rig.chip.setGsi(20, true);
    rig.redirect(20, 0x1_0055);
    assert.equal(rig.redirection(20), 0x1_0055);
  });

  it('suppressed EOI broadcast leaves remote IRR', () => {
    const rig = new Rig();
    rig.write(SVR, 0x11ff);
    rig.redirect(20, 0x8055);
    rig.chip.setGsi(20, true);
    rig.chip.acknowledge(0);
    rig.eoi();
    assert.equal(rig.redirection(20), 0xc055);
  });

  it('NMI mode', () => {
    const rig = new Rig();
    rig.redirect(5, 0x400);
    rig.chip.setGsi(5, true);
    assert.equal(rig.chip.lapic(0).take(PENDING_NMI), true);
  });
});

describe('the chips together', () => {
  /** As firmware and then Linux set it up: vectors 0x30-0x3f, all but the timer masked. */
  function withPic(rig: Rig): void {
    for (const [port, values] of [
      [0x20, [0x11]],
      [0x21, [0x30, 4, 1, 0xfe]],
      [0xa0, [0x11]],
      [0xa1, [0x38, 2, 1, 0xff]],
    ] as const)
      for (const value of values) rig.chip.writePort(port, 1, value);
  }

  function startPit(rig: Rig): void {
    rig.chip.writePort(0x43, 1, 0x34);
    rig.chip.writePort(0x40, 1, 0xa9); // 1193: 1 ms
    rig.chip.writePort(0x40, 1, 0x04);
  }

  it('the PIT reaches the boot processor through PIC and LINT0 as ExtINT', () => {
    const rig = new Rig(2);
    rig.write(LVT_LINT0, 0x700);
    withPic(rig);
    startPit(rig);
    rig.clock.ns = rig.chip.nextDeadlineNs(0);
    rig.chip.advance(0, rig.clock.ns);
    assert.equal(rig.chip.hasInterrupt(1), false);
    assert.equal(rig.chip.acknowledge(0), 0x30);
    assert.equal(rig.chip.hasInterrupt(0), false);
    rig.write(LVT_LINT0, 0x1_0700);
    rig.chip.writePort(0x20, 1, 0x20);
    rig.chip.advance(0, rig.clock.ns + 1_000_000);
    assert.equal(rig.chip.hasInterrupt(0), false, 'LINT0 masked');
  });

  it('the PIT reaches I/O APIC pin 2 a thousand times a second', () => {
    const rig = new Rig();
    withPic(rig);
    rig.chip.writePort(0x21, 1, 0xff);
    rig.redirect(2, 0x30);
    startPit(rig);
    const taken = rig.run(1_000_000_000);
    assert.ok(Math.abs(taken - 1000) <= 1, `${taken}`);
  });

  it('the PIT cut off by an HPET is silent', () => {
    const rig = new Rig();
    rig.redirect(2, 0x30);
    startPit(rig);
    rig.chip.setPitIrqConnected(false);
    assert.equal(rig.run(10_000_000), 0);
  });

  it('other GSIs reach the PIC input of their number', () => {
    const rig = new Rig();
    rig.write(LVT_LINT0, 0x700);
    withPic(rig);
    rig.chip.writePort(0x21, 1, 0);
    rig.chip.writePort(0xa1, 1, 0);
    rig.chip.setGsi(12, true);
    assert.equal(rig.chip.acknowledge(0), 0x3c);
  });

  it('the NMI button reaches LINT1 where it is open', () => {
    const rig = new Rig(2);
    rig.write(0x360, 0x400, 1);
    rig.chip.pulseNmi();
    assert.equal(rig.chip.lapic(0).pending, 0);
    assert.equal(rig.chip.lapic(1).pending, PENDING_NMI);
  });
});
