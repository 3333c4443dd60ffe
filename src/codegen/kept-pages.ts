import { AddressGroups, type Known } from './address-groups.ts';
import { type ControlFlow, smallLoops } from './control-flow.ts';
import { entryValues } from './entry-values.ts';
import { PagePins } from './page-pins.ts';
import { PageStreams } from './page-streams.ts';
import type { Region } from './region.ts';
import type { FunctionBody } from './wasm.ts';

/** What is known of a region's registers and pages over more than a node. */
export class KeptPages {
  readonly groups: AddressGroups;
  readonly streams: PageStreams;
  readonly pins: PagePins;
  readonly #known: readonly Known[];

  /** `cpu`: the local with the address of the state. */
  constructor(
    { f, cpu, flow }: { f: FunctionBody; cpu: number; flow: ControlFlow },
    region: Region,
  ) {
    this.groups = new AddressGroups(region.code64);
    const { known, accesses } = entryValues(region, flow, this.groups);
    this.#known = known;
    const inLoops = new Set(smallLoops(region, flow, region.nodes.length).flat());
    this.streams = new PageStreams(f, cpu, region, flow);
    this.pins = new PagePins(f, cpu, accesses, (node) => inLoops.has(node));
    this.groups.reset(this.knownAt(0));
  }

  /** What is known of registers at the beginning of a node, whatever way leads there. */
  knownAt(node: number): Known {
    return this.#known[node] ?? new Map();
  }

  /** Nothing is known of any page, yet or any more. */
  forget(): void {
    this.streams.forget();
    this.pins.forget();
  }
}
