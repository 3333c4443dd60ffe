/** What code to explain; files come as their bytes. One of `kernel`, `raw` and `code`. */
export interface ExplainRequest {
  /** bzImage, ELF or Multiboot 1: told apart by content. */
  readonly kernel?: Uint8Array;
  /** Code without a format, and where its first byte lies. */
  readonly raw?: { readonly bytes: Uint8Array; readonly base: bigint };
  /** Bits of the code; where it is not said, what the kernel's format says, else 64. */
  readonly mode?: 16 | 32 | 64;
  /** An address or a symbol, with an offset or without; the entry where it is not said. */
  readonly at?: string;
  /** A vmlinux or a System.map. */
  readonly symbols?: Uint8Array;
  /** Bytes from `at` in which blocks may begin. */
  readonly mostBytes?: number;
  /** Blocks that are followed from `at`. */
  readonly mostBlocks: number;
  readonly cpuModel: string;
}

/** Code and what becomes of it, in the order of the function that it is translated to. */
export interface Explanation {
  readonly at: string;
  /** `name+0x10`, where names are known. */
  readonly name?: string;
  readonly mode: 16 | 32 | 64;
  readonly blocks: number;
  /** Size of the function; 0 where all is interpreted. */
  readonly wasmBytes: number;
  readonly parts: readonly ExplanationPart[];
}

export interface ExplanationPart {
  /**
   * `entry`: before the first instruction; `node`: at the beginning of a block; `insn`: an instruction, or what belongs to one
   * that has been; `to-interpreter`: the way out of instructions that turn out to be the interpreter's; `exit`: the common
   * way out; `interpreted`: an instruction that is not translated, or what is none; `end`: the code that was given ends.
   */
  readonly part: 'entry' | 'node' | 'insn' | 'to-interpreter' | 'exit' | 'interpreted' | 'end';
  /** The instruction: its address, a name where one begins there, its bytes in hexadecimal, its text. */
  readonly address?: string;
  readonly name?: string;
  readonly bytes?: string;
  readonly text?: string;
  /** The IR as lifted, and after folding and after what is not needed has gone. */
  readonly lifted?: readonly string[];
  readonly optimised?: readonly string[];
  /** Why an instruction is not translated, or what is wrong with it. */
  readonly why?: string;
  /** Lines of WebAssembly, indented by how deep they are. */
  readonly wasm: readonly string[];
}
