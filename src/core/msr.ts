import {
  PHYS_BITS,
  S_CR0,
  S_EFER,
  S_MSR_CSTAR,
  S_MSR_DEBUGCTL,
  S_MSR_KERNEL_GS_BASE,
  S_MSR_LSTAR,
  S_MSR_MISC_ENABLE,
  S_MSR_MTRR_DEF,
  S_MSR_MTRR_FIXED,
  S_MSR_MTRR_VAR,
  S_MSR_PAT,
  S_MSR_SFMASK,
  S_MSR_SPEC_CTRL,
  S_MSR_STAR,
  S_MSR_SYSENTER_CS,
  S_MSR_SYSENTER_EIP,
  S_MSR_SYSENTER_ESP,
  S_MSR_TSC_ADJUST,
  S_MSR_TSC_AUX,
  S_RAX,
  S_RCX,
  S_RDX,
  S_SCRATCH,
  S_TSC_OFFSET,
  SEG_FS,
  SEG_GS,
} from '../ir/state.ts';
import {
  MCE_BANKS,
  MSRF_ARCH_CAPABILITIES,
  MSRF_MTRR,
  MSRF_PAT,
  MSRF_RDTSCP,
  MSRF_SEP,
  MSRF_SPEC_CTRL,
  MSRF_SYSCALL,
  MSRF_TSC_ADJUST,
  S_EFER_VALID,
  S_MSR_ARCH_CAPABILITIES,
  S_MSR_FEATURES,
  S_MSR_MC_BANKS,
  S_MSR_MCG_CTL,
  S_MSR_MCG_STATUS,
  S_MSR_PLATFORM_INFO,
  S_MSR_UCODE_REV,
} from '../ir/state-system.ts';
import * as m from '../isa/x86/msr.ts';
import { require_ring0 } from './control.ts';
import { raiseZero, segBase, setSegBase } from './descriptor.ts';
import { apic_msr_read, apic_msr_write, tsc_moved, unknown_msr } from './host.ts';
import { updateKey } from './key.ts';
import { isCanonical } from './paging.ts';
import { GP } from './raise.ts';
import { tscNow } from './system.ts';
import { flushTlb } from './tlb.ts';

// RDMSR and WRMSR. Source: Intel SDM vol. 4, chapter 2.

const CR0_PG: u64 = 1 << 31;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;
const PHYS_MASK: u64 = (1 << PHYS_BITS) - 1;

// MTRRs (SDM vol. 3, 11.11).
const MTRR_VARIABLE: u64 = 8;
const MTRRCAP: u64 = MTRR_VARIABLE | (1 << 8) | (1 << 10); // fixed ranges, write combining
const MTRR_DEF_VALID: u64 = 0xcff;
const MTRR_MASK_VALID: u64 = 1 << 11;

// Machine check (SDM vol. 3, 15.3): MCG_CAP with the count of banks and MCG_CTL_P.
const MCG_CAP: u64 = MCE_BANKS | (1 << 8);
const MCG_STATUS_VALID: u64 = 7;
const DEBUGCTL_VALID: u64 = 3; // LBR, BTF
const SPEC_CTRL_VALID: u64 = 7; // IBRS, STIBP, SSBD
/** Fast strings, thermal monitor, no branch trace, no PEBS, speed step, MONITOR, CPUID limit, xTPR, XD disable. */
const MISC_ENABLE_VALID: u64 = 0x4_00d5_1889;
const MISC_ENABLE_FIXED: u64 = (1 << 11) | (1 << 12);

const MC_LAST: u32 = m.MSR_MC0_CTL + MCE_BANKS * 4 - 1;

function inRange(msr: u32, first: u32, last: u32): bool {
  return msr >= first && msr <= last;
}

function feature(cpu: usize, bit: u32): bool {
  return (load<u32>(cpu, S_MSR_FEATURES) & bit) != 0;
}

