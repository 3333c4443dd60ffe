import type { Explanation, ExplanationPart } from '#control/explain.ts';

/** Columns of a terminal from which on the four stand side by side. */
const WIDE = 150;
const GAP = 2;
/** Of the width, for the guest's code and each form of IR; the rest is WebAssembly's. */
const SHARE = 0.25;
const TITLES = ['guest', 'IR, lifted', 'IR, after the passes', 'WebAssembly'] as const;

const HEADINGS: Readonly<Record<ExplanationPart['part'], string>> = {
  entry: 'entry: budget, flags and registers into locals',
  node: 'block: its instructions are counted',
  insn: '(goes on)',
  'to-interpreter': 'way out to the interpreter',
  exit: 'way out: locals into the state, the next region',
  interpreted: 'interpreted',
  end: 'the end',
};

/** The explanation as text, for a terminal of so many columns. */
export function formatExplanation(explanation: Explanation, columns: number): string {
  const { at, name, mode, blocks, wasmBytes, parts } = explanation;
  const size = wasmBytes === 0 ? 'all interpreted' : `${wasmBytes} bytes of WebAssembly`;
  const title = `${name === undefined ? at : `${name} (${at})`}: ${mode}-bit code, blocks: ${blocks}, ${size}`;
  const body = columns >= WIDE ? sideBySide(parts, columns) : parts.flatMap(stacked);
  return `${[title, '', ...body].join('\n')}\n`;
}

/** The guest's side of a part. */
function guestLines({ part, address, name, bytes, text, why }: ExplanationPart): string[] {
  if (address === undefined) return [HEADINGS[part]];
  return [
    ...(name === undefined ? [] : [`${name}:`]),
    ...(text === undefined ? [] : [`${address}  ${text}`]),
    ...(bytes === undefined ? [] : [`  ${bytes}`]),
    ...(why === undefined || part === 'end' ? [] : [`  interpreted: ${why}`]),
    ...(part === 'end' ? [text === undefined ? `${address}  ${why}` : `  ${why}`] : []),
  ];
}

function stacked(part: ExplanationPart): string[] {
  const section = (title: string, lines: readonly string[] = []) =>
    lines.length === 0 ? [] : [`  ${title}`, ...lines.map((line) => `    ${line}`)];
  return [
    ...guestLines(part),
    ...section(TITLES[1], part.lifted),
    ...section(TITLES[2], part.optimised),
    ...section(TITLES[3], part.wasm),
    '',
  ];
}

function sideBySide(parts: readonly ExplanationPart[], columns: number): string[] {
  const width = Math.floor(columns * SHARE) - GAP;
  const widths = [width, width, width, columns - 3 * (width + GAP)];
  const row = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd((widths[i] ?? 0) + (i < 3 ? GAP : 0)))
      .join('')
      .trimEnd();
  const lines = [row(TITLES), '-'.repeat(columns)];
  for (const part of parts) {
    const cells = [guestLines(part), part.lifted ?? [], part.optimised ?? [], part.wasm].map(
      (cell, i) => cell.flatMap((line) => wrap(line, widths[i] ?? width)),
    );
    const height = Math.max(...cells.map((cell) => cell.length));
    for (let i = 0; i < height; i++) lines.push(row(cells.map((cell) => cell[i] ?? '')));
    lines.push('');
  }
  return lines;
}

/** A line in pieces that fit; what follows the first is indented. */
function wrap(line: string, width: number): string[] {
  if (line.length <= width) return [line];
  const space = line.lastIndexOf(' ', width);
  const cut = space > width / 2 ? space : width;
  return [line.slice(0, cut), ...wrap(`    ${line.slice(cut).trimStart()}`, width)];
}
