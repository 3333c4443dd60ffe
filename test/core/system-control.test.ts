import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  REC_NEXT,
  S_CR0,
  S_CR3,
  S_CR4,
  S_DB_PENDING,
  S_DR7,
  S_EFER,
  S_EXC_ADDR,
  S_HALTED,
  S_INHIBIT,
  S_IRQ_PENDING,
  S_REC,
  S_RIP,
  S_STI_NEXT,
  S_TSC_OFFSET,
  SEG_CS,
} from '#ir/state.ts';
import { SystemMachine, TSS } from './system-machine.ts';

const GP = { vector: 13, error: 0 };
const UD = { vector: 6 };
const IF = 0x200;
const VIF = 0x80000;
const VIP = 0x100000;

function at(cpl: 0 | 3): SystemMachine {
  const m = new SystemMachine();
  m.protect(cpl);
  return m;
}

function long(): SystemMachine {
  const m = new SystemMachine();
  m.long(0);
  return m;
}

describe('control registers', () => {
  const illegal = [
    { name: 'CR0 with PG and not PE', number: 0, value: 0x80000000n },
    { name: 'CR0 with NW and not CD', number: 0, value: 0x20000001n },
    { name: 'CR0 with high bits', number: 0, value: 0x1_00000001n },
    { name: 'CR4 with a bit that the model has not', number: 4, value: 0x2000n },
    { name: 'CR4.PCIDE outside IA-32e mode', number: 4, value: 0x20000n },
    { name: 'CR8 outside 64-bit mode', number: 8, value: 1n, fault: UD },
    { name: 'CR1', number: 1, value: 0n, fault: UD },
  ];
  for (const { name, number, value, fault } of illegal) {
    it(`refuses ${name}`, () => {
      assert.deepEqual(at(0).attempt('mov_to_cr', number, value), fault ?? GP);
    });
  }

  it('are for ring 0', () => {
    assert.deepEqual(at(3).attempt('mov_from_cr', 0), GP);
  });

  it('enter IA-32e mode by PG with LME, and need PAE for it', () => {
    const m = at(0);
    m.set64(S_EFER, 0x100n);
    assert.deepEqual(m.attempt('mov_to_cr', 0, 0x80000011n), GP);
    m.set64(S_CR4, 0x20n);
    assert.equal(m.attempt('mov_to_cr', 0, 0x80000011n), undefined);
    assert.equal(m.get64(S_EFER), 0x500n);
    assert.equal(m.attempt('mov_to_cr', 0, 0x11n), undefined);
    assert.equal(m.get64(S_EFER), 0x100n);
  });

  it('stay put in 64-bit mode', () => {
    assert.deepEqual(long().attempt('mov_to_cr', 0, 0x11n), GP);
    assert.deepEqual(long().attempt('mov_to_cr', 4, 0n), GP);
    assert.deepEqual(long().attempt('mov_to_cr', 3, 1n << 40n), GP);
    assert.deepEqual(long().attempt('mov_to_cr', 3, 1n << 63n), GP, 'bit 63 is for PCIDs');
  });

  it('keep bit 63 of CR3 out of the register', () => {
    const m = long();
    assert.equal(m.attempt('mov_to_cr', 4, 0x20020n), undefined);
    assert.equal(m.attempt('mov_to_cr', 3, (1n << 63n) | 0x10001n), undefined);
    assert.equal(m.get64(S_CR3), 0x10001n);
    assert.deepEqual(m.attempt('mov_to_cr', 0, 0x11n), GP);
  });

  it('check the page-directory pointers of PAE paging', () => {
    const m = at(0);
    m.set64(S_CR4, 0x20n);
    m.set64(S_CR3, 0x12000n);
    m.put64(0x12000, 0x1003n);
    assert.deepEqual(m.attempt('mov_to_cr', 0, 0x80000011n), GP);
    m.put64(0x12000, 0x1001n);
    assert.equal(m.attempt('mov_to_cr', 0, 0x80000011n), undefined);
  });

  it('LMSW sets PE and does not clear it', () => {
    const m = at(0);
    m.attempt('lmsw', 0xe);
    assert.equal(m.get64(S_CR0), 0x1fn);
  });
});

