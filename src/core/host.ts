// What core/ calls in its host (cpu/vcpu.ts): AssemblyScript's own syntax, which no other tool parses.

// @ts-expect-error asc's own syntax
@external('env', 'mmio_read')
export declare function mmio_read(cpu: usize, paddr: u64, size: u32): u32;

// @ts-expect-error asc's own syntax
@external('env', 'mmio_write')
export declare function mmio_write(cpu: usize, paddr: u64, size: u32, value: u32): void;

/** Decodes the block at `paddr` (linear address `lin`) into the arena and registers it with `add_block`. */
// @ts-expect-error asc's own syntax
@external('env', 'predecode')
export declare function predecode(cpu: usize, paddr: u32, lin: u64): usize;

/** Learns the instruction at `at` in linear memory, which lies before `end`, for core/templates.ts; 0 where it cannot. */
// @ts-expect-error asc's own syntax
@external('env', 'learn_insn')
export declare function learn_insn(at: u32, end: u32, key: u32): u32;

/** The bytes of a block have changed: what was translated from it is not to be entered again. 0: all blocks are gone. */
// @ts-expect-error asc's own syntax
@external('env', 'block_dropped')
export declare function block_dropped(block: u32): void;

/**
 * A copy of a block, not registered, in which the immediate that has the bytes [paddr, paddr + size) is read from memory
 * each time; 0 when they are no immediate, or there is no room.
 */
// @ts-expect-error asc's own syntax
@external('env', 'patched_block')
export declare function patched_block(block: u32, paddr: u32, size: u32): u32;

/** A block has been entered HEAT_START times; a number below REGION_SLOTS: the region in that slot gave up too often. */
// @ts-expect-error asc's own syntax
@external('env', 'block_hot')
export declare function hostBlockHot(block: u32): void;

/** The task priority lives in the local APIC. */
// @ts-expect-error asc's own syntax
@external('env', 'task_priority')
export declare function task_priority(): u32;

// @ts-expect-error asc's own syntax
@external('env', 'set_task_priority')
export declare function set_task_priority(value: u32): void;

/** APIC_BASE, TSC_DEADLINE and the x2APIC's: 1 when done, the value in S_SCRATCH; 0 for #GP. */
// @ts-expect-error asc's own syntax
@external('env', 'apic_msr_read')
export declare function apic_msr_read(cpu: usize, msr: u32): u32;

// @ts-expect-error asc's own syntax
@external('env', 'apic_msr_write')
export declare function apic_msr_write(cpu: usize, msr: u32): u32;

/** IA32_TSC or IA32_TSC_ADJUST was written: a TSC deadline now means another time. */
// @ts-expect-error asc's own syntax
@external('env', 'tsc_moved')
export declare function tsc_moved(): void;

/** Reports, once, a register that is not known. */
// @ts-expect-error asc's own syntax
@external('env', 'unknown_msr')
export declare function unknown_msr(msr: u32, write: u32): void;

/** Leaves all of core/ and translated code at once: the host throws, and the run loop catches. Costs about 0.3 µs. */
// @ts-expect-error asc's own syntax
@external('env', 'unwind')
export declare function unwind(): void;

// @ts-expect-error asc's own syntax
@external('env', 'port_read')
export declare function port_read(cpu: usize, port: u32, size: u32): u32;

// @ts-expect-error asc's own syntax
@external('env', 'port_write')
export declare function port_write(cpu: usize, port: u32, size: u32, value: u32): void;

/** Something that a trace is wanted of: EVENT_… and what ir/state-system.ts says of it. */
// @ts-expect-error asc's own syntax
@external('env', 'trace_event')
export declare function trace_event(event: u32, a: u64, b: u64): void;

/** Ticks of the time-stamp counter since it was 0, whole. */
// @ts-expect-error asc's own syntax
@external('env', 'tsc')
export declare function hostTsc(): f64;

// @ts-expect-error asc's own syntax
@external('env', 'random32')
export declare function random32(): u32;

/** Reads EAX and ECX of the state, writes EAX to EDX. */
// @ts-expect-error asc's own syntax
@external('env', 'cpuid')
export declare function hostCpuid(cpu: usize): void;

/** An x87 exception that is not masked has been recorded: FOP and, with a memory operand, FDP are those of the instruction at FIP. */
// @ts-expect-error asc's own syntax
@external('env', 'x87_unmasked')
export declare function x87_unmasked(): void;

/** FERR# rises. */
// @ts-expect-error asc's own syntax
@external('env', 'x87_error')
export declare function x87_error(): void;
