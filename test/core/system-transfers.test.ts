import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  S_CPL,
  S_CR0,
  S_CR2,
  S_CR4,
  S_EXC_ADDR,
  S_EXC_ERROR,
  S_EXC_FLAGS,
  S_EXC_VECTOR,
  S_IDT_BASE,
  S_IDT_LIMIT,
  S_MSR_LSTAR,
  S_MSR_SFMASK,
  S_MSR_STAR,
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_GS,
  SEG_SS,
  SEG_TR,
} from '#ir/state.ts';
import {
  CODE0,
  CODE3,
  CODE3_64,
  CODE64,
  DATA0,
  DATA3,
  FREE,
  GDT,
  gate,
  SystemMachine,
  segment,
  TASK,
  TSS,
} from './system-machine.ts';

const DF = 8;
const TS = 10;
const NP = 11;
const SS = 12;
const GP = 13;
const SP = 4;
const SOFTWARE = 2;
const IF = 0x200;
const VM = 0x20000;
const NT = 0x4000;

function at(cpl: 0 | 3): SystemMachine {
  const m = new SystemMachine();
  m.protect(cpl);
  return m;
}

/** What the run loop does after an unwind. */
function deliver(m: SystemMachine): void {
  m.call('begin_exception', m.cpu);
  for (let tries = 0; tries < 4; tries++) if (m.attempt('deliver_exception') === undefined) return;
}

function exception(m: SystemMachine, vector: number, error?: number, address = 0n): void {
  m.set32(S_EXC_VECTOR, vector);
  m.set32(S_EXC_FLAGS, error === undefined ? 0 : 1);
  m.set32(S_EXC_ERROR, error ?? 0);
  m.set64(S_EXC_ADDR, address);
  deliver(m);
}

describe('far transfers in protected mode', () => {
  it('call and return on one stack', () => {
    const m = at(0);
    assert.equal(m.attempt('far_call', CODE0, 0x1234n, 4, 0x5678n), undefined);
    assert.deepEqual(
      [m.rip, m.reg(SP), m.mem32(0x6ff8), m.mem32(0x6ffc)],
      [0x1234, 0x6ff8, 0x5678, CODE0],
    );
    assert.equal(m.attempt('far_return', 4, 8), undefined);
    assert.deepEqual([m.rip, m.reg(SP)], [0x5678, 0x7008]);
  });

  it('a call gate switches stacks and copies parameters, and RETF goes back', () => {
    const m = at(3);
    m.descriptor(FREE, gate(CODE0, 0x4000, 0xec, 2));
    m.put32(0x6000, 0x11);
    m.put32(0x6004, 0x22);
    assert.equal(m.attempt('far_call', FREE | 3, 0n, 4, 0x99n), undefined);
    assert.deepEqual(
      [m.rip, m.get32(S_CPL), m.selector(SEG_CS), m.selector(SEG_SS)],
      [0x4000, 0, CODE0, DATA0],
    );
    assert.equal(m.reg(SP), 0x8000 - 24);
    const pushed = [0, 4, 8, 12, 16, 20].map((i) => m.mem32(0x8000 - 24 + i));
    assert.deepEqual(pushed, [0x99, CODE3, 0x11, 0x22, 0x6000, DATA3]);
    m.call('load_segment', m.cpu, SEG_DS, DATA0);
    assert.equal(m.attempt('far_return', 4, 8), undefined);
    assert.deepEqual(
      [m.rip, m.get32(S_CPL), m.reg(SP), m.selector(SEG_SS)],
      [0x99, 3, 0x6008, DATA3],
    );
    assert.equal(m.selector(SEG_DS), 0, 'a segment of ring 0 is taken away');
    assert.equal(m.selector(SEG_ES), DATA3);
  });

  const refused = [
    { name: 'a null selector', args: [0, 0n], fault: { vector: GP, error: 0 } },
    { name: 'data', args: [DATA0, 0n], fault: { vector: GP, error: DATA0 } },
    {
      name: 'an offset past the limit',
      args: [FREE, 0x1000n],
      fault: { vector: GP, error: 0 },
      d: segment(0, 0xfff, 0x9b, 4),
    },
    {
      name: 'an absent segment',
      args: [FREE, 0n],
      fault: { vector: NP, error: FREE },
      d: segment(0, 0xfff, 0x1b, 4),
    },
    { name: 'code of ring 3', args: [CODE3, 0n], fault: { vector: GP, error: CODE3 & ~3 } },
  ] as const;
  for (const row of refused) {
    it(`refuses ${row.name} and changes nothing`, () => {
      const m = at(0);
      if ('d' in row) m.descriptor(FREE, row.d);
      m.rip = 0x77;
      assert.deepEqual(m.attempt('far_jump', row.args[0], row.args[1], 4, 0n), row.fault);
      assert.deepEqual([m.rip, m.selector(SEG_CS)], [0x77, CODE0]);
    });
  }

  it('a stack that is too small for a gate is #SS with its selector', () => {
    const m = at(3);
    m.descriptor(FREE, gate(CODE0, 0x4000, 0xec));
    m.descriptor(FREE + 8, segment(0, 0xf, 0x93, 4));
    m.put32(TSS + 4, 0xc);
    m.put32(TSS + 8, FREE + 8);
    assert.deepEqual(m.attempt('far_call', FREE | 3, 0n, 4, 0n), { vector: SS, error: FREE + 8 });
    m.put32(TSS + 8, DATA3);
    assert.deepEqual(m.attempt('far_call', FREE | 3, 0n, 4, 0n), { vector: TS, error: DATA3 & ~3 });
  });
});

