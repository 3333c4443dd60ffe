import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createImage, readAll } from '../formats/testing.ts';
import { vpc } from '../formats/vpc/vpc.ts';
import type { DiskImage } from '../image.ts';
import { copyHost } from '../node/copy-host.ts';
import { openImage } from '../open.ts';
import { MemoryHost, noise } from '../testing.ts';
import { concatenated } from './concat.ts';
import { copyDisk } from './copy.ts';

const UNIT = 4096;
const MIB = 1 << 20;
const BLOCK = 2 * MIB;
const GRAIN = 4096;

/** A raw disk of a unit for each letter, and what is left: `.` zeros, `d` data, `f` and `l` zeros but for their first or last byte. */
async function diskOf(host: MemoryHost, path: string, units: string, restBytes: number) {
  const file = await host.openFile(path, { access: 'create' });
  for (const [index, unit] of [...units].entries()) {
    const bytes = unit === 'd' ? noise(UNIT, index) : new Uint8Array(UNIT);
    if (unit === 'f') bytes[0] = 1;
    if (unit === 'l') bytes[UNIT - 1] = 1;
    await file.write(index * UNIT, bytes);
  }
  await file.truncate(units.length * UNIT + restBytes);
  return await openImage(path, host, { format: 'raw' });
}

const cases = [
  { name: 'data', units: 'ddd', rest: 0, written: 'ddd' },
  { name: 'zeros, and a rest of them', units: '.....', rest: 512, written: '......' },
  { name: 'zeros before data', units: '....dd', rest: 512, written: '....dd.' },
  { name: 'zeros between data', units: 'd.d..d...d....d', rest: 0, written: 'd.d..d...d....d' },
  { name: 'single bytes', units: '.f.l..fl...f', rest: 0, written: '.d.d..dd...d' },
  { name: 'a step too long', units: `${'.'.repeat(9)}l.`, rest: 0, written: '.........d.' },
];

