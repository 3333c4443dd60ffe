import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { coldContext, type Form, MEM_BASE, MEM_NONE } from '#cpu/forms.ts';
import { planHandlers } from '#cpu/handlers.ts';
import type { Attributes, Block, Inst } from '#ir/block.ts';
import { TABLE } from '#isa/x86/table.ts';
import { Lifter } from '#translate/x86/lifter.ts';
import { LIFTS } from '#translate/x86/lifts.ts';

/** Operations after which a fault would leave changed state behind. */
const WRITES = /^(set(8|16|32|64|v)|set_flags_raw|flags32|flags64)$/;
/** Where memory is read or written, or an exception raised. */
const FAULTS = /^(load|store|raise_if)/;

function slotText({ slot }: Attributes): string {
  if (slot === undefined) return '';
  return 'fixed' in slot ? ` r${slot.fixed}` : ` field${slot.field}`;
}

/** One line for each operation: values are numbered, constants stand where they are used. */
function text(block: Block): string {
  const names = new Map<Inst, string>();
  const lines: string[] = [];
  for (const inst of block.insts) {
    const { op, args, attr } = inst;
    if (op.name.endsWith('.const')) {
      names.set(inst, String(attr.imm));
      continue;
    }
    const what = [op.name, attr.kind, attr.size, attr.cc, attr.helper, attr.imm];
    const head = what.filter((part) => part !== undefined).join(' ') + slotText(attr);
    const operands = args.map((arg) => names.get(arg)).join(', ');
    const name = `v${names.size}`;
    names.set(inst, name);
    const line = operands === '' ? head : `${head} (${operands})`;
    lines.push(op.result === 'void' ? line : `${name} = ${line}`);
  }
  return lines.join('\n');
}

function lifter(name: string, opcode: number, mem: number, opSize: 2 | 4 | 8): Lifter {
  const row = TABLE.find((r) => r.name === name && r.opcode === opcode);
  if (row === undefined) throw new Error(`no row ${name}`);
  const form: Form = { row, opSize, mem, rep: 0, addrSize: 8, codeSize: 8, stackSize: 8 };
  return new Lifter(coldContext(form));
}

function golden(name: string, opcode: number, mem: number, opSize: 2 | 4 | 8 = 8): string {
  const x = lifter(name, opcode, mem, opSize);
  LIFTS[name]?.(x);
  return text(x.block);
}

/** The first operation that may fault after one that changed registers or flags. */
function lateFault(block: Block): string | undefined {
  let written: Inst | undefined;
  // A store to where a read-modify-write load was cannot fault.
  const held = new Set<Inst>();
  for (const inst of block.insts) {
    const { op, args } = inst;
    const [address] = args;
    if (op.name.startsWith('loadw') && address !== undefined) held.add(address);
    const safe = op.name.startsWith('store') && address !== undefined && held.has(address);
    if (FAULTS.test(op.name) && written !== undefined && !safe)
      return `${op.name} after ${written.op.name} in\n${text(block)}`;
    if (WRITES.test(op.name)) written = inst;
  }
  return undefined;
}

// All forms of all rows, as the build makes them: a lift that throws fails every test here.
const { inline, called, ending } = planHandlers().layout;
const blocks = [...inline, ...called, ...ending].map((source) => source.block);

describe('lifts', () => {
  it('exist for every row, and every row is named by one', () => {
    const names = new Set(TABLE.map((row) => row.name));
    const missing = [...names].filter((name) => LIFTS[name] === undefined);
    const unused = Object.keys(LIFTS).filter((name) => !names.has(name));
    assert.deepEqual({ missing, unused }, { missing: [], unused: [] });
  });

  it('put the terminator last', () => {
    for (const block of blocks) {
      const early = block.insts.slice(0, -1).find((inst) => inst.op.terminator === true);
      assert.equal(early, undefined, text(block));
    }
  });

  it('touch memory before they write registers and flags', () => {
    assert.deepEqual(
      blocks.map(lateFault).filter((fault) => fault !== undefined),
      [],
    );
  });

  it('refuse arguments of the wrong type', () => {
    const x = lifter('add', 0x01, MEM_NONE, 8);
    assert.throws(() => x.op('i32.add', [x.const32(1), x.const64(1)]), /argument 1 of i32.add/);
    assert.throws(() => x.call('movs', [x.const32(1)]), /arguments of movs/);
  });
});

describe('the IR of', () => {
  it('ADD r/m, r on memory: one read-modify-write, then flags', () => {
    assert.equal(
      golden('add', 0x01, MEM_BASE),
      `v0 = get64 field4
v1 = rec.i32 8
v2 = i64.extend_i32_s (v1)
v3 = i64.add (v0, v2)
v4 = loadw64 (v3)
v5 = get64 field2
v6 = i64.add (v4, v5)
store64 (v3, v6)
flags64 add 8 (v4, v5, v6)`,
    );
  });

  it('MOV r32, r/m32: the upper half is cleared', () => {
    assert.equal(
      golden('mov', 0x8b, MEM_NONE, 4),
      `v0 = get32 field3
v1 = i64.extend_i32_u (v0)
set64 field2 (v1)`,
    );
  });

  it('RET: RSP moves after the load and a look at the target', () => {
    assert.equal(
      golden('ret', 0xc3, MEM_NONE),
      `v0 = get64 r32
v1 = load64 (v0)
check_goto 8 (v1)
v3 = get64 r32
v5 = i64.add (v3, 8)
set64 r32 (v5)
goto (v1)`,
    );
  });

  it('JB: the condition, on the carry alone', () => {
    assert.equal(golden('jcc', 0x72, MEM_NONE), 'v0 = cond 2\nbranch (v0)');
  });
});
