/** Reads and writes the counts of refcount blocks; `bits` is 1 to 64, a power of two. */
export class CountCodec {
  readonly bits: number;
  /** Counts beyond 2^53 come from strangers alone, and are cut. */
  readonly max: number;

  constructor(bits: number) {
    this.bits = bits;
    this.max = bits === 64 ? Number.MAX_SAFE_INTEGER : 2 ** bits - 1;
  }

  get(view: DataView, index: number): number {
    switch (this.bits) {
      case 8:
        return view.getUint8(index);
      case 16:
        return view.getUint16(index * 2);
      case 32:
        return view.getUint32(index * 4);
      case 64: {
        const value = view.getUint32(index * 8) * 2 ** 32 + view.getUint32(index * 8 + 4);
        return Math.min(value, Number.MAX_SAFE_INTEGER);
      }
      default: {
        const perByte = 8 / this.bits;
        const byte = view.getUint8(Math.floor(index / perByte));
        // The first entry of a byte is in its lowest bits.
        return (byte >>> ((index % perByte) * this.bits)) & this.max;
      }
    }
  }

  /** Makes counts from `index` on 1 as long as they are 0, at most `most`; how many they were. */
  takeFree(view: DataView, index: number, most: number): number {
    let next = index;
    const end = index + most;
    // What most images have, without two calls for each.
    if (this.bits === 16)
      for (; next < end && view.getUint16(next * 2) === 0; next++) view.setUint16(next * 2, 1);
    else for (; next < end && this.get(view, next) === 0; next++) this.set(view, next, 1);
    return next - index;
  }

  set(view: DataView, index: number, value: number): void {
    switch (this.bits) {
      case 8:
        view.setUint8(index, value);
        return;
      case 16:
        view.setUint16(index * 2, value);
        return;
      case 32:
        view.setUint32(index * 4, value);
        return;
      case 64:
        view.setUint32(index * 8, Math.floor(value / 2 ** 32));
        view.setUint32(index * 8 + 4, value % 2 ** 32);
        return;
      default: {
        const perByte = 8 / this.bits;
        const at = Math.floor(index / perByte);
        const shift = (index % perByte) * this.bits;
        view.setUint8(at, (view.getUint8(at) & ~(this.max << shift)) | (value << shift));
      }
    }
  }
}
