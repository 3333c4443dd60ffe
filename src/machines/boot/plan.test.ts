import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { BootError } from './boot-error.ts';
import { planBoot } from './plan.ts';
import type { BootInput, BootPlan } from './plan-types.ts';
import {
  bootInput,
  makeBzImage,
  makeElf32,
  makeElf64,
  multibootHeader,
  randomBytes,
  xenNote,
} from './testing.ts';

const MIB = 2 ** 20;
const KERNEL_AT = 0x100_0000;
const PT_NOTE = 4;
const PHYS32_ENTRY = 18;
const code = Uint8Array.of(0xf4, 0xeb, 0xfd);
const vmlinux = makeElf64(BigInt(KERNEL_AT), [
  { paddr: KERNEL_AT, bytes: code, memoryBytes: 8192 },
]);
const pvh = makeElf64(0n, [
  { paddr: KERNEL_AT, bytes: code },
  { type: PT_NOTE, paddr: 0, bytes: xenNote(PHYS32_ENTRY, KERNEL_AT + 2) },
]);
const multiboot = makeElf32(MIB + 12, MIB, multibootHeader(3));
const gzip = {
  gzip: (data: Uint8Array, limit: number) => gunzipSync(data, { maxOutputLength: limit }),
  zstd: () => new Uint8Array(0),
  lz4: () => new WebAssembly.Module(new Uint8Array(0)),
};

function memoryOf(plan: BootPlan): Uint8Array {
  const memory = new Uint8Array(64 * MIB);
  for (const { paddr, bytes } of plan.writes) memory.set(bytes, paddr);
  return memory;
}

function word(memory: Uint8Array, at: number): number {
  return new DataView(memory.buffer).getUint32(at, true);
}

function text(memory: Uint8Array, at: number): string {
  return Buffer.from(memory.subarray(at, memory.indexOf(0, at))).toString();
}

/** The error that `planBoot` ends with; any other kind of throw fails the test. */
function errorOf(input: BootInput): BootError | undefined {
  try {
    planBoot(input);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof BootError, `threw ${String(error)}`);
    return error;
  }
}

function refusal(input: BootInput): BootError['kind'] | 'planned' {
  return errorOf(input)?.kind ?? 'planned';
}

/** gzip has the length of the result itself. */
function withoutLength(kernel: Uint8Array): Uint8Array {
  const view = new DataView(kernel.buffer);
  view.setUint32(0x24c, view.getUint32(0x24c, true) - 4, true);
  return kernel.subarray(0, -4);
}

function tooLarge(): never {
  throw new BootError('too-large', 'more than fits');
}

/** A bzImage that has the 32-bit entry alone. */
function bits32(payload: Uint8Array): Uint8Array {
  const kernel = makeBzImage(payload);
  kernel[0x236] = 0;
  return kernel;
}

describe('what kind of kernel it is', () => {
  const cases: {
    name: string;
    kernel: Uint8Array;
    entry: number;
    paging: boolean;
    decompress?: BootInput['decompress'];
  }[] = [
    { name: 'bzImage', kernel: makeBzImage(code), entry: MIB + 0x200, paging: true },
    { name: 'bzImage without a 64-bit entry', kernel: bits32(code), entry: MIB, paging: false },
    {
      name: 'bzImage, 32-bit ELF payload',
      kernel: bits32(makeElf32(MIB, MIB, code)),
      entry: MIB,
      paging: false,
    },
    { name: 'bzImage, ELF payload', kernel: makeBzImage(vmlinux), entry: KERNEL_AT, paging: true },
    {
      name: 'bzImage, gzip payload',
      kernel: makeBzImage(gzipSync(vmlinux)),
      entry: KERNEL_AT,
      paging: true,
    },
    {
      name: 'bzImage, gzip payload whose last word is the length',
      kernel: withoutLength(makeBzImage(gzipSync(vmlinux))),
      entry: KERNEL_AT,
      paging: true,
    },
    {
      name: 'bzImage whose payload unpacks to more than the memory unpacks itself',
      kernel: makeBzImage(gzipSync(vmlinux)),
      decompress: { ...gzip, gzip: tooLarge },
      entry: MIB + 0x200,
      paging: true,
    },
    { name: 'ELF64 without notes', kernel: vmlinux, entry: KERNEL_AT, paging: true },
    { name: 'PVH', kernel: pvh, entry: KERNEL_AT + 2, paging: false },
    { name: 'ELF32', kernel: makeElf32(MIB, MIB, code), entry: MIB, paging: false },
    { name: 'Multiboot', kernel: multiboot, entry: MIB + 12, paging: false },
    {
      name: 'ELF64 whose entry is virtual',
      kernel: makeElf64(0xffff_ffff_8100_0001n, [
        { paddr: KERNEL_AT, vaddr: 0xffff_ffff_8100_0000n, bytes: code },
      ]),
      entry: KERNEL_AT + 1,
      paging: true,
    },
  ];
  for (const { name, kernel, entry, paging, decompress = gzip } of cases) {
    it(name, () => {
      const { state } = planBoot(bootInput(kernel, { decompress }));
      assert.equal(state.rip, BigInt(entry));
      assert.equal(((state.cr0 ?? 0n) & (1n << 31n)) !== 0n, paging);
    });
  }
});