describe('debug registers', () => {
  it('4 and 5 are 6 and 7 without CR4.DE', () => {
    const m = at(0);
    assert.equal(m.attempt('mov_to_dr', 5, 0x1n), undefined);
    assert.equal(m.call('mov_from_dr', m.cpu, 7), 0x401n);
    m.set64(S_CR4, 8n);
    assert.deepEqual(m.attempt('mov_from_dr', 5), UD);
  });

  it('DR7.GD makes an access a #DB', () => {
    const m = at(0);
    m.set64(S_DR7, 0x2400n);
    assert.deepEqual(m.attempt('mov_from_dr', 0), { vector: 1 });
    assert.equal(m.get64(S_EXC_ADDR), 0x2000n);
  });

  it('break on instructions, and RF lets one pass', () => {
    const m = at(0);
    m.attempt('mov_to_dr', 0, 0x1234n);
    m.attempt('mov_to_dr', 7, 0x2n);
    assert.equal(m.attempt('check_instruction_breakpoint', 0x1235n), undefined);
    assert.deepEqual(m.attempt('check_instruction_breakpoint', 0x1234n), { vector: 1 });
    assert.equal(m.get64(S_EXC_ADDR), 1n);
    m.setFlags(0x10002);
    assert.equal(m.attempt('check_instruction_breakpoint', 0x1234n), undefined);
  });

  it('break on data within the length', () => {
    const m = at(0);
    m.attempt('mov_to_dr', 1, 0x1000n);
    m.attempt('mov_to_dr', 7, BigInt(0b1101 << 20) | 4n); // four bytes, writes
    m.call('checkDataBreakpoint', m.cpu, 0x1004n, 4, 1);
    m.call('checkDataBreakpoint', m.cpu, 0x1000n, 4, 0);
    assert.equal(m.get32(S_DB_PENDING), 0);
    m.call('checkDataBreakpoint', m.cpu, 0xfffn, 2, 1);
    assert.equal(m.get32(S_DB_PENDING), 2);
  });

  it('TF traps after the instruction, but not after MOV SS', () => {
    const m = at(0);
    m.setFlags(0x102);
    m.attempt('begin_step');
    assert.deepEqual(m.attempt('end_step'), { vector: 1 });
    assert.equal(m.get64(S_EXC_ADDR), 0x4000n);
    m.attempt('begin_step');
    m.attempt('inhibit_stack');
    assert.equal(m.attempt('end_step'), undefined);
    assert.equal(m.get32(S_INHIBIT), 2);
    m.attempt('begin_step');
    assert.deepEqual(m.attempt('end_step'), { vector: 1 });
    assert.equal(m.get32(S_INHIBIT), 0);
  });
});

describe('the interrupt flag', () => {
  it('is for those within IOPL', () => {
    assert.deepEqual(at(3).attempt('cli'), GP);
    const m = at(3);
    m.setFlags(0x3202);
    assert.equal(m.attempt('cli'), undefined);
    assert.equal(m.flags & IF, 0);
  });

  it('STI while none waits leaves the address that none may come at', () => {
    const m = at(0);
    m.set64(S_RIP, 0x1234n);
    m.set32(S_REC, m.ram + 0x100);
    m.put16(0x100 + REC_NEXT, 1);
    m.attempt('sti');
    assert.deepEqual([m.flags & IF, m.get32(S_INHIBIT)], [IF, 0]);
    assert.equal(m.get64(S_STI_NEXT), 0x1235n);
  });

  it('STI shuts interrupts out for one more instruction, once', () => {
    const m = at(0);
    m.set32(S_IRQ_PENDING, 1);
    m.attempt('sti');
    assert.deepEqual([m.flags & IF, m.get32(S_INHIBIT)], [IF, 1]);
    m.set32(S_INHIBIT, 0);
    m.attempt('sti');
    assert.equal(m.get32(S_INHIBIT), 0);
  });

  it('is VIF in ring 3 with CR4.PVI', () => {
    const m = at(3);
    m.set64(S_CR4, 2n);
    assert.equal(m.attempt('sti'), undefined);
    assert.equal(m.flags & (VIF | IF), VIF);
    m.setFlags(VIP | 2);
    assert.deepEqual(m.attempt('sti'), GP);
  });

  it('POPF leaves IOPL and IF to those who may', () => {
    const m = at(3);
    m.attempt('popf', 0x3ed7, 4);
    assert.equal(m.flags, 0xcd7);
    const ring0 = at(0);
    ring0.attempt('popf', 0x27fed7, 4);
    assert.equal(ring0.flags, 0x247ed7);
  });

  it('PUSHF and POPF in virtual-8086 mode below IOPL 3', () => {
    const m = new SystemMachine();
    m.virtual8086(0);
    assert.deepEqual(m.attempt('pushf_value', 2), GP);
    m.set64(S_CR4, 1n);
    assert.equal(m.call('pushf_value', m.cpu, 2), 0x3002n);
    assert.deepEqual(m.attempt('pushf_value', 4), GP);
    assert.equal(m.attempt('popf', 0x202, 2), undefined);
    assert.equal(m.flags & VIF, VIF);
    assert.deepEqual(m.attempt('popf', 0x102, 2), GP, 'TF');
  });

  it('HLT is for ring 0', () => {
    assert.deepEqual(at(3).attempt('hlt'), GP);
    const m = at(0);
    m.attempt('hlt');
    assert.equal(m.get32(S_HALTED), 1);
  });
});

