export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  K: KIB,
  M: MIB,
  G: GIB,
  T: 1024 * GIB,
};

const SCALES = [
  { name: 'PiB', scale: GIB * MIB },
  { name: 'TiB', scale: GIB * KIB },
  { name: 'GiB', scale: GIB },
  { name: 'MiB', scale: MIB },
  { name: 'KiB', scale: KIB },
];

/**
 * Bytes in `256M`, `1.5GiB`, `512 kb`: powers of 1024 whichever way the unit is spelt, `unit` where there is none.
 * Undefined when the text is not a size or does not come to whole bytes.
 */
export function parseSize(text: string, unit: 'B' | 'K' | 'M' | 'G' = 'B'): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(?:i?b)?|(b))?\s*$/i.exec(text);
  if (match === null) return undefined;
  const scale = SIZE_UNITS[(match[2] ?? match[3] ?? unit).toUpperCase()] ?? 1;
  const bytes = Number(match[1]) * scale;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** As `formatSize`, in the largest unit that rounds nothing: `3585 MiB`. */
export function formatExactSize(bytes: number): string {
  const unit = SCALES.find(({ scale }) => bytes >= scale && Number.isInteger((bytes / scale) * 2));
  return unit === undefined ? `${bytes} bytes` : `${bytes / unit.scale} ${unit.name}`;
}

/** The largest unit that needs at most one decimal place: `256 MiB`, `1.5 GiB`, `300 bytes`. */
export function formatSize(bytes: number): string {
  if (bytes < KIB) return `${bytes} bytes`;
  const { name, scale } = SCALES.find((unit) => bytes >= unit.scale) ?? { name: 'bytes', scale: 1 };
  return `${Number((bytes / scale).toFixed(1))} ${name}`;
}

/** Milliseconds in `30`, `1.5`, `30s`, `500ms`, `2m`, `1h`; seconds where there is no unit. Undefined when it is no time. */
export function parseDuration(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)?\s*$/i.exec(text);
  if (match === null) return undefined;
  const scales: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  const milliseconds = Number(match[1]) * (scales[(match[2] ?? 's').toLowerCase()] ?? 1);
  return Number.isFinite(milliseconds) ? milliseconds : undefined;
}
