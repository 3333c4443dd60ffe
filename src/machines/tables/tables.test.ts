import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildTables } from './tables.ts';

const MIB = 2 ** 20;
const built = buildTables({ cpus: 2, memoryBytes: 256 * MIB });
const low = new Uint8Array(MIB);
for (const { paddr, bytes } of built.writes) low.set(bytes, paddr);
const view = new DataView(low.buffer);

const text = (at: number, length: number) =>
  Buffer.from(low.subarray(at, at + length)).toString('latin1');
const sum = (at: number, length: number) =>
  low.subarray(at, at + length).reduce((total, byte) => total + byte, 0) & 0xff;
const u32 = (at: number) => view.getUint32(at, true);
const u64 = (at: number) => Number(view.getBigUint64(at, true));

/** Addresses of the tables by signature, found as a system finds them. */
function found(): Map<string, number> {
  const xsdt = u64(built.rsdpPaddr + 24);
  const count = (u32(xsdt + 4) - 36) / 8;
  const list = Array.from({ length: count }, (_, i) => u64(xsdt + 36 + i * 8));
  const fadt = list[0] ?? 0;
  return new Map([xsdt, ...list, u32(fadt + 40)].map((at) => [text(at, 4), at]));
}

describe('buildTables', () => {
  it('nothing overlaps, and all lies in what the memory map reserves', () => {
    let end = 0xe0000;
    for (const { paddr, bytes } of built.writes) {
      assert.ok(paddr >= end, `0x${paddr.toString(16)}`);
      end = paddr + bytes.length;
    }
    assert.ok(end <= MIB);
  });

  it('the RSDP has both checksums', () => {
    assert.equal(text(built.rsdpPaddr, 8), 'RSD PTR ');
    assert.equal(sum(built.rsdpPaddr, 20), 0);
    assert.equal(sum(built.rsdpPaddr, 36), 0);
  });

  for (const signature of ['XSDT', 'FACP', 'APIC', 'HPET', 'DSDT']) {
    it(`${signature} is found, and its sum is right`, () => {
      const at = found().get(signature) ?? 0;
      assert.ok(at > 0);
      assert.equal(sum(at, u32(at + 4)), 0);
    });
  }

  it('the FADT is as long as its revision says, and names its tables twice', () => {
    const at = found().get('FACP') ?? 0;
    assert.equal(u32(at + 4), 268);
    assert.equal(u64(at + 132), u32(at + 36));
    assert.equal(u64(at + 140), u32(at + 40));
    assert.equal(u32(at + 36) % 64, 0);
  });

  it('the MADT lists each processor and one IOAPIC', () => {
    const at = found().get('APIC') ?? 0;
    const types: number[] = [];
    for (let entry = at + 44; entry < at + u32(at + 4); entry += low[entry + 1] || 256)
      types.push(low[entry] ?? -1);
    assert.deepEqual(types, [0, 0, 1, 2, 2, 4]);
  });
});

describe('SMBIOS', () => {
  const entry = Array.from({ length: 4096 }, (_, i) => 0xf0000 + i * 16).find(
    (at) => text(at, 5) === '_SM3_',
  );
  const at = entry ?? 0;

  /** Address of each structure by its type. */
  function structures(): Map<number, number> {
    const list = new Map<number, number>();
    const start = u64(at + 16);
    for (let next = start; next < start + u32(at + 12); ) {
      list.set(low[next] ?? -1, next);
      next += low[next + 1] ?? 0;
      while (view.getUint16(next) !== 0) next++;
      next += 2;
    }
    return list;
  }

  it('its entry point lies where systems look', () => {
    assert.ok(entry !== undefined);
    assert.equal(sum(at, low[at + 6] ?? 0), 0);
  });

  // Lengths of version 3.0: DSP0134 3.0.0, chapter 7.
  const lengths = [
    [0, 0x18],
    [1, 0x1b],
    [3, 0x16],
    [4, 0x30],
    [16, 0x17],
    [17, 0x28],
    [19, 0x1f],
    [32, 0x0b],
    [127, 4],
  ] as const;
  it('has the structures of a machine', () => {
    assert.deepEqual(
      [...structures().keys()],
      lengths.map(([type]) => type),
    );
  });
  for (const [type, length] of lengths)
    it(`type ${type} has ${length} bytes`, () =>
      assert.equal(low[(structures().get(type) ?? 0) + 1], length));

  it('says how much memory there is', () => {
    const list = structures();
    assert.equal(view.getUint16((list.get(17) ?? 0) + 0x0c, true), 256);
    assert.equal(u32((list.get(19) ?? 0) + 8), 256 * 1024 - 1);
    assert.equal(low[(list.get(4) ?? 0) + 0x23], 2);
  });
});
