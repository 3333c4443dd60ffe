// Runs single MMX and SSE instructions on the host's processor. Reads cases from stdin, runs each, writes it back with
// the registers, flags and MXCSR that the instruction left. gcc -O1 -mno-red-zone
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct Case {
  uint8_t code[16]; // padded with NOPs
  uint64_t rax, rcx, rdx;
  uint32_t mxcsr;
  uint32_t trapped; // number of the signal, or 0
  uint8_t xmm[4][16];
  uint8_t mem[16];
  uint64_t mm[4];
  uint64_t eflags;
  uint64_t unused;
} __attribute__((aligned(16)));

_Static_assert(sizeof(struct Case) == 176, "the test knows the layout");

static sigjmp_buf out;
static uint32_t trap_mxcsr;

static void on_signal(int signal, siginfo_t *info, void *context) {
  (void)info;
  trap_mxcsr = ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
  siglongjmp(out, signal);
}

static void run(struct Case *c, void *page) {
  register void *code __asm__("r8") = page;
  __asm__ volatile(
      "ldmxcsr 40(%%rsi)\n"
      "movaps 48(%%rsi), %%xmm0\n movaps 64(%%rsi), %%xmm1\n movaps 80(%%rsi), %%xmm2\n movaps 96(%%rsi), %%xmm3\n"
      "movq 128(%%rsi), %%mm0\n movq 136(%%rsi), %%mm1\n movq 144(%%rsi), %%mm2\n movq 152(%%rsi), %%mm3\n"
      "lea 112(%%rsi), %%rdi\n"
      "mov 16(%%rsi), %%rax\n mov 24(%%rsi), %%rcx\n mov 32(%%rsi), %%rdx\n"
      "pushq $0x202\n popfq\n"
      "call *%%r8\n"
      "pushfq\n popq 160(%%rsi)\n"
      "mov %%rax, 16(%%rsi)\n mov %%rcx, 24(%%rsi)\n mov %%rdx, 32(%%rsi)\n"
      "stmxcsr 40(%%rsi)\n"
      "movaps %%xmm0, 48(%%rsi)\n movaps %%xmm1, 64(%%rsi)\n movaps %%xmm2, 80(%%rsi)\n movaps %%xmm3, 96(%%rsi)\n"
      "movq %%mm0, 128(%%rsi)\n movq %%mm1, 136(%%rsi)\n movq %%mm2, 144(%%rsi)\n movq %%mm3, 152(%%rsi)\n"
      "emms\n"
      "pushq $0x1f80\n ldmxcsr (%%rsp)\n popq %%rax\n"
      : "+S"(c), "+r"(code)
      :
      : "memory", "cc", "rax", "rcx", "rdx", "rdi", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3");
}

int main(void) {
  static struct Case c;
  uint8_t *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return 1;
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
  const int signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, 0);
  page[16] = 0xc3;
  while (fread(&c, sizeof c, 1, stdin) == 1) {
    memcpy(page, c.code, 16);
    int trapped = sigsetjmp(out, 0);
    if (trapped == 0) {
      run(&c, page);
      c.trapped = 0;
    } else {
      c.trapped = (uint32_t)trapped;
      c.mxcsr = trap_mxcsr;
    }
    fwrite(&c, sizeof c, 1, stdout);
  }
  return 0;
}
