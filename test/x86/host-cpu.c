// Runs single instructions on the host's processor: cases come on standard input, results go to standard output, both
// as the structures below. Built by host-cpu.ts with gcc; x86-64 Linux only. 32-bit code runs in compatibility mode over
// flat segments, 16-bit code in segments of 64 KiB at CODE and DATA.
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define DATA 0x200000UL // 64 KiB that the case fills
#define DATA_BYTES 1024 // of them the first are sent and compared
#define DATA_MAPPED 0x10000UL
#define CODE 0x220000UL // the instruction, where the case puts it
#define FALL 0x220800UL // where the instruction falls through to
#define TAKEN 0x220900UL // where its branches go
#define LEAVE 0x220a00UL
#define FALL64 0x220b00UL
#define TAKEN64 0x220c00UL
#define SAVE 0x230000UL

struct state {
  uint64_t regs[16]; // RAX RCX RDX RBX RSP RBP RSI RDI R8-R15
  uint64_t flags;
  uint64_t rip; // in: where to start; out: 0 fell through, 1 branch taken, else the faulting address
  uint64_t signal; // out: 0 or the signal
  uint32_t code_bytes; // in: length
  uint32_t code_size; // in: 8, 4 or 2
  uint8_t code[32];
  uint8_t fx[512] __attribute__((aligned(16)));
  uint8_t data[DATA_BYTES];
};

// Layout of the page at SAVE, addressed absolutely because no register is free.
struct save {
  uint64_t regs[16];
  uint64_t flags;
  uint64_t host_rsp;
  uint64_t went; // which exit
  uint32_t target;
  uint16_t selector;
  uint8_t fx[512] __attribute__((aligned(16)));
  uint64_t back;
};
static struct save *const save = (struct save *)SAVE;

// Selectors: Linux's own, and those of the two entries made in the LDT.
#define CODE64 0x33
#define CODE32 0x23
#define USER_DATA 0x2b
#define CODE16 0x07
#define DATA16 0x0f

static volatile int fault_signal;
static volatile uint64_t fault_rip;

static void on_signal(int number, siginfo_t *info, void *context) {
  ucontext_t *uc = context;
  greg_t *g = uc->uc_mcontext.gregs;
  static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  for (int i = 0; i < 16; i++) save->regs[i] = g[order[i]];
  save->flags = g[REG_EFL];
  memcpy(save->fx, uc->uc_mcontext.fpregs, 512);
  fault_signal = number;
  fault_rip = g[REG_RIP];
  (void)info;
  g[REG_RIP] = save->back;
  uint16_t selectors[4]; // CS GS FS SS
  memcpy(selectors, &g[REG_CSGSFS], 8);
  selectors[0] = CODE64;
  selectors[3] = USER_DATA;
  memcpy(&g[REG_CSGSFS], selectors, 8);
  g[REG_RSP] = save->host_rsp;
  g[REG_EFL] &= ~(greg_t)0x44500; // no AC, TF, DF, NT in the harness
}

extern char leave_start[], leave_end[];
// Saves everything and goes back; copied behind the stubs, so it may not refer to itself.
__asm__(".section .rodata\nleave_start:\n"
        "movq %rax, 0x230000\nmovq %rcx, 0x230008\nmovq %rdx, 0x230010\nmovq %rbx, 0x230018\n"
        "movq %rsp, 0x230020\nmovq %rbp, 0x230028\nmovq %rsi, 0x230030\nmovq %rdi, 0x230038\n"
        "movq %r8, 0x230040\nmovq %r9, 0x230048\nmovq %r10, 0x230050\nmovq %r11, 0x230058\n"
        "movq %r12, 0x230060\nmovq %r13, 0x230068\nmovq %r14, 0x230070\nmovq %r15, 0x230078\n"
        "movq 0x230088, %rsp\npushfq\npopq %rax\nmovq %rax, 0x230080\n"
        "pushq $2\npopfq\nfxsave64 0x2300a0\nfninit\njmpq *0x2302a0\n"
        "leave_end:\n.text\n");