describe('copyDisk', () => {
  for (const { name, units, rest, written } of cases)
    for (const how of [{}, { host: copyHost }])
      it(`leaves zeros out (${name}${'host' in how ? ', told by the host' : ''})`, async () => {
        const host = new MemoryHost();
        const source = await diskOf(host, '/source', units, rest);
        const target = await diskOf(host, '/target', '', source.sizeBytes);
        await copyDisk({
          ...{ source: concatenated([source]), target, sparseBytes: UNIT, parallel: 2 },
          ...{ targetIsZero: true, ...how },
        });
        let places = '';
        for (let at = 0; at < target.sizeBytes; at += UNIT)
          places += (await target.extent(at, 512)).kind === 'data' ? 'd' : '.';
        assert.equal(places, written);
        const [from, to] = [source, target].map(async (disk) => {
          const bytes = new Uint8Array(disk.sizeBytes);
          await disk.read(0, bytes);
          return bytes;
        });
        assert.deepEqual(await to, await from);
      });

  const writers = {
    'within the call': (order: string[]) => ({
      tryWrite: (at: number) => order.push(`w${at >> 22}`) > 0,
    }),
    'by and by': (order: string[]) => ({
      write: async (at: number) => {
        order.push(`w${at >> 22}`);
      },
    }),
  };
  for (const [how, writer] of Object.entries(writers))
    it(`asks for the next chunk before it writes one ${how}`, async () => {
      const host = { ...copyHost, nowMs: () => 0 };
      const chunks = 5;
      const disk = await diskOf(new MemoryHost(), '/source', 'd', chunks * (4 << 20) - UNIT);
      const order: string[] = [];
      const source = {
        ...concatenated([disk]),
        status: async (_at: number, lengthBytes: number) =>
          ({ kind: 'data', lengthBytes, depth: 0, decidedAt: 0, present: true }) as const,
        read: async (at: number, into: Uint8Array) => {
          order.push(`r${at >> 22}`);
          into.fill(1);
          await new Promise((resolve) => setTimeout(resolve, 1));
        },
      };
      const target = {
        ...{ path: '/target', format: 'raw', sizeBytes: disk.sizeBytes, unitBytes: 1 },
        ...writer(order),
      } as unknown as DiskImage;
      await copyDisk({ source, target, sparseBytes: UNIT, targetIsZero: true, host });
      assert.equal(order.join(' '), 'r0 r1 w0 r2 w1 r3 w2 r4 w3 w4');
    });

  /** Of blocks of 2 MiB: the first of 4 KiB of data, the next three full of them, the last of which stands before them in the file. */
  async function blockDisk(host: MemoryHost): Promise<DiskImage> {
    await createImage(vpc, host, '/source', 5 * BLOCK);
    const disk = await openImage('/source', host, { format: 'vpc' });
    await disk.write(0, noise(UNIT, 1));
    await disk.write(3 * BLOCK, noise(BLOCK, 3));
    await disk.write(BLOCK, noise(2 * BLOCK, 2));
    return disk;
  }

  for (const { sparseBytes, expected } of [
    {
      sparseBytes: UNIT,
      // The host's pages lie elsewhere in the file than on the disk.
      expected: [
        `0+${2 * GRAIN}`,
        `${BLOCK - GRAIN}+${5 * MIB - (BLOCK - GRAIN)}`,
        // What a chunk left over, and what lies apart behind it.
        `${5 * MIB}+${3 * MIB}`,
      ],
    },
    {
      sparseBytes: 0,
      expected: [`0+${2 * BLOCK}`, `${2 * BLOCK}+${2 * BLOCK}`, `${4 * BLOCK}+${BLOCK}`],
    },
  ])
    it(`reads what lies apart in one piece, and no holes but with -S 0 (${sparseBytes})`, async () => {
      const host = new MemoryHost();
      const disk = await blockDisk(host);
      const target = await diskOf(host, '/target', '', disk.sizeBytes);
      const reads: string[] = [];
      const whole = concatenated([disk]);
      const read = (at: number, into: Uint8Array) => {
        reads.push(`${at}+${into.length}`);
        return whole.read(at, into);
      };
      await copyDisk({ source: { ...whole, read }, target, sparseBytes, targetIsZero: true });
      assert.deepEqual(reads, expected);
      assert.deepEqual(await readAll(target), await readAll(disk));
    });

  it('asks once for each run', async () => {
    const units = 'd..d.ddd...d';
    const disk = await diskOf(new MemoryHost(), '/source', units, 0);
    const asked: number[] = [];
    const status = async (at: number, mostBytes: number) => {
      const from = at / UNIT;
      asked.push(from);
      const count = /^(d+|[.]+)/.exec(units.slice(from))?.[0].length ?? 0;
      const kind = units[from] === 'd' ? 'data' : 'zero';
      const lengthBytes = Math.min(count * UNIT, mostBytes);
      return { kind, lengthBytes, depth: 0, decidedAt: 0, present: true } as const;
    };
    const target = await diskOf(new MemoryHost(), '/target', '', disk.sizeBytes);
    const source = { ...concatenated([disk]), status };
    await copyDisk({ source, target, sparseBytes: UNIT, targetIsZero: true });
    assert.deepEqual(asked, [0, 1, 3, 4, 5, 8, 11]);
    assert.deepEqual(await readAll(target), await readAll(disk));
  });

  it('leaves zeros out that are all that lies in a place, with a larger -S too', async () => {
    const disk = await diskOf(new MemoryHost(), '/source', 'd.d', 0);
    const source = {
      ...concatenated([disk]),
      status: async () =>
        ({ kind: 'data', lengthBytes: UNIT, depth: 0, decidedAt: 0, present: true }) as const,
    };
    const target = await diskOf(new MemoryHost(), '/target', '', disk.sizeBytes);
    await copyDisk({ source, target, sparseBytes: 16 * UNIT, targetIsZero: true });
    assert.equal((await target.extent(UNIT, UNIT)).kind, 'zero');
    assert.deepEqual(await readAll(target), await readAll(disk));
  });

  it('fails when all writes have ended, also where one fails within the call', async () => {
    const disk = await diskOf(new MemoryHost(), '/source', 'd.d', 0);
    let underWay = 0;
    const target = {
      ...{ path: '/target', format: 'raw', sizeBytes: disk.sizeBytes, unitBytes: 1 },
      tryWrite: (at: number) => {
        if (at > 0) throw new Error('no more');
        return false;
      },
      write: async () => {
        underWay++;
        await new Promise((resolve) => setTimeout(resolve, 20));
        underWay--;
      },
    } as unknown as DiskImage;
    const request = { source: concatenated([disk]), target, sparseBytes: UNIT };
    await assert.rejects(copyDisk({ ...request, targetIsZero: true }), /no more/);
    assert.equal(underWay, 0);
  });
});
