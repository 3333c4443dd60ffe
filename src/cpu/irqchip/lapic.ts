// Local APIC, xAPIC and x2APIC. Source: Intel SDM vol. 3A, chapter 11.
import type { Clock, DeviceState } from '#hw/device.ts';
import { StateWords } from '#hw/state.ts';
import { LapicQueue } from './lapic-queue.ts';
import * as r from './lapic-regs.ts';
import {
  isReadOnly,
  matchesLogical,
  pendingBit,
  x2HasNo,
  x2IsWriteOnly,
  x2Reserved,
} from './lapic-rules.ts';
import { LapicTimer, type TscToNs } from './lapic-timer.ts';
import {
  type ApicMessage,
  DELIVER_EXTINT,
  DELIVER_FIXED,
  DELIVER_INIT,
  DELIVER_LOWEST,
  DELIVER_NMI,
  DELIVER_STARTUP,
  DEST_ALL,
  dest8,
} from './message.ts';

/** What a local APIC reaches outside itself. */
export interface LapicBus {
  send(message: ApicMessage): boolean;
  sendToAll(message: ApicMessage, except: Lapic | undefined): void;
  /** A level-triggered interrupt has ended. */
  broadcastEoi(vector: number): void;
  /** The vCPU may have something to take. */
  attention(vcpu: number): void;
}

export interface LapicOptions {
  readonly vcpu: number;
  readonly apicId: number;
  readonly isBsp: boolean;
  /** Physical address bits, for the reserved bits of IA32_APIC_BASE. */
  readonly paddrBits: number;
  readonly clock: Clock;
  readonly tscToNs: TscToNs;
  readonly bus: LapicBus;
}

/**
 * One for each vCPU. `post` may be called from any thread; all else runs under the machine's lock or on the vCPU's own
 * thread.
 */
export class Lapic {
  readonly #w: StateWords;
  readonly #o: LapicOptions;
  readonly #timer: LapicTimer;
  readonly #queue: LapicQueue;

  constructor(state: DeviceState, options: LapicOptions) {
    this.#w = new StateWords(state, r.LAPIC_STATE);
    this.#o = options;
    this.#queue = new LapicQueue(this.#w);
    this.#timer = new LapicTimer(this.#w, options.clock, options.tscToNs);
  }

  /** RESET#. */
  reset(): void {
    this.#w.clear(0, r.LAPIC_STATE.i32);
    this.#w.set(r.BASE_FLAGS, r.BASE_ENABLE | (this.#o.isBsp ? r.BASE_BSP : 0));
    this.#w.set(r.BASE_PAGE, r.BASE_DEFAULT_PAGE);
    this.#resetRegisters();
  }

  /** The INIT signal: as RESET#, but IA32_APIC_BASE stays, and so does what still waits to be taken. */
  init(): void {
    this.#w.clear(0, r.REG_COUNT);
    this.#w.clear(r.ESR_NEW, r.LINT0_LEVEL);
    this.#resetRegisters();
  }

  #resetRegisters(): void {
    this.#w.set(r.REG_DFR, 0xffff_ffff);
    this.#w.set(r.REG_SVR, r.SVR_RESET);
    for (const lvt of r.LVT_WRITABLE.keys()) this.#w.set(lvt, r.LVT_MASKED);
    // Firmware leaves the boot processor in virtual-wire mode; a kernel that is started without any counts on that.
    if (this.#o.isBsp) this.#w.set(r.REG_LVT_LINT0, DELIVER_EXTINT << r.LVT_MODE_SHIFT);
    this.#timer.reset();
  }

  // ---- What the vCPU asks.

  /** The highest interrupt that the processor priority lets through, or -1. */
  pendingVector(): number {
    return this.isEnabled ? this.#queue.deliverable() : -1;
  }

  /** The vCPU takes `vector`, which `pendingVector` gave. */
  acceptVector(vector: number): void {
    this.#queue.accept(vector);
  }

  /** Whether the PIC's INTR pin reaches the processor through LINT0. */
  extIntAccepted(): boolean {
    if (!this.isEnabled) return true;
    const lint0 = this.#w.get(r.REG_LVT_LINT0);
    return !(lint0 & r.LVT_MASKED) && this.#modeOf(lint0) === DELIVER_EXTINT;
  }

