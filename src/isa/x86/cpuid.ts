import type { Feature } from './insn.ts';

// CPUID feature bits. Source: Intel SDM vol. 2, CPUID, tables 3-8 to 3-11; AMD64 APM vol. 3, appendix E for leaf 0x80000001.

export const EAX = 0;
export const EBX = 1;
export const ECX = 2;
export const EDX = 3;

/** Features that no instruction row asks for. */
type SystemFeature =
  | 'vme'
  | 'de'
  | 'pse'
  | 'tsc'
  | 'msr'
  | 'pae'
  | 'mce'
  | 'apic'
  | 'mtrr'
  | 'pge'
  | 'mca'
  | 'pat'
  | 'pcid'
  | 'x2apic'
  | 'tsc-deadline'
  | 'hypervisor'
  | 'tsc-adjust'
  | 'smep'
  | 'erms'
  | 'fdp-exceptions-only'
  | 'zero-fcs-fds'
  | 'spec-ctrl'
  | 'stibp'
  | 'arch-capabilities'
  | 'ssbd'
  | 'nx'
  | 'pdpe1gb'
  | 'lm'
  | 'invariant-tsc'
  | 'arat'
  | 'selfsnoop';

export type CpuFeature = Feature | SystemFeature;

export interface FeatureBit {
  readonly leaf: number;
  readonly register: number;
  readonly bit: number;
}

const at = (leaf: number, register: number, bit: number): FeatureBit => ({ leaf, register, bit });

/** Where CPUID shows each feature. Leaf 7 is its subleaf 0. */
export const FEATURE_BITS: Readonly<Record<CpuFeature, FeatureBit>> = {
  sse3: at(1, ECX, 0),
  pclmul: at(1, ECX, 1),
  monitor: at(1, ECX, 3),
  ssse3: at(1, ECX, 9),
  cx16: at(1, ECX, 13),
  pcid: at(1, ECX, 17),
  'sse4.1': at(1, ECX, 19),
  'sse4.2': at(1, ECX, 20),
  x2apic: at(1, ECX, 21),
  movbe: at(1, ECX, 22),
  popcnt: at(1, ECX, 23),
  'tsc-deadline': at(1, ECX, 24),
  aes: at(1, ECX, 25),
  xsave: at(1, ECX, 26),
  rdrand: at(1, ECX, 30),
  hypervisor: at(1, ECX, 31),
  x87: at(1, EDX, 0),
  vme: at(1, EDX, 1),
  de: at(1, EDX, 2),
  pse: at(1, EDX, 3),
  tsc: at(1, EDX, 4),
  msr: at(1, EDX, 5),
  pae: at(1, EDX, 6),
  mce: at(1, EDX, 7),
  cx8: at(1, EDX, 8),
  apic: at(1, EDX, 9),
  sep: at(1, EDX, 11),
  mtrr: at(1, EDX, 12),
  pge: at(1, EDX, 13),
  mca: at(1, EDX, 14),
  cmov: at(1, EDX, 15),
  pat: at(1, EDX, 16),
  clflush: at(1, EDX, 19),
  mmx: at(1, EDX, 23),
  fxsr: at(1, EDX, 24),
  sse: at(1, EDX, 25),
  sse2: at(1, EDX, 26),
  selfsnoop: at(1, EDX, 27),
  arat: at(6, EAX, 2),
  fsgsbase: at(7, EBX, 0),
  'tsc-adjust': at(7, EBX, 1),
  'fdp-exceptions-only': at(7, EBX, 6),
  smep: at(7, EBX, 7),
  erms: at(7, EBX, 9),
  invpcid: at(7, EBX, 10),
  'zero-fcs-fds': at(7, EBX, 13),
  rdseed: at(7, EBX, 18),
  smap: at(7, EBX, 20),
  'spec-ctrl': at(7, EDX, 26),
  stibp: at(7, EDX, 27),
  'arch-capabilities': at(7, EDX, 29),
  ssbd: at(7, EDX, 31),
  lahf64: at(0x80000001, ECX, 0),
  syscall: at(0x80000001, EDX, 11),
  nx: at(0x80000001, EDX, 20),
  pdpe1gb: at(0x80000001, EDX, 26),
  rdtscp: at(0x80000001, EDX, 27),
  lm: at(0x80000001, EDX, 29),
  'invariant-tsc': at(0x80000007, EDX, 8),
};

const bits = (...numbers: number[]) => numbers.reduce((mask, n) => mask | (1n << BigInt(n)), 0n);

/**
 * IA32_ARCH_CAPABILITIES (SDM vol. 4, table 2-2): what the processor is not vulnerable to, so that systems spend nothing
 * on it. RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO,
 * PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
 */
export const ARCH_CAPABILITIES = bits(0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62);

// CR4 bits by the feature that brings them (SDM vol. 3, 2.5).
export const CR4_BITS: readonly (readonly [CpuFeature, number])[] = [
  ['vme', 0],
  ['vme', 1],
  ['tsc', 2],
  ['de', 3],
  ['pse', 4],
  ['pae', 5],
  ['mce', 6],
  ['pge', 7],
  ['mmx', 8],
  ['fxsr', 9],
  ['sse', 10],
  ['fsgsbase', 16],
  ['pcid', 17],
  ['xsave', 18],
  ['smep', 20],
  ['smap', 21],
];

// IA32_EFER bits likewise.
export const EFER_BITS: readonly (readonly [CpuFeature, number])[] = [
  ['syscall', 0],
  ['lm', 8],
  ['nx', 11],
];
