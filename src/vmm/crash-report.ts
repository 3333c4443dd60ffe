import type { SegmentState, VcpuState } from '#accel/accel.ts';
import type { MemoryLayout } from '#cpu/layout.ts';
import { S_EXC_ERROR, S_EXC_VECTOR, S_STAT_FAULTS } from '#ir/state.ts';
import { S_FIRST_ERROR, S_FIRST_VECTOR } from '#ir/state-system.ts';
import type { SymbolTable } from '#symbols/symbol-table.ts';
import { disassembleBytes } from '#translate/x86/disassemble.ts';
import { AddressSpace } from './address-space.ts';
import { codeSizeOf, linearRip } from './code-place.ts';
import { exceptionName } from './exception-names.ts';
import { PhysicalMemory } from './physical-memory.ts';
import { type RecentBlock, recentBlocks } from './recent-blocks.ts';
import { stackTrace } from './stack-trace.ts';

const NAMES = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const VECTOR_PF = 14;
const MAX_INSN_BYTES = 15;
/** Instructions shown of those that ran last. */
const SHOWN_INSNS = 24;
const SHOWN_AFTER = 3;
const SHOWN_NOTES = 12;

const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

/** What a report is made from. */
export interface Crash {
  readonly state: VcpuState;
  readonly memory: WebAssembly.Memory;
  readonly layout: MemoryLayout;
  readonly symbols: SymbolTable | undefined;
  /** What the guest did before that no hardware answers to. */
  readonly notes: readonly string[];
}

/**
 * A crash as text: the state of the virtual CPU in the manner of QEMU's `info registers`, the exception that could not be
 * delivered, the instructions that ran last, and where the stack leads back to.
 */
export function crashReport(crash: Crash): string {
  const space = new AddressSpace(new PhysicalMemory(crash.memory, crash.layout), crash.state);
  return [
    ...registerLines(crash.state, crash.symbols),
    ...exceptionLines(crash),
    ...codeLines(crash, space),
    ...stackLines(crash, space),
    ...noteLines(crash.notes),
  ].join('\n');
}

function segmentLine(name: string, s: SegmentState): string {
  return `${name.padEnd(4)} ${hex(s.selector, 4)} base=${hex(s.base, 16)} limit=${hex(s.limit, 8)} rights=${hex(s.rights, 4)}`;
}

function registerLines(state: VcpuState, symbols: SymbolTable | undefined): string[] {
  const lines: string[] = [];
  for (let i = 0; i < NAMES.length; i += 4) {
    const four = NAMES.slice(i, i + 4);
    lines.push(
      four.map((name, j) => `${name.padEnd(3)}=${hex(state.regs[i + j] ?? 0n, 16)}`).join(' '),
    );
  }
  const at = symbols?.nameOf(state.rip);
  lines.push(
    `rip=${hex(state.rip, 16)}${at === undefined ? '' : ` <${at}>`} rflags=${hex(state.rflags, 8)}`,
  );
  lines.push(...namedRegisters(state, symbols));
  for (const [i, s] of state.segments.entries()) lines.push(segmentLine(SEGMENTS[i] ?? '', s));
  lines.push(segmentLine('ldtr', state.ldtr), segmentLine('tr', state.tr));
  for (const [name, t] of [
    ['gdtr', state.gdtr],
    ['idtr', state.idtr],
  ] as const)
    lines.push(`${name} base=${hex(t.base, 16)} limit=${hex(t.limit, 4)}`);
  const { cr0, cr2, cr3, cr4, efer } = state;
  lines.push(
    `cr0=${hex(cr0, 8)} cr2=${hex(cr2, 16)} cr3=${hex(cr3, 16)} cr4=${hex(cr4, 8)} efer=${hex(efer, 8)}`,
  );
  return lines;
}

/** The general registers that point to something with a name. */
function namedRegisters(state: VcpuState, symbols: SymbolTable | undefined): string[] {
  const named = NAMES.flatMap((name, i) => {
    const symbol = symbols?.nameOf(state.regs[i] ?? 0n);
    return symbol === undefined ? [] : [`${name} <${symbol}>`];
  });
  return named.length === 0 ? [] : [`names: ${named.join(', ')}`];
}

/** The last exception, and the one that was met while it was delivered. */
function exceptionLines({ memory, layout, state }: Crash): string[] {
  const view = new DataView(memory.buffer);
  const cpu = layout.cpus[0] ?? 0;
  const word = (field: number) => view.getUint32(cpu + field, true);
  const faults = Array.from({ length: 32 }, (_, i) => word(S_STAT_FAULTS + i * 4));
  if (faults.every((count) => count === 0)) return [];
  const text = (vector: number, error: number) =>
    `${exceptionName(vector)} error=0x${error.toString(16)}${vector === VECTOR_PF ? ` cr2=0x${state.cr2.toString(16)}` : ''}`;
  const first = text(word(S_FIRST_VECTOR), word(S_FIRST_ERROR));
  const last = text(word(S_EXC_VECTOR), word(S_EXC_ERROR));
  return [`last exception: ${first}${first === last ? '' : `, and on its way ${last}`}`];
}

