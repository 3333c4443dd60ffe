// One function a page, on PAGES pages, called in turn CALLS times in all.

    .text
    .globl bench
bench:
#ifdef __x86_64__
    push %rbx
#else
    push %ebx
#endif
    mov $CALLS / PAGES, %ebx
    xor %eax, %eax
1:
    .set page, 0
    .rept PAGES
    call functions + page * 4096
    .set page, page + 1
    .endr
    dec %ebx
    jnz 1b
    xor %edx, %edx // a 32-bit caller takes the result from EDX:EAX
#ifdef __x86_64__
    pop %rbx
#else
    pop %ebx
#endif
    ret

    .set page, 0
    .balign 4096
functions:
    .rept PAGES
    .balign 4096
#ifdef __x86_64__
    lea page(%rax, %rax, 2), %eax
#else
    lea page(%eax, %eax, 2), %eax
#endif
    mov %eax, %ecx
    shr $7, %ecx
    xor %ecx, %eax
    ret
    .set page, page + 1
    .endr
    .section .note.GNU-stack, "", @progbits
