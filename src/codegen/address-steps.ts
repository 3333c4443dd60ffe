import { askedOnce, type Block, type Inst } from '#ir/block.ts';
import { S_RAX, S_RCX, S_RDI, S_RDX, S_REGS, S_RSI } from '#ir/state.ts';
import { helperKind, isDivision } from './hot-helpers.ts';

// What an instruction does with registers that addresses come from. It is the same wherever the instruction stands.

export const REGISTERS = 16;
const REGISTER_BYTES = 8;
const LOW32 = 0xffffffffn;
const DIVISION_WRITES = [S_RAX, S_RDX];
/** Helpers that have all state in memory write no other registers. */
const WRITTEN_BY_HELPERS = [S_RAX, S_RCX, S_RDX, S_RSI, S_RDI];

/** `from`: RIP of the next instruction, or an unknown value. */
export const NEXT_RIP = -1;
export const UNKNOWN = -2;

export interface AddressStep {
  readonly kind: 'read' | 'assign' | 'access';
  /** The access; what reads or assigns the register. */
  readonly inst: Inst;
  /** Number of the register that is read or assigned. */
  readonly register: number;
  /** What is assigned, or the address: what the read at that position of the block gave, or NEXT_RIP, or UNKNOWN; and … */
  readonly from: number;
  /** … constants that are added to it, one after the other. */
  readonly moves: readonly number[];
  /** Of an access, in bytes. */
  readonly width: number;
  readonly write: boolean;
}

/** A value as something that is read plus constants. */
interface Sum {
  readonly from: number;
  readonly moves: readonly number[];
}

const UNKNOWN_SUM: Sum = { from: UNKNOWN, moves: [] };

/** The steps of an instruction of 64-bit code, and of 32-bit code, where all registers and addresses are below 4 GiB. */
export const steps64 = askedOnce((block) => stepsOf(block, true));
export const steps32 = askedOnce((block) => stepsOf(block, false));

function stepsOf({ insts }: Block, code64: boolean): readonly AddressStep[] {
  const steps = insts.flatMap((inst) => stepsFor(inst, code64));
  const used = new Set(steps.map(({ from }) => from));
  return steps.filter(({ kind, inst }) => kind !== 'read' || used.has(inst.index));
}

function stepsFor(inst: Inst, code64: boolean): AddressStep[] {
  const { op } = inst;
  const value = inst.args[0];
  const register = registerOf(inst);
  switch (op.family) {
    case 'get':
      return isRead(inst, code64) ? [step('read', inst, register, UNKNOWN_SUM)] : [];
    case 'set': {
      const sum = op.width === '64' && value ? sumOf(value, code64) : UNKNOWN_SUM;
      return register >= 0 ? [step('assign', inst, register, sum)] : [];
    }
    case 'call':
      return writtenBy(inst).map((offset) =>
        step('assign', inst, (offset - S_REGS) / REGISTER_BYTES, UNKNOWN_SUM),
      );
    case 'load':
    case 'loadw':
    case 'store': {
      const at = value ? sumOf(value, code64) : UNKNOWN_SUM;
      return at.from === UNKNOWN ? [] : [step('access', inst, -1, at)];
    }
    default:
      return [];
  }
}

function step(
  kind: AddressStep['kind'],
  inst: Inst,
  register: number,
  { from, moves }: Sum,
): AddressStep {
  const width = kind === 'access' ? widthOf(inst) : 0;
  return { kind, inst, register, from, moves, width, write: inst.op.family !== 'load' };
}

function writtenBy({ attr: { helper = '' } }: Inst): readonly number[] {
  if (isDivision(helper)) return DIVISION_WRITES;
  return helperKind(helper) === 'whole' ? WRITTEN_BY_HELPERS : [];
}

/** The register that a slot is in; -1 when it is in none. */
function registerOf({ attr: { slot } }: Inst): number {
  if (slot === undefined || !('fixed' in slot)) return -1;
  const number = Math.floor((slot.fixed - S_REGS) / REGISTER_BYTES);
  return number < REGISTERS ? number : -1;
}

/** Whether all of a register is read that counts. */
function isRead(inst: Inst, code64: boolean): boolean {
  const { op, attr } = inst;
  const fits = op.width === '64' || (!code64 && op.width === '32');
  const { slot } = attr;
  const isWhole = slot !== undefined && 'fixed' in slot && slot.fixed % REGISTER_BYTES === 0;
  return fits && isWhole && registerOf(inst) >= 0;
}

function sumOf(inst: Inst, code64: boolean): Sum {
  const { op, args, index } = inst;
  const a = args[0];
  const b = args[1];
  if (op.family === 'get') return isRead(inst, code64) ? { from: index, moves: [] } : UNKNOWN_SUM;
  if (op.name === 'next_rip') return { from: NEXT_RIP, moves: [] };
  if (a === undefined) return UNKNOWN_SUM;
  switch (op.name) {
    case 'i64.add':
      return moved(a, b, 1, code64);
    case 'i64.sub':
      return moved(a, b, -1, code64);
    case 'i32.add':
      return code64 ? UNKNOWN_SUM : moved(a, b, 1, code64);
    case 'i32.sub':
      return code64 ? UNKNOWN_SUM : moved(a, b, -1, code64);
    case 'i64.and':
      return !code64 && BigInt(b?.attr.imm ?? 0) === LOW32 ? sumOf(a, code64) : UNKNOWN_SUM;
    case 'i64.extend_i32_u':
    case 'i32.wrap_i64':
      return code64 ? UNKNOWN_SUM : sumOf(a, code64);
    default:
      return UNKNOWN_SUM;
  }
}

function moved(a: Inst, b: Inst | undefined, sign: 1 | -1, code64: boolean): Sum {
  if (b?.op.family !== 'const') return UNKNOWN_SUM;
  const { from, moves } = sumOf(a, code64);
  return from === UNKNOWN
    ? UNKNOWN_SUM
    : { from, moves: [...moves, sign * Number(b.attr.imm ?? 0)] };
}

function widthOf({ op }: Inst): number {
  return op.width === 'v' ? 16 : Number(op.width) / 8;
}