/** State offset of an MSR that is plain storage for a feature the model has; 0 for the others. */
function storage(cpu: usize, msr: u32): usize {
  const call = callStorage(cpu, msr);
  if (call != 0) return call;
  if (msr == m.MSR_TSC_AUX && feature(cpu, MSRF_RDTSCP)) return S_MSR_TSC_AUX;
  if (msr == m.MSR_PAT && feature(cpu, MSRF_PAT)) return S_MSR_PAT;
  if (msr == m.MSR_SPEC_CTRL && feature(cpu, MSRF_SPEC_CTRL)) return S_MSR_SPEC_CTRL;
  if (msr == m.MSR_MISC_ENABLE) return S_MSR_MISC_ENABLE;
  if (msr == m.MSR_DEBUGCTL) return S_MSR_DEBUGCTL;
  if (msr == m.MSR_MCG_STATUS) return S_MSR_MCG_STATUS;
  if (msr == m.MSR_MCG_CTL) return S_MSR_MCG_CTL;
  if (inRange(msr, m.MSR_MC0_CTL, MC_LAST)) return S_MSR_MC_BANKS + (msr - m.MSR_MC0_CTL) * 8;
  return feature(cpu, MSRF_MTRR) ? mtrrStorage(msr) : 0;
}

/** Registers of SYSCALL and SYSENTER. */
function callStorage(cpu: usize, msr: u32): usize {
  if (feature(cpu, MSRF_SYSCALL)) {
    if (msr == m.MSR_STAR) return S_MSR_STAR;
    if (msr == m.MSR_LSTAR) return S_MSR_LSTAR;
    if (msr == m.MSR_CSTAR) return S_MSR_CSTAR;
    if (msr == m.MSR_SFMASK) return S_MSR_SFMASK;
    if (msr == m.MSR_KERNEL_GS_BASE) return S_MSR_KERNEL_GS_BASE;
  }
  if (!feature(cpu, MSRF_SEP)) return 0;
  if (msr == m.MSR_SYSENTER_CS) return S_MSR_SYSENTER_CS;
  if (msr == m.MSR_SYSENTER_ESP) return S_MSR_SYSENTER_ESP;
  return msr == m.MSR_SYSENTER_EIP ? S_MSR_SYSENTER_EIP : 0;
}

function mtrrStorage(msr: u32): usize {
  if (inRange(msr, m.MSR_MTRR_PHYSBASE0, m.MSR_MTRR_PHYSMASK_LAST)) {
    return S_MSR_MTRR_VAR + (msr - m.MSR_MTRR_PHYSBASE0) * 8;
  }
  if (msr == m.MSR_MTRR_DEF_TYPE) return S_MSR_MTRR_DEF;
  return isFixedMtrr(msr) ? S_MSR_MTRR_FIXED + fixedMtrr(msr) * 8 : 0;
}

function isFixedMtrr(msr: u32): bool {
  return (
    msr == m.MSR_MTRR_FIX64K ||
    msr == m.MSR_MTRR_FIX16K_0 ||
    msr == m.MSR_MTRR_FIX16K_1 ||
    inRange(msr, m.MSR_MTRR_FIX4K_0, m.MSR_MTRR_FIX4K_LAST)
  );
}

function fixedMtrr(msr: u32): u32 {
  if (msr == m.MSR_MTRR_FIX64K) return 0;
  return inRange(msr, m.MSR_MTRR_FIX16K_0, m.MSR_MTRR_FIX16K_1)
    ? msr - m.MSR_MTRR_FIX16K_0 + 1
    : msr - m.MSR_MTRR_FIX4K_0 + 3;
}

function belongsToApic(msr: u32): bool {
  return (
    msr == m.MSR_APIC_BASE ||
    msr == m.MSR_TSC_DEADLINE ||
    inRange(msr, m.MSR_X2APIC_FIRST, m.MSR_X2APIC_LAST)
  );
}

/** Registers of things not built in that systems read, and write, without asking CPUID first. */
function readsAsZero(msr: u32): bool {
  return (
    msr == m.MSR_P5_MC_ADDR ||
    msr == m.MSR_P5_MC_TYPE ||
    msr == m.MSR_PLATFORM_ID ||
    msr == m.MSR_EBL_CR_POWERON ||
    msr == m.MSR_BIOS_UPDT_TRIG ||
    msr == m.MSR_BBL_CR_CTL3 ||
    msr == m.MSR_MISC_FEATURES_ENABLES ||
    inRange(msr, m.MSR_PERF_PMC0, m.MSR_PERF_PMC_LAST) ||
    inRange(msr, m.MSR_PERFEVTSEL0, m.MSR_PERFEVTSEL_LAST) ||
    msr == m.MSR_PERF_STATUS ||
    msr == m.MSR_PERF_CTL ||
    msr == m.MSR_THERM_STATUS ||
    msr == m.MSR_ENERGY_PERF_BIAS ||
    inRange(msr, m.MSR_LASTBRANCH_FROM, m.MSR_LASTINT_TO) ||
    inRange(msr, m.MSR_FIXED_CTR0, m.MSR_FIXED_CTR0 + 2) ||
    inRange(msr, m.MSR_FIXED_CTR_CTRL, m.MSR_PERF_GLOBAL_OVF_CTRL) ||
    msr == m.MSR_RAPL_POWER_UNIT ||
    msr == m.MSR_PKG_ENERGY_STATUS ||
    msr == m.MSR_DRAM_ENERGY_STATUS ||
    msr == m.MSR_PP0_ENERGY_STATUS ||
    msr == m.MSR_PP1_ENERGY_STATUS
  );
}

