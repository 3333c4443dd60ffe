import type { CpuFeature } from './cpuid.ts';

// The processors that a guest can be given. A model is its identity and its features; everything else CPUID says
// follows from them.

export interface CpuModelRow {
  readonly name: string;
  /** CPUID.1:EAX: type, family, model, stepping; what EDX holds after reset. */
  readonly signature: number;
  readonly brand: string;
  /** Highest basic leaf. */
  readonly maxLeaf: number;
  /** Highest extended leaf; 0 for none. */
  readonly maxExtendedLeaf: number;
  readonly features: readonly CpuFeature[];
}

const words = (text: string) => text.trim().split(/\s+/) as CpuFeature[];

const I486 = words('x87 vme');
const PENTIUM3 = [
  ...I486,
  ...words('de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat mmx fxsr sse'),
];
const NEHALEM = [
  ...PENTIUM3,
  ...words(`sse2 sse3 ssse3 sse4.1 sse4.2 popcnt cx16 clflush selfsnoop syscall lm nx lahf64 rdtscp hypervisor
    invariant-tsc x2apic arat`),
];
const WESTMERE = [...NEHALEM, ...words('pcid pdpe1gb aes pclmul')];
const V2 = [
  ...NEHALEM,
  ...words(
    `pcid pdpe1gb tsc-deadline tsc-adjust xsave rdrand fsgsbase smep smap erms invpcid fdp-exceptions-only zero-fcs-fds spec-ctrl stibp arch-capabilities ssbd`,
  ),
];
const MAX = [...V2, ...words('aes pclmul rdseed')];

const EXTENDED = 0x80000008;

export const CPU_MODELS: readonly CpuModelRow[] = [
  {
    name: 'ring0-v2',
    signature: 0x206c2,
    brand: 'ring0 virtual CPU (x86-64-v2)',
    maxLeaf: 0x16,
    maxExtendedLeaf: EXTENDED,
    features: V2,
  },
  {
    name: 'max',
    signature: 0x206c2,
    brand: 'ring0 virtual CPU (all features)',
    maxLeaf: 0x16,
    maxExtendedLeaf: EXTENDED,
    features: MAX,
  },
  {
    name: 'Nehalem',
    signature: 0x106a5,
    brand: 'Intel Core i7 9xx (Nehalem Core i7)',
    maxLeaf: 0xb,
    maxExtendedLeaf: EXTENDED,
    features: NEHALEM,
  },
  {
    name: 'Westmere',
    signature: 0x206c2,
    brand: 'Westmere E56xx/L56xx/X56xx (Nehalem-C)',
    maxLeaf: 0xb,
    maxExtendedLeaf: EXTENDED,
    features: WESTMERE,
  },
  {
    name: 'pentium3',
    signature: 0x683,
    brand: '',
    maxLeaf: 2,
    maxExtendedLeaf: 0,
    features: PENTIUM3,
  },
  { name: '486', signature: 0x480, brand: '', maxLeaf: 1, maxExtendedLeaf: 0, features: I486 },
];
