const WASM_PAGE_BYTES = 65_536;

/**
 * Zeros that start at a page, which only a WebAssembly memory promises; other buffers start 16 bytes behind one. From and to
 * such memory the host copies large pieces in half the time, and O_DIRECT of open(2) takes no other. For what is used
 * again and again: to make it takes some 20 µs, and it goes when the collector finds it.
 */
export function alignedBytes(lengthBytes: number): Uint8Array {
  const pages = Math.ceil(lengthBytes / WASM_PAGE_BYTES);
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages });
  return new Uint8Array(buffer, 0, lengthBytes);
}

/** As `alignedBytes`, or other memory where each of those finds no 8 GiB of addresses, which it takes at any length (ulimit -v). */
export function quickBytes(lengthBytes: number): Uint8Array {
  try {
    return alignedBytes(lengthBytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return new Uint8Array(lengthBytes);
  }
}
