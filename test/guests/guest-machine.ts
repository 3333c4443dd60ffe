import { applyModel, cpuid, findModel } from '#cpu/cpuid.ts';
import type { VcpuHost } from '#cpu/vcpu-host.ts';
import { writeState } from '#cpu/vcpu-state.ts';
import { S_HALTED } from '#ir/state.ts';
import { BareMachine } from '../x86/bare-machine.ts';

const RAM_BYTES = 8 << 20;
const LOAD_AT = 0x100000;
/** Boundaries after which a guest is taken to run for ever; a single step is one. */
const MOST_POLLS = 5_000;
const MOST_INSNS = 2_000_000;
const MOST_TEXT = 1000;

// Ports of the machine.
const PORT_CHARACTER = 0xe9;
const PORT_END = 0xf4;
/** The vector written is that of an interrupt that waits. */
const PORT_INTERRUPT = 0xf0;
const PORT_NMI = 0xf1;

/** `hot`: every block is translated when it runs for the second time; `lockstep`: and compared with the interpreter. */
export type Tier = 'cold' | 'hot' | 'lockstep';

/**
 * A processor and RAM for guests in assembly: no thread and no chips, and what is asked for by a port happens before
 * the next instruction.
 */
export class GuestMachine {
  readonly #bare: BareMachine;
  readonly #image: Uint8Array;
  readonly #model = findModel('ring0-v2');
  #text = '';
  #polls = 0;
  #vector = -1;
  #nmi = false;
  #ended = false;

  /** `image` is loaded at 1 MiB and entered at its beginning. */
  constructor(image: Uint8Array, tier: Tier) {
    this.#image = image;
    const host = this.#host();
    this.#bare = new BareMachine(RAM_BYTES, {
      host,
      ...(tier !== 'cold' && { heat: 1 }),
      verify: tier === 'lockstep',
    });
  }

  /** Runs of translated code that were compared so far. */
  get compared(): number {
    return this.#bare.vcpu.lockstepStats?.compared ?? 0;
  }

  #host(): Partial<VcpuHost> {
    return {
      portRead: (port) => port,
      portWrite: (port, _size, value) => this.#portWrite(port, value),
      cpuid: () => cpuid(this.#bare.memory, this.#bare.cpu, this.#model),
      hasInterrupt: () => this.#vector >= 0,
      acknowledge: () => {
        const vector = this.#vector;
        this.#vector = -1;
        return vector;
      },
      takeNmi: () => {
        const nmi = this.#nmi;
        this.#nmi = false;
        return nmi;
      },
      nowNs: () => 0,
      nextDeadlineNs: () => 0,
      poll: () => {
        if (this.#isEndless()) this.#end(' endless');
        else if (this.#bare.strayed) this.#end(' strayed');
        else if (this.#isIdle()) this.#end(' idle');
      },
      ended: () => (this.#ended ? { type: 'stopped' } : undefined),
      intercept: () => false,
    };
  }

  #isEndless(): boolean {
    if (++this.#polls > MOST_POLLS || this.#text.length > MOST_TEXT) return true;
    return this.#bare.vcpu.instructions > MOST_INSNS;
  }

  #isIdle(): boolean {
    const { view, cpu } = this.#bare;
    const halted = view.getUint32(cpu + S_HALTED, true) !== 0;
    return halted && !this.#ended && this.#vector < 0 && !this.#nmi;
  }

  #end(text: string): void {
    this.#text += text;
    this.#ended = true;
  }

  #portWrite(port: number, value: number): void {
    if (port === PORT_CHARACTER) this.#text += String.fromCharCode(value & 0xff);
    else if (port === PORT_INTERRUPT) this.#vector = value & 0xff;
    else if (port === PORT_NMI) this.#nmi = true;
    else if (port === PORT_END) this.#end('');
    this.#bare.attend();
  }

  /** What the guest prints when it begins with these values in EBX and ECX. */
  run(ebx: number, ecx: number): string {
    const { memory, cpu, ram, bytes, vcpu } = this.#bare;
    bytes.fill(0, ram, ram + RAM_BYTES);
    bytes.set(this.#image, ram + LOAD_AT);
    vcpu.core.reset_cpu(cpu, this.#model.signature);
    applyModel(memory, cpu, this.#model);
    const flat = { selector: 0, base: 0n, limit: 0xffff_ffff };
    const data = { ...flat, rights: 0xc093 };
    writeState(memory, cpu, {
      segments: [data, { ...flat, rights: 0xc09b }, data, data, data, data],
      cr0: 0x11n,
      regs: [0, ecx, 0, ebx, ...Array.from({ length: 12 }, () => 0)].map(BigInt),
      rflags: 2n,
      rip: BigInt(LOAD_AT),
    });
    vcpu.core.updateKey(cpu);
    this.#text = '';
    this.#polls = 0;
    this.#vector = -1;
    this.#nmi = false;
    this.#ended = false;
    this.#bare.run();
    if (this.#bare.end?.type === 'shutdown') this.#text += ' crash';
    return this.#text;
  }
}
