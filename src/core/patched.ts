import {
  B_HEADER,
  B_PADDR,
  B_RECORDS,
  B_RECORDS_MASK,
  REC_A,
  REC_B,
  REC_DISP,
  REC_IMM,
  REC_SHIFT,
  REC_SIZE,
  RELOAD_MARK,
} from '../ir/state.ts';

// Blocks whose immediates the guest changes again and again: these are read from memory when they are wanted, so that a
// write to them drops nothing.

/** True when [paddr, paddr + size) lies in an immediate that the block reads from memory. */
export function isReloaded(block: usize, paddr: u32, size: u32): bool {
  const offset = paddr - load<u32>(block, B_PADDR);
  const end = block + B_HEADER + (load<u32>(block, B_RECORDS) & B_RECORDS_MASK) * REC_SIZE;
  for (let rec = block + B_HEADER; rec < end; rec += REC_SIZE) {
    if (load<u8>(rec, REC_SHIFT) != RELOAD_MARK) continue;
    const from = load<u32>(rec, REC_DISP);
    if (offset >= from && offset + size <= from + load<u8>(rec, REC_A)) return true;
  }
  return false;
}

/** A reload record: takes the next record's immediate from memory. */
export function reload_immediate(_cpu: usize, rec: usize): void {
  const at: usize = load<u32>(rec, REC_IMM);
  const size = load<u8>(rec, REC_A);
  const signed = load<u8>(rec, REC_B) != 0;
  let value: u64;
  if (size == 4) value = signed ? <u64>load<i32>(at) : <u64>load<u32>(at);
  else if (size == 8) value = load<u64>(at);
  else if (size == 1) value = signed ? <u64>load<i8>(at) : <u64>load<u8>(at);
  else value = signed ? <u64>load<i16>(at) : <u64>load<u16>(at);
  store<u64>(rec + REC_SIZE, value, REC_IMM);
}
