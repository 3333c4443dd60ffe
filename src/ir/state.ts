// Layout of one virtual CPU's state in linear memory: byte offsets from the CPU's base address, which every handler,
// helper and translated function gets as its first argument `cpu`. Read by core/ (AssemblyScript), by codegen/ and by
// cpu/: nothing but constants here. Little-endian; the names are the SDM's.

// General registers, 8 bytes each: RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15. Offsets fit a byte: records hold them.
export const S_REGS = 0;
export const S_RAX = 0;
export const S_RCX = 8;
export const S_RDX = 16;
export const S_RBX = 24;
export const S_RSP = 32;
export const S_RBP = 40;
export const S_RSI = 48;
export const S_RDI = 56;
/** Always zero: the base or index of an address that has none. */
export const S_ZERO = 128;
/** RIP of the first instruction of the running block; between blocks, and whenever core/ looks at it, RIP itself. */
export const S_RIP = 136;

// Arithmetic flags, not computed until read. RES: i64, the last result, sign-extended:
// ZF = (RES == 0), SF = (RES < 0) ^ AUX bit 0, PF = even parity of the byte RES ^ (AUX >> 8).
// AUX: i64: CF = bit 63; OF = bit 63 ^ bit 62; AF = bit 3; bit 0 and bits 8-15 correct SF and PF where RES cannot say it.
export const S_FLAGS_RES = 144;
export const S_FLAGS_AUX = 152;
/** u32: all other bits of EFLAGS (TF IF DF IOPL NT RF VM AC VIF VIP ID, and bit 1); arithmetic bits are 0 here. */
export const S_EFLAGS = 160;
/** u32: what translated code is specialised by; KEY_… below. Recomputed by core/ whenever a part of it changes. */
export const S_KEY = 164;
/** u64: linear address left by an address record for the record after it. */
export const S_EA = 168;
/** u32: the record that may fault, stored before each call that may; 0 when RIP is exact. */
export const S_REC = 176;
/** u32, atomic: not 0 asks the CPU to leave translated code at the next block. Bits: ATTN_…. */
export const S_ATTENTION = 180;
/** u32: the TLB for reads of the present privilege; S_TLB_WRITE the one for writes. */
export const S_TLB_READ = 184;
export const S_TLB_WRITE = 188;
/** u32: current privilege level. */
export const S_CPL = 192;
/** i32: instructions until the next look at the clock; blocks count it down. */
export const S_BUDGET = 196;
/** u64: instructions begun, counted block by block; S_BUDGET's progress included only at boundaries. */
export const S_ICOUNT = 200;
/** u32: generation of the jump cache in this mode, in bits 31:KEY_BITS; the key is put into the bits below. */
export const S_JUMP_GEN = 208;
/** u32: 1 while interrupts wait for one more instruction (STI, MOV SS). */
export const S_INHIBIT = 212;
/** u64: RIP behind the last STI that let interrupts in while none waited: one that comes there is one instruction early. 0: none. */
export const S_STI_NEXT = 2688;
/** u32: 1 when halted (HLT), 2 waiting for SIPI. */
export const S_HALTED = 216;
/** u32: address of the block being run. */
export const S_BLOCK = 220;
/** u32: linear-memory address of guest-physical 0; S_RAM_SIZE u32: bytes of RAM there. */
export const S_RAM_HOST = 224;
export const S_RAM_SIZE = 228;
/** u32: address of the byte map of physical pages: PAGE_… bits, one byte a page, PAGE_MAP_BYTES. */
export const S_PAGE_MAP = 232;
/** u32: 0 when A20 is masked, else 0xffffffff is not masked: ANDed into physical addresses as ~(1<<20) when masked. */
export const S_A20_MASK = 236;
/** u32: index of this vCPU. */
export const S_INDEX = 240;
/** u32: address of this vCPU's private area (TLBs, jump cache, block table): A_… below. */
export const S_AREA = 244;

