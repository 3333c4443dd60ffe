import assert from 'node:assert/strict';
import { it } from 'node:test';
import { MemoryHost } from '../testing.ts';
import { parentNames } from './parent-names.ts';

const cases: { paths: string[]; expected: string[] }[] = [
  { paths: ['.\\base.vhdx'], expected: ['base.vhdx', 'BASE.VHDX'] },
  { paths: ['..\\x\\p.vhdx'], expected: ['../x/p.vhdx', 'p.vhdx', 'P.vhdx'] },
  { paths: ['\\\\?\\Volume{01}\\vms\\p.vhdx'], expected: ['p.vhdx', 'P.vhdx'] },
  { paths: ['c:\\vms\\p.vhdx', 'p.vhdx\0left over'], expected: ['p.vhdx', 'P.vhdx'] },
  { paths: ['/vms/q.vhdx', ''], expected: ['/vms/q.vhdx', 'q.vhdx'] },
  { paths: ['C:\\vms\\'], expected: [] },
];
for (const { paths, expected } of cases)
  it(`a parent called ${JSON.stringify(paths)} is looked for as ${expected.join(', ')}`, async () => {
    const host = new MemoryHost();
    for (const name of ['P.vhdx', 'BASE.VHDX', 'other.vhdx'])
      await host.openFile(`/images/${name}`, { access: 'create' });
    const names: string[] = [];
    for await (const name of parentNames(paths, '/images/top.vhdx', host)) names.push(name);
    assert.deepEqual(names, expected);
  });
