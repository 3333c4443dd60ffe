/**
 * What every accelerator (cpu/: software, kvm/: hardware) gives a machine. Shaped like KVM's API, so that devices,
 * snapshots, gdb and the monitor are written once.
 */
export interface VcpuState {
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15. */
  regs: bigint[];
  rip: bigint;
  rflags: bigint;
  /** ES CS SS DS FS GS. */
  segments: SegmentState[];
  ldtr: SegmentState;
  tr: SegmentState;
  gdtr: TableRegister;
  idtr: TableRegister;
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  efer: bigint;
}

/** A segment register with its hidden part. `rights` holds descriptor bits 40-55: type, S, DPL, P, limit 19:16 (ignored), AVL, L, D/B, G. */
export interface SegmentState {
  selector: number;
  base: bigint;
  /** In bytes, granularity applied. */
  limit: number;
  rights: number;
}

export interface TableRegister {
  base: bigint;
  limit: number;
}

/** Why a virtual CPU came back from `run`. */
export type VcpuExit =
  | { readonly type: 'stopped' }
  /** The guest asked the board to power off (ACPI S5). */
  | { readonly type: 'power-off' }
  | { readonly type: 'reset' }
  /** The debug-exit port: the process status is `2 * value + 1`. */
  | { readonly type: 'debug-exit'; readonly value: number }
  /** Triple fault. */
  | { readonly type: 'shutdown' }
  /** The software CPU's two tiers do not agree. */
  | { readonly type: 'difference'; readonly message: string }
  /** We erred. */
  | { readonly type: 'internal-error'; readonly message: string };