describe('ports', () => {
  it('ask the bitmap of the TSS above IOPL', () => {
    const m = at(3);
    m.put16(TSS + 102, 0x68);
    m.put16(TSS + 0x68 + (0x60 >> 3), 0x0002);
    assert.equal(m.attempt('io_out', 0x60, 1, 5), undefined);
    assert.deepEqual(m.attempt('io_out', 0x61, 1, 5), GP);
    assert.deepEqual(m.attempt('io_out', 0x60, 2, 5), GP);
    assert.deepEqual(m.attempt('io_in', 0xffff, 1), GP, 'beyond the limit');
    assert.deepEqual(m.ports, ['60/1 5']);
  });

  it('are free in real mode', () => {
    const m = new SystemMachine();
    assert.equal(m.attempt('io_out', 0x3f8, 1, 0x41), undefined);
  });
});

describe('MSRs', () => {
  const write = (m: SystemMachine, msr: number, value: bigint) => {
    m.setReg(1, msr);
    m.setReg(0, value & 0xffffffffn);
    m.setReg(2, value >> 32n);
    return m.attempt('wrmsr');
  };
  const read = (m: SystemMachine, msr: number) => {
    m.setReg(1, msr);
    const fault = m.attempt('rdmsr');
    return fault ?? (BigInt(m.reg(2)) << 32n) | BigInt(m.reg(0));
  };

  it('hold what is written', () => {
    const m = long();
    for (const [msr, value] of [
      [0xc0000081, 0x0023001000000000n],
      [0xc0000082, 0xffffffff81000000n],
      [0xc0000102, 0xffff888000000000n],
      [0xc0000100, 0x7fff12345678n],
      [0x277, 0x0007010600070106n],
      [0x200, 0x80000006n],
      [0x201, 0xff80000800n],
      [0x26f, 0x0606060606060606n],
      [0x2ff, 0xc06n],
      [0x174, 0x10n],
      [0x48, 1n],
      [0x409, 0n],
      [0x400, 0xffffffffffffffffn],
    ] as const) {
      assert.equal(write(m, msr, value), undefined, msr.toString(16));
      assert.equal(read(m, msr), value, msr.toString(16));
    }
  });

  const refused = [
    [0xc0000082, 0x800000000000n, 'LSTAR not canonical'],
    [0x277, 0x0000000000000002n, 'a memory type that is not there'],
    [0x200, 0x7n, 'a range of type 7'],
    [0xc0000080, 0x2n, 'EFER reserved'],
    [0xc0000080, 0xc00n, 'EFER.LME while paging'],
    [0x409, 1n, 'a bank status that is not 0'],
    [0x12345, 0n, 'unknown'],
    [0xfe, 0n, 'read-only'],
  ] as const;
  for (const [msr, value, name] of refused) {
    it(`refuse ${name}`, () => {
      assert.deepEqual(write(long(), msr, value), GP);
    });
  }

  it('set EFER without touching LMA', () => {
    const m = long();
    assert.equal(write(m, 0xc0000080, 0xd00n), undefined);
    assert.equal(read(m, 0xc0000080), 0xd00n);
  });

  it('move the TSC and TSC_ADJUST together', () => {
    const m = long();
    m.ticks = 1000;
    assert.equal(write(m, 0x10, 5000n), undefined);
    assert.equal(read(m, 0x3b), 4000n);
    assert.equal(write(m, 0x3b, 1n), undefined);
    assert.equal(m.get64(S_TSC_OFFSET), 1n);
    m.attempt('rdtsc');
    assert.equal(m.reg(0), 1001);
  });

  it('read as #GP when unknown, and not in ring 3', () => {
    assert.deepEqual(read(long(), 0x12345), GP);
    assert.deepEqual(read(at(3), 0x10), GP);
  });
});

describe('bases', () => {
  it('SWAPGS and the instructions of FSGSBASE', () => {
    const m = long();
    assert.deepEqual(m.attempt('read_segment_base', 5), UD);
    m.set64(S_CR4, 0x10020n);
    assert.equal(m.attempt('write_segment_base', 5, 0x1234n), undefined);
    m.attempt('swapgs');
    assert.equal(m.call('read_segment_base', m.cpu, 5), 0n);
    m.attempt('swapgs');
    assert.equal(m.call('read_segment_base', m.cpu, 5), 0x1234n);
    assert.deepEqual(m.attempt('write_segment_base', 4, 1n << 47n), GP);
  });

  it('SYSENTER needs its code segment', () => {
    assert.deepEqual(at(3).attempt('sysenter'), GP);
    assert.equal(at(3).selector(SEG_CS), 0x1b);
  });
});
