import { ImageError } from '../image.ts';

const ALGORITHMS = ['SHA1', 'SHA256', 'SHA512'] as const;
export type DigestAlgorithm = (typeof ALGORITHMS)[number];

export interface ManifestLine {
  readonly algorithm: DigestAlgorithm;
  readonly file: string;
  /** In hexadecimal, small letters. */
  readonly digest: string;
}

/** Lines such as `SHA256(disk.vmdk)= 0a1b…` (DSP0243, 5.1). @throws {ImageError} `corrupt`, `unsupported`. */
export function parseManifest(text: string, path: string): ManifestLine[] {
  const lines: ManifestLine[] = [];
  for (const line of text.split(/\r?\n/)) {
    if (line.trim() === '') continue;
    const match = /^([A-Z0-9-]+)\s*\((.*)\)\s*=\s*([0-9a-f]+)\s*$/i.exec(line);
    const [, name = '', file = '', digest = ''] = match ?? [];
    const algorithm = ALGORITHMS.find((one) => one === name.toUpperCase().replace('-', ''));
    if (match === null)
      throw new ImageError('corrupt', `${path}: the manifest has a line '${line.slice(0, 80)}'`, {
        path,
      });
    if (algorithm === undefined)
      throw new ImageError('unsupported', `${path}: not supported: digests by ${name}`, { path });
    lines.push({ algorithm, file, digest: digest.toLowerCase() });
  }
  return lines;
}

export function makeManifest(lines: readonly ManifestLine[]): string {
  return lines.map(({ algorithm, file, digest }) => `${algorithm}(${file})= ${digest}\n`).join('');
}
