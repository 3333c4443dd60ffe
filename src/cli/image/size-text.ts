const UNITS = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'] as const;

/** As qemu-img writes sizes: three digits that count, and the next unit from 1000 on: `388 KiB`, `0.977 KiB`, `10 MiB`. */
export function sizeText(bytes: number): string {
  let power = 0;
  let value = bytes;
  while (value >= 1000 && power < UNITS.length - 1) {
    value /= 1024;
    power++;
  }
  return `${significant(value)} ${UNITS[power]}B`;
}

/** C's `%.3g`, for numbers below 1000. */
function significant(value: number): string {
  return String(Number(value.toPrecision(3)));
}
