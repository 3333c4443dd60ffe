// Stand-ins for a board, for the tests of chips.
import type { Clock, IrqLine } from './device.ts';

/** Time that a test moves by hand. */
export class ManualClock implements Clock {
  ns = 0;
  wallAtZeroMs = 0;

  nowNs(): number {
    return this.ns;
  }

  wallMs(): number {
    return this.wallAtZeroMs + this.ns / 1e6;
  }
}

/** A line that remembers its level and how often it rose. */
export class RecordedLine implements IrqLine {
  high = false;
  rises = 0;

  set(high: boolean): void {
    if (high && !this.high) this.rises++;
    this.high = high;
  }
}
