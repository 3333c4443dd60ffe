// Entry of a 64-bit kernel: by the PVH protocol in 32-bit protected mode without paging (Xen, docs/misc/pvh.pandoc), which
// both QEMU's -kernel and ring0's --kernel speak. Goes to 64-bit mode over an identity map of 4 KiB pages, as a
// process would have, and never comes back: a fault ends the machine.
#define MAPPED_MIB 64
#define PAGE_RIGHTS 3 // present, writable

    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 4, 18 // name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start32

    .text
    .code32
    .globl start32
start32:
    cli
    cld
    mov $stack_top, %esp

    mov $page_tables, %edi
    mov $PAGE_RIGHTS, %eax
1:  mov %eax, (%edi)
    add $8, %edi
    add $4096, %eax
    cmp $page_tables_end, %edi
    jb 1b

    mov $page_directory, %edi
    mov $page_tables + PAGE_RIGHTS, %eax
2:  mov %eax, (%edi)
    add $8, %edi
    add $4096, %eax
    cmp $page_tables_end + PAGE_RIGHTS, %eax
    jb 2b

    movl $page_directory + PAGE_RIGHTS, page_directory_pointers
    movl $page_directory_pointers + PAGE_RIGHTS, page_map

    mov $0x620, %eax // CR4: PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $page_map, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx // EFER
    rdmsr
    or $0x100, %eax // LME
    wrmsr
    mov $0x80000033, %eax // CR0: PG, NE, ET, MP, PE
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $0x08, $start64

    .code64
start64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    fninit
    call run
    mov $0x10, %eax // the exit status becomes 2 * 0x10 + 1
    out %al, $0xf4
3:  hlt
    jmp 3b

    .data
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9a000000ffff // 64-bit code
    .quad 0x00cf92000000ffff // data
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .bss
    .balign 4096
page_map:
    .skip 4096
page_directory_pointers:
    .skip 4096
page_directory:
    .skip 4096
page_tables:
    .skip MAPPED_MIB / 2 * 4096
page_tables_end:
    .skip 65536
stack_top:
    .section .note.GNU-stack, "", @progbits