// Segment registers with their hidden parts, 32 bytes each: ES CS SS DS FS GS LDTR TR.
export const S_SEGS = 256;
export const SEG_SIZE = 32;
export const SEG_BASE = 0; // u64
export const SEG_LIMIT = 8; // u32, in bytes, granularity applied
export const SEG_RIGHTS = 12; // u32: descriptor bits 40-55: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15
export const SEG_SELECTOR = 16; // u32
export const SEG_ES = 0;
export const SEG_CS = 1;
export const SEG_SS = 2;
export const SEG_DS = 3;
export const SEG_FS = 4;
export const SEG_GS = 5;
export const SEG_LDTR = 6;
export const SEG_TR = 7;

export const S_GDT_BASE = 512; // u64
export const S_GDT_LIMIT = 520; // u32
export const S_IDT_BASE = 528; // u64
export const S_IDT_LIMIT = 536; // u32

// Control and debug registers, u64 each.
export const S_CR0 = 544;
export const S_CR2 = 552;
export const S_CR3 = 560;
export const S_CR4 = 568;
export const S_CR8 = 576;
export const S_EFER = 584;
export const S_XCR0 = 592;
export const S_DR0 = 600; // DR0-DR3
export const S_DR6 = 632;
export const S_DR7 = 640;

// Model-specific registers, u64 each.
export const S_MSR_STAR = 648;
export const S_MSR_LSTAR = 656;
export const S_MSR_CSTAR = 664;
export const S_MSR_SFMASK = 672;
export const S_MSR_KERNEL_GS_BASE = 680;
export const S_MSR_SYSENTER_CS = 688;
export const S_MSR_SYSENTER_ESP = 696;
export const S_MSR_SYSENTER_EIP = 704;
export const S_MSR_TSC_AUX = 712;
export const S_MSR_PAT = 720;
export const S_MSR_TSC_ADJUST = 728;
export const S_MSR_MISC_ENABLE = 736;
export const S_MSR_SPEC_CTRL = 744;
export const S_MSR_DEBUGCTL = 752;
/** i64: guest TSC minus the host-derived TSC. */
export const S_TSC_OFFSET = 760;
export const S_MSR_MTRR_DEF = 768;
export const S_MSR_MTRR_FIXED = 776; // 11 of them: 64K, 16K x2, 4K x8
export const S_MSR_MTRR_VAR = 864; // 8 pairs base, mask: 128 bytes

// The exception being raised: filled before the unwind.
export const S_EXC_VECTOR = 992; // u32
export const S_EXC_ERROR = 996; // u32
export const S_EXC_FLAGS = 1000; // u32: EXC_… below
export const S_EXC_ADDR = 1008; // u64: CR2 for #PF; DR6 bits for #DB
export const EXC_HAS_ERROR = 1;
/** Raised by INT n, INT3, INTO: DPL is checked, RIP pushed is that of the next instruction. */
export const EXC_SOFTWARE = 2;
export const EXC_EXTERNAL = 4;

// SSE: XMM0-15, 16 bytes each.
export const S_XMM = 1024;
export const S_MXCSR = 1280; // u32

// x87. Physical registers R0-R7, 16 bytes each: significand u64 at 0, sign and exponent u16 at 8. MMX MMn is the
// significand of Rn. ST(i) is R((TOP + i) & 7).
export const S_FPU_REGS = 1296;
export const S_FPU_CONTROL = 1424; // u32
export const S_FPU_STATUS = 1428; // u32, TOP field kept 0 here: see S_FPU_TOP
export const S_FPU_TOP = 1432; // u32
export const S_FPU_EMPTY = 1436; // u32: bit n set when physical register Rn is empty
export const S_FPU_OPCODE = 1440; // u32, 11 bits
/** FCS and FDS, u32 each; 0 unless the CPU model keeps them: then the word behind them is 1 (CPUID.7.0:EBX[13] is clear). */
export const S_FPU_CS = 1444;
export const S_FPU_DS = 1448;
export const S_FPU_KEEPS_SELECTORS = 1452;
export const S_FPU_IP = 1456; // u64
export const S_FPU_DP = 1464; // u64

