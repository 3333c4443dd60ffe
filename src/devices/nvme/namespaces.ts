import type { BlockBackend } from '#hw/block.ts';
import * as r from './nvme-regs.ts';

/** The disks of a controller, by their namespace identifiers, which come and go. */
export class Namespaces {
  readonly #disks = new Map<number, BlockBackend>();
  /** The controller's, not a namespace's. */
  readonly serial: string;
  readonly #changed: (nsid: number) => void;

  /** `changed` hears of each that comes, goes, or has another size. */
  constructor(disks: ReadonlyMap<number, BlockBackend>, changed: (nsid: number) => void) {
    this.#changed = changed;
    this.serial = [...disks.values()][0]?.serial ?? '';
    for (const [nsid, disk] of disks) this.#put(nsid, disk);
  }

  #put(nsid: number, disk: BlockBackend): void {
    this.#disks.set(nsid, disk);
    disk.onResize(() => {
      if (this.#disks.get(nsid) === disk) this.#changed(nsid);
    });
  }

  attach(nsid: number, disk: BlockBackend): void {
    this.#put(nsid, disk);
    this.#changed(nsid);
  }

  detach(nsid: number): void {
    if (this.#disks.delete(nsid)) this.#changed(nsid);
  }

  /** Undefined: the namespace is not active. */
  get(nsid: number): BlockBackend | undefined {
    return this.#disks.get(nsid);
  }

  get all(): readonly BlockBackend[] {
    return [...this.#disks.values()];
  }

  /** The active ones above `after`, in order. */
  above(after: number): readonly number[] {
    return [...this.#disks.keys()].filter((nsid) => nsid > after).sort((a, b) => a - b);
  }
}

/** Whether a controller may have a namespace of that identifier (6.1.1). */
export function isNamespaceId(nsid: number): boolean {
  return nsid >= 1 && nsid <= r.MOST_NAMESPACES;
}
