import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as aml from './aml.ts';

const hex = (bytes: aml.Aml) => Buffer.from(bytes).toString('hex');

// Expected bytes: from the encodings in ACPI 6.5, 20.2, and as `iasl` compiles them.
describe('AML', () => {
  const cases = [
    { name: 'zero', term: aml.integer(0), expected: '00' },
    { name: 'one', term: aml.integer(1), expected: '01' },
    { name: 'a byte', term: aml.integer(255), expected: '0aff' },
    { name: 'a word', term: aml.integer(256), expected: '0b0001' },
    { name: 'a double word', term: aml.integer(0xfee0_0000), expected: '0c0000e0fe' },
    { name: 'a short name', term: aml.name('_S5', aml.integer(1)), expected: '085f53355f01' },
    { name: 'a name at the root', term: aml.scope('\\_SB'), expected: '10065c5f53425f' },
    { name: 'a device', term: aml.device('RTC'), expected: '5b82055254435f' },
    {
      name: 'a path',
      term: aml.path('\\_SB.PCI0.X'),
      expected: '5c2f03' + '5f53425f50434930585f5f5f',
    },
    {
      name: 'a region',
      term: aml.portRegion('R', 0xae00, 12),
      expected: '5b80525f5f5f010b00ae0a0c',
    },
    {
      name: 'words of it',
      term: aml.wordFields('R', 'AAAA', 'BBBB'),
      expected: '5b8110525f5f5f43' + '4141414120' + '4242424220',
    },
    {
      name: 'a method',
      term: aml.method('_EJ0', aml.store(aml.integer(4), aml.path('EJ')), 1),
      expected: '140d5f454a3001' + '700a04454a5f5f',
    },
    {
      name: 'a condition',
      term: aml.when(
        aml.and(aml.LOCAL_0, aml.integer(8)),
        aml.notify(aml.path('S03'), aml.integer(1)),
      ),
      expected: 'a00c7b600a0800' + '865330335f01',
    },
    {
      name: 'a list',
      term: aml.list(aml.integer(1), aml.integer(5)),
      expected: '12050201' + '0a05',
    },
    { name: 'an EISA id', term: aml.eisaId('PNP0A03'), expected: '0c41d00a03' },
    { name: 'ports', term: aml.ports(0x3f8, 8), expected: '4701f803f8030108' },
    { name: 'a string', term: aml.string('LNRO0005'), expected: '0d4c4e524f3030303500' },
    {
      name: 'memory of a device',
      term: aml.memory(0xfec2_2000, 0x200),
      expected: '860900010020c2fe00020000',
    },
    { name: 'its interrupt', term: aml.gsi(22), expected: '890600090116000000' },
    { name: 'an interrupt', term: aml.irq(4), expected: '221000' },
    {
      name: 'resources end with their tag',
      term: aml.resources(aml.irq(8)),
      expected: '11080a05' + '220001' + '7900',
    },
    {
      name: 'bus numbers',
      term: aml.busWindow(0, 255),
      expected: '880d00020c000000' + '0000ff0000000001',
    },
    {
      name: 'memory',
      term: aml.memoryWindow(0xa0000, 0xbffff),
      expected: '871700000c0100000000' + '00000a00' + 'ffff0b00' + '00000000' + '00000200',
    },
  ];
  for (const { name, term, expected } of cases) it(name, () => assert.equal(hex(term), expected));

  const lengths = [
    { body: 57, expected: [0x3f] },
    { body: 58, expected: [0x41, 0x04] },
    { body: 4088, expected: [0x4f, 0xff] },
    { body: 4089, expected: [0x81, 0x00, 0x01] },
  ];
  for (const { body, expected } of lengths) {
    it(`a scope with ${body} bytes has a length of ${expected.length}`, () => {
      const term = aml.scope('\\X', new Array<number>(body).fill(0));
      assert.deepEqual(term.slice(1, 1 + expected.length), expected);
    });
  }
});
