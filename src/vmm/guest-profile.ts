import { closeSync, openSync, writeFileSync } from 'node:fs';
import { RequestError } from '#base/errors.ts';
import { hostReason } from '#base/host-reason.ts';
import type { VmConfig, VmStats } from '#control/vm.ts';
import { cpuProfile, hottestFunctions } from './cpu-profile.ts';
import type { Samples } from './guest-sampler.ts';
import { guestSymbols, symbolFiles } from './guest-symbols.ts';

/** Functions that statistics name. */
const SHOWN_FUNCTIONS = 12;

/** What was sampled of a guest from its start to its end, resets included. */
export class GuestProfile {
  readonly #config: VmConfig;
  readonly #fd: number | undefined;
  #samples: Samples = { stacks: [], which: [], times: [], endNs: 0 };

  /** Opens the file of a profile. @throws {RequestError} */
  constructor(config: VmConfig) {
    this.#config = config;
    if (config.profile === undefined) return;
    try {
      this.#fd = openSync(config.profile, 'w');
    } catch (cause) {
      throw new RequestError(`${config.profile}: ${hostReason(cause)}`, 'profile', { cause });
    }
  }

  /** What is to be sampled. */
  get sampling(): 'stacks' | 'functions' | undefined {
    if (this.#fd !== undefined) return 'stacks';
    return this.#config.stats ? 'functions' : undefined;
  }

  /** Adds what was sampled of a guest whose memory is still there. */
  add(more: Samples | undefined): void {
    if (more === undefined) return;
    const { stacks, which, times, endNs } = this.#samples;
    this.#samples = {
      stacks: [...stacks, ...more.stacks],
      which: [...which, ...more.which.map((index) => index + stacks.length)],
      times: [...times, ...more.times.map((ns) => ns + endNs)],
      endNs: endNs + more.endNs,
    };
  }

  /** Writes the profile, with the names that the guest's memory has, and gives statistics their share of it. */
  finish(ram: Uint8Array): Pick<VmStats, 'hottest'> {
    if (this.#samples.which.length === 0) return {};
    const symbols = guestSymbols(symbolFiles(this.#config), ram);
    if (this.#fd !== undefined) this.#write(JSON.stringify(cpuProfile(this.#samples, symbols)));
    return { hottest: hottestFunctions(this.#samples, symbols, SHOWN_FUNCTIONS) };
  }

  #write(text: string): void {
    try {
      writeFileSync(this.#fd ?? 0, text);
    } catch (cause) {
      const file = this.#config.profile ?? '';
      throw new RequestError(`${file}: ${hostReason(cause)}`, 'profile', { cause });
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}
