import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import type { VmConfig, VmStats } from '#control/vm.ts';
import { createVm } from '#index.ts';
import type { CpuProfile } from '#vmm/cpu-profile.ts';
import { smallKernel } from './small-kernel.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-profile-'));
after(() => rmSync(dir, { recursive: true }));

// Functions with frame pointers: most of the time is spent in one that another calls.
const KERNEL = `
.macro function name
.globl \\name
.type \\name, @function
\\name: push %ebp
  mov %esp, %ebp
.endm
_start: mov $stack, %esp
  xor %ebp, %ebp
  call outer
  mov $0xf4, %edx
  xor %eax, %eax
  out %al, %dx
  hlt
  function outer
  call spin
  call rest
  leave
  ret
  function spin
  mov $800000000, %ecx
1: dec %ecx
  jnz 1b
  leave
  ret
  function rest
  mov $40000000, %ecx
1: dec %ecx
  jnz 1b
  leave
  ret
.bss
.skip 4096
stack:
`;

async function profiled(): Promise<{ profile: CpuProfile; stats: VmStats }> {
  const file = path.join(dir, 'out.cpuprofile');
  const config: VmConfig = {
    memoryBytes: 8 * MIB,
    append: '',
    cpuModel: 'ring0-v2',
    accel: 'software',
    noReboot: true,
    stats: true,
    profile: file,
    kernel: smallKernel(KERNEL),
  };
  const vm = await createVm(config);
  try {
    assert.deepEqual(await vm.run(), { type: 'debug-exit', status: 1 });
    return { profile: JSON.parse(readFileSync(file, 'utf8')) as CpuProfile, stats: vm.stats() };
  } finally {
    await vm.stop();
  }
}

/** What V8 itself writes. */
async function referenceProfile(): Promise<object> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.start');
  const { profile } = await session.post('Profiler.stop');
  session.disconnect();
  return profile;
}

/** The type of each property, by name; a list is one of what its first element is. */
function shape(value: unknown): unknown {
  if (Array.isArray(value)) return [shape(value[0])];
  if (typeof value !== 'object' || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([name, v]) => [name, shape(v)]));
}

describe('a profile of the guest', async () => {
  const { profile, stats } = await profiled();
  const byId = new Map(profile.nodes.map((node) => [node.id, node]));
  const named = (name: string) => profile.nodes.filter((n) => n.callFrame.functionName === name);
  const hits = (name: string) => named(name).reduce((sum, n) => sum + n.hitCount, 0);

  it('has the form of a profile of V8', async () => {
    const reference = await referenceProfile();
    assert.deepEqual(Object.keys(profile).sort(), Object.keys(reference).sort());
    assert.deepEqual(shape(profile), shape(reference));
  });

  it('is a tree whose samples are its nodes, in time', () => {
    const { nodes, samples, timeDeltas, startTime, endTime } = profile;
    const children = nodes.flatMap((n) => n.children);
    assert.equal(new Set(children).size, nodes.length - 1);
    assert.ok(children.every((id) => byId.has(id)));
    assert.ok(samples.length > 20 && samples.length === timeDeltas.length);
    assert.ok(samples.every((id) => byId.has(id)));
    assert.ok(timeDeltas.every((delta) => delta >= 0));
    assert.ok(startTime + timeDeltas.reduce((a, b) => a + b, 0) <= endTime);
    assert.equal(
      nodes.reduce((sum, n) => sum + n.hitCount, 0),
      samples.length,
    );
  });

  it('says where the time went, and who called', () => {
    assert.ok(
      hits('spin') > profile.samples.length / 2,
      `${hits('spin')} of ${profile.samples.length}`,
    );
    const outer = named('outer').flatMap((n) => n.children.map((id) => byId.get(id)));
    assert.ok(outer.some((n) => n?.callFrame.functionName === 'spin'));
    assert.equal(stats.hottest?.[0]?.name, 'spin');
    assert.equal(stats.hottest?.[0]?.mode, 'kernel');
  });
});
