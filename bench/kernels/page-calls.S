// One function a page, on PAGES pages, called in turn CALLS times in all.
#define CALLS 8192000

    .text
    .globl bench
bench:
    push %rbx
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
    pop %rbx
    ret

    .set page, 0
    .balign 4096
functions:
    .rept PAGES
    .balign 4096
    lea page(%rax, %rax, 2), %rax
    mov %rax, %rcx
    shr $7, %rcx
    xor %rcx, %rax
    ret
    .set page, page + 1
    .endr
    .section .note.GNU-stack, "", @progbits
