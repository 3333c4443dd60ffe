import { S_TRACE } from '../ir/state-system.ts';
import { trace_event } from './host.ts';

/** Tells the host of an event when `kind` (TRACE_…) is traced. */
export function traceEvent(cpu: usize, kind: u32, event: u32, a: u64, b: u64): void {
  if (load<u32>(cpu, S_TRACE) & kind) trace_event(event, a, b);
}