__attribute__((noinline)) static void run_case(void) {
  __asm__ volatile(
      "pushq %%rbx\npushq %%rbp\npushq %%r12\npushq %%r13\npushq %%r14\npushq %%r15\nsubq $8, %%rsp\n"
      "movq %%rsp, 0x230088\nleaq 1f(%%rip), %%rax\nmovq %%rax, 0x2302a0\n"
      "fxrstor64 0x2300a0\npushq 0x230080\npopfq\n"
      "movq 0x230000, %%rax\nmovq 0x230008, %%rcx\nmovq 0x230010, %%rdx\nmovq 0x230018, %%rbx\n"
      "movq 0x230020, %%rsp\nmovq 0x230028, %%rbp\nmovq 0x230030, %%rsi\nmovq 0x230038, %%rdi\n"
      "movq 0x230040, %%r8\nmovq 0x230048, %%r9\nmovq 0x230050, %%r10\nmovq 0x230058, %%r11\n"
      "movq 0x230060, %%r12\nmovq 0x230068, %%r13\nmovq 0x230070, %%r14\nmovq 0x230078, %%r15\n"
      "ljmpl *0x230098\n"
      "1: cld\naddq $8, %%rsp\npopq %%r15\npopq %%r14\npopq %%r13\npopq %%r12\npopq %%rbp\npopq %%rbx\n" ::
          : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
}

static uint8_t *jump(uint8_t *at, uint64_t to) {
  int32_t distance = (int32_t)(to - ((uint64_t)at + 5));
  *at++ = 0xe9;
  memcpy(at, &distance, 4);
  return at + 4;
}

// movq $number, went; jmp leave
static void stub(uint64_t at, uint32_t number) {
  uint8_t *p = (uint8_t *)at;
  const uint8_t mov[] = {0x48, 0xc7, 0x04, 0x25};
  const uint32_t went = SAVE + 0x90;
  memcpy(p, mov, 4);
  memcpy(p + 4, &went, 4);
  memcpy(p + 8, &number, 4);
  jump(p + 12, LEAVE);
}

// A far jump from code of that size to 64-bit code.
static void leap(uint64_t at, uint32_t code_size, uint32_t to) {
  uint8_t *p = (uint8_t *)at;
  const uint16_t selector = CODE64;
  if (code_size == 2) *p++ = 0x66;
  *p++ = 0xea;
  memcpy(p, &to, 4);
  memcpy(p + 4, &selector, 2);
}

static void exits(uint32_t code_size) {
  if (code_size == 8) {
    stub(FALL, 0);
    stub(TAKEN, 1);
  } else {
    leap(FALL, code_size, FALL64);
    leap(TAKEN, code_size, TAKEN64);
  }
}

// What follows the instruction: a near jump to FALL.
static void follow(uint8_t *at, uint32_t code_size) {
  if (code_size == 2) {
    const uint16_t distance = (uint16_t)(FALL - ((uint64_t)at + 3));
    *at = 0xe9;
    memcpy(at + 1, &distance, 2);
  } else {
    jump(at, FALL);
  }
}

static void set_data(uint16_t selector) {
  __asm__ volatile("movw %0, %%ds\nmovw %0, %%es\nmovw %0, %%ss\n" ::"r"(selector));
}

static int describe(unsigned entry, unsigned base, int code) {
  struct user_desc d = {.entry_number = entry, .base_addr = base, .limit = 0xffff, .useable = 1};
  d.contents = code ? MODIFY_LDT_CONTENTS_CODE : MODIFY_LDT_CONTENTS_DATA;
  return (int)syscall(SYS_modify_ldt, 1, &d, sizeof d);
}

static void *map(uint64_t at, size_t bytes, int protection) {
  void *p = mmap((void *)at, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (p == MAP_FAILED) {
    perror("mmap");
    exit(71);
  }
  return p;
}

int main(void) {
  map(DATA, DATA_MAPPED, PROT_READ | PROT_WRITE);
  map(CODE, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC);
  map(SAVE, 0x1000, PROT_READ | PROT_WRITE);
  stub(FALL64, 0);
  stub(TAKEN64, 1);
  if (describe(0, CODE, 1) != 0 || describe(1, DATA, 0) != 0) return 73;
  memcpy((void *)LEAVE, leave_start, leave_end - leave_start);
  static uint8_t signal_stack[65536];
  stack_t ss = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
  sigaltstack(&ss, NULL);
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP};
  for (int i = 0; i < 5; i++) sigaction(signals[i], &action, NULL);
  static struct state s;
  while (fread(&s, sizeof s, 1, stdin) == 1) {
    memset((void *)DATA, 0, DATA_MAPPED);
    memcpy((void *)DATA, s.data, DATA_BYTES);
    memcpy((void *)CODE, s.code, s.code_bytes);
    exits(s.code_size);
    follow((uint8_t *)CODE + s.code_bytes, s.code_size);
    memcpy(save->regs, s.regs, sizeof s.regs);
    save->flags = s.flags;
    memcpy(save->fx, s.fx, 512);
    save->target = s.code_size == 2 ? 0 : CODE;
    save->selector = s.code_size == 8 ? CODE64 : s.code_size == 4 ? CODE32 : CODE16;
    fault_signal = 0;
    if (s.code_size != 8) set_data(s.code_size == 4 ? USER_DATA : DATA16);
    run_case();
    if (s.code_size != 8) set_data(USER_DATA);
    memcpy(s.regs, save->regs, sizeof s.regs);
    s.flags = save->flags;
    memcpy(s.fx, save->fx, 512);
    memcpy(s.data, (void *)DATA, DATA_BYTES);
    s.signal = fault_signal;
    s.rip = fault_signal ? fault_rip : save->went;
    if (fwrite(&s, sizeof s, 1, stdout) != 1 || fflush(stdout)) return 72;
  }
  return 0;
}
