import { RequestError } from '#base/errors.ts';
import {
  PHYS_BITS,
  S_CR4,
  S_FPU_KEEPS_SELECTORS,
  S_INDEX,
  S_MSR_MISC_ENABLE,
  S_MSR_MTRR_DEF,
  S_RAX,
  S_RBX,
  S_RCX,
  S_RDX,
} from '#ir/state.ts';
import {
  MSRF_ARCH_CAPABILITIES,
  MSRF_MTRR,
  MSRF_PAT,
  MSRF_RDTSCP,
  MSRF_SEP,
  MSRF_SPEC_CTRL,
  MSRF_SYSCALL,
  MSRF_TSC_ADJUST,
  S_CR4_VALID,
  S_EFER_VALID,
  S_MSR_ARCH_CAPABILITIES,
  S_MSR_FEATURES,
  S_MSR_PLATFORM_INFO,
  S_MSR_UCODE_REV,
} from '#ir/state-system.ts';
import { CPU_MODELS, type CpuModelRow } from '#isa/x86/cpu-models.ts';
import {
  ARCH_CAPABILITIES,
  type CpuFeature,
  CR4_BITS,
  EAX,
  EBX,
  ECX,
  EDX,
  EFER_BITS,
  FEATURE_BITS,
} from '#isa/x86/cpuid.ts';
import { FEATURES, type Feature } from '#isa/x86/insn.ts';
import { LAPIC_TIMER_HZ } from './irqchip/lapic-timer.ts';

// What CPUID answers, and what of the state depends on the model. Source: Intel SDM vol. 2, CPUID.

/** The TSC's frequency: a tick is a nanosecond. */
const TSC_KHZ = 1_000_000;

/** A processor that a guest can be given. */
export interface CpuModel extends Omit<CpuModelRow, 'features'> {
  readonly all: ReadonlySet<CpuFeature>;
  /** Those that instructions ask for. */
  readonly features: ReadonlySet<Feature>;
}

/** Features with rows in the opcode tables. */
const INSTRUCTIONS: ReadonlySet<string> = new Set(FEATURES);
const isInstruction = (name: string): name is Feature => INSTRUCTIONS.has(name);

/** @throws {RequestError} with field `cpu` when there is no model of that name. */
export function findModel(name: string): CpuModel {
  const row = CPU_MODELS.find((m) => m.name === name);
  if (row !== undefined)
    return {
      ...row,
      all: new Set(row.features),
      features: new Set(row.features.filter(isInstruction)),
    };
  const names = CPU_MODELS.map((m) => m.name).join(', ');
  throw new RequestError(`there is no CPU model '${name}'; choose one of ${names}`, 'cpu');
}

const LINEAR_BITS = 48;
const CR4_OSXSAVE = 1n << 18n;
const OSXSAVE_BIT = 27;
const HTT_BIT = 28;
const CLFLUSH_QWORDS = 8;
const MISC_ENABLE_CPUID_LIMIT = 1n << 22n;
const LIMITED_MAX_LEAF = 3;

// Leaf ranges.
const EXTENDED = 0x80000000;
const HYPERVISOR = 0x40000000;
const HYPERVISOR_TIMING = 0x40000010;

// XSAVE (leaf 0xd): legacy area and header.
const XSAVE_BYTES = 576;
const XCR0_MASK = 3; // x87 and SSE

type Registers = [eax: number, ebx: number, ecx: number, edx: number];

interface Query {
  readonly model: CpuModel;
  readonly leaf: number;
  readonly subleaf: number;
  readonly apicId: number;
  readonly vcpus: number;
  readonly cr4: bigint;
}

/** A cache for leaf 4: type (1 data, 2 code, 3 both), level, bytes, ways, shared by all cores. */
interface Cache {
  readonly type: number;
  readonly level: number;
  readonly bytes: number;
  readonly ways: number;
  readonly shared: boolean;
}

const LINE_BYTES = 64;
const CACHES: readonly Cache[] = [
  { type: 1, level: 1, bytes: 32 * 1024, ways: 8, shared: false },
  { type: 2, level: 1, bytes: 32 * 1024, ways: 8, shared: false },
  { type: 3, level: 2, bytes: 256 * 1024, ways: 8, shared: false },
  { type: 3, level: 3, bytes: 8 * 1024 * 1024, ways: 16, shared: true },
];

/** Four bytes of a text as a little-endian register. */
function letters(text: string, offset: number): number {
  let value = 0;
  for (let i = 3; i >= 0; i--) value = (value << 8) | (text.charCodeAt(offset + i) || 0);
  return value;
}

