import type { SymbolTable } from '#symbols/symbol-table.ts';
import type { SampledStack, Samples } from './guest-sampler.ts';

// The profile of a guest as browsers save that of a script: what DevTools, speedscope and the Firefox Profiler open. Source:
// Chrome DevTools Protocol, Profiler.Profile (times in microseconds).

interface CallFrame {
  readonly functionName: string;
  readonly scriptId: string;
  readonly url: string;
  readonly lineNumber: number;
  readonly columnNumber: number;
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: CallFrame;
  hitCount: number;
  readonly children: number[];
}

export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  readonly startTime: number;
  readonly endTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** What the parts of a guest are called, as in the profile of a script. */
const TITLES = { kernel: '(kernel)', user: '(user)', idle: '(idle)' } as const;
const URLS = { kernel: 'kernel', user: 'user', idle: '' } as const;
const PAGE_MASK = ~0xfffn;

/** A function by its name; where there are no names, the page that it is in. */
function functionName(address: bigint, symbols: SymbolTable | undefined): string {
  return symbols?.find(address)?.name ?? `0x${(address & PAGE_MASK).toString(16)}…`;
}

export function cpuProfile(samples: Samples, symbols: SymbolTable | undefined): CpuProfile {
  const tree = new ProfileTree();
  const leaves = samples.stacks.map((stack) => tree.leaf(stack, symbols));
  const micro = (ns: number) => Math.round(ns / 1000);
  const startTime = micro(samples.times[0] ?? samples.endNs);
  let before = startTime;
  const timeDeltas = samples.times.map((ns) => {
    const delta = Math.max(0, micro(ns) - before);
    before += delta;
    return delta;
  });
  const ids = samples.which.map((which) => {
    const node = leaves[which] ?? tree.root;
    node.hitCount++;
    return node.id;
  });
  const endTime = Math.max(before, micro(samples.endNs));
  return { nodes: tree.nodes, startTime, endTime, samples: ids, timeDeltas };
}

class ProfileTree {
  readonly nodes: ProfileNode[] = [];
  readonly root: ProfileNode;
  readonly #byName = new Map<string, ProfileNode>();

  constructor() {
    this.root = this.#node('(root)', '');
  }

  /** The node of a stack, the outermost call first on the way to it. */
  leaf({ mode, addresses }: SampledStack, symbols: SymbolTable | undefined): ProfileNode {
    let node = this.#child(this.root, TITLES[mode], '');
    for (const [i, address] of addresses.toReversed().entries()) {
      // A return address may be that of the next function, where a call does not come back.
      const inside = i === addresses.length - 1 ? address : address - 1n;
      node = this.#child(node, functionName(inside, symbols), URLS[mode]);
    }
    return node;
  }

  #child(parent: ProfileNode, name: string, url: string): ProfileNode {
    const key = `${parent.id} ${name}`;
    const known = this.#byName.get(key);
    if (known !== undefined) return known;
    const node = this.#node(name, url);
    this.#byName.set(key, node);
    parent.children.push(node.id);
    return node;
  }

  #node(functionName: string, url: string): ProfileNode {
    const place = { scriptId: '0', url, lineNumber: -1, columnNumber: -1 };
    const callFrame = { functionName, ...place };
    const node: ProfileNode = { id: this.nodes.length + 1, callFrame, hitCount: 0, children: [] };
    this.nodes.push(node);
    return node;
  }
}

/** The functions that most of the time awake was spent in: shares of 1, largest first. */
export function hottestFunctions(
  samples: Samples,
  symbols: SymbolTable | undefined,
  most: number,
): { readonly name: string; readonly mode: string; readonly share: number }[] {
  const counts = new Map<string, { name: string; mode: string; ns: number }>();
  let total = 0;
  for (const [i, which] of samples.which.entries()) {
    const stack = samples.stacks[which];
    if (stack === undefined || stack.mode === 'idle') continue;
    const ns = (samples.times[i + 1] ?? samples.endNs) - (samples.times[i] ?? 0);
    const name = functionName(stack.addresses[0] ?? 0n, symbols);
    const key = `${stack.mode} ${name}`;
    const count = counts.get(key) ?? { name, mode: stack.mode, ns: 0 };
    count.ns += ns;
    counts.set(key, count);
    total += ns;
  }
  return [...counts.values()]
    .sort((a, b) => b.ns - a.ns)
    .slice(0, most)
    .map(({ name, mode, ns }) => ({ name, mode, share: total > 0 ? ns / total : 0 }));
}