describe('interrupts in protected mode', () => {
  it('to ring 0 and back', () => {
    const m = at(3);
    m.setFlags(IF | 2);
    m.interruptGate(0x40, gate(CODE0, 0x4000, 0x8e));
    m.rip = 0x123;
    assert.equal(m.attempt('deliver_event', 0x40, 4, 0), undefined);
    assert.deepEqual([m.rip, m.get32(S_CPL), m.reg(SP), m.flags & IF], [0x4000, 0, 0x8000 - 20, 0]);
    const pushed = [0, 4, 8, 12, 16].map((i) => m.mem32(0x8000 - 20 + i));
    assert.deepEqual(pushed, [0x123, CODE3, IF | 2, 0x6000, DATA3]);
    assert.equal(m.attempt('interrupt_return', 4), undefined);
    assert.deepEqual([m.rip, m.get32(S_CPL), m.reg(SP), m.flags], [0x123, 3, 0x6000, IF | 2]);
  });

  it('a fault pushes its error code and RF, and CR2 is set', () => {
    const m = at(0);
    m.interruptGate(14, gate(CODE0, 0x4000, 0x8f));
    m.setFlags(IF | 2);
    m.rip = 0x10;
    exception(m, 14, 2, 0xdead000n);
    assert.equal(m.get64(S_CR2), 0xdead000n);
    assert.deepEqual(
      [0, 4, 8, 12].map((i) => m.mem32(0x6ff0 + i)),
      [2, 0x10, CODE0, 0x10000 | IF | 2],
    );
    assert.equal(m.flags & IF, IF, 'a trap gate leaves IF');
  });

  it('INT n checks the gate, INT from ring 3 to a gate of ring 0 is #GP', () => {
    const m = at(3);
    m.interruptGate(0x40, gate(CODE0, 0x4000, 0x8e));
    assert.deepEqual(m.attempt('software_interrupt', 0x40, 5n), {
      vector: GP,
      error: 0x40 * 8 + 2,
    });
    m.interruptGate(0x40, gate(CODE0, 0x4000, 0xee));
    assert.equal(m.attempt('software_interrupt', 0x40, 5n), undefined);
    assert.equal(m.mem32(0x8000 - 20), 5);
  });

  it('an external interrupt to a bad gate has EXT in its error code', () => {
    assert.deepEqual(at(0).attempt('deliver_event', 0x40, 4, 0), {
      vector: GP,
      error: 0x40 * 8 + 3,
    });
    const m = at(0);
    m.interruptGate(0x40, gate(DATA0, 0, 0x8e));
    assert.deepEqual(m.attempt('deliver_event', 0x40, 4, 0), { vector: GP, error: DATA0 + 1 });
  });

  it('two contributory faults make #DF, and a third the end', () => {
    const m = at(0);
    m.interruptGate(DF, gate(CODE0, 0x4000, 0x8e));
    m.rip = 0x10;
    exception(m, GP, 0);
    assert.deepEqual([m.rip, m.mem32(0x6ff0), m.mem32(0x6ff4)], [0x4000, 0, 0x10]);
    m.interruptGate(DF, 0n);
    m.set32(S_EXC_VECTOR, GP);
    m.call('begin_exception', m.cpu);
    assert.deepEqual(m.attempt('deliver_exception'), { vector: GP, error: GP * 8 + 3 });
    assert.deepEqual(m.attempt('deliver_exception'), { vector: GP, error: DF * 8 + 3 });
    assert.equal(m.call('deliver_exception', m.cpu), 1);
  });

  it('a contributory fault in the delivery of a page fault makes #DF', () => {
    const m = at(0);
    m.interruptGate(DF, gate(CODE0, 0x4000, 0x8e));
    m.interruptGate(GP, gate(CODE0, 0x5000, 0x8e));
    m.rip = 0x10;
    exception(m, 14, 2, 0xdead000n); // its gate is not there: #GP
    assert.deepEqual([m.rip, m.mem32(0x6ff0), m.mem32(0x6ff4)], [0x4000, 0, 0x10]);
  });

  it('a benign exception whose delivery faults is not doubled', () => {
    const m = at(0);
    m.interruptGate(GP, gate(CODE0, 0x4000, 0x8e));
    exception(m, 6);
    assert.deepEqual([m.rip, m.mem32(0x6ff0)], [0x4000, 6 * 8 + 3]);
  });
});