/** The bits of one leaf's features. */
function featureLeaf(model: CpuModel, leaf: number): Registers {
  const out: Registers = [0, 0, 0, 0];
  for (const feature of model.all) {
    const place = FEATURE_BITS[feature];
    if (place.leaf === leaf) out[place.register] = (out[place.register] ?? 0) | (1 << place.bit);
  }
  return out;
}

/** Bits of an APIC ID that number the cores of a package. */
function coreBits(vcpus: number): number {
  return Math.ceil(Math.log2(Math.max(1, vcpus)));
}

function leaf1(q: Query): Registers {
  const out = featureLeaf(q.model, 1);
  out[EAX] = q.model.signature;
  out[EBX] =
    (CLFLUSH_QWORDS << 8) | ((q.vcpus > 1 ? 1 << coreBits(q.vcpus) : 0) << 16) | (q.apicId << 24);
  if (q.vcpus > 1) out[EDX] |= 1 << HTT_BIT;
  if ((q.cr4 & CR4_OSXSAVE) !== 0n) out[ECX] |= 1 << OSXSAVE_BIT;
  return out;
}

function leaf4(q: Query): Registers {
  const cache = CACHES[q.subleaf];
  if (cache === undefined) return [0, 0, 0, 0];
  const ids = 1 << coreBits(q.vcpus);
  const selfInitialising = 1 << 8;
  const sharing = cache.shared ? ids - 1 : 0;
  return [
    cache.type | (cache.level << 5) | selfInitialising | (sharing << 14) | ((ids - 1) << 26),
    ((cache.ways - 1) << 22) | (LINE_BYTES - 1),
    cache.bytes / (cache.ways * LINE_BYTES) - 1,
    cache.shared ? 2 : 0, // inclusive
  ];
}

/** Extended topology: one thread a core, all cores in one package. */
function leafB(q: Query): Registers {
  const THREADS = 1;
  const CORES = 2;
  if (q.subleaf === 0) return [0, 1, THREADS << 8, q.apicId];
  if (q.subleaf === 1) return [coreBits(q.vcpus), q.vcpus, 1 | (CORES << 8), q.apicId];
  return [0, 0, q.subleaf & 0xff, q.apicId];
}

function leafD(q: Query): Registers {
  if (!q.model.all.has('xsave') || q.subleaf !== 0) return [0, 0, 0, 0];
  return [XCR0_MASK, XSAVE_BYTES, XSAVE_BYTES, 0];
}

function basicLeaf(q: Query): Registers {
  const { model } = q;
  switch (q.leaf) {
    case 0:
      return [model.maxLeaf, letters('Genu', 0), letters('ntel', 0), letters('ineI', 0)];
    case 1:
      return leaf1(q);
    case 2: // descriptor 0xff: the caches are in leaf 4
      return model.maxLeaf >= 4 ? [0x00ff_0001, 0, 0, 0] : [0x0302_0101, 0, 0, 0x0c04_0843];
    case 4:
      return leaf4(q);
    case 7:
      return q.subleaf === 0 ? featureLeaf(model, 7) : [0, 0, 0, 0];
    case 0xb:
      return leafB(q);
    case 0xd:
      return leafD(q);
    case 0x15: // crystal clock: ratio numerator over denominator gives the TSC's
      return [LAPIC_TIMER_HZ / 1e6, TSC_KHZ / 1e3, LAPIC_TIMER_HZ, 0];
    case 0x16: // MHz: base, maximum, bus
      return [TSC_KHZ / 1e3, TSC_KHZ / 1e3, 100, 0];
    default:
      return featureLeaf(model, q.leaf);
  }
}

function extendedLeaf({ model, leaf }: Query): Registers {
  const at = leaf >>> 0;
  if (at === EXTENDED) return [model.maxExtendedLeaf, 0, 0, 0];
  if (at >= 0x80000002 && at <= 0x80000004) {
    const text = model.brand.padEnd(48, '\0');
    const from = (at - 0x80000002) * 16;
    return [
      letters(text, from),
      letters(text, from + 4),
      letters(text, from + 8),
      letters(text, from + 12),
    ];
  }
  if (at === 0x80000006) return [0, 0, 0x0100_8040, 0]; // L2: 256 KiB, 8 ways, lines of 64
  if (at === 0x80000008) return [PHYS_BITS | (LINEAR_BITS << 8), 0, 0, 0];
  return featureLeaf(model, at);
}

/** Leaves of the hypervisor: a signature, and the clocks as KVM and VMware tell them. */
function hypervisorLeaf(leaf: number): Registers {
  const SIGNATURE = 'ring0'.padEnd(12, '\0');
  if (leaf === HYPERVISOR)
    return [HYPERVISOR_TIMING, letters(SIGNATURE, 0), letters(SIGNATURE, 4), letters(SIGNATURE, 8)];
  if (leaf === HYPERVISOR_TIMING) return [TSC_KHZ, LAPIC_TIMER_HZ / 1e3, 0, 0];
  return [0, 0, 0, 0];
}

