// Patches the immediate of an instruction just ahead, and runs it: what a JIT, or a kernel's static key, costs.
#define ROUNDS 100000

    .section .patched, "awx", @progbits
    .globl bench
bench:
    mov $ROUNDS, %ecx
    xor %eax, %eax
1:  mov %ecx, 2f + 2(%rip)
    jmp 2f
2:  lea 0x12345678(%rax), %eax // 8d 80 and the immediate
    rol $5, %eax
    dec %ecx
    jnz 1b
    ret
    .section .note.GNU-stack, "", @progbits