// What core/ tells cpu/.
export const S_STAT_TLB_MISS = 1472; // u64
export const S_STAT_FAULTS = 1480; // 32 of u32: exceptions by vector
export const S_STAT_FLUSHES = 1608; // u64
export const S_STAT_WALKS = 1616; // u64
/** u32: 1 when the last instruction boundary had TF set: #DB follows the next instruction. */
export const S_TF_ARMED = 1624;
/** u32: DR6 bits of data breakpoints met by the running instruction. */
export const S_DB_PENDING = 1628;
/** 4 u64 of scratch, for helpers with several results. */
export const S_SCRATCH = 1632;
/** Four PDPTE registers of PAE paging, u64 each. */
export const S_PDPTE = 1664;
// 1696-1760: fields of interrupt delivery, see core/interrupts.ts.
/** u64: bit n set when a large page with address bits 27:22 = n may be in the TLB; all set for 1 GiB pages. */
export const S_LARGE_PAGES = 1760;
/** u32: address in the arena where the next block goes. */
export const S_ARENA_NEXT = 1768;
/** ROM below 4 GiB: guest-physical address of its first byte (u32, 0 for none) and where it lies in linear memory. */
export const S_ROM_PADDR = 1772;
export const S_ROM_HOST = 1776;
/** u32: which TLB_MODE data accesses have, whether or not the tables of that mode are in use. */
export const S_DATA_MODE = 1800;
/** u32: 1 when an interrupt waits for EFLAGS.IF. */
export const S_IRQ_PENDING = 1804;
/** u64: blocks made, blocks dropped. */
export const S_STAT_BLOCKS = 1784;
export const S_STAT_DROPPED = 1792;
/** u32: error code of the page fault that a walk met. */
export const S_WALK_ERROR = 1808;
/** u32: blocks dropped because their bytes changed; wraps. */
export const S_KILLS = 1812;
/** u32, atomic: batches of regions that have been translated and sent. */
export const S_BATCHES = 1816;
/** u64: runs of regions, those that left an instruction to the interpreter, and instructions in them. */
export const S_STAT_REGION_RUNS = 1824;
export const S_STAT_REGION_COLD = 1832;
export const S_STAT_REGION_INSNS = 1840;
/** What the page streams of regions know (codegen/page-streams.ts). */
export const S_STREAMS = 3072;
export const STREAMS_BYTES = 512;
/** Room for the numbers of 128 bits that the x87's transcendental functions compute with, 512 bytes. */
export const S_F128 = 3584;
/** u32: entries written to the log of transfers; wraps. */
export const S_JUMP_LOGGED = 1848;
/** u32: end of the segment of the arena that blocks are laid into now. */
export const S_ARENA_END = 1852;
/** u32: in the segment of the arena that comes next, the first block that `make_room` has not killed; 0 when none was there. */
export const S_ROOM_MADE = 1876;
/** u32: pages from whose blocks the links to that segment have been taken. */
export const S_ROOM_PAGES = 1880;
/** u32: 1 while blocks are interpreted although there are regions of them. */
export const S_CHILLED = 1884;
/** u64: blocks that have made room for others. */
export const S_STAT_EVICTED = 1856;
/** Two u32: what S_JUMP_GEN is in supervisor and in user mode. */
export const S_JUMP_GENS = 1864;
/** u32: 1 when the supervisor has run code in the lower half of addresses or on pages that are not global. */
export const S_LOCAL_CODE = 1872;
export const S_SIZE = 4096;

// S_ATTENTION bits.
export const ATTN_INTERRUPT = 1; // an interrupt controller has something
export const ATTN_STOP = 2; // the VM is to stop or pause
export const ATTN_STEP = 4; // TF, breakpoints, INHIBIT: look at each boundary
export const ATTN_INVALIDATE = 8; // a device wrote to pages with translated code

