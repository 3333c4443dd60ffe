// Memory in bulk, for the run loop's lockstep mode (cpu/lockstep/). Sizes are multiples of 16.

export function copy_bytes(to: usize, from: usize, size: u32): void {
  memory.copy(to, from, size);
}

/** Offset of the first 16 bytes in which two pieces of memory differ, or `size`. */
export function first_difference(a: usize, b: usize, size: u32): u32 {
  for (let i: u32 = 0; i < size; i += 16) {
    if (v128.any_true(v128.xor(v128.load(a + i), v128.load(b + i)))) return i;
  }
  return size;
}

/** Makes `to` what `from` is, and writes only where they differ: another thread may be writing beside it. */
export function restore_bytes(to: usize, from: usize, size: u32): void {
  for (let i: u32 = 0; i < size; i += 4) {
    const value = load<u32>(from + i);
    if (load<u32>(to + i) != value) store<u32>(to + i, value);
  }
}

/** Copies those parts of `from` that a list of offset and size, u32 each, names. */
export function copy_ranges(to: usize, from: usize, list: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const offset = load<u32>(list + i * 8);
    memory.copy(to + offset, from + offset, load<u32>(list + i * 8, 4));
  }
}
