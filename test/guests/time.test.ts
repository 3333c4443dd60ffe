import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import { createVm } from '#index.ts';
import { INTERRUPT_RUNTIME } from './interrupt-runtime.ts';
import { RUNTIME } from './ring0-runtime.ts';
import { smallKernel } from './small-kernel.ts';

// All clocks of the machine against one another and against the host's: to 0.1 % over more than a second. The host may
// take the processor away between two reads, so each sample is the one of many whose reads lie closest together.

const APART_NS = 1_500_000_000;
const MOST_OFF = 0.001;
/** Ticks a second. */
const RATES = { tsc: 1e9, pm: 3_579_545, hpet: 1e8, pit: 1_193_182 } as const;
/** How far each counts before it begins anew. */
const WRAPS = { tsc: 2 ** 32, pm: 2 ** 32, hpet: 2 ** 32, pit: 2 ** 16 } as const;

type ClockName = keyof typeof RATES;
const CLOCKS: readonly ClockName[] = ['pm', 'hpet', 'pit'];

/** Prints `label TSC clock` for the pair of reads of many that lie closest together; the TSC is that of the middle. */
const sample = (label: string, read: string) => `movl $-1, closest
  mov $300, %ebp
1: rdtsc
  mov %eax, %esi
  ${read}
  mov %eax, %edi
  rdtsc
  mov %eax, %ebx
  sub %esi, %ebx
  cmp closest, %ebx
  jae 2f
  mov %ebx, closest
  shr $1, %ebx
  add %esi, %ebx
  mov %ebx, at_tsc
  mov %edi, at_clock
2: dec %ebp
  jnz 1b
  mov $'${label}', %al
  out %al, $0xe9
  call space
  mov at_tsc, %eax
  show
  mov at_clock, %eax
  show
  call new_line
`;
const READ_PM = 'mov $0x608, %dx\nin %dx, %eax';
const READ_HPET = 'mov HPET+0xf0, %eax';
const READ_PIT = `mov $0x80, %al
  out %al, $0x43
  in $0x42, %al
  mov %al, %cl
  in $0x42, %al
  mov %al, %ch
  movzwl %cx, %eax
  neg %eax
  and $0xffff, %eax`;

// The 8254 wraps every 55 ms: its samples are 40 ms apart, and so often that they add up.
const PIT_SAMPLES = 30;
const PIT_APART_NS = 40_000_000;

/** Lines that the host stamps with its own time: the one that took least to get there counts. */
const MARKS = 40;
const MARK_APART_NS = 5_000_000;

const ALL = `${sample('p', READ_PM)} ${sample('h', READ_HPET)}
  movl $${MARKS}, left
  call marks
`;
const GUEST = `${RUNTIME}${INTERRUPT_RUNTIME}
new_line: mov $'\\n', %al
  out %al, $0xe9
  ret
body: movl $1, HPET+0x10
  outb 0x61 1
  outb 0x43 0xb4
  outb 0x42 0
  outb 0x42 0
  ${ALL}
  movl $${PIT_SAMPLES}, left
again: ${sample('i', READ_PIT)}
  ns ${PIT_APART_NS}
  decl left
  jnz again
  ns ${APART_NS - PIT_SAMPLES * PIT_APART_NS}
  ${ALL}
  ret
marks: mov $'x', %al
  out %al, $0xe9
  call space
  rdtsc
  show
  call new_line
  ns ${MARK_APART_NS}
  decl left
  jnz marks
  ret
.bss
closest: .skip 4
at_tsc: .skip 4
at_clock: .skip 4
left: .skip 4
`;

interface Line {
  readonly label: string;
  readonly values: readonly number[];
  /** When the host got it. */
  readonly hostNs: number;
}

async function run(): Promise<Line[]> {
  const vm = await createVm({
    kernel: smallKernel(GUEST),
    memoryBytes: 8 * MIB,
    append: '',
    cpuModel: 'ring0-v2',
    accel: 'software',
    noReboot: true,
    stats: false,
  });
  const lines: Line[] = [];
  let text = '';
  vm.console.onOutput((bytes) => {
    const hostNs = performance.now() * 1e6;
    text += Buffer.from(bytes).toString('latin1');
    const whole = text.split('\n');
    text = whole.pop() ?? '';
    for (const line of whole) {
      const [label = '', ...words] = line.trim().split(/\s+/);
      lines.push({ label, values: words.map((word) => Number.parseInt(word, 16)), hostNs });
    }
  });
  try {
    await vm.run();
  } finally {
    await vm.stop();
  }
  return lines;
}

/** How far `clock` went between two of its samples, as the TSC saw it, over how far it should have gone. */
function ratio(clock: ClockName, samples: readonly Line[]): number {
  let ticks = 0;
  let ns = 0;
  for (const [index, { values }] of samples.entries()) {
    const before = samples[index - 1]?.values;
    if (before === undefined) continue;
    const span = ((values[0] ?? 0) - (before[0] ?? 0) + WRAPS.tsc) % WRAPS.tsc;
    const counted = ((values[1] ?? 0) - (before[1] ?? 0) + WRAPS[clock]) % WRAPS[clock];
    // A pause of the host may have let it go round more than once.
    const whole = Math.round(((span / 1e9) * RATES[clock] - counted) / WRAPS[clock]);
    ticks += counted + whole * WRAPS[clock];
    ns += span;
  }
  return ticks / ((ns / 1e9) * RATES[clock]);
}

const missing = ['as', 'ld'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
const skip = missing.length > 0 ? `no ${missing.join(', ')}; install binutils` : false;

describe('time', { timeout: 120_000, skip }, () => {
  let lines: Line[] = [];
  before(async () => {
    lines = await run();
  });
  const labels: Readonly<Record<ClockName, string>> = { tsc: 'x', pm: 'p', hpet: 'h', pit: 'i' };

  for (const clock of CLOCKS) {
    it(`of the ${clock} agrees with that of the TSC`, () => {
      const off =
        ratio(
          clock,
          lines.filter(({ label }) => label === labels[clock]),
        ) - 1;
      assert.ok(Math.abs(off) < MOST_OFF, `off by ${off}`);
    });
  }

  it("of the TSC agrees with the host's", () => {
    const marks = lines.filter(({ label }) => label === labels.tsc);
    assert.equal(marks.length, 2 * MARKS);
    const firstNs = marks[0]?.values[0] ?? 0;
    // From the first mark on, without wraps, and how much later the host has got the line.
    const stamps = marks.map(({ values, hostNs }) => {
      const low = (values[0] ?? 0) - firstNs;
      const sinceNs = hostNs - (marks[0]?.hostNs ?? 0);
      const guestNs = low + Math.round((sinceNs - low) / WRAPS.tsc) * WRAPS.tsc;
      return { guestNs, lateNs: sinceNs - guestNs };
    });
    const quickest = (some: typeof stamps) => some.toSorted((a, b) => a.lateNs - b.lateNs)[0];
    const [begin, end] = [quickest(stamps.slice(0, MARKS)), quickest(stamps.slice(MARKS))];
    assert.ok(begin && end);
    const off = (end.lateNs - begin.lateNs) / (end.guestNs - begin.guestNs);
    assert.ok(Math.abs(off) < MOST_OFF, `off by ${off}`);
  });
});