  /** Bits of `PENDING_…` that wait. */
  get pending(): number {
    return this.#w.atomicGet(r.PENDING);
  }

  /** Takes one `PENDING_…` bit; whether it was set. */
  take(bit: number): boolean {
    return (this.#w.atomicClear(r.PENDING, bit) & bit) !== 0;
  }

  /** Of the last start-up IPI. */
  get startupVector(): number {
    return this.#w.get(r.STARTUP_VECTOR);
  }

  /** CR8: bits 7:4 of the TPR. */
  get cr8(): number {
    return this.#w.get(r.REG_TPR) >> 4;
  }

  set cr8(value: number) {
    this.#setTpr((value & 0xf) << 4);
  }

  // ---- Modes.

  get isEnabled(): boolean {
    return (this.#w.get(r.BASE_FLAGS) & r.BASE_ENABLE) !== 0;
  }

  get isX2(): boolean {
    return (this.#w.get(r.BASE_FLAGS) & r.BASE_EXTD) !== 0;
  }

  /** Number of the 4 KiB page with the memory-mapped registers; -1 when there is none. */
  get mmioPage(): number {
    return this.isEnabled && !this.isX2 ? this.#w.get(r.BASE_PAGE) : -1;
  }

  get isSoftwareEnabled(): boolean {
    return (this.#w.get(r.REG_SVR) & r.SVR_ENABLE) !== 0;
  }

  /** The ID by which physical destinations find it. */
  get id(): number {
    return this.isX2 ? this.#o.apicId : this.#o.apicId & 0xff;
  }

  #readBase(): bigint {
    return (BigInt(this.#w.get(r.BASE_PAGE)) << 12n) | BigInt(this.#w.get(r.BASE_FLAGS));
  }

  /** False for #GP: reserved bits, and the transitions that figure 11-23 does not have. */
  #writeBase(value: bigint): boolean {
    if (value >> BigInt(this.#o.paddrBits) !== 0n || value & 0x2ffn) return false;
    const flags = Number(value & 0xfffn);
    const mode = flags & (r.BASE_ENABLE | r.BASE_EXTD);
    const before = this.#w.get(r.BASE_FLAGS) & (r.BASE_ENABLE | r.BASE_EXTD);
    if (mode === r.BASE_EXTD) return false;
    if (before === 0 && mode & r.BASE_EXTD) return false;
    if (before & r.BASE_EXTD && mode === r.BASE_ENABLE) return false;
    this.#w.set(r.BASE_FLAGS, flags);
    this.#w.set(r.BASE_PAGE, Number(value >> 12n));
    if (before !== 0 && mode === 0) this.init();
    this.#o.bus.attention(this.#o.vcpu);
    return true;
  }

  // ---- MSRs.

  /** IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC's. Undefined for #GP. */
  readMsr(msr: number): bigint | undefined {
    if (msr === r.MSR_APIC_BASE) return this.#readBase();
    if (msr === r.MSR_TSC_DEADLINE) return this.#timer.tscDeadline;
    if (!this.isX2) return undefined;
    const register = msr - r.MSR_X2APIC_FIRST;
    if (register === r.REG_ICR)
      return (BigInt(this.#w.get(r.REG_ICR_HIGH)) << 32n) | BigInt(this.#w.get(r.REG_ICR));
    if (x2HasNo(register) || x2IsWriteOnly(register)) return undefined;
    const value = this.#read(register);
    return value === undefined ? undefined : BigInt(value);
  }

  /** False for #GP. */
  writeMsr(msr: number, value: bigint): boolean {
    if (msr === r.MSR_APIC_BASE) return this.#writeBase(value);
    if (msr === r.MSR_TSC_DEADLINE) {
      this.#timer.setTscDeadline(value);
      this.#timerChanged();
      return true;
    }
    const register = msr - r.MSR_X2APIC_FIRST;
    const low = Number(value & 0xffff_ffffn);
    if (!this.isX2 || x2HasNo(register)) return false;
    if (register === r.REG_ICR) {
      if (low & r.ICR_X2_RESERVED) return false;
      this.#w.set(r.REG_ICR_HIGH, Number(value >> 32n));
      this.#sendIpi(low);
      return true;
    }
    if (value >> 32n || low & x2Reserved(register)) return false;
    if (register === r.REG_SELF_IPI) {
      this.#postSelf(low & 0xff);
      return true;
    }
    return this.#write(register, low);
  }

  // ---- Memory-mapped registers, `offset` below 4096.

  readMmio(offset: number, size: number): number {
    const register = offset >> 4;
    // Only the first four bytes of each sixteen exist; of these, bytes and words may be read.
    if ((offset & 0xf) + size > 4) return 0;
    const value = register === r.REG_ICR_HIGH ? this.#w.get(register) : this.#read(register);
    if (value === undefined) this.#error(r.ESR_ILLEGAL_REGISTER);
    const part = (value ?? 0) >>> ((offset & 3) * 8);
    return size === 4 ? part : part & ((1 << (size * 8)) - 1);
  }

  /** Anything but an aligned word of 32 bits is undefined (11.4.1), and ignored here. */
  writeMmio(offset: number, size: number, value: number): void {
    if (size !== 4 || (offset & 0xf) !== 0) return;
    const register = offset >> 4;
    if (register === r.REG_ICR_HIGH) this.#w.set(register, value & 0xff00_0000);
    else if (register === r.REG_ICR) this.#sendIpi(value);
    else if (!this.#write(register, value) && !isReadOnly(register))
      this.#error(r.ESR_ILLEGAL_REGISTER);
  }

  #read(register: number): number | undefined {
    if (register >= r.REG_ISR && register < r.REG_ESR) return this.#w.atomicGet(register);
    switch (register) {
      case r.REG_ID:
        return this.isX2 ? this.#o.apicId : (this.#o.apicId << 24) >>> 0;
      case r.REG_VERSION:
        return r.VERSION;
      case r.REG_PPR:
        return this.#queue.processorPriority();
      case r.REG_APR:
        return this.arbitrationPriority();
      case r.REG_LDR:
        return this.#ldr();
      case r.REG_TIMER_CURRENT:
        return this.#timer.currentCount();
      case r.REG_EOI:
        return 0;
      case r.REG_TPR:
      case r.REG_DFR:
      case r.REG_SVR:
      case r.REG_ESR:
      case r.REG_ICR:
      case r.REG_TIMER_INITIAL:
      case r.REG_TIMER_DIVIDE:
        return this.#w.get(register);
      default:
        return r.LVT_WRITABLE.has(register) ? this.#w.get(register) : undefined;
    }
  }

  /** False when the register cannot be written. */
  #write(register: number, value: number): boolean {
    if (r.LVT_WRITABLE.has(register)) {
      this.#writeLvt(register, value);
      return true;
    }
    switch (register) {
      case r.REG_TPR:
        this.#setTpr(value & 0xff);
        return true;
      case r.REG_EOI:
        this.#endOfInterrupt();
        return true;
      case r.REG_LDR:
        if (this.isX2) return false;
        this.#w.set(register, value & 0xff00_0000);
        return true;
      case r.REG_DFR:
        this.#w.set(register, value | r.DFR_RESERVED_ONES);
        return true;
      case r.REG_SVR:
        this.#writeSvr(value);
        return true;
      case r.REG_ESR:
        this.#w.set(register, this.#w.get(r.ESR_NEW));
        this.#w.set(r.ESR_NEW, 0);
        return true;
      case r.REG_TIMER_INITIAL:
        this.#timer.setInitialCount(value);
        this.#timerChanged();
        return true;
      case r.REG_TIMER_DIVIDE:
        this.#timer.setDivide(value & r.TIMER_DIVIDE_BITS);
        this.#timerChanged();
        return true;
      default:
        return false;
    }
  }

  #writeSvr(value: number): void {
    const kept = 0xff | r.SVR_ENABLE | r.SVR_FOCUS_DISABLE | r.SVR_NO_EOI_BROADCAST;
    this.#w.set(r.REG_SVR, value & kept);
    if (value & r.SVR_ENABLE) return;
    // Disabling masks every local source (11.4.7.2).
    for (const lvt of r.LVT_WRITABLE.keys()) this.#writeLvt(lvt, this.#w.get(lvt) | r.LVT_MASKED);
  }

  #writeLvt(register: number, value: number): void {
    const before = this.#w.get(register);
    const forced = this.isSoftwareEnabled ? 0 : r.LVT_MASKED;
    this.#w.set(register, (value & (r.LVT_WRITABLE.get(register) ?? 0)) | forced);
    if (register === r.REG_LVT_TIMER) {
      this.#timer.lvtChanged(before);
      this.#timerChanged();
    } else if (register === r.REG_LVT_LINT0) {
      this.#o.bus.attention(this.#o.vcpu);
    }
  }

  // ---- Priorities.

  arbitrationPriority(): number {
    return this.#queue.arbitrationPriority();
  }

  #setTpr(value: number): void {
    const before = this.#w.get(r.REG_TPR);
    this.#w.set(r.REG_TPR, value);
    if (value < before) this.#requestsMayPass();
  }

  #endOfInterrupt(): void {
    const vector = this.#queue.end();
    if (vector < 0) return; // a handler of spurious interrupts may do this
    const isSuppressed = (this.#w.get(r.REG_SVR) & r.SVR_NO_EOI_BROADCAST) !== 0;
    if (this.#queue.isLevel(vector) && !isSuppressed) this.#o.bus.broadcastEoi(vector);
    this.#requestsMayPass();
  }

  #requestsMayPass(): void {
    if (this.#queue.highestRequest() >= 0) this.#o.bus.attention(this.#o.vcpu);
  }

  // ---- Sending.

  #sendIpi(icrLow: number): void {
    this.#w.set(r.REG_ICR, icrLow & r.ICR_WRITABLE);
    const mode = this.#modeOf(icrLow);
    const isDeassert = !(icrLow & r.ICR_ASSERT) && (icrLow & r.ICR_LEVEL) !== 0;
    // INIT level de-assert once set arbitration IDs, which processors since the Pentium 4 do not have.
    if (mode === DELIVER_INIT && isDeassert) return;
    const high = this.#w.get(r.REG_ICR_HIGH);
    const message: ApicMessage = {
      dest: this.isX2 ? high : dest8(high >>> 24),
      isLogical: (icrLow & r.ICR_LOGICAL) !== 0,
      mode,
      vector: icrLow & 0xff,
      isLevel: false, // the trigger bit counts for INIT alone
    };
    if (mode <= DELIVER_LOWEST && message.vector < r.FIRST_VECTOR) {
      this.#error(r.ESR_SEND_ILLEGAL);
      return;
    }
    const shorthand = (icrLow >> r.ICR_SHORTHAND_SHIFT) & 3;
    if (shorthand === r.SHORTHAND_NONE) this.#o.bus.send(message);
    else if (shorthand === r.SHORTHAND_SELF) this.#postSelf(message.vector);
    else this.#o.bus.sendToAll(message, shorthand === r.SHORTHAND_ALL ? undefined : this);
  }

  /** The self shorthand and the self-IPI register are fixed and edge-triggered whatever else is asked (table 11-3). */
  #postSelf(vector: number): void {
    if (vector < r.FIRST_VECTOR) this.#error(r.ESR_SEND_ILLEGAL);
    else
      this.post({
        dest: this.id,
        isLogical: false,
        mode: DELIVER_FIXED,
        vector,
        isLevel: false,
      });
  }

  // ---- Receiving.

  /** Whether a message for `dest` is for this APIC (11.6.2, 11.12.9). */
  matches(dest: number, isLogical: boolean): boolean {
    if (!this.isEnabled) return false;
    if (dest === DEST_ALL) return true;
    if (!isLogical) return dest === this.id;
    const ldr = this.#ldr();
    if (this.isX2) return ldr >>> 16 === dest >>> 16 && (ldr & dest & 0xffff) !== 0;
    return matchesLogical(ldr >>> 24, this.#w.get(r.REG_DFR) >>> r.DFR_MODEL_SHIFT, dest);
  }

  #ldr(): number {
    const id = this.#o.apicId;
    // 11.12.10.2: in x2APIC mode it follows from the ID.
    return this.isX2 ? (((id >>> 4) << 16) | (1 << (id & 0xf))) >>> 0 : this.#w.get(r.REG_LDR);
  }

  /** An interrupt arrives. Whether it was taken. */
  post(message: ApicMessage): boolean {
    if (message.mode === DELIVER_FIXED || message.mode === DELIVER_LOWEST)
      return this.#postFixed(message.vector, message.isLevel);
    if (message.mode === DELIVER_STARTUP) this.#w.set(r.STARTUP_VECTOR, message.vector);
    const bit = pendingBit(message.mode);
    if (bit === undefined) return false;
    this.#w.atomicOr(r.PENDING, bit);
    this.#o.bus.attention(this.#o.vcpu);
    return true;
  }

  #postFixed(vector: number, isLevel: boolean): boolean {
    if (!this.isEnabled || !this.isSoftwareEnabled) return false;
    if (vector < r.FIRST_VECTOR) {
      this.#error(r.ESR_RECEIVE_ILLEGAL);
      return false;
    }
    this.#queue.request(vector, isLevel);
    this.#o.bus.attention(this.#o.vcpu);
    return true;
  }

  #error(bits: number): void {
    const known = this.#w.get(r.ESR_NEW);
    this.#w.set(r.ESR_NEW, known | bits);
    const lvt = this.#w.get(r.REG_LVT_ERROR);
    // An illegal vector in the error entry itself must not raise errors without end.
    if (!(known & bits) && (lvt & r.LVT_VECTOR) >= r.FIRST_VECTOR) this.#postLocal(lvt);
  }

  // ---- Local sources.

  #modeOf(entry: number): number {
    return (entry >> r.LVT_MODE_SHIFT) & 7;
  }

