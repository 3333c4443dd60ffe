import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  S_SEGS,
  SEG_BASE,
  SEG_DS,
  SEG_ES,
  SEG_FS,
  SEG_LDTR,
  SEG_LIMIT,
  SEG_RIGHTS,
  SEG_SIZE,
  SEG_SS,
  SEG_TR,
} from '#ir/state.ts';
import { CODE0, DATA0, DATA3, FREE, GDT, SystemMachine, segment, TASK } from './system-machine.ts';

const GP = 13;
const NP = 11;
const SS = 12;

function at(cpl: 0 | 3): SystemMachine {
  const m = new SystemMachine();
  m.protect(cpl);
  return m;
}

const rights = (m: SystemMachine, seg: number) => m.get32(S_SEGS + seg * SEG_SIZE + SEG_RIGHTS);

describe('loading a segment register', () => {
  it('takes base and limit from the descriptor and marks it accessed', () => {
    const m = at(0);
    m.descriptor(FREE, segment(0x12345678, 0x1ff, 0x92, 0xc));
    assert.equal(m.attempt('load_segment', SEG_ES, FREE), undefined);
    const es = S_SEGS + SEG_ES * SEG_SIZE;
    assert.equal(m.get64(es + SEG_BASE), 0x12345678n);
    assert.equal(m.get32(es + SEG_LIMIT), 0x1fffff);
    assert.equal((m.mem32(GDT + FREE + 4) >> 8) & 1, 1);
  });

  const faults = [
    {
      name: 'a selector beyond the table',
      seg: SEG_DS,
      selector: 0x100,
      access: 0,
      fault: { vector: GP, error: 0x100 },
    },
    {
      name: 'a system descriptor',
      seg: SEG_DS,
      selector: FREE,
      access: 0x89,
      fault: { vector: GP, error: FREE },
    },
    {
      name: 'code that cannot be read',
      seg: SEG_DS,
      selector: FREE,
      access: 0x98,
      fault: { vector: GP, error: FREE },
    },
    {
      name: 'an absent data segment',
      seg: SEG_DS,
      selector: FREE,
      access: 0x12,
      fault: { vector: NP, error: FREE },
    },
    {
      name: 'an absent stack segment',
      seg: SEG_SS,
      selector: FREE,
      access: 0x12,
      fault: { vector: SS, error: FREE },
    },
    {
      name: 'a stack that cannot be written',
      seg: SEG_SS,
      selector: FREE,
      access: 0x90,
      fault: { vector: GP, error: FREE },
    },
    {
      name: 'a stack of another privilege',
      seg: SEG_SS,
      selector: DATA3,
      access: 0,
      fault: { vector: GP, error: DATA3 & ~3 },
    },
    { name: 'a null stack', seg: SEG_SS, selector: 3, access: 0, fault: { vector: GP, error: 0 } },
    {
      name: 'an LDT that is not there',
      seg: SEG_DS,
      selector: 0xc,
      access: 0,
      fault: { vector: GP, error: 0xc },
    },
  ];
  for (const { name, seg, selector, access, fault } of faults) {
    it(`refuses ${name}`, () => {
      const m = at(0);
      if (access !== 0) m.descriptor(FREE, segment(0, 0xfffff, access, 0xc));
      assert.deepEqual(m.attempt('load_segment', seg, selector), fault);
    });
  }

  it('keeps ring 3 from ring 0 data, but not from conforming code', () => {
    const m = at(3);
    assert.deepEqual(m.attempt('load_segment', SEG_DS, DATA0), { vector: GP, error: DATA0 });
    m.descriptor(FREE, segment(0, 0xfffff, 0x9e, 0xc));
    assert.equal(m.attempt('load_segment', SEG_DS, FREE | 3), undefined);
  });

  it('keeps the limit in real mode', () => {
    const m = new SystemMachine();
    m.setSegment(SEG_DS, 0, 0, 0xffffffff, 0xc093);
    m.update();
    m.attempt('load_segment', SEG_DS, 0x1234);
    assert.equal(m.get64(S_SEGS + SEG_DS * SEG_SIZE + SEG_BASE), 0x12340n);
    assert.equal(m.get32(S_SEGS + SEG_DS * SEG_SIZE + SEG_LIMIT), 0xffffffff);
  });
});

