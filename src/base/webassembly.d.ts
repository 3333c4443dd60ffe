// What we use of the WebAssembly JavaScript interface: it belongs to the language's hosts, browsers and Node alike, and
// TypeScript declares it only with the DOM, which the engine must not see.
declare namespace WebAssembly {
  type ImportValue = Memory | Table | ((...args: never[]) => unknown);
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number; shared?: boolean });
    readonly buffer: ArrayBufferLike;
    grow(pages: number): number;
  }
  class Table {
    constructor(descriptor: { initial: number; element: 'anyfunc' });
    get(index: number): unknown;
    set(index: number, value: unknown): void;
  }
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports?: Record<string, Record<string, unknown>>);
    readonly exports: Record<string, unknown>;
  }
}
