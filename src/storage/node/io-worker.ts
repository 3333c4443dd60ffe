// Does batches of small reads and writes: a call each, but one hop between threads for all.
import { readSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import {
  type BatchMemory,
  DOORBELL,
  POSTED,
  SLOT_BYTES,
  SLOT_REQUESTS,
  SLOTS,
} from './io-batch.ts';

const { fd, memory }: { fd: number; memory: BatchMemory } = workerData;
const { control, counts, offsets, lengths, results, data } = memory;

function serve(slot: number): void {
  let at = slot * SLOT_BYTES;
  const first = slot * SLOT_REQUESTS;
  const count = Atomics.load(counts, slot);
  for (let index = first; index < first + count; index++) {
    const length = lengths[index] ?? 0;
    const bytes = Math.abs(length);
    try {
      const offset = offsets[index] ?? 0;
      results[index] =
        length < 0 ? writeSync(fd, data, at, bytes, offset) : readSync(fd, data, at, bytes, offset);
    } catch {
      results[index] = -1;
    }
    at += bytes;
  }
}

for (;;) {
  const bell = Atomics.load(control, DOORBELL);
  let served = 0;
  for (let slot = 0; slot < SLOTS; slot++) {
    if (Atomics.load(control, POSTED + slot) === 0) continue;
    serve(slot);
    Atomics.store(control, POSTED + slot, 0);
    parentPort?.postMessage(slot);
    served++;
  }
  if (served === 0) Atomics.wait(control, DOORBELL, bell);
}
