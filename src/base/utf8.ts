import { latin1Text } from './latin1.ts';

/** Of characters of ASCII alone as `latin1Text`: a TextDecoder takes longer to make than a short name to read. */
export function utf8Text(bytes: Uint8Array): string {
  for (let at = 0; at < bytes.length; at++)
    if ((bytes[at] ?? 0) > 0x7f) return new TextDecoder().decode(bytes);
  return latin1Text(bytes);
}