function noteLines(notes: readonly string[]): string[] {
  if (notes.length === 0) return [];
  return ['what was not there for the guest:', ...notes.slice(-SHOWN_NOTES).map((n) => `   ${n}`)];
}

interface Line {
  readonly linear: bigint | undefined;
  readonly text: string;
}

/** The instructions that ran last, and those from RIP on. */
function codeLines(crash: Crash, space: AddressSpace): string[] {
  const { state, symbols } = crash;
  const rip = linearRip(state);
  const ran = lastInsns(crash, rip);
  const lines = ran.slice(-SHOWN_INSNS);
  const next = insnsFrom(space, rip, codeSizeOf(state), symbols);
  const title =
    lines.length === 0 ? 'instructions at rip:' : 'last instructions (translated code apart):';
  const [current, ...after] = next;
  return [
    title,
    ...lines.map(({ text }) => `   ${text}`),
    `=> ${current?.text ?? `0x${rip.toString(16)}: no memory is mapped here`}`,
    ...after.map(({ text }) => `   ${text}`),
  ];
}

/** Of the blocks that ran last their instructions, up to the one at `rip` in the last of them. */
function lastInsns(crash: Crash, rip: bigint): Line[] {
  const physical = new PhysicalMemory(crash.memory, crash.layout);
  const lines = recentBlocks(crash.memory, crash.layout).flatMap((block) =>
    blockInsns(block, physical, crash.symbols),
  );
  // The last block is shown up to RIP; where a fault has led elsewhere, RIP is in none.
  const at = lines.findLastIndex((line) => line.linear === rip);
  return at >= 0 ? lines.slice(0, at) : lines;
}

function blockInsns(
  block: RecentBlock,
  physical: PhysicalMemory,
  symbols: SymbolTable | undefined,
): Line[] {
  const { paddr, linear, codeSize } = block;
  const code = physical.inPage(paddr, block.bytes);
  const lines: Line[] = [];
  for (let at = 0; at < code.length; ) {
    const bytes = physical.inPage(paddr + at, MAX_INSN_BYTES);
    const address = linear === undefined ? undefined : linear + BigInt(at);
    const line = insnAt(bytes, address, { codeSize, symbols, paddr: paddr + at });
    lines.push(line);
    at += Math.max(1, line.length);
  }
  return lines;
}

function insnsFrom(
  space: AddressSpace,
  linear: bigint,
  codeSize: 2 | 4 | 8,
  symbols: SymbolTable | undefined,
): Line[] {
  const lines: Line[] = [];
  let at = linear;
  while (lines.length <= SHOWN_AFTER) {
    const bytes = space.read(at, MAX_INSN_BYTES);
    if (bytes.length === 0) break;
    const line = insnAt(bytes, at, { codeSize, symbols, paddr: 0 });
    lines.push(line);
    at += BigInt(Math.max(1, line.length));
  }
  return lines;
}

function insnAt(
  bytes: Uint8Array,
  linear: bigint | undefined,
  at: {
    readonly codeSize: 2 | 4 | 8;
    readonly symbols: SymbolTable | undefined;
    readonly paddr: number;
  },
): Line & { readonly length: number } {
  const { codeSize, symbols, paddr } = at;
  const nameOf = (address: bigint) => symbols?.nameOf(address);
  const rip = linear ?? BigInt(paddr);
  const { text, length } = disassembleBytes(bytes, { rip, codeSize, nameOf });
  const shown = Array.from(bytes.subarray(0, Math.max(1, length)), (byte) => hex(byte, 2)).join(
    ' ',
  );
  const name = linear === undefined ? undefined : nameOf(linear);
  const where =
    linear === undefined ? `physical 0x${paddr.toString(16)}` : `0x${linear.toString(16)}`;
  const label = name === undefined ? '' : ` <${name}>`;
  return { linear, length, text: `${where}${label}: ${shown.padEnd(21)}  ${text}` };
}

function stackLines({ state, symbols }: Crash, space: AddressSpace): string[] {
  const codeSize = codeSizeOf(state);
  if (codeSize === 2) return [];
  const frames = stackTrace(state, space, codeSize, symbols);
  if (frames.length === 0) return [];
  return [
    'called from (? where it may be left over):',
    ...frames.map(({ address, guessed }) => {
      const name = symbols?.nameOf(address);
      return `${guessed ? ' ? ' : '   '}0x${address.toString(16)}${name === undefined ? '' : ` <${name}>`}`;
    }),
  ];
}
