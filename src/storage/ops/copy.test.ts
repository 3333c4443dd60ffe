import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sameBytes } from '../node/same-bytes.ts';
import { openImage } from '../open.ts';
import { MemoryHost, noise } from '../testing.ts';
import { concatenated } from './concat.ts';
import { copyDisk } from './copy.ts';

const UNIT = 4096;

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
    for (const how of [{}, { sameBytes }])
      it(`leaves zeros out (${name}${'sameBytes' in how ? ', told by the host' : ''})`, async () => {
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
});
