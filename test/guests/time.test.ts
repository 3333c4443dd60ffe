import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import { createVm } from '#index.ts';
import { INTERRUPT_RUNTIME } from './interrupt-runtime.ts';
import { RUNTIME } from './ring0-runtime.ts';
import { smallKernel } from './small-kernel.ts';

// All clocks of the machine against one another and against the host's: to 0.1 % over more than a second. The host may
// take the processor away between two reads, so each sample is the one of many whose reads lie closest together. The
// host's time is that between a question and its answer: when they lie far apart the question is asked again.

const APART_NS = 1_500_000_000;
const MOST_OFF = 0.001;
/** Ticks a second. */
const RATES = { pm: 3_579_545, hpet: 1e8, pit: 1_193_182 } as const;
/** How far each counts before it begins anew. */
const WRAPS = { pm: 2 ** 32, hpet: 2 ** 32, pit: 2 ** 16 } as const;

type ClockName = keyof typeof WRAPS;
const LABELS: Readonly<Record<ClockName, string>> = { pm: 'p', hpet: 'h', pit: 'i' };

/** Prints `label TSC clock` for the pair of reads of many that lie closest together; the TSC is that of the middle. */
const sample = (label: string, read: string) => `movl $-1, closest
  mov $300, %ebp
1: rdtsc
  mov %eax, %esi
  mov %edx, %ecx
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
  adc $0, %ecx
  mov %ebx, at_tsc
  mov %ecx, at_tsc+4
  mov %edi, at_clock
2: dec %ebp
  jnz 1b
  mov $'${label}', %al
  out %al, $0xe9
  call space
  mov at_tsc+4, %eax
  show
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
  mov %al, %ah
  in $0x42, %al
  xchg %al, %ah
  movzwl %ax, %eax
  neg %eax
  and $0xffff, %eax`;

// The 8254 wraps every 55 ms: its samples are 40 ms apart, and so often that they add up.
const PIT_SAMPLES = 30;
const PIT_APART_NS = 40_000_000;

const ALL = `${sample('p', READ_PM)} ${sample('h', READ_HPET)}`;
/** What the guest answers by its TSC; anything else ends it. */
const QUESTION = '?';
/** Of these the one that was answered soonest is the beginning. */
const FIRST_QUESTIONS = 50;
const GUEST = `${RUNTIME}${INTERRUPT_RUNTIME}
new_line: mov $'\\n', %al
  out %al, $0xe9
  ret
body: call interrupts
  call fresh
  movb $1, quiet
  movl $pic_eoi, hook
  outb PIC1+1 0xef
  outb COM1+1 1
  movl $1, HPET+0x10
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
  mov $'r', %al
  out %al, $0xe9
  call new_line
# Halted, for then the host is handed what was printed.
ask: inb COM1+5
  test $1, %al
  jnz 1f
  sti
  hlt
  cli
  jmp ask
1: inb COM1
  cmp $'${QUESTION}', %al
  jne 1f
  rdtsc
  push %eax
  mov $'x', %al
  out %al, $0xe9
  call space
  mov %edx, %eax
  show
  pop %eax
  show
  call new_line
  jmp ask
1: ret
.bss
closest: .skip 4
at_tsc: .skip 8
at_clock: .skip 4
left: .skip 4
`;

interface Sample {
  readonly label: string;
  readonly tsc: number;
  readonly count: number;
}

/** Between which times of the host the guest read its TSC. */
interface Exchange {
  readonly tsc: number;
  readonly afterNs: number;
  readonly beforeNs: number;
}

const widthOf = ({ afterNs, beforeNs }: Exchange) => beforeNs - afterNs;

class Measurement {
  readonly samples: Sample[] = [];
  /** The narrowest at the beginning, and the narrowest of those long enough after it. */
  begin: Exchange | undefined;
  end: Exchange | undefined;
  #askedNs = 0;
  #asked = 0;
  #text = '';

