import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { RecordedLine } from '#hw/testing.ts';
import { UART_STATE, Uart } from './uart.ts';
import * as r from './uart-regs.ts';

const IDLE = r.LSR_THR_EMPTY | r.LSR_TRANSMITTER_EMPTY;

function rig() {
  const irq = new RecordedLine();
  const sent: number[] = [];
  const counts = { drained: 0 };
  const uart = new Uart(newDeviceState(UART_STATE), {
    irq,
    transmit: (byte) => sent.push(byte),
    drained: () => counts.drained++,
  });
  uart.reset();
  const read = (register: number) => uart.readPort(register, 1);
  const write = (register: number, value: number) => uart.writePort(register, 1, value);
  return { uart, irq, sent, counts, read, write };
}

describe('16550A', () => {
  it('is found by the autoconfiguration of Linux', () => {
    const { read, write } = rig();
    write(r.IER, 0xff);
    assert.equal(read(r.IER), 0x0f);
    write(r.IER, 0);
    write(r.MCR, r.MCR_LOOP | r.MCR_OUT2 | r.MCR_RTS);
    assert.equal(read(r.MSR) & 0xf0, r.MSR_DCD | r.MSR_CTS, 'loop test');
    write(r.MCR, 0);
    write(r.FCR, r.FCR_ENABLE);
    assert.equal(read(r.IIR) >> 6, 3, 'working FIFOs');
    write(r.LCR, r.LCR_DLAB);
    write(r.FCR, r.FCR_ENABLE | 0x20);
    assert.equal(read(r.IIR) >> 5, 6, 'and not 64 bytes of them');
    write(r.SCR, 0x5a);
    assert.equal(read(r.SCR), 0x5a);
  });

  it('requests the THR interrupt each time it is enabled, and after each byte', () => {
    const { irq, sent, read, write } = rig();
    write(r.MCR, r.MCR_OUT2);
    for (let i = 0; i < 2; i++) {
      write(r.IER, r.IER_THR_EMPTY);
      assert.equal(irq.high, true);
      assert.equal(read(r.LSR), IDLE);
      assert.equal(read(r.IIR), r.IIR_THR_EMPTY);
      assert.equal(read(r.IIR), r.IIR_NONE, 'reading it ends it');
      assert.equal(irq.high, false);
      write(r.IER, 0);
    }
    write(r.IER, r.IER_THR_EMPTY);
    read(r.IIR);
    write(r.THR, 0x41);
    assert.deepEqual(sent, [0x41]);
    assert.equal(read(r.IIR), r.IIR_THR_EMPTY);
  });

  const received = [
    { name: 'FIFO exactly full', fifo: true, bytes: 16, taken: 16 },
    { name: 'the 17th byte must wait', fifo: true, bytes: 17, taken: 16 },
    {
      name: 'without FIFO there is room for one',
      fifo: false,
      bytes: 2,
      taken: 1,
    },
  ];
  for (const { name, fifo, bytes, taken } of received)
    it(name, () => {
      const { uart, counts, read, write } = rig();
      write(r.FCR, fifo ? r.FCR_ENABLE : 0);
      const offered = Array.from({ length: bytes }, (_, i) => i + 1);
      assert.equal(offered.filter((byte) => uart.receive(byte)).length, taken);
      assert.equal(read(r.LSR), IDLE | r.LSR_DATA_READY);
      const got: number[] = [];
      while (read(r.LSR) & r.LSR_DATA_READY) got.push(read(r.RBR));
      assert.deepEqual(got, offered.slice(0, taken));
      assert.equal(counts.drained, 1);
    });

  const triggers = [
    {
      name: 'below the trigger: timeout',
      fcr: 0xc1,
      bytes: 13,
      expected: 0xcc,
    },
    { name: 'at the trigger: data', fcr: 0xc1, bytes: 14, expected: 0xc4 },
    { name: 'trigger of one', fcr: 0x01, bytes: 1, expected: 0xc4 },
    { name: 'no FIFO', fcr: 0, bytes: 1, expected: 0x04 },
  ];
  for (const { name, fcr, bytes, expected } of triggers)
    it(name, () => {
      const { uart, read, write } = rig();
      write(r.FCR, fcr);
      write(r.IER, r.IER_DATA | r.IER_THR_EMPTY);
      for (let i = 0; i < bytes; i++) uart.receive(i);
      assert.equal(read(r.IIR), expected);
    });

  it('OUT2 gates the interrupt', () => {
    const { uart, irq, write } = rig();
    write(r.IER, r.IER_DATA);
    uart.receive(1);
    assert.equal(irq.high, false);
    write(r.MCR, r.MCR_OUT2);
    assert.equal(irq.high, true);
  });

  it('loops back, overruns, and reports it once', () => {
    const { uart, sent, read, write } = rig();
    write(r.MCR, r.MCR_LOOP);
    write(r.THR, 1);
    write(r.THR, 2);
    assert.deepEqual(sent, []);
    assert.equal(uart.receive(3), false);
    assert.equal(read(r.LSR), IDLE | r.LSR_DATA_READY | r.LSR_OVERRUN);
    assert.equal(read(r.LSR), IDLE | r.LSR_DATA_READY);
    assert.equal(read(r.RBR), 2);
  });

  it('modem deltas: set by a change, cleared by reading, interrupt last', () => {
    const { read, write } = rig();
    write(r.IER, r.IER_MODEM_STATUS);
    assert.equal(read(r.IIR), r.IIR_NONE);
    write(r.MCR, r.MCR_LOOP);
    assert.equal(read(r.IIR), r.IIR_MODEM_STATUS);
    assert.equal(read(r.MSR), 0x0b);
    assert.equal(read(r.MSR), 0);
  });

  it('keeps the divisor behind DLAB', () => {
    const { uart, read, write } = rig();
    write(r.LCR, 0x83);
    uart.writePort(r.DLL, 2, 0x0601);
    assert.deepEqual([read(r.DLL), read(r.DLM)], [1, 6]);
    write(r.LCR, 3);
    assert.equal(read(r.IER), 0);
  });
});
