import type { InsnRow } from '#isa/x86/insn.ts';
import type { Random } from './random.ts';

export interface Encoded {
  readonly bytes: Uint8Array;
  /** Registers that take part in the address, to be set so that the operand lies in the data area. */
  readonly address:
    | {
        readonly base: number;
        readonly index: number;
        readonly shift: number;
        readonly disp: number;
      }
    | undefined;
}

const MODRM_KINDS = 'EMRGSCDVWUPQN';
const MEMORY_KINDS = 'EMWQ';

function needsModRm(row: InsnRow): boolean {
  const { reg, rm, mod } = row.options;
  return (
    reg !== undefined ||
    rm !== undefined ||
    mod !== undefined ||
    row.operands.some((o) => MODRM_KINDS.includes(o.kind))
  );
}

/** A size of code: 2, 4 or 8 bytes. */
export type CodeSize = 2 | 4 | 8;

/** Branches whose target another operand size would cut, outside 64-bit mode. */
function isNearBranch(row: InsnRow): boolean {
  return /^(jmpInd|callInd|ret)$/.test(row.name) || row.operands.some((o) => o.kind === 'J');
}

/** The prefixes of an encoding, REX last; which of them tells the operand size. */
function pushPrefixes(
  bytes: number[],
  row: InsnRow,
  memory: boolean,
  codeSize: CodeSize,
  random: Random,
): number {
  const { prefix, size, rep, w } = row.options;
  let opSize = codeSize === 2 ? 2 : 4;
  const free = prefix === undefined && size === undefined;
  if (typeof prefix === 'number') {
    bytes.push(prefix);
  } else if (free && random.below(4) === 0 && (codeSize === 8 || !isNearBranch(row))) {
    bytes.push(0x66);
    opSize = codeSize === 2 ? 4 : 2;
  }
  if (rep === true && random.below(2) === 0) bytes.push(random.pick([0xf2, 0xf3]));
  if (codeSize !== 8) return opSize;
  let rex = random.below(3) === 0 ? 0 : 0x40 | random.below(16);
  if (w === 1) rex = 0x48 | (rex & 7);
  if (w === 0) rex &= ~8;
  if (memory) rex &= ~3;
  if (rex >= 0x40) bytes.push(rex);
  return (rex & 8) !== 0 || row.options.force64 === true ? 8 : opSize;
}

function pushOpcode(bytes: number[], opcode: number): void {
  if (opcode > 0xffff) bytes.push(0x0f, (opcode >> 8) & 0xff);
  else if (opcode > 0xff) bytes.push(0x0f);
  bytes.push(opcode & 0xff);
}

/** A random encoding of the row for code of that size. */
export function encode(row: InsnRow, random: Random, codeSize: CodeSize = 8): Encoded {
  const bytes: number[] = [];
  const { options } = row;
  const modRm = needsModRm(row);
  const memory = modRm && canBeMemory(row) && (mustBeMemory(row) || random.below(2) === 0);
  const opSize = pushPrefixes(bytes, row, memory, codeSize, random);
  pushOpcode(bytes, row.opcode);
  let address: Encoded['address'];
  if (modRm) {
    const reg = options.reg ?? random.below(8);
    if (memory) address = (codeSize === 2 ? pushMemory16 : pushMemory)(bytes, reg, random);
    else bytes.push(0xc0 | (reg << 3) | (options.rm ?? random.below(8)));
  }
  for (const spec of row.operands) pushImmediate(bytes, spec.kind, spec.size, opSize, random);
  return { bytes: Uint8Array.from(bytes), address };
}

function canBeMemory(row: InsnRow): boolean {
  if (row.options.mod === 'reg' || row.options.rm !== undefined) return false;
  return row.operands.some((o) => MEMORY_KINDS.includes(o.kind));
}

function mustBeMemory(row: InsnRow): boolean {
  return row.options.mod === 'mem' || row.operands.some((o) => o.kind === 'M');
}

/** [base + disp8], [base + index * scale + disp32]: RBX and RSI serve as base, RDI as index. */
function pushMemory(bytes: number[], reg: number, random: Random): NonNullable<Encoded['address']> {
  const base = random.pick([3, 6]);
  if (random.below(2) === 0) {
    const disp = random.below(256) - 128;
    bytes.push(0x40 | (reg << 3) | base, disp & 0xff);
    return { base, index: -1, shift: 0, disp };
  }
  const shift = random.below(4);
  const disp = random.below(65536) - 32768;
  bytes.push(
    0x84 | (reg << 3),
    (shift << 6) | (7 << 3) | base,
    disp & 0xff,
    (disp >> 8) & 0xff,
    (disp >> 16) & 0xff,
    (disp >> 24) & 0xff,
  );
  return { base, index: 7, shift, disp };
}

/** Base and index of the eight forms of 16-bit addressing (SDM vol. 2, table 2-1). */
const FORMS16 = [
  [3, 6],
  [3, 7],
  [5, 6],
  [5, 7],
  [6, -1],
  [7, -1],
  [5, -1],
  [3, -1],
] as const;

function pushMemory16(
  bytes: number[],
  reg: number,
  random: Random,
): NonNullable<Encoded['address']> {
  const rm = random.below(8);
  const [base, index] = FORMS16[rm] ?? [3, -1];
  if (random.below(2) === 0) {
    const disp = random.below(256) - 128;
    bytes.push(0x40 | (reg << 3) | rm, disp & 0xff);
    return { base, index, shift: 0, disp };
  }
  const disp = random.below(65536) - 32768;
  bytes.push(0x80 | (reg << 3) | rm, disp & 0xff, (disp >> 8) & 0xff);
  return { base, index, shift: 0, disp };
}

function pushImmediate(
  bytes: number[],
  kind: string,
  size: string,
  opSize: number,
  random: Random,
): void {
  if (kind !== 'I' && kind !== 'J') return;
  let count = 1;
  if (size === 'w') count = 2;
  if (size === 'z') count = opSize === 2 ? 2 : 4;
  if (size === 'v') count = opSize;
  // Branches go where the harness waits for them: patched by the caller.
  const value = kind === 'J' ? 0n : random.value();
  for (let i = 0; i < count; i++) bytes.push(Number((value >> BigInt(8 * i)) & 0xffn));
}