// S_KEY bits.
export const KEY_CODE32 = 1;
export const KEY_CODE64 = 2; // neither: 16-bit code
export const KEY_STACK32 = 4;
export const KEY_STACK64 = 8;
/** ES CS SS DS have base 0 and limit 4 GiB - 1, and are usable: nothing to check. Always set with KEY_CODE64. */
export const KEY_FLAT = 16;
export const KEY_PROTECTED = 32; // CR0.PE and not EFLAGS.VM
export const KEY_VM86 = 64;
export const KEY_USER = 128; // CPL 3
export const KEY_NO_FPU = 256; // CR0.EM or TS: x87 and MMX instructions raise #NM (MMX with EM: #UD, looked up then)
export const KEY_NO_SSE = 512; // CR0.EM, CR0.TS or not CR4.OSFXSR: which one is looked up when raised
export const KEY_ALIGN = 1024; // alignment checks are on: CR0.AM, EFLAGS.AC, CPL 3
export const KEY_STEP = 2048; // blocks of one instruction: TF, RF, breakpoints
export const KEY_BITS = 12;

// What COMISx leaves in the flags, in one i64: AUX, with bit 16 for RES. ZF PF CF: 000 greater, 001 less (greater, and
// the two bits from COMPARED_CARRY up), 100 equal, 111 unordered; OF SF AF are cleared.
export const COMPARED_GREATER = 65536;
export const COMPARED_EQUAL = 256;
export const COMPARED_CARRY = 62;

// TLB entries, 16 bytes: tag u64 (virtual address of the page), delta u32 (linear-memory address minus
// low half of the virtual address), page u32 (guest-physical page number). An empty entry has a tag whose bit 12 is the
// complement of its index bit 0, which no address that looks there matches. A hit of an access of `size` bytes:
// (vaddr ^ tag) <= 4096 - size, unsigned. Each of three modes has one for reads and one for writes, in this order.
export const TLB_ENTRIES = 8192;
/** In place of the distance of a page, its linear-memory address minus its virtual one, where there is none: distances are even. */
export const NO_DELTA = 1;
export const TLB_ENTRY_SIZE = 16;
export const TLB_BYTES = 131072;

export const TLB_MODE_USER = 0;
export const TLB_MODE_SUPERVISOR = 1;
export const TLB_MODE_SMAP = 2; // supervisor with CR4.SMAP and EFLAGS.AC clear: user pages fault

// The private area of a vCPU: offsets from S_AREA.
export const A_TLB = 0; // mode * 2 + write, TLB_BYTES each
export const A_TLB_EXEC = 786432; // two TLBs for instruction fetches: supervisor, then user
/** Three tables as those for writes, of pages that have translated code: each write looks whether it hits any. */
export const A_TLB_CODE = 1048576; // TLB_BYTES each, by mode
/** A TLB that is never filled: data accesses take the slow path while alignment checks or data breakpoints are on. */
export const A_TLB_NONE = 1441792;
export const A_JUMP_CACHE = 1572864; // JUMP_ENTRIES of 16: rip u64, generation and key u32, block u32
export const JUMP_ENTRIES = 16384;
/** Two logs of filled entries, TLB_LOG_BYTES each, those of global pages behind the others: their number u32, then their addresses, u32 each. */
export const A_TLB_LOGS = 1835008;
export const TLB_LOG_BYTES = 65600;
export const TLB_LOG_MAX = 16384;
export const A_BLOCK_TABLE = 1966208; // BLOCK_BUCKETS u32: heads of chains of blocks by hash of physical address and key
export const BLOCK_BUCKETS = 131072;
export const A_PAGE_HEADS = 2490496; // PAGE_HEADS u32: chains of blocks by hash of their physical page
export const PAGE_HEADS = 16384;
/**
 * REGION_SLOTS of 16: what a region of several pages was last found valid for: generation and key u32, base RIP u64 at 8; at 4
 * how often it gave up.
 */
