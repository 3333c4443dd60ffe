import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RequestError } from '#base/errors.ts';
import { S_CR4, S_MSR_MISC_ENABLE, S_RAX, S_RBX, S_RCX, S_RDX } from '#ir/state.ts';
import { S_CR4_VALID, S_EFER_VALID } from '#ir/state-system.ts';
import { applyModel, cpuid, findModel } from './cpuid.ts';

const CPU = 4096;
const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
const view = new DataView(memory.buffer);

function ask(name: string, leaf: number, subleaf = 0, vcpus = 1): [number, number, number, number] {
  view.setBigUint64(CPU + S_RAX, BigInt(leaf), true);
  view.setBigUint64(CPU + S_RCX, BigInt(subleaf), true);
  cpuid(memory, CPU, findModel(name), vcpus);
  const read = (slot: number) => Number(view.getBigUint64(CPU + slot, true));
  return [read(S_RAX), read(S_RBX), read(S_RCX), read(S_RDX)];
}

function text(...registers: number[]): string {
  const bytes = new Uint8Array(new Uint32Array(registers).buffer);
  return new TextDecoder().decode(bytes).replace(/\0+$/, '');
}

describe('cpuid', () => {
  it('names the vendor and the highest leaf', () => {
    const [eax, ebx, ecx, edx] = ask('ring0-v2', 0);
    assert.equal(eax, 0x16);
    assert.equal(text(ebx, edx, ecx), 'GenuineIntel');
  });

  it('has all of x86-64-v2 and neither AVX nor what is not translated', () => {
    const [, , ecx, edx] = ask('ring0-v2', 1);
    for (const bit of [0, 9, 13, 19, 20, 23]) assert.ok((ecx >>> bit) & 1, `ECX bit ${bit}`);
    for (const bit of [0, 8, 15, 23, 24, 25, 26]) assert.ok((edx >>> bit) & 1, `EDX bit ${bit}`);
    assert.equal((ecx >>> 28) & 1, 0);
    assert.equal((edx >>> 17) & 1, 0, 'PSE-36');
  });

  it('tells the frequency of the TSC, and that it never stops', () => {
    const [den, num, crystal] = ask('ring0-v2', 0x15);
    assert.equal((crystal * num) / den, 1_000_000_000);
    assert.equal(ask('ring0-v2', 0x80000007)[3] & 0x100, 0x100);
    assert.equal(ask('ring0-v2', 0x40000010)[0], 1_000_000);
  });

  it('says who the hypervisor is', () => {
    const [max, ...name] = ask('ring0-v2', 0x40000000);
    assert.equal(max, 0x40000010);
    assert.equal(text(...name), 'ring0');
  });

  it('shows OSXSAVE once CR4 has it', () => {
    assert.equal((ask('ring0-v2', 1)[2] >>> 27) & 1, 0);
    view.setBigUint64(CPU + S_CR4, 1n << 18n, true);
    assert.equal((ask('ring0-v2', 1)[2] >>> 27) & 1, 1);
    view.setBigUint64(CPU + S_CR4, 0n, true);
  });

  it('describes caches until the list ends', () => {
    const types = [0, 1, 2, 3, 4].map((i) => ask('ring0-v2', 4, i)[0] & 31);
    assert.deepEqual(types, [1, 2, 3, 3, 0]);
    const [, ebx, sets] = ask('ring0-v2', 4, 2);
    assert.equal(((ebx >>> 22) + 1) * ((ebx & 0xfff) + 1) * (sets + 1), 256 * 1024);
  });

  it('numbers the cores of a package', () => {
    assert.deepEqual(ask('ring0-v2', 0xb, 1, 3).slice(0, 3), [2, 3, 0x201]);
    assert.equal((ask('ring0-v2', 1, 0, 3)[1] >>> 16) & 0xff, 4);
    assert.equal((ask('ring0-v2', 1, 0, 3)[3] >>> 28) & 1, 1);
  });

  it('answers a leaf that is not there as the highest basic one', () => {
    assert.deepEqual(ask('ring0-v2', 0x17), ask('ring0-v2', 0x16));
    assert.deepEqual(ask('ring0-v2', 0x80000009), ask('ring0-v2', 0x16));
  });

  it('is cut to leaf 3 by IA32_MISC_ENABLE bit 22', () => {
    view.setBigUint64(CPU + S_MSR_MISC_ENABLE, 1n << 22n, true);
    assert.equal(ask('ring0-v2', 0)[0], 3);
    view.setBigUint64(CPU + S_MSR_MISC_ENABLE, 0n, true);
  });

  it('gives old models old features', () => {
    assert.equal(ask('486', 1)[3], 3);
    assert.equal((ask('pentium3', 1)[3] >>> 26) & 1, 0, 'SSE2');
    assert.ok(!findModel('pentium3').features.has('syscall'));
  });

  it('lets control registers hold what the model has', () => {
    applyModel(memory, CPU, findModel('486'));
    assert.equal(view.getBigUint64(CPU + S_CR4_VALID, true), 3n);
    assert.equal(view.getBigUint64(CPU + S_EFER_VALID, true), 0n);
    applyModel(memory, CPU, findModel('ring0-v2'));
    assert.equal(view.getBigUint64(CPU + S_EFER_VALID, true), 0x901n);
    assert.equal(view.getBigUint64(CPU + S_CR4_VALID, true), 0x3707ffn);
  });

  it('answers an unknown model with the names of all', () => {
    assert.throws(
      () => findModel('z80'),
      (error) => error instanceof RequestError && /ring0-v2, max, .*486/.test(error.message),
    );
  });
});
