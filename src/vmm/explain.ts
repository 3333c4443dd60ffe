import { readFileSync } from 'node:fs';
import { RequestError } from '#base/errors.ts';
import type { ExplainRequest, Explanation, ExplanationPart } from '#control/explain.ts';
import { findModel } from '#cpu/cpuid.ts';
import { type ExplainedPart, explainCode } from '#cpu/explain-code.ts';
import type { HandlerMap } from '#cpu/handlers.ts';
import type { SymbolTable } from '#symbols/symbol-table.ts';
import { disassemble } from '#translate/x86/disassemble.ts';
import { type CodeImage, codeEnd, openCode, readCodePage } from './code-image.ts';
import { guestSymbols } from './guest-symbols.ts';

const LAST_32 = 0xffff_ffffn;
const HANDLERS = new URL('../../build/handlers.json', import.meta.url);

/** Shows how the hot tier would translate code. @throws {RequestError} where there is none at `at`. */
export function explain(request: ExplainRequest): Explanation {
  const image = openCode(request);
  const { features } = findModel(request.cpuModel);
  const symbols = symbolsOf(request, image);
  const at = findAddress(request.at, image, symbols);
  if (image.mode !== 64 && at > LAST_32)
    throw new RequestError(
      `${hex(at)} lies beyond the addresses of ${image.mode}-bit code; give a lower one, or another mode`,
      'at',
    );
  const end = request.mostBytes === undefined ? undefined : at + BigInt(request.mostBytes);
  const code = {
    mode: image.mode,
    at,
    ...(end !== undefined && { end }),
    mostBlocks: request.mostBlocks,
    readPage: (vaddr: bigint) => readCodePage(image, vaddr),
    endOf: (vaddr: bigint) => codeEnd(image, vaddr),
  };
  const explained = explainCode({ handlers: readHandlers(), features }, code);
  if (explained.parts.length === 0)
    throw new RequestError(`there is no code at ${hex(at)}; give another address`, 'at');
  const name = symbols?.nameOf(at);
  return {
    at: hex(at),
    ...(name !== undefined && { name }),
    mode: image.mode,
    blocks: explained.blocks,
    wasmBytes: explained.wasmBytes,
    parts: explained.parts.map((part) => describe(part, image.mode, symbols)),
  };
}

/** Text of bytes that are no instruction. */
const NO_INSN = { undefined: '(undefined)', 'too-long': '(too long)', short: '(cut off)' } as const;

function readHandlers(): HandlerMap {
  try {
    return JSON.parse(readFileSync(HANDLERS).toString()) as HandlerMap;
  } catch (cause) {
    throw new RequestError("the engine has not been built; run 'npm run build'", undefined, {
      cause,
    });
  }
}

/** From the user's file, else those in the kernel. Only a name makes it worth looking through a kernel of many MiB. */
function symbolsOf(request: ExplainRequest, { file }: CodeImage): SymbolTable | undefined {
  const { symbols } = request;
  const files = {
    ...(symbols !== undefined && { symbols }),
    ...(file !== undefined && { kernel: file }),
  };
  if (symbols === undefined && file === undefined) return undefined;
  return guestSymbols(files, file ?? new Uint8Array());
}

/** `0x…`, a name, or a name with an offset. */
function findAddress(
  at: string | undefined,
  image: CodeImage,
  symbols: SymbolTable | undefined,
): bigint {
  if (at === undefined) return image.entry;
  if (/^(0x[0-9a-f]+|\d+)$/i.test(at)) return BigInt(at);
  if (/^[0-9a-f]{8,16}$/i.test(at)) return BigInt(`0x${at}`);
  const [, name = at, offset] = /^(.+?)\+(0x[0-9a-f]+|\d+)$/i.exec(at) ?? [];
  const found = symbols?.addressOf(name);
  if (found !== undefined) return found + BigInt(offset ?? 0);
  throw new RequestError(
    symbols === undefined
      ? `'${at}' is no address, and there are no symbols; give a file that has them, or an address as 0x…`
      : `there is no symbol '${name}'; give another, or an address as 0x…`,
    'at',
  );
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function describe(
  { address, bytes, insn, wasm, lifted, optimised, why, part }: ExplainedPart,
  mode: 16 | 32 | 64,
  symbols: SymbolTable | undefined,
): ExplanationPart {
  const begins = address === undefined ? undefined : symbols?.find(address);
  const nameOf = (to: bigint) => symbols?.nameOf(to);
  const codeSize = mode === 64 ? 8 : mode === 32 ? 4 : 2;
  return {
    part,
    ...(address !== undefined && { address: hex(address) }),
    ...(begins?.offset === 0n && { name: begins.name }),
    ...(bytes !== undefined && {
      bytes: [...bytes].map((b) => b.toString(16).padStart(2, '0')).join(' '),
    }),
    ...(insn !== undefined &&
      address !== undefined && {
        text:
          typeof insn === 'string'
            ? NO_INSN[insn]
            : disassemble(insn, { rip: address, codeSize, nameOf }),
      }),
    ...(lifted !== undefined && { lifted }),
    ...(optimised !== undefined && { optimised }),
    ...(why !== undefined && { why }),
    wasm: wasm.map(({ depth, text }) => `${'  '.repeat(depth)}${text}`),
  };
}
