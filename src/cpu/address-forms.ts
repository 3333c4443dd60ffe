import { Block, type Inst } from '#ir/block.ts';
import {
  REC_BASE,
  REC_DISP,
  REC_IMM,
  REC_INDEX,
  REC_SEG,
  REC_SHIFT,
  S_EA,
  S_SEGS,
  SEG_SIZE,
} from '#ir/state.ts';

// Handlers that come from no instruction: address records, which leave a linear address in S_EA for the record after
// them, and the records that end a block by themselves.

function offset(b: Block): Inst {
  const base = b.add('get64', [], { slot: { field: REC_BASE } });
  const index = b.add('get64', [], { slot: { field: REC_INDEX } });
  const shift = b.add('i64.extend_i32_u', [b.add('rec.u8', [], { imm: REC_SHIFT })]);
  const disp = b.add('i64.extend_i32_s', [b.add('rec.i32', [], { imm: REC_DISP })]);
  return b.add('i64.add', [b.add('i64.add', [base, disp]), b.add('i64.shl', [index, shift])]);
}

function leave(b: Block, address: Inst): Block {
  b.add('set64', [address], { slot: { fixed: S_EA } });
  return b;
}

function low32(b: Block, value: Inst): Inst {
  return b.add('i64.and', [value, b.add('i64.const', [], { imm: 0xffffffffn })]);
}

function segmentBase(b: Block): Inst {
  return b.add('get64', [], { slot: { field: REC_SEG, base: S_SEGS, stride: SEG_SIZE } });
}

function raiseBlock(name: 'raise' | 'raise_error'): Block {
  const b = new Block();
  const vector = b.add('rec.i32', [], { imm: REC_IMM });
  const args = name === 'raise' ? [vector] : [vector, b.add('i32.const', [], { imm: 0 })];
  b.add('call.void', args, { helper: name });
  b.add('end_dispatch');
  return b;
}

export const ADDRESS_FORMS: Readonly<Record<string, () => Block>> = {
  fence: () => {
    const b = new Block();
    b.add('call.void', [], { helper: 'fence' });
    return b;
  },
  /** 64-bit mode: FS or GS, address size 8. */
  segment64: () => {
    const b = new Block();
    return leave(b, b.add('i64.add', [offset(b), segmentBase(b)]));
  },
  /** Address size 4 over flat segments. */
  flat32: () => {
    const b = new Block();
    return leave(b, low32(b, offset(b)));
  },
  /** 64-bit mode: FS or GS, address size 4. */
  segment32: () => {
    const b = new Block();
    return leave(b, b.add('i64.add', [low32(b, offset(b)), segmentBase(b)]));
  },
  /** An address of 64 bits, and the base of FS or GS or nothing: MOV with absolute address, RIP-relative ones out of reach. */
  absolute: () => {
    const b = new Block();
    return leave(b, b.add('rec.i64', [], { imm: REC_IMM }));
  },
  absoluteSegment: () => {
    const b = new Block();
    return leave(b, b.add('i64.add', [b.add('rec.i64', [], { imm: REC_IMM }), segmentBase(b)]));
  },
  /** Everything else: limits and rights are checked. */
  segmented: () => {
    const b = new Block();
    b.add('call.void', [b.add('rec.self')], { helper: 'ea_segmented' });
    return b;
  },
  /** The next record's immediate is one that the guest changes. */
  reload: () => {
    const b = new Block();
    b.add('call.void', [b.add('rec.self')], { helper: 'reload_immediate' });
    return b;
  },
  /** The block goes on at the next instruction. */
  fallThrough: () => {
    const b = new Block();
    b.add('jump');
    return b;
  },
  /** Raises #NM or #UD where the unit of the next record is off; REC_IMM says which unit. */
  checkUnit: () => {
    const b = new Block();
    b.add('call.void', [b.add('rec.i32', [], { imm: REC_IMM })], { helper: 'check_unit' });
    return b;
  },
  raise: () => raiseBlock('raise'),
  raiseError: () => raiseBlock('raise_error'),
};