/** The four registers for a leaf. A leaf that is not there answers as the highest basic one (SDM vol. 2). */
function answer(q: Query, limit: number): Registers {
  const { model, leaf } = q;
  if (model.all.has('hypervisor') && leaf >= HYPERVISOR && leaf <= HYPERVISOR_TIMING)
    return hypervisorLeaf(leaf);
  if (leaf >= EXTENDED && leaf <= model.maxExtendedLeaf) return extendedLeaf(q);
  if (leaf === 0) {
    const out = basicLeaf(q);
    out[EAX] = Math.min(model.maxLeaf, limit);
    return out;
  }
  return basicLeaf(leaf <= model.maxLeaf ? q : { ...q, leaf: model.maxLeaf });
}

/** CPUID of the vCPU whose state lies at `cpu`: leaf and subleaf from EAX and ECX, the answer to EAX, EBX, ECX and EDX. */
export function cpuid(memory: WebAssembly.Memory, cpu: number, model: CpuModel, vcpus = 1): void {
  const view = new DataView(memory.buffer);
  const limited =
    (view.getBigUint64(cpu + S_MSR_MISC_ENABLE, true) & MISC_ENABLE_CPUID_LIMIT) !== 0n;
  const query: Query = {
    model,
    leaf: view.getUint32(cpu + S_RAX, true),
    subleaf: view.getUint32(cpu + S_RCX, true),
    apicId: view.getUint32(cpu + S_INDEX, true),
    vcpus,
    cr4: view.getBigUint64(cpu + S_CR4, true),
  };
  const out = answer(query, limited ? LIMITED_MAX_LEAF : Number.POSITIVE_INFINITY);
  [S_RAX, S_RBX, S_RCX, S_RDX].forEach((slot, i) => {
    view.setBigUint64(cpu + slot, BigInt((out[i] ?? 0) >>> 0), true);
  });
}

function bitsOf(model: CpuModel, rows: readonly (readonly [CpuFeature, number])[]): bigint {
  return rows.reduce(
    (mask, [feature, bit]) => (model.all.has(feature) ? mask | (1n << BigInt(bit)) : mask),
    0n,
  );
}

const MSR_FEATURES: readonly (readonly [CpuFeature, number])[] = [
  ['spec-ctrl', MSRF_SPEC_CTRL],
  ['tsc-adjust', MSRF_TSC_ADJUST],
  ['arch-capabilities', MSRF_ARCH_CAPABILITIES],
  ['rdtscp', MSRF_RDTSCP],
  ['mtrr', MSRF_MTRR],
  ['pat', MSRF_PAT],
  ['sep', MSRF_SEP],
  ['syscall', MSRF_SYSCALL],
];

/** Branch tracing and precise sampling are not there. */
const MISC_ENABLE_RESET = 1n | (1n << 11n) | (1n << 12n);
/** On, write-back: what firmware leaves; a kernel that is booted without any finds it so too. */
const MTRR_DEF_WRITE_BACK = 0x806n;
const UCODE_REVISION = 1n << 32n;
/** Ratio of the TSC to a bus of 100 MHz, in bits 15:8. */
const PLATFORM_INFO = BigInt(TSC_KHZ / 100_000) << 8n;

/** After a reset: what control registers and MSRs of this model may hold. */
export function applyModel(memory: WebAssembly.Memory, cpu: number, model: CpuModel): void {
  const view = new DataView(memory.buffer);
  const set = (field: number, value: bigint) => view.setBigUint64(cpu + field, value, true);
  set(S_CR4_VALID, bitsOf(model, CR4_BITS));
  set(S_EFER_VALID, bitsOf(model, EFER_BITS));
  set(S_MSR_UCODE_REV, UCODE_REVISION);
  set(S_MSR_PLATFORM_INFO, PLATFORM_INFO);
  set(S_MSR_ARCH_CAPABILITIES, ARCH_CAPABILITIES);
  set(S_MSR_MISC_ENABLE, MISC_ENABLE_RESET);
  if (model.all.has('mtrr')) set(S_MSR_MTRR_DEF, MTRR_DEF_WRITE_BACK);
  const bits = MSR_FEATURES.reduce(
    (mask, [feature, bit]) => (model.all.has(feature) ? mask | bit : mask),
    0,
  );
  view.setUint32(cpu + S_MSR_FEATURES, bits, true);
  view.setUint32(cpu + S_FPU_KEEPS_SELECTORS, model.all.has('zero-fcs-fds') ? 0 : 1, true);
}
