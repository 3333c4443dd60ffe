// Patches the immediate of an instruction just ahead, and runs it: what a JIT, or a kernel's static key, costs.
#define ROUNDS 200000

    .section .patched, "awx", @progbits
    .globl bench
bench:
    mov $ROUNDS, %ecx
    xor %eax, %eax
1:
#ifdef __x86_64__
    mov %ecx, 2f + 1(%rip)
#else
    mov %ecx, 2f + 1
#endif
    jmp 2f
2:  add $0x12345678, %eax // 05 and the immediate
    rol $5, %eax
    dec %ecx
    jnz 1b
    xor %edx, %edx // a 32-bit caller takes the result from EDX:EAX
    ret
    .section .note.GNU-stack, "", @progbits
