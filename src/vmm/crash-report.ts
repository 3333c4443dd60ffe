import type { SegmentState, VcpuState } from '#accel/accel.ts';
import type { MemoryLayout } from '#cpu/layout.ts';

const NAMES = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];

const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

function segmentLine(name: string, s: SegmentState): string {
  return `${name}=${hex(s.selector, 4)} base=${hex(s.base, 16)} limit=${hex(s.limit, 8)} rights=${hex(s.rights, 4)}`;
}

/** The state of a virtual CPU as text, in the manner of QEMU's `info registers`. */
export function crashReport(
  state: VcpuState,
  _memory: WebAssembly.Memory,
  _layout: MemoryLayout,
): string {
  const lines: string[] = [];
  for (let i = 0; i < NAMES.length; i += 4) {
    lines.push(
      NAMES.slice(i, i + 4)
        .map((name, j) => `${name}=${hex(state.regs[i + j] ?? 0n, 16)}`)
        .join(' '),
    );
  }
  lines.push(`rip=${hex(state.rip, 16)} rflags=${hex(state.rflags, 8)}`);
  for (const [i, s] of state.segments.entries()) lines.push(segmentLine(SEGMENTS[i] ?? '', s));
  lines.push(segmentLine('ldtr', state.ldtr), segmentLine('tr', state.tr));
  for (const [name, t] of [
    ['gdtr', state.gdtr],
    ['idtr', state.idtr],
  ] as const)
    lines.push(`${name}=${hex(t.base, 16)} limit=${hex(t.limit, 4)}`);
  lines.push(
    `cr0=${hex(state.cr0, 8)} cr2=${hex(state.cr2, 16)} cr3=${hex(state.cr3, 16)} cr4=${hex(state.cr4, 8)} efer=${hex(state.efer, 8)}`,
  );
  return lines.join('\n');
}