  /** What the guest has printed; returns what it is to be sent. */
  take(printed: string): string {
    this.#text += printed;
    const lines = this.#text.split('\n');
    this.#text = lines.pop() ?? '';
    let answer = '';
    for (const line of lines) {
      const [label = '', ...words] = line.trim().split(/\s+/);
      const [high = 0, low = 0, count = 0] = words.map((word) => Number.parseInt(word, 16));
      const tsc = high * 2 ** 32 + low;
      if (label === 'x') this.#exchange({ tsc, afterNs: this.#askedNs, beforeNs: nowNs() });
      if (label !== 'x' && label !== 'r') this.samples.push({ label, tsc, count });
      else answer = this.#isExact() ? 'q' : QUESTION;
    }
    this.#askedNs = nowNs();
    return answer;
  }

  /** By how much the rate may differ from the host's, at most and at least, for all that is known. */
  offBy(): { low: number; high: number } {
    const { begin, end } = this;
    assert.ok(begin && end);
    const ticks = end.tsc - begin.tsc;
    return {
      low: ticks / (end.beforeNs - begin.afterNs) - 1,
      high: ticks / (end.afterNs - begin.beforeNs) - 1,
    };
  }

  #exchange(exchange: Exchange): void {
    const { begin, end } = this;
    if (this.#asked++ < FIRST_QUESTIONS) {
      if (begin === undefined || widthOf(exchange) < widthOf(begin)) this.begin = exchange;
    } else if (begin !== undefined && exchange.afterNs - begin.beforeNs > APART_NS) {
      if (end === undefined || widthOf(exchange) < widthOf(end)) this.end = exchange;
    }
  }

  #isExact(): boolean {
    if (this.end === undefined) return false;
    const { low, high } = this.offBy();
    return high - low < MOST_OFF / 2;
  }
}

const nowNs = () => performance.now() * 1e6;

async function run(): Promise<Measurement> {
  const vm = await createVm({
    kernel: smallKernel(GUEST),
    memoryBytes: 8 * MIB,
    append: '',
    cpuModel: 'ring0-v2',
    accel: 'software',
    noReboot: true,
    stats: false,
  });
  const measurement = new Measurement();
  vm.console.onOutput((bytes) => {
    const answer = measurement.take(Buffer.from(bytes).toString('latin1'));
    if (answer !== '') vm.console.write(Buffer.from(answer));
  });
  try {
    await vm.run();
  } finally {
    await vm.stop();
  }
  return measurement;
}

/** How far `clock` went between two of its samples, as the TSC saw it, over how far it should have gone. */
function ratio(clock: ClockName, samples: readonly Sample[]): number {
  let ticks = 0;
  let ns = 0;
  for (const [index, { tsc, count }] of samples.entries()) {
    const before = samples[index - 1];
    if (before === undefined) continue;
    const span = tsc - before.tsc;
    const counted = (count - before.count + WRAPS[clock]) % WRAPS[clock];
    // A pause of the host may have let it go round more than once.
    const whole = Math.round(((span / 1e9) * RATES[clock] - counted) / WRAPS[clock]);
    ticks += counted + whole * WRAPS[clock];
    ns += span;
  }
  return ticks / ((ns / 1e9) * RATES[clock]);
}

const missing = ['as', 'ld'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
const skip = missing.length > 0 ? `no ${missing.join(', ')}; install binutils` : false;

describe('time', { timeout: 300_000, skip }, () => {
  let measurement = new Measurement();
  before(async () => {
    measurement = await run();
  });

  for (const clock of ['pm', 'hpet', 'pit'] as const) {
    it(`of the ${clock} agrees with that of the TSC`, () => {
      const samples = measurement.samples.filter(({ label }) => label === LABELS[clock]);
      assert.ok(samples.length >= 2);
      const off = ratio(clock, samples) - 1;
      assert.ok(Math.abs(off) < MOST_OFF, `off by ${off}`);
    });
  }

  it("of the TSC agrees with the host's", () => {
    const { low, high } = measurement.offBy();
    assert.ok(low > -MOST_OFF && high < MOST_OFF, `off by ${low} to ${high}`);
  });
});