describe('what Linux is given', () => {
  const initrd = new Uint8Array(5000).fill(7);
  for (const [name, kernel] of [
    ['a bzImage', makeBzImage(code)],
    ['a vmlinux', vmlinux],
  ] as const) {
    it(`${name}: zero page with command line, initrd and memory map`, () => {
      const plan = planBoot(bootInput(kernel, { initrd }));
      const memory = memoryOf(plan);
      const params = Number(plan.state.regs?.[6]);
      assert.equal(word(memory, params + 0x202), 0x53726448);
      assert.equal(text(memory, word(memory, params + 0x228)), 'console=ttyS0');
      const at = word(memory, params + 0x218);
      assert.equal(at % 4096, 0);
      assert.equal(word(memory, params + 0x21c), 5000);
      assert.deepEqual(memory.subarray(at, at + 5000), initrd);
      assert.equal(word(memory, params + 0x70), 0xe0000);
      assert.equal(memory[params + 0x1e8], 4);
      assert.equal(word(memory, params + 0x2d0 + 3 * 20), MIB);
      assert.equal(word(memory, params + 0x2d0 + 3 * 20 + 8), 63 * MIB);
    });
  }

  it('PVH: start info with module, command line and memory map', () => {
    const plan = planBoot(bootInput(pvh, { initrd }));
    const memory = memoryOf(plan);
    const info = Number(plan.state.regs?.[3]);
    assert.equal(word(memory, info), 0x336ec578);
    assert.equal(text(memory, word(memory, info + 24)), 'console=ttyS0');
    assert.equal(word(memory, info + 12), 1);
    const module = word(memory, info + 16);
    assert.equal(memory[word(memory, module)], 7);
    assert.equal(word(memory, module + 8), 5000);
    assert.equal(word(memory, info + 32), 0xe0000);
    assert.equal(word(memory, info + 48), 4);
  });
});