function readValue(cpu: usize, msr: u32): u64 {
  const at = storage(cpu, msr);
  if (at != 0) return load<u64>(cpu + at);
  if (belongsToApic(msr)) {
    if (!apic_msr_read(cpu, msr)) raiseZero(cpu, GP);
    return load<u64>(cpu, S_SCRATCH);
  }
  if (feature(cpu, MSRF_SYSCALL)) {
    if (msr == m.MSR_FS_BASE) return segBase(cpu, SEG_FS);
    if (msr == m.MSR_GS_BASE) return segBase(cpu, SEG_GS);
  }
  if (msr == m.MSR_EFER && load<u64>(cpu, S_EFER_VALID) != 0) return load<u64>(cpu, S_EFER);
  if (msr == m.MSR_TSC) return tscNow(cpu);
  if (msr == m.MSR_TSC_ADJUST && feature(cpu, MSRF_TSC_ADJUST))
    return load<u64>(cpu, S_MSR_TSC_ADJUST);
  return readFixed(cpu, msr);
}

/** Registers that software cannot change. */
function readFixed(cpu: usize, msr: u32): u64 {
  if (msr == m.MSR_MTRRCAP && feature(cpu, MSRF_MTRR)) return MTRRCAP;
  if (msr == m.MSR_BIOS_SIGN_ID) return load<u64>(cpu, S_MSR_UCODE_REV);
  if (msr == m.MSR_PLATFORM_INFO) return load<u64>(cpu, S_MSR_PLATFORM_INFO);
  if (msr == m.MSR_ARCH_CAPABILITIES && feature(cpu, MSRF_ARCH_CAPABILITIES)) {
    return load<u64>(cpu, S_MSR_ARCH_CAPABILITIES);
  }
  if (msr == m.MSR_FEATURE_CONTROL) return 1; // locked, nothing enabled
  if (msr == m.MSR_MCG_CAP) return MCG_CAP;
  if (readsAsZero(msr)) return 0;
  unknown_msr(msr, 0);
  raiseZero(cpu, GP);
  return 0;
}

export function rdmsr(cpu: usize): void {
  require_ring0(cpu);
  const value = readValue(cpu, load<u32>(cpu, S_RCX));
  store<u64>(cpu, value & 0xffff_ffff, S_RAX);
  store<u64>(cpu, value >> 32, S_RDX);
}

/** A memory type that exists: UC WC WT WP WB; the PAT has UC- besides. */
function isMemoryType(type: u32, pat: bool): bool {
  return type == 0 || type == 1 || type == 4 || type == 5 || type == 6 || (pat && type == 7);
}

function areMemoryTypes(value: u64, pat: bool): bool {
  for (let i: u64 = 0; i < 64; i += 8)
    if (!isMemoryType(<u32>(value >> i) & 0xff, pat)) return false;
  return true;
}

/** What a write to a stored register may be. */
function isValid(msr: u32, value: u64): bool {
  if (msr == m.MSR_LSTAR || msr == m.MSR_CSTAR || msr == m.MSR_KERNEL_GS_BASE)
    return isCanonical(value);
  if (msr == m.MSR_SYSENTER_ESP || msr == m.MSR_SYSENTER_EIP) return isCanonical(value);
  if (msr == m.MSR_SFMASK || msr == m.MSR_TSC_AUX) return value >> 32 == 0;
  if (msr == m.MSR_PAT) return areMemoryTypes(value, true);
  if (msr == m.MSR_MTRR_DEF_TYPE)
    return !(value & ~MTRR_DEF_VALID) && isMemoryType(<u32>value & 0xff, false);
  if (isFixedMtrr(msr)) return areMemoryTypes(value, false);
  if (inRange(msr, m.MSR_MTRR_PHYSBASE0, m.MSR_MTRR_PHYSMASK_LAST)) return isRange(msr, value);
  if (inRange(msr, m.MSR_MC0_CTL, MC_LAST)) return isBank(msr, value);
  return !(value & ~writableBits(msr));
}