describe('interrupts elsewhere', () => {
  it('real mode goes through the vector table', () => {
    const m = new SystemMachine();
    m.set64(S_IDT_BASE, 0n);
    m.set32(S_IDT_LIMIT, 0x3ff);
    m.put32(0x10 * 4, 0x12340056);
    m.setSegment(SEG_CS, 0x100, 0x1000, 0xffff, 0x93);
    m.setReg(SP, 0x200);
    m.rip = 0x33;
    m.setFlags(IF | 2);
    assert.equal(m.attempt('software_interrupt', 0x10, 0x35n), undefined);
    assert.deepEqual([m.rip, m.selector(SEG_CS), m.reg(SP)], [0x56, 0x1234, 0x1fa]);
    assert.deepEqual(
      [m.mem16(0x1fa), m.mem16(0x1fc), m.mem16(0x1fe), m.flags & IF],
      [0x35, 0x100, IF | 2, 0],
    );
    assert.equal(m.attempt('interrupt_return', 2), undefined);
    assert.deepEqual(
      [m.rip, m.selector(SEG_CS), m.reg(SP), m.flags & IF],
      [0x35, 0x100, 0x200, IF],
    );
  });

  it('virtual-8086 mode goes to ring 0 with all segments pushed, and IRET comes back', () => {
    const m = new SystemMachine();
    m.virtual8086(3);
    m.interruptGate(0x40, gate(CODE0, 0x4000, 0xee));
    m.setSegment(SEG_GS, 0x77, 0x770, 0xffff, 0xf3);
    assert.equal(m.attempt('software_interrupt', 0x40, 0x12n), undefined);
    assert.deepEqual(
      [m.get32(S_CPL), m.reg(SP), m.selector(SEG_GS), m.flags & VM],
      [0, 0x8000 - 36, 0, 0],
    );
    assert.deepEqual(
      [m.mem32(0x8000 - 36), m.mem32(0x8000 - 4), m.mem32(0x8000 - 20)],
      [0x12, 0x77, 0x2000],
    );
    assert.equal(m.attempt('interrupt_return', 4), undefined);
    assert.deepEqual(
      [m.rip, m.get32(S_CPL), m.selector(SEG_GS), m.flags & VM],
      [0x12, 3, 0x77, VM],
    );
  });

  it('below IOPL 3, INT n in virtual-8086 mode is #GP, or redirected with VME', () => {
    const m = new SystemMachine();
    m.virtual8086(0);
    assert.deepEqual(m.attempt('software_interrupt', 0x21, 0n), { vector: GP, error: 0 });
    m.set64(S_CR4, 1n);
    m.put16(TSS + 102, 0x88);
    m.put32(0x21 * 4, 0x30000044);
    m.setFlags(0x80202 | VM);
    assert.equal(m.attempt('software_interrupt', 0x21, 0x12n), undefined);
    assert.deepEqual([m.rip, m.selector(SEG_CS), m.flags & 0x80000], [0x44, 0x3000, 0]);
    assert.equal(m.mem16(0x200fe), 0x3202, 'IOPL 3 and IF for VIF');
  });

  it('64-bit mode aligns the stack, takes the one of the IST, and IRETQ restores', () => {
    const m = new SystemMachine();
    m.long(3);
    m.setFlags(IF | 2);
    m.longGate(0x40, CODE64, 0x4000, 0x8e, 1);
    m.setReg(SP, 0x6004);
    m.rip = 0x123;
    assert.equal(m.attempt('deliver_event', 0x40, 4, 0), undefined);
    assert.deepEqual(
      [m.rip, m.get32(S_CPL), m.reg(SP), m.selector(SEG_SS)],
      [0x4000, 0, 0x9000 - 40, 0],
    );
    const pushed = [0, 8, 16, 24, 32].map((i) => Number(m.mem64(0x9000 - 40 + i)));
    assert.deepEqual(pushed, [0x123, CODE3_64, IF | 2, 0x6004, DATA3]);
    assert.equal(m.attempt('interrupt_return', 8), undefined);
    assert.deepEqual(
      [m.rip, m.get32(S_CPL), m.reg(SP), m.selector(SEG_SS)],
      [0x123, 3, 0x6004, DATA3],
    );
  });

  it('IRETQ to a non-canonical address faults in ring 0', () => {
    const m = new SystemMachine();
    m.long(0);
    m.put64(0x7000, 0x8000_0000_0000n);
    m.put64(0x7008, BigInt(CODE3_64));
    m.put64(0x7010, 2n);
    m.put64(0x7018, 0x6000n);
    m.put64(0x7020, BigInt(DATA3));
    assert.deepEqual(m.attempt('interrupt_return', 8), { vector: GP, error: 0 });
    assert.equal(m.get32(S_CPL), 0);
    m.put64(0x7000, 0x1000n);
    m.put64(0x7020, 0n);
    assert.deepEqual(
      m.attempt('interrupt_return', 8),
      { vector: GP, error: 0 },
      'a null stack is not for ring 3',
    );
  });
});