export const A_REGIONS = 2556032;
export const REGION_SLOTS = 8192;
/** JUMP_LOG_ENTRIES of 16: the last transfers that no link serves: block left u32, RIP gone to u64 at 8. */
export const A_JUMP_LOG = 2687104;
export const JUMP_LOG_ENTRIES = 8192;
/** REGION_SLOTS of REGION_PAGES u32: the physical pages besides its own that a region's code was taken from. */
export const A_REGION_PAGES = 2818176;
export const REGION_PAGES = 32;
/** PAGE_HEADS u64: a bit for each 64 bytes of a page of which a block may have been made; pages share them as they share heads. */
export const A_CODE_LINES = 3866752;
/** Two u32: physical addresses of bytes that no block was made from, found by the last look, and of what follows them. */
export const A_NO_CODE = 3997824;
export const A_ARENA = 3997888; // blocks are laid here one after another
// What core/templates.ts predecodes with; cpu/insn-templates.ts fills it.
/** u16 by key: the node that code begins at; 0 where none has been met. */
export const A_CODE_ROOTS = 71106752;
/** The record that ends a block whose last instruction does not. */
export const A_FALL_THROUGH = 71114944;
/** i32: B_HEAT of new blocks. */
export const A_NEW_HEAT = 71114968;
/** u32: A_KEPT is not empty. */
export const A_ANY_KEPT = 71114972;
/** KEPT_ENTRIES u32: hashes of the blocks that regions of earlier runs may be entered at; 0 is none. */
export const A_KEPT = 71123136;
export const KEPT_ENTRIES = 32768;
/** CODE_NODES of 256 u16 by the next byte of an instruction: 0 unknown, another node, or CODE_LEAF + a template. */
export const A_CODE_NODES = 71254208;
export const CODE_NODES = 8192;
export const CODE_NODE_BYTES = 512;
export const CODE_LEAF = 0x8000;
/** CODE_TEMPLATES of T_…, then T_RECORDS_MAX records. */
export const A_CODE_TEMPLATES = 75448512;
export const CODE_TEMPLATES = 32768;
export const TEMPLATE_BYTES = 96;
/** Whole area of a vCPU. */
export const AREA_BYTES = 78643392;
/** The arena is filled segment by segment; the oldest one is emptied when the last is full. A multiple of 8. */
export const ARENA_SEGMENT_BYTES = 8388608;
export const ARENA_SEGMENTS = 8;
/** What `block_dropped` gets when blocks, each of which it was told of, have made room for others. */
export const BLOCKS_EVICTED = 1;

// Bits of the page map.
export const PAGE_CODE = 1; // some vCPU has translated code of the page
export const PAGE_DIRTY = 2; // written since the dirty log was last read
export const PAGE_ROM = 4; // writes are ignored
export const PAGE_RAM = 8; // memory stands behind the page; else accesses are MMIO
/** Physical pages the map covers: 4 GiB. */
export const PAGE_MAP_BYTES = 1048576;
/** Physical address width that CPUID tells and page walks check. */
export const PHYS_BITS = 40;

// A block: header, then records.
export const B_PADDR = 0; // u32: physical address of the first byte
export const B_KEY = 4; // u32
export const B_COUNT = 8; // u32: guest instructions; 0 when the block is no longer valid
export const B_CHAIN = 12; // u32: next block of the bucket
/** u32: records; above them whether the last record and the one before it have been linked to other blocks. */
export const B_RECORDS = 16;
export const B_RECORDS_MASK = 0xffff;
export const B_LINKED_LAST = 0x10000;
export const B_LINKED_ENDING = 0x20000;
/** It has reload records: some of its immediates are not code, but data that it reads. */
export const B_PATCHED = 0x40000;
export const B_PADDR2 = 20; // u32: physical page of the last byte where it is another page, else 0
// Links in the chains of blocks by page: next link u32, block u32. The second is used with B_PADDR2.
export const B_LINK1 = 24;
export const B_LINK2 = 32;
export const B_BYTES = 40; // u32: guest bytes covered
/**
 * i32: entries left before the block is worth translating; 0 when it is not to be, or is being; negated number of the
 * region in the table of regions when there is one.
 */
