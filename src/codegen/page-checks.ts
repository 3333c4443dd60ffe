/** A check that has been made: where it went well these offsets from a root lie in one page, and `delta` leads there. */
export interface PageCheck {
  readonly low: number;
  readonly high: number;
  readonly writes: boolean;
  /** The region goes on only where it went well. */
  readonly isSure: boolean;
  /** Local: the page's linear-memory address minus its virtual one, or NO_DELTA (`hot-memory.ts`). */
  readonly delta: number;
}

interface Made {
  readonly root: number;
  readonly check: PageCheck;
}

/** What is known of pages, by the root of the addresses. There are few at a time. */
export class PageChecks {
  #made: readonly Made[] = [];

  get(root: number): PageCheck | undefined {
    return this.#made.find((made) => made.root === root)?.check;
  }

  set(root: number, check: PageCheck): void {
    this.#made = [...this.#made.filter((made) => made.root !== root), { root, check }];
  }

  clear(): void {
    this.#made = [];
  }

  save(): readonly Made[] {
    return this.#made;
  }

  restore(made: readonly Made[]): void {
    this.#made = made;
  }
}
