import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { RecordedLine } from '#hw/testing.ts';
import { I8042, I8042_STATE } from './i8042.ts';

function rig() {
  const irq = new RecordedLine();
  const events: string[] = [];
  const chip = new I8042(newDeviceState(I8042_STATE), {
    irq,
    reset: () => events.push('reset'),
    setA20: (enabled) => events.push(enabled ? 'a20' : 'no a20'),
  });
  chip.reset();
  const command = (byte: number) => chip.commandPort.writePort(0, 1, byte);
  const data = (byte: number) => chip.dataPort.writePort(0, 1, byte);
  const answers = () => {
    const bytes: number[] = [];
    while (chip.commandPort.readPort(0, 1) & 1) bytes.push(chip.dataPort.readPort(0, 1));
    return bytes;
  };
  return { irq, events, chip, command, data, answers };
}

describe('8042', () => {
  const exchanges = [
    { name: 'self test', commands: [0xaa], expected: [0x55] },
    { name: 'mode', commands: [0x20], expected: [0x65] },
    { name: 'keyboard line test', commands: [0xab], expected: [0] },
    { name: 'mouse line test fails', commands: [0xa9], expected: [4] },
    { name: 'output port', commands: [0xd0], expected: [0xcf] },
    {
      name: 'reading the mode back',
      commands: [0x60],
      data: [0x74],
      after: [0x20],
      expected: [0x74],
    },
    {
      name: 'loop through the mouse buffer',
      commands: [0xd3],
      data: [0x5a],
      expected: [0x5a],
    },
    { name: 'keyboard reset', data: [0xff], expected: [0xfa, 0xaa] },
    {
      name: 'keyboard identification, translated',
      data: [0xf2],
      expected: [0xfa, 0xab, 0x41],
    },
    { name: 'keyboard LEDs', data: [0xed, 0x02], expected: [0xfa, 0xfa] },
    { name: 'scan code set', data: [0xf0, 0x00], expected: [0xfa, 0xfa, 2] },
    { name: 'unknown keyboard command', data: [0x00], expected: [0xfe] },
  ];
  for (const { name, commands = [], data: bytes = [], after = [], expected } of exchanges)
    it(name, () => {
      const { command, data, answers } = rig();
      commands.forEach(command);
      bytes.forEach(data);
      after.forEach(command);
      assert.deepEqual(answers(), expected);
    });

  it('the mouse is not found: its looped byte has no mark', () => {
    const { chip, command, data } = rig();
    command(0xd3);
    data(0x5a);
    assert.equal(chip.commandPort.readPort(0, 1) & 0x21, 1);
  });

  it('each byte is an edge of IRQ 1', () => {
    const { irq, data, answers } = rig();
    data(0xf2);
    answers();
    assert.equal(irq.rises, 3);
    assert.equal(irq.high, false);
  });

  const outputs = [
    { name: 'pulse of the reset line', commands: [0xfe], expected: ['reset'] },
    { name: 'pulse of nothing', commands: [0xff], expected: [] },
    {
      name: 'A20 off and on',
      commands: [0xdd, 0xdf],
      expected: ['no a20', 'a20'],
    },
    {
      name: 'A20 by the output port',
      commands: [0xd1],
      data: [0xdd],
      expected: ['no a20'],
    },
    {
      name: 'reset by the output port',
      commands: [0xd1],
      data: [0x02],
      expected: ['a20', 'reset'],
    },
  ];
  for (const { name, commands, data: bytes = [], expected } of outputs)
    it(name, () => {
      const { events, command, data } = rig();
      commands.forEach(command);
      bytes.forEach(data);
      assert.deepEqual(events, expected);
    });
});