function writableBits(msr: u32): u64 {
  if (msr == m.MSR_SPEC_CTRL) return SPEC_CTRL_VALID;
  if (msr == m.MSR_DEBUGCTL) return DEBUGCTL_VALID;
  if (msr == m.MSR_MISC_ENABLE) return MISC_ENABLE_VALID;
  return msr == m.MSR_MCG_STATUS ? MCG_STATUS_VALID : ~0;
}

/** Base, even, or mask of a variable MTRR. */
function isRange(msr: u32, value: u64): bool {
  const address = PHYS_MASK & ~0xfff;
  if (msr & 1) return !(value & ~(address | MTRR_MASK_VALID));
  return !(value & ~(address | 0xff)) && isMemoryType(<u32>value & 0xff, false);
}

/** Only 0 and all ones may be written to the control of a bank; 0 to the rest (SDM vol. 3, 15.3.2). */
function isBank(msr: u32, value: u64): bool {
  return value == 0 || ((msr & 3) == 0 && value == ~0);
}

function writeStored(cpu: usize, msr: u32, at: usize, value: u64): void {
  if (!isValid(msr, value)) raiseZero(cpu, GP);
  const kept = msr == m.MSR_MISC_ENABLE ? value | MISC_ENABLE_FIXED : value;
  store<u64>(cpu + at, kept);
}

function writeEfer(cpu: usize, value: u64): void {
  const old = load<u64>(cpu, S_EFER);
  if (value & ~(load<u64>(cpu, S_EFER_VALID) | EFER_LMA)) raiseZero(cpu, GP);
  if ((old ^ value) & EFER_LME && load<u64>(cpu, S_CR0) & CR0_PG) raiseZero(cpu, GP);
  store<u64>(cpu, (value & ~EFER_LMA) | (old & EFER_LMA), S_EFER);
  if ((old ^ value) & EFER_NXE) flushTlb(cpu, true);
  updateKey(cpu);
}

/** A write to the TSC moves TSC_ADJUST by as much, and the other way round (SDM vol. 3, 17.17.3). */
function moveTsc(cpu: usize, by: u64): void {
  store<u64>(cpu, load<u64>(cpu, S_TSC_OFFSET) + by, S_TSC_OFFSET);
  store<u64>(cpu, load<u64>(cpu, S_MSR_TSC_ADJUST) + by, S_MSR_TSC_ADJUST);
  tsc_moved();
}

function writeBase(cpu: usize, seg: u32, value: u64): void {
  if (!isCanonical(value)) raiseZero(cpu, GP);
  setSegBase(cpu, seg, value);
}

export function wrmsr(cpu: usize): void {
  require_ring0(cpu);
  const msr = load<u32>(cpu, S_RCX);
  const value = <u64>load<u32>(cpu, S_RAX) | ((<u64>load<u32>(cpu, S_RDX)) << 32);
  const at = storage(cpu, msr);
  const known = at != 0 || writeSpecial(cpu, msr, value);
  if (at != 0) writeStored(cpu, msr, at, value);
  if (known) return;
  unknown_msr(msr, 1);
  raiseZero(cpu, GP);
}

/** Registers whose write is more than a store; false for one that cannot be written. */
function writeSpecial(cpu: usize, msr: u32, value: u64): bool {
  if (belongsToApic(msr)) {
    store<u64>(cpu, value, S_SCRATCH);
    if (!apic_msr_write(cpu, msr)) raiseZero(cpu, GP);
  } else if (msr == m.MSR_EFER && load<u64>(cpu, S_EFER_VALID) != 0) writeEfer(cpu, value);
  else if (msr == m.MSR_FS_BASE && feature(cpu, MSRF_SYSCALL)) writeBase(cpu, SEG_FS, value);
  else if (msr == m.MSR_GS_BASE && feature(cpu, MSRF_SYSCALL)) writeBase(cpu, SEG_GS, value);
  else if (msr == m.MSR_TSC) moveTsc(cpu, value - tscNow(cpu));
  else if (msr == m.MSR_TSC_ADJUST && feature(cpu, MSRF_TSC_ADJUST))
    moveTsc(cpu, value - load<u64>(cpu, S_MSR_TSC_ADJUST));
  else if (msr == m.MSR_PRED_CMD && feature(cpu, MSRF_SPEC_CTRL)) return value <= 1;
  else if (msr == m.MSR_BIOS_SIGN_ID)
    return true; // written with 0 before CPUID loads the revision
  else return readsAsZero(msr);
  return true;
}
