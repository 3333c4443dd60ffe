// Intel SDM vol. 3, table 6-1.
const NAMES = [
  ...['#DE', '#DB', 'NMI', '#BP', '#OF', '#BR', '#UD', '#NM', '#DF', '#9', '#TS', '#NP', '#SS'],
  ...['#GP', '#PF', '#15', '#MF', '#AC', '#MC', '#XM', '#VE', '#CP'],
];

/** `#PF` for 14. */
export function exceptionName(vector: number): string {
  return NAMES[vector] ?? `#${vector}`;
}