describe('system calls', () => {
  it('SYSCALL and SYSRET', () => {
    const m = new SystemMachine();
    m.long(3);
    m.setFlags(IF | 2);
    m.set64(S_MSR_STAR, 0x0033_0038_0000_0000n);
    m.set64(S_MSR_LSTAR, 0x4000n);
    m.set64(S_MSR_SFMASK, BigInt(IF));
    assert.equal(m.attempt('syscall', 0x105n), undefined);
    assert.deepEqual(
      [m.rip, m.get32(S_CPL), m.flags & IF, m.reg(1), m.reg(11)],
      [0x4000, 0, 0, 0x105, IF | 2],
    );
    assert.deepEqual([m.selector(SEG_CS), m.selector(SEG_SS)], [CODE64, 0x40]);
    assert.equal(m.attempt('sysret', 8), undefined);
    assert.deepEqual([m.rip, m.get32(S_CPL), m.flags & IF], [0x105, 3, IF]);
    assert.deepEqual([m.selector(SEG_CS), m.selector(SEG_SS)], [CODE3_64, 0x3b]);
  });

  it('SYSRET to a non-canonical address faults before it leaves ring 0', () => {
    const m = new SystemMachine();
    m.long(0);
    m.setReg(1, 0x8000_0000_0000n);
    assert.deepEqual(m.attempt('sysret', 8), { vector: GP, error: 0 });
    assert.equal(m.get32(S_CPL), 0);
  });

  it('SYSCALL is undefined in 32-bit code', () => {
    assert.deepEqual(at(3).attempt('syscall', 0n), { vector: 6 });
  });
});

