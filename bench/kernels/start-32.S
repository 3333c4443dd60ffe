// Entry of a 32-bit kernel: by Multiboot (specification 0.6.96), in protected mode without paging; QEMU, ring0 and v86
// speak it. Turns paging on over an identity map of 4 KiB pages, as a process would have, and never comes back: a fault
// ends the machine.
#define MAPPED_MIB 64
#define PAGE_RIGHTS 3 // present, writable
#define MAGIC 0x1badb002

    .section .multiboot, "a"
    .balign 4
    .long MAGIC, 0, -MAGIC // no flags: the ELF header says where things go

    .text
    .globl start32
start32:
    cli
    cld
    mov $stack_top, %esp

    mov $page_tables, %edi
    mov $PAGE_RIGHTS, %eax
1:  mov %eax, (%edi)
    add $4, %edi
    add $4096, %eax
    cmp $page_tables_end, %edi
    jb 1b

    mov $page_directory, %edi
    mov $page_tables + PAGE_RIGHTS, %eax
2:  mov %eax, (%edi)
    add $4, %edi
    add $4096, %eax
    cmp $page_tables_end + PAGE_RIGHTS, %eax
    jb 2b

    mov $0x600, %eax // CR4: OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $page_directory, %eax
    mov %eax, %cr3
    mov $0x80000033, %eax // CR0: PG, NE, ET, MP, PE
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $0x08, $3f
3:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    fninit
    call run
    mov $0x10, %eax // the exit status becomes 2 * 0x10 + 1
    out %al, $0xf4
4:  hlt
    jmp 4b

    .data
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff // 32-bit code
    .quad 0x00cf92000000ffff // data
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .bss
    .balign 4096
page_directory:
    .skip 4096
page_tables:
    .skip MAPPED_MIB / 4 * 4096
page_tables_end:
    .skip 65536
stack_top:
    .section .note.GNU-stack, "", @progbits