describe('refused', () => {
  const load = (segment: Parameters<typeof makeElf64>[1][number]) =>
    makeElf64(BigInt(segment.paddr), [segment]);
  const at = (paddr: number | bigint, memoryBytes: number | bigint = 3) =>
    load({ paddr, bytes: code, memoryBytes });
  const tooOld = makeBzImage(code);
  tooOld[0x206] = 9;
  const otherMachine = vmlinux.slice();
  otherMachine[18] = 183;
  const PT_INTERP = 3;
  const PT_TLS = 7;
  const program = (type: number, ...more: Parameters<typeof makeElf64>[1]) =>
    makeElf64(BigInt(MIB), [{ paddr: MIB, bytes: code }, { type, paddr: 0 }, ...more]);
  const typed = (type: number) => {
    const file = vmlinux.slice();
    file[16] = type;
    return file;
  };
  const pvhNote = { type: PT_NOTE, paddr: 0, bytes: xenNote(PHYS32_ENTRY, MIB) };
  const bits32cpu = { cpu: { name: 'pentium3', has64: false } };
  const noEntry = (entry: number) => makeElf64(BigInt(entry), [{ paddr: MIB, bytes: code }]);
  const noEntry32 = makeElf32(MIB + 4096, MIB, code);
  const noSegments = vmlinux.slice();
  noSegments[56] = 0;
  const cases: {
    name: string;
    input: BootInput;
    kind: BootError['kind'] | 'planned';
    field?: BootError['field'];
    message?: RegExp;
  }[] = [
    {
      name: 'an ELF file without segments',
      input: bootInput(noSegments),
      kind: 'unsupported',
      message: /no segments to load; give/,
    },
    {
      name: 'an entry in none of the segments',
      input: bootInput(noEntry(MIB + 3)),
      kind: 'unsupported',
      message: /entry 0x100003 lies in none/,
    },
    { name: 'such an entry of 32 bits', input: bootInput(noEntry32), kind: 'unsupported' },
    {
      name: 'such an entry of PVH',
      input: bootInput(
        makeElf64(0n, [
          { paddr: MIB, bytes: code },
          { type: PT_NOTE, paddr: 0, bytes: xenNote(PHYS32_ENTRY, MIB - 1) },
        ]),
      ),
      kind: 'unsupported',
    },
    ...[
      { name: 'a vmlinux', kernel: vmlinux },
      { name: 'a bzImage', kernel: makeBzImage(vmlinux) },
      { name: 'a bzImage that unpacks itself', kernel: makeBzImage(code) },
      { name: 'a kernel with PVH', kernel: pvh },
    ].map(({ name, kernel }) => ({
      name: `${name} of 64 bits for a processor of 32`,
      input: bootInput(kernel, bits32cpu),
      kind: 'unsupported' as const,
      field: 'cpu' as const,
      message: /for 64 bits and pentium3 has 32; give/,
    })),
    {
      name: 'a kernel of 32 bits for such a processor',
      input: bootInput(makeElf32(MIB, MIB, code), bits32cpu),
      kind: 'planned',
    },
    {
      name: 'a bzImage whose gzip payload is damaged',
      input: bootInput(makeBzImage(gzipSync(vmlinux).fill(0x55, 20)), { decompress: gzip }),
      kind: 'not-a-kernel',
      message: /gzip payload is corrupt \(.*\); fetch or build/,
    },
    {
      name: 'a bzImage whose payload unpacks to something else',
      input: bootInput(makeBzImage(gzipSync(code)), { decompress: gzip }),
      kind: 'not-a-kernel',
      message: /unpacks to no ELF file/,
    },
    { name: 'an empty file', input: bootInput(new Uint8Array(0)), kind: 'not-a-kernel' },
    { name: 'a text', input: bootInput(new Uint8Array(9999).fill(65)), kind: 'not-a-kernel' },
    { name: 'a bzImage of protocol 2.9', input: bootInput(tooOld), kind: 'unsupported' },
    { name: 'ELF for ARM', input: bootInput(otherMachine), kind: 'unsupported' },
    { name: 'a program', input: bootInput(program(PT_INTERP)), kind: 'not-a-kernel' },
    { name: 'a static program', input: bootInput(program(PT_TLS)), kind: 'not-a-kernel' },
    {
      name: 'a kernel with a word for an interpreter, as FreeBSD has',
      input: bootInput(program(PT_INTERP, pvhNote)),
      kind: 'planned',
    },
    { name: 'an object file', input: bootInput(typed(1)), kind: 'not-a-kernel' },
    { name: 'a core dump', input: bootInput(typed(4)), kind: 'not-a-kernel' },
    {
      name: 'a segment past memory',
      input: bootInput(at(64 * MIB - 2)),
      kind: 'too-large',
      field: 'memory',
    },
    { name: 'a segment at 2^63', input: bootInput(at(2n ** 63n)), kind: 'unsupported' },
    {
      name: 'a segment of 2^63',
      input: bootInput(at(MIB, 2n ** 63n)),
      kind: 'unsupported',
      message: /at 0x100000 reaches beyond 4 GiB/,
    },
    { name: 'a segment in video memory', input: bootInput(at(0xb8000)), kind: 'unsupported' },
    { name: 'a segment among the tables', input: bootInput(at(0xe0000)), kind: 'unsupported' },
    { name: 'a segment on the zero page', input: bootInput(at(0x10800)), kind: 'unsupported' },
    { name: 'zeros over the zero page', input: bootInput(at(0x8000, 65536)), kind: 'unsupported' },
    { name: 'more file than memory', input: bootInput(at(MIB, 2)), kind: 'unsupported' },
    {
      name: 'a segment cut off',
      input: bootInput(load({ paddr: MIB, fileBytes: 4n, memoryBytes: 4 })),
      kind: 'truncated',
    },
    {
      name: 'a segment of 2^64 - 1 bytes in the file',
      input: bootInput(load({ paddr: MIB, fileBytes: 2n ** 64n - 1n })),
      kind: 'truncated',
    },
    {
      name: 'overlapping segments',
      input: bootInput(
        makeElf64(BigInt(MIB), [
          { paddr: MIB, bytes: code },
          { paddr: MIB + 2, bytes: code },
        ]),
      ),
      kind: 'unsupported',
    },
    {
      name: 'an initrd larger than memory',
      input: bootInput(makeBzImage(code), { initrd: new Uint8Array(64 * MIB) }),
      kind: 'too-large',
      field: 'initrd',
    },
    {
      name: 'an initrd that would lie on the kernel',
      input: bootInput(vmlinux, { initrd: new Uint8Array(48 * MIB) }),
      kind: 'too-large',
      field: 'initrd',
    },
    {
      name: 'an initrd for a kernel that takes none',
      input: bootInput(makeElf32(MIB, MIB, code), { initrd: code }),
      kind: 'unsupported',
      field: 'initrd',
    },
    {
      name: 'modules for Linux',
      input: bootInput(vmlinux, { modules: [{ bytes: code, cmdline: '' }] }),
      kind: 'unsupported',
      field: 'module',
    },
    {
      name: 'a command line longer than the kernel takes',
      input: bootInput(makeBzImage(code), { cmdline: 'x'.repeat(2048) }),
      kind: 'too-large',
      field: 'append',
    },
    {
      name: 'a command line as long as the kernel takes',
      input: bootInput(makeBzImage(code), { cmdline: 'x'.repeat(2047) }),
      kind: 'planned',
    },
    {
      name: 'a command line that no kernel takes',
      input: bootInput(pvh, { cmdline: 'x'.repeat(70000) }),
      kind: 'too-large',
      field: 'append',
    },
    {
      name: 'memory that ends below the kernel',
      input: bootInput(makeBzImage(code), { memoryBytes: MIB }),
      kind: 'too-large',
      field: 'memory',
    },
    {
      name: 'memory that ends below the page tables',
      input: bootInput(at(0x2000), { memoryBytes: 65536 }),
      kind: 'too-large',
      field: 'memory',
    },
  ];
  for (const { name, input, kind, field, message = /^/ } of cases)
    it(name, () => {
      const error = errorOf(input);
      assert.equal(error?.kind ?? 'planned', kind);
      assert.equal(error?.field, field);
      assert.match(error?.message ?? '', message);
    });
});

