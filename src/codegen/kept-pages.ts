import { AddressGroups, type Known, NOTHING_KNOWN } from './address-groups.ts';
import { type ControlFlow, smallLoops } from './control-flow.ts';
import { entryValues } from './entry-values.ts';
import { type KeptPage, PagePins } from './page-pins.ts';
import { PageStreams } from './page-streams.ts';
import type { Region } from './region.ts';
import type { FunctionBody } from './wasm.ts';

/** What is known of a region's registers and pages over more than a node. */
export class KeptPages {
  readonly groups: AddressGroups;
  readonly streams: PageStreams;
  readonly #pins: PagePins;
  readonly #known: readonly Known[];
  readonly #inLoops: ReadonlySet<number>;
  /** Whether core/ looks for a page that the TLB does not have; else the instruction is the interpreter's. */
  readonly servesMisses: boolean;
  #isInLoop = false;

  /** `cpu`: the local with the address of the state. */
  constructor(
    { f, cpu, flow }: { f: FunctionBody; cpu: number; flow: ControlFlow },
    region: Region,
  ) {
    this.groups = new AddressGroups(region.code64);
    this.#inLoops = new Set(smallLoops(flow, region.nodes.length).flat());
    this.servesMisses = region.servesMisses;
    // What runs once from the region's entry to its end finds little that it has looked up before.
    this.#known = this.#inLoops.size > 0 ? entryValues(region, flow, this.groups) : [];
    const inLoops = region.nodes.flatMap((node, n) =>
      this.#inLoops.has(n) ? this.groups.entryAccesses(node, this.knownAt(n)) : [],
    );
    this.streams = new PageStreams(f, cpu, region, flow);
    this.#pins = new PagePins(f, cpu, inLoops);
    this.groups.reset(this.knownAt(0));
  }

  /** Begins the node of that number. */
  enter(node: number): void {
    this.#isInLoop = this.#inLoops.has(node);
  }

  /** The page of `width` bytes at an offset from a root, in the node begun last, when it is one that is kept. */
  pinOf(root: number, offset: number, width: number, write: boolean): KeptPage | undefined {
    return this.#isInLoop ? this.#pins.of(root, offset, width, write) : undefined;
  }

  /** What is known of registers at the beginning of a node, whatever way leads there. */
  knownAt(node: number): Known {
    return this.#known[node] ?? NOTHING_KNOWN;
  }

  /** Nothing is known of any page, yet or any more. */
  forget(): void {
    this.streams.forget();
    this.#pins.forget();
  }
}