describe('using a segment', () => {
  const cases = [
    {
      name: 'within the limit',
      rights: 0x4093,
      limit: 0xfff,
      offset: 0xffc,
      size: 4,
      write: 1,
      fault: undefined,
    },
    {
      name: 'one byte past the limit',
      rights: 0x4093,
      limit: 0xfff,
      offset: 0xffd,
      size: 4,
      write: 0,
      fault: { vector: GP, error: 0 },
    },
    {
      name: 'a write to read-only data',
      rights: 0x4091,
      limit: 0xfff,
      offset: 0,
      size: 1,
      write: 1,
      fault: { vector: GP, error: 0 },
    },
    {
      name: 'a write to code',
      rights: 0x409b,
      limit: 0xfff,
      offset: 0,
      size: 1,
      write: 1,
      fault: { vector: GP, error: 0 },
    },
    {
      name: 'a read of execute-only code',
      rights: 0x4099,
      limit: 0xfff,
      offset: 0,
      size: 1,
      write: 0,
      fault: { vector: GP, error: 0 },
    },
    {
      name: 'expand-down above the limit',
      rights: 0x4097,
      limit: 0xfff,
      offset: 0x1000,
      size: 4,
      write: 1,
      fault: undefined,
    },
    {
      name: 'expand-down at the limit',
      rights: 0x4097,
      limit: 0xfff,
      offset: 0xfff,
      size: 4,
      write: 1,
      fault: { vector: GP, error: 0 },
    },
    {
      name: 'a small expand-down past 64 KiB',
      rights: 0x97,
      limit: 0xfff,
      offset: 0xfffe,
      size: 4,
      write: 1,
      fault: { vector: GP, error: 0 },
    },
    {
      name: 'a null segment',
      rights: 0,
      limit: 0,
      offset: 0,
      size: 1,
      write: 0,
      fault: { vector: GP, error: 0 },
    },
  ];
  for (const { name, rights: r, limit, offset, size, write, fault } of cases) {
    it(name, () => {
      const m = at(0);
      m.setSegment(SEG_FS, 0, 0x5000, limit, r);
      m.update();
      assert.deepEqual(m.attempt('seg_address', SEG_FS, BigInt(offset), size, write), fault);
      if (fault === undefined) {
        assert.equal(
          m.call('seg_address', m.cpu, SEG_FS, BigInt(offset), size, write),
          BigInt(0x5000 + offset),
        );
      }
    });
  }

  it('faults through SS with #SS', () => {
    const m = at(0);
    m.setSegment(SEG_SS, DATA0, 0, 0xfff, 0x4093);
    m.update();
    assert.deepEqual(m.attempt('seg_address', SEG_SS, 0x1000n, 2, 1), { vector: SS, error: 0 });
  });

  it('adds only the bases of FS and GS in 64-bit mode, and wants canonical addresses', () => {
    const m = new SystemMachine();
    m.long(0);
    m.setSegment(SEG_FS, 0, 0x5000, 0, 0);
    m.setSegment(SEG_DS, 0, 0x5000, 0, 0);
    assert.equal(m.call('seg_address', m.cpu, SEG_FS, 8n, 8, 0), 0x5008n);
    assert.equal(m.call('seg_address', m.cpu, SEG_DS, 8n, 8, 0), 8n);
    assert.deepEqual(m.attempt('seg_address', SEG_DS, 0x7ffffffffff9n, 8, 0), {
      vector: GP,
      error: 0,
    });
    assert.deepEqual(m.attempt('seg_address', SEG_SS, 0x8000_0000_0000n, 8, 0), {
      vector: SS,
      error: 0,
    });
  });
});

describe('system segments', () => {
  it('LTR marks the TSS busy, and refuses a busy one', () => {
    const m = at(0);
    m.descriptor(TASK, segment(0x3000, 0x67, 0x89, 0));
    assert.equal(m.attempt('ltr', TASK), undefined);
    assert.equal((m.mem32(GDT + TASK + 4) >> 8) & 0xff, 0x8b);
    assert.equal(rights(m, SEG_TR) & 0xff, 0x8b);
    assert.deepEqual(m.attempt('ltr', TASK), { vector: GP, error: TASK });
  });

  it('LLDT makes a local table usable', () => {
    const m = at(0);
    m.descriptor(FREE, segment(0x4000, 0x17, 0x82, 0));
    assert.equal(m.attempt('lldt', FREE), undefined);
    assert.equal(rights(m, SEG_LDTR) & 0xff, 0x82);
    m.put64(0x4008, segment(0x1000, 0xfff, 0x93, 4));
    assert.equal(m.attempt('load_segment', SEG_ES, 0xc), undefined);
    assert.equal(m.selector(SEG_ES), 0xc);
  });

  it('are for ring 0', () => {
    assert.deepEqual(at(3).attempt('ltr', TASK), { vector: GP, error: 0 });
  });
});

describe('LAR, LSL, VERR, VERW, ARPL', () => {
  const zf = (m: SystemMachine) => (m.flags >> 6) & 1;

  it('see what the privilege may see', () => {
    const m = at(3);
    assert.equal(m.call('lar', m.cpu, DATA3), 0x00cff300);
    assert.equal(zf(m), 1);
    assert.equal(Number(m.call('lsl', m.cpu, DATA3)) >>> 0, 0xffffffff);
    assert.equal(m.call('lar', m.cpu, DATA0), 0);
    assert.equal(zf(m), 0);
  });

  it('know readable from writable', () => {
    const m = at(0);
    m.call('verify_segment', m.cpu, CODE0, 0);
    assert.equal(zf(m), 1);
    m.call('verify_segment', m.cpu, CODE0, 1);
    assert.equal(zf(m), 0);
    m.call('verify_segment', m.cpu, DATA0, 1);
    assert.equal(zf(m), 1);
  });

  it('ARPL raises the RPL', () => {
    const m = at(0);
    assert.equal(m.call('arpl', m.cpu, 0x10, 3), 0x13);
    assert.equal(zf(m), 1);
    assert.equal(m.call('arpl', m.cpu, 0x13, 1), 0x13);
    assert.equal(zf(m), 0);
  });

  it('are undefined in real mode', () => {
    assert.deepEqual(new SystemMachine().attempt('lar', 8), { vector: 6 });
  });
});
