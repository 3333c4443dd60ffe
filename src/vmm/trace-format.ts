import { A_TLB_CODE, A_TLB_EXEC, TLB_BYTES } from '#ir/state.ts';
import {
  EVENT_CR3,
  EVENT_FLUSH,
  EVENT_FLUSH_PAGE,
  EVENT_PAGE_FAULT,
  EVENT_TLB_FILL,
} from '#ir/state-system.ts';
import { exceptionName } from './exception-names.ts';

// The lines of a trace. Each begins with what it is of, so that grep finds its kind.

const SIZES: Readonly<Record<number, string>> = { 1: 'byte', 2: 'word', 4: 'dword', 8: 'qword' };
/** Tables of the private area in their order (A_TLB, A_TLB_EXEC, A_TLB_CODE of ir/state.ts). */
const DATA_MODES = ['user', 'supervisor', 'smap'];
const EXEC_TABLE = A_TLB_EXEC / TLB_BYTES;
const CODE_TABLE = A_TLB_CODE / TLB_BYTES;
const PAGE_GLOBAL = 0x8000_0000n;
const PAGE_LARGE = 0x4000_0000n;
const PAGE_HUGE = 0x2000_0000n;
const PAGE_NUMBER = 0x0fff_ffffn;
// Bits of a page fault's error code. Intel SDM vol. 3, 4.7.
const FAULT_BITS = ['present', 'write', 'user', 'reserved', 'fetch'];

const hex = (value: bigint | number) => `0x${value.toString(16)}`;
const named = (name: string | undefined) => (name === undefined ? '' : ` <${name}>`);

export interface InsnLine {
  readonly address: string;
  readonly name: string | undefined;
  readonly bytes: Uint8Array;
  readonly text: string;
}

export function insnLine({ address, name, bytes, text }: InsnLine): string {
  const code = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return `insn ${address}${named(name)}: ${code.padEnd(21)}  ${text}`;
}

export interface Delivery {
  readonly vector: number;
  readonly kind: 'exception' | 'software' | 'external';
  /** Only where one is pushed. */
  readonly error?: number;
  readonly address: string;
  readonly name: string | undefined;
  readonly cpl: number;
  readonly stack: bigint;
  readonly accumulator: bigint;
  readonly cr2: bigint;
}

export function deliveryLine(d: Delivery): string {
  const { vector, kind } = d;
  const what =
    kind === 'exception'
      ? exceptionName(vector)
      : vector === 2 && kind === 'external'
        ? 'NMI'
        : kind;
  const error = d.error === undefined ? '' : ` error=${hex(d.error)}`;
  const cr2 = vector === 14 && kind === 'exception' ? ` cr2=${hex(d.cr2)}` : '';
  const call = kind === 'software' ? ` rax=${hex(d.accumulator)}` : '';
  return `int  ${hex(vector)} ${what}${error} at ${d.address}${named(d.name)} cpl=${d.cpl} sp=${hex(d.stack)}${cr2}${call}`;
}

/** An event of TRACE_MMU; `event` is one of EVENT_…. */
export function mmuLine(event: number, a: bigint, b: bigint): string {
  switch (event) {
    case EVENT_TLB_FILL:
      return fillLine(a, b);
    case EVENT_PAGE_FAULT:
      return `mmu  page fault at ${hex(a)} error=${hex(b)} (${faultBits(Number(b))})`;
    case EVENT_CR3:
      return `mmu  cr3=${hex(a)}`;
    case EVENT_FLUSH:
      return `mmu  flush ${a === 0n ? 'all but global' : 'all'}`;
    case EVENT_FLUSH_PAGE:
      return `mmu  flush page ${hex(a)}`;
    default:
      return `mmu  event ${event} ${hex(a)} ${hex(b)}`;
  }
}

function fillLine(vaddr: bigint, entry: bigint): string {
  const table = Number(entry >> 32n);
  const mode =
    table >= CODE_TABLE
      ? `write beside code ${DATA_MODES[table - CODE_TABLE]}`
      : table >= EXEC_TABLE
        ? `fetch ${table === EXEC_TABLE ? 'supervisor' : 'user'}`
        : `${table % 2 === 0 ? 'read' : 'write'} ${DATA_MODES[table >> 1]}`;
  const size = (entry & PAGE_HUGE) !== 0n ? ' 1G' : (entry & PAGE_LARGE) !== 0n ? ' large' : '';
  const global = (entry & PAGE_GLOBAL) !== 0n ? ' global' : '';
  const paddr = ((entry & PAGE_NUMBER) << 12n) | (vaddr & 0xfffn);
  return `mmu  miss ${mode} ${hex(vaddr)} -> ${hex(paddr)}${size}${global}`;
}

function faultBits(error: number): string {
  const bits = FAULT_BITS.filter((_, i) => ((error >> i) & 1) !== 0);
  return (error & 1) === 0 ? ['absent', ...bits].join(' ') : bits.join(' ');
}

export interface Access {
  readonly space: 'port' | 'mmio' | 'msr';
  readonly write: boolean;
  readonly address: number;
  readonly device: string;
  readonly size: number;
  readonly value: bigint | number;
}

export function accessLine({ space, write, address, device, size, value }: Access): string {
  const verb = space === 'port' ? (write ? 'out' : 'in') : `${space} ${write ? 'write' : 'read'}`;
  const arrow = write ? '<-' : '->';
  return `io   ${verb} ${hex(address)} ${device} ${SIZES[size] ?? size} ${arrow} ${hex(value)}`;
}
