import type { Lapic, LapicBus } from './lapic.ts';
import { type ApicMessage, DELIVER_LOWEST } from './message.ts';

/**
 * Carries messages to the local APICs they are for. Source: Intel SDM vol. 3A, 11.6.2. One on each thread, over local
 * APICs that share their states.
 */
export class ApicBus implements LapicBus {
  readonly #lapics: Lapic[] = [];
  readonly #kick: (vcpu: number) => void;
  readonly #broadcastEoi: (vector: number) => void;

  constructor(kick: (vcpu: number) => void, broadcastEoi: (vector: number) => void) {
    this.#kick = kick;
    this.#broadcastEoi = broadcastEoi;
  }

  add(lapic: Lapic): void {
    this.#lapics.push(lapic);
  }

  send(message: ApicMessage): boolean {
    if (message.mode === DELIVER_LOWEST) return this.#sendToLowest(message);
    let taken = false;
    for (const lapic of this.#lapics)
      if (lapic.matches(message.dest, message.isLogical)) taken = lapic.post(message) || taken;
    return taken;
  }

  sendToAll(message: ApicMessage, except: Lapic | undefined): void {
    for (const lapic of this.#lapics) if (lapic !== except && lapic.isEnabled) lapic.post(message);
  }

  #sendToLowest(message: ApicMessage): boolean {
    let best: Lapic | undefined;
    for (const lapic of this.#lapics) {
      if (!lapic.isSoftwareEnabled || !lapic.matches(message.dest, message.isLogical)) continue;
      if (!best || lapic.arbitrationPriority() < best.arbitrationPriority()) best = lapic;
    }
    return best?.post(message) ?? false;
  }

  broadcastEoi(vector: number): void {
    this.#broadcastEoi(vector);
  }

  attention(vcpu: number): void {
    this.#kick(vcpu);
  }
}