export const B_HEAT = 44;
export const HEAT_START = 16_000;
/** Of user code: programs are run again, while most of what a kernel runs until it has booted is not. */
export const HEAT_START_USER = 4000;
/** For code that a region of an earlier run may stand for. */
export const HEAT_KEPT = 8;
/** Where the block was found by the last branch from another page: linear address u64, S_JUMP_GEN u32. */
export const B_LIN = 48;
export const B_LIN_GEN = 56;
export const B_HEADER = 64;

/** Guest instructions in a block at most: bounds the time to the next look at interrupts. */
export const BLOCK_INSNS = 64;
/** Records in a block at most. */
export const BLOCK_RECORDS = 194;

// An instruction as its bytes up to the displacement say, without the displacement and the immediate: u8 each.
export const T_LENGTH = 0;
export const T_COUNT = 1; // records
export const T_ENDS = 2; // 1 when a block ends with it
export const T_UNIT = 3; // KEY_NO_FPU or KEY_NO_SSE, shifted by T_UNIT_SHIFT: it does not stand where the key has it
export const T_UNIT_SHIFT = 8;
/** What of a key decides what an instruction is made into, its unit aside. */
export const T_KEY = 127; // KEY_CODE32 to KEY_VM86
/** Two parts that are put in from the code: where in it, how long, where in the records, and how (T_…). */
export const T_DISP = 4;
export const T_IMM = 8;
export const T_AT = 0;
export const T_SIZE = 1; // bytes: 0 where there is none
export const T_TO = 2;
export const T_HOW = 3;
export const T_SIGNED = 1;
export const T_FROM_NEXT = 2; // counted from the next instruction: its offset in the block is added
export const T_WIDE = 4; // to 64 bits; else to 32
export const T_ADD = 12; // i32: what is added to the displacement
export const T_RECORDS = 16;
export const T_RECORDS_MAX = 3;

// A record: one predecoded instruction, or a part of one. 24 bytes.
export const REC_HANDLER = 0; // u16
export const REC_A = 2; // u8: first register operand: byte offset in the state for integers, number for others
export const REC_B = 3; // u8: second register operand
export const REC_BASE = 4; // u8: state offset of the base register
export const REC_INDEX = 5; // u8: state offset of the index register
export const REC_SHIFT = 6; // u8: scale as a shift count
export const REC_SEG = 7; // u8: segment register number
export const REC_DISP = 8; // i32: displacement; of a direct branch: target minus RIP of the block
export const REC_START = 12; // u16: offset of the instruction from the block's first byte
export const REC_NEXT = 14; // u16: offset of the byte behind it
// i64: immediate; of a direct branch two u32: linked block when taken, when not, plus LINK_NEAR where it is on the same page;
// of a `segmented` address record bytes: size of the access, 1 for a write, address size, 1 for LEA, and for BT and its kin
// operand size and state offset of the index
export const REC_IMM = 16;
export const REC_LINK = 16;
export const REC_LINK2 = 20;
export const REC_SIZE = 24;
export const LINK_NEAR = 1;

// A reload record: the record behind it takes its immediate from memory anew. REC_IMM holds the linear-memory address,
// REC_DISP the offset of the immediate in the block, REC_A its bytes, REC_B 1 when it is sign-extended. REC_SHIFT, which
// is 3 at most elsewhere, tells it from other records.
export const RELOAD_MARK = 0x80;

// What `run` returns.
export const RUN_BOUNDARY = 0; // attention or budget: look at interrupts and the clock

// What a region returns.
export const REGION_DONE = 0; // RIP is where to go on
export const REGION_COLD = 1; // the instruction at RIP is for the interpreter
export const REGION_BOUNDARY = 2; // attention or budget