  #postLocal(lvt: number): void {
    if (lvt & r.LVT_MASKED) return;
    const mode = this.#modeOf(lvt);
    this.post({
      dest: this.id,
      isLogical: false,
      mode,
      vector: lvt & r.LVT_VECTOR,
      isLevel: false,
    });
  }

  /** Level of the pin that the PIC's INTR drives. As ExtINT it is looked at when the vCPU asks, not latched. */
  setLint0(high: boolean): void {
    const was = this.#w.flag(r.LINT0_LEVEL);
    this.#w.setFlag(r.LINT0_LEVEL, high);
    if (!high || was) return;
    const lint0 = this.#w.get(r.REG_LVT_LINT0);
    if (this.isEnabled && this.#modeOf(lint0) !== DELIVER_EXTINT) this.#postLocal(lint0);
    else this.#o.bus.attention(this.#o.vcpu);
  }

  /** An edge on the pin that the board's NMI drives. With the APIC disabled the pin is the processor's NMI. */
  pulseLint1(): void {
    const lint1 = this.#w.get(r.REG_LVT_LINT1);
    this.#postLocal(this.isEnabled ? lint1 : DELIVER_NMI << r.LVT_MODE_SHIFT);
  }

  nextDeadlineNs(): number {
    return this.#timer.nextNs;
  }

  /** As if the timer had expired. */
  pulseTimer(): void {
    // The entry's mode bits are the timer's, not a delivery mode.
    this.#postLocal(this.#w.get(r.REG_LVT_TIMER) & (r.LVT_MASKED | r.LVT_VECTOR));
  }

  advance(nowNs: number): void {
    if (this.#timer.expire(nowNs)) this.pulseTimer();
  }

  /** The vCPU's time-stamp counter was set or adjusted: a TSC deadline now means another time. */
  tscMoved(): void {
    this.#timer.schedule();
    this.#timerChanged();
  }

  /** Who sets it is the vCPU, which looks at the time before it sleeps, and often enough while it runs. */
  #timerChanged(): void {
    if (this.#timer.nextNs <= this.#o.clock.nowNs()) this.#o.bus.attention(this.#o.vcpu);
  }
}