describe('task switches', () => {
  const NEW = 0x5000;

  function withTask(cpl: 0 | 3): SystemMachine {
    const m = at(cpl);
    m.descriptor(FREE, segment(NEW, 0x67, 0x89 | (cpl << 5), 0));
    m.put32(NEW + 0x20, 0x4444);
    m.put32(NEW + 0x24, 2);
    m.put32(NEW + 0x28, 0xaaaa);
    m.put32(NEW + 0x38, 0x6800);
    for (const [i, selector] of [DATA0, CODE0, DATA0, DATA0, 0, 0].entries())
      m.put32(NEW + 0x48 + i * 4, selector);
    m.setReg(0, 0xbbbb);
    return m;
  }

  const type = (m: SystemMachine, selector: number) => (m.mem32(GDT + selector + 4) >> 8) & 0xf;

  it('JMP saves the old task and loads the new one', () => {
    const m = withTask(0);
    assert.equal(m.attempt('far_jump', FREE, 0n, 4, 0x99n), undefined);
    assert.deepEqual(
      [m.rip, m.reg(0), m.reg(SP), m.selector(SEG_TR)],
      [0x4444, 0xaaaa, 0x6800, FREE],
    );
    assert.deepEqual([m.mem32(TSS + 0x20), m.mem32(TSS + 0x28)], [0x99, 0xbbbb]);
    assert.deepEqual([type(m, TASK), type(m, FREE)], [9, 11]);
    assert.equal(m.get64(S_CR0) & 8n, 8n, 'CR0.TS');
  });

  it('CALL nests, and IRET with NT comes back', () => {
    const m = withTask(0);
    assert.equal(m.attempt('far_call', FREE, 0n, 4, 0x99n), undefined);
    assert.deepEqual(
      [m.mem16(NEW), m.flags & NT, type(m, TASK), type(m, FREE)],
      [TASK, NT, 11, 11],
    );
    assert.equal(m.attempt('interrupt_return', 4), undefined);
    assert.deepEqual([m.rip, m.reg(0), m.selector(SEG_TR), m.flags & NT], [0x99, 0xbbbb, TASK, 0]);
    assert.deepEqual([type(m, TASK), type(m, FREE)], [11, 9]);
  });

  it('an exception through a task gate pushes its error code in the new task', () => {
    const m = withTask(0);
    m.interruptGate(GP, gate(FREE, 0, 0x85));
    m.rip = 0x55;
    exception(m, GP, 0x18);
    assert.deepEqual([m.rip, m.reg(SP), m.mem32(0x67fc)], [0x4444, 0x67fc, 0x18]);
    assert.equal(m.mem32(TSS + 0x20), 0x55);
  });

  it('a TSS that is too small is #TS, a busy one #GP', () => {
    const m = withTask(0);
    m.descriptor(FREE, segment(NEW, 0x66, 0x89, 0));
    assert.deepEqual(m.attempt('far_jump', FREE, 0n, 4, 0n), { vector: TS, error: FREE });
    m.descriptor(FREE, segment(NEW, 0x67, 0x8b, 0));
    assert.deepEqual(m.attempt('far_jump', FREE, 0n, 4, 0n), { vector: GP, error: FREE });
  });

  it('a bad stack in the new task is a fault of that task', () => {
    const m = withTask(0);
    m.put32(NEW + 0x50, CODE0);
    assert.deepEqual(m.attempt('far_jump', FREE, 0n, 4, 0n), { vector: TS, error: CODE0 });
    assert.deepEqual([m.rip, m.selector(SEG_TR)], [0x4444, FREE]);
  });
});

describe('software exceptions', () => {
  it('INT3 pushes the next RIP, and its own when the gate refuses', () => {
    const m = at(3);
    m.interruptGate(3, gate(CODE0, 0x4000, 0xee));
    m.rip = 0x10;
    assert.equal(m.attempt('trap_interrupt', 3, SOFTWARE, 0x11n), undefined);
    assert.equal(m.mem32(0x8000 - 20), 0x11);
    m.protect(3);
    m.interruptGate(3, gate(CODE0, 0x4000, 0x8e));
    m.rip = 0x10;
    assert.deepEqual(m.attempt('trap_interrupt', 3, SOFTWARE, 0x11n), {
      vector: GP,
      error: 3 * 8 + 2,
    });
    assert.equal(m.rip, 0x10);
  });

  it('INTO goes on when OF is clear', () => {
    const m = at(0);
    assert.equal(m.attempt('overflow_interrupt', 0x21n), undefined);
    assert.equal(m.rip, 0x21);
  });
});
