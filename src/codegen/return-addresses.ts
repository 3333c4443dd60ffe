import type { Inst } from '#ir/block.ts';
import type { Access } from './address-groups.ts';
import type { RegionInsn } from './region.ts';

/** What lies within so many bytes does not meet by two virtual pages of one physical page. */
const PAGE_BYTES = 4096;

/** Bytes at an offset from an unknown value, which has a number. */
interface Extent {
  readonly root: number;
  readonly offset: number;
  readonly width: number;
}

interface Pushed extends Extent {
  /** The return address, from the region's entry. */
  readonly next: number;
}

/** The return addresses that calls have stored, as long as nothing can have overwritten them: a RET there needs no look. */
export class ReturnAddresses {
  #pushed: readonly Pushed[] = [];

  forget(): void {
    this.#pushed = [];
  }

  /** What is known now; the answer makes it known again. */
  remember(): () => void {
    const pushed = this.#pushed;
    return () => {
      this.#pushed = pushed;
    };
  }

  /** A store. */
  stored(
    insn: RegionInsn | undefined,
    value: Inst | undefined,
    { access, width }: { readonly access: Access | undefined; readonly width: number },
  ): void {
    if (access === undefined) {
      this.forget();
      return;
    }
    const { root, offset } = access;
    this.#pushed = this.#pushed.filter((known) => isApart(known, { root, offset, width }));
    if (insn === undefined || !isNextRip(value, width)) return;
    this.#pushed = [...this.#pushed, { root, offset, width, next: insn.next }];
  }

  /** The return address that a load finds, from the region's entry; undefined where it is not known. */
  loaded(access: Access | undefined, width: number): number | undefined {
    const known = this.#pushed.find(
      (p) => p.root === access?.root && p.offset === access.offset && p.width === width,
    );
    return known?.next;
  }
}

function isApart(a: Extent, b: Extent): boolean {
  const span = Math.max(a.offset + a.width, b.offset + b.width) - Math.min(a.offset, b.offset);
  return a.root === b.root && span >= a.width + b.width && span <= PAGE_BYTES;
}

/** Whether it is the whole of it: calls with operands of 16 bits push a part. */
function isNextRip(value: Inst | undefined, width: number): boolean {
  const inner = width === 4 && value?.op.name === 'i32.wrap_i64' ? value.args[0] : value;
  return width >= 4 && inner?.op.name === 'next_rip';
}