describe('hostile files end in a BootError or a plan', () => {
  const kernels = {
    bzImage: makeBzImage(gzipSync(vmlinux)),
    vmlinux,
    pvh,
    multiboot,
    'Multiboot with addresses': multibootHeader(1 << 16, [MIB, MIB, 0, 0, MIB]),
  };
  for (const [name, kernel] of Object.entries(kernels)) {
    it(`${name}, cut off after each byte`, () => {
      for (let length = 0; length < kernel.length; length++)
        refusal(bootInput(kernel.subarray(0, length), { decompress: gzip }));
    });

    it(`${name}, each byte of it changed`, () => {
      const input = bootInput(kernel, { decompress: gzip });
      for (let i = 0; i < Math.min(kernel.length, 0x400); i++) {
        for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
          const damaged = kernel.slice();
          damaged[i] = value;
          refusal({ ...input, kernel: damaged });
        }
      }
    });

    it(`${name}, headers full of noise`, () => {
      const random = randomBytes(name.length);
      for (let round = 0; round < 500; round++) {
        const damaged = kernel.slice();
        const length = Math.min(16, damaged.length);
        const where = ((random(1)[0] ?? 0) * 4) % (damaged.length - length + 1);
        damaged.set(random(length), where);
        refusal(bootInput(damaged, { decompress: gzip }));
      }
    });
  }

  const withNotes = (bytes: Uint8Array) =>
    makeElf64(BigInt(MIB), [
      { paddr: MIB, bytes: code },
      { type: PT_NOTE, paddr: 0, bytes },
    ]);

  it('notes whose lengths lead backwards', () => {
    for (const length of [0xffff_fff0, 0xffff_ffff, 0x8000_0000, 0x7fff_ffff]) {
      const bytes = new Uint8Array(new Uint32Array([length, length, 18, 0, 0, 0, 0, 0]).buffer);
      assert.equal(refusal(bootInput(withNotes(bytes))), 'planned');
    }
  });

  it('a note that ends with the file inside its name', () => {
    const bytes = new Uint8Array(new Uint32Array([4, 4, PHYS32_ENTRY]).buffer);
    assert.equal(refusal(bootInput(withNotes(bytes))), 'planned');
  });
});
