import { type Opcode, opcode } from './opcodes.ts';

/** Where a register lives: at a fixed offset of the CPU's state, or (cold tier) at the one that a record's byte names. */
export type Slot =
  | { readonly fixed: number }
  /** The byte at `field` is an offset in the state. */
  | { readonly field: number }
  /** The byte at `field` is the number of an XMM or MMX register; `base` and `stride` place it. */
  | { readonly field: number; readonly base: number; readonly stride: number };

export interface Attributes {
  readonly imm?: number | bigint;
  readonly bytes?: Uint8Array;
  readonly slot?: Slot;
  readonly kind?: FlagKind;
  /** Bytes, of the operands of a flags op. */
  readonly size?: number;
  readonly cc?: number;
  readonly helper?: string;
}

export type FlagKind = 'add' | 'adc' | 'sub' | 'sbb' | 'logic' | 'inc' | 'dec';

/** One value or effect. Identity is the SSA name. */
export interface Inst {
  readonly op: Opcode;
  readonly args: readonly Inst[];
  readonly attr: Attributes;
  /** Position in the block. */
  readonly index: number;
}

/** A straight line of instructions, the terminator (if any) last. */
export class Block {
  readonly insts: Inst[] = [];

  /** Appends; checks types, so that a wrong lift fails where it is written. */
  add(name: string, args: readonly Inst[] = [], attr: Attributes = {}): Inst {
    const op = opcode(name);
    if (op.family !== 'call') {
      if (args.length !== op.args.length)
        throw new Error(`ir: ${name} takes ${op.args.length} arguments`);
      args.forEach((arg, i) => {
        if (arg.op.result !== op.args[i])
          throw new Error(
            `ir: argument ${i} of ${name} is ${arg.op.result} (${arg.op.name}), not ${op.args[i]}`,
          );
      });
    }
    const inst: Inst = { op, args, attr, index: this.insts.length };
    this.insts.push(inst);
    return inst;
  }

  get terminator(): Inst | undefined {
    const last = this.insts.at(-1);
    return last?.op.terminator === true ? last : undefined;
  }
}
