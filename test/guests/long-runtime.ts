/**
 * As ring0-runtime.ts, in 64-bit mode. Tables of 4 levels map RAM to itself for ring 0: the first 2 MiB in pages of
 * 4 KiB (`pages`), the rest in pages of 2 MiB (`directory`); the first 2 MiB for ring 3 at USER (`user_pages`); 1 GiB
 * in one page at GIB (`pointers`).
 */
export const LONG_RUNTIME = `
.text
.macro try where
  movq $\\where, resume
  mov %rsp, resume_rsp
.endm
.macro print value
  push %rax
  mov \\value, %rax
  call print_word
  pop %rax
.endm
.macro print64 value
  push %rax
  mov \\value, %rax
  call print_long
  pop %rax
.endm
.macro from label
  push %rax
  mov last, %rax
  sub $\\label, %rax
  call print_word
  pop %rax
.endm
# 0x8e00 interrupt, 0x8f00 trap; the low bits are the IST, 0x6000 DPL 3.
.macro gate vector handler type=0x8e00 selector=CODE at=idt
  push %rax
  mov $\\handler, %eax
  mov %ax, \\at+\\vector*16
  movw $\\selector, \\at+\\vector*16+2
  movw $\\type, \\at+\\vector*16+4
  shr $16, %eax
  mov %eax, \\at+\\vector*16+6
  pop %rax
.endm
.macro wrmsr_ number value
  mov $\\number, %ecx
  mov $\\value, %rax
  mov %rax, %rdx
  shr $32, %rdx
  wrmsr
.endm
.macro cr number bits
  mov %cr\\number, %rax
  or $\\bits, %rax
  mov %rax, %cr\\number
.endm
.macro reload
  mov %cr3, %rax
  mov %rax, %cr3
.endm
# To ring 3, to the instruction after it.
.macro user flags=$2 selector=USER_CODE
  mov $USER_DATA, %eax
  mov %eax, %ds
  push $USER_DATA
  push $user_stack+USER
  push \\flags
  push $\\selector
  push $.Luser\\@+USER
  iretq
  .Luser\\@:
.endm
.set CODE, 0x08
.set DATA, 0x10
.set COMPAT, 0x18
.set USER_COMPAT, 0x23
.set USER_DATA, 0x2b
.set USER_CODE, 0x33
.set TASK, 0x38
.set GATE, 0x48
.set CONFORMING, 0x58
.set CODE16, 0x60
.set DATA16, 0x68
.set NOWHERE, 0x70
.set USER, 0x800000
.set GIB, 0x40000000
.set HIGH, 0xffffff8000000000
.code32
_start: mov %ebx, which
  mov %ecx, rounds
again32: mov $stack, %esp
  mov %cr0, %eax
  and $0x7fffffff, %eax
  mov %eax, %cr0
  mov $0x11, %eax
  mov %eax, %cr0
  xor %eax, %eax
  mov %eax, %dr7
  mov $0x620, %eax
  mov %eax, %cr4
  mov $tables, %edi
  mov $tables_end-tables, %ecx
  xor %eax, %eax
  rep stosb
  mov $pristine, %esi
  mov $gdt, %edi
  mov $pristine_end-pristine, %ecx
  rep movsb
  movl $pointers+7, tables
  movl $pointers+7, tables+511*8
  movl $pointers+7, tables+256*8
  movl $directory+7, pointers
  movl $0x83, pointers+8
  movl $pages+7, directory
  movl $0x200083, directory+8
  movl $0x400083, directory+16
  movl $0x600083, directory+24
  movl $user_pages+7, directory+32
  mov $pages, %edi
  mov $3, %eax
  mov $512, %ecx
1: mov %eax, (%edi)
  lea 4(%eax), %edx
  mov %edx, user_pages-pages(%edi)
  add $0x1000, %eax
  add $8, %edi
  loop 1b
  mov $tables, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx
  mov $0x901, %eax
  xor %edx, %edx
  wrmsr
  mov $0x80010011, %eax
  mov %eax, %cr0
  lgdt gdtr
  ljmp $CODE, $again64
.code64
again64: mov $DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  xor %eax, %eax
  mov %eax, %fs
  mov %eax, %gs
  mov $stack, %rsp
  push $2
  popf
  mov $task, %eax
  mov %ax, gdt+TASK+2
  shr $16, %eax
  mov %al, gdt+TASK+4
  movq $stack-4096, task+4
  movq $stack-2048, task+0x24
  movw $104, task+102
  mov $TASK, %eax
  ltr %ax
  mov $idt, %edi
  mov $stubs, %esi
  mov $48, %ecx
2: mov %esi, %eax
  mov %ax, (%rdi)
  movw $CODE, 2(%rdi)
  movw $0x8e00, 4(%rdi)
  shr $16, %eax
  mov %eax, 6(%rdi)
  add $16, %edi
  add $16, %esi
  loop 2b
  lidt idtr
  mov which, %ebx
  mov bodies(,%rbx,4), %eax
  call *%rax
  mov $10, %al
  out %al, $0xe9
  decl rounds
  jz 3f
  mov $DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  ljmp *down
3: out %al, $0xf4
  hlt

handler: cld
  mov %rax, last_rax
  mov %rcx, last_rcx
  mov %rdx, last_rdx
  pop %rax
  mov %rax, last_vector
  pop %rax
  mov %rax, last_error
  mov (%rsp), %rax
  mov %rax, last
  mov 8(%rsp), %rax
  mov %rax, last_cs
  mov 16(%rsp), %rax
  mov %rax, last_flags
  mov 24(%rsp), %rax
  mov %rax, last_rsp
  mov 32(%rsp), %rax
  mov %rax, last_ss
  mov last_vector, %rdx
  mov $2, %ecx
  call digits
  mov $':', %al
  out %al, $0xe9
  mov last_error, %rdx
  mov $4, %ecx
  call digits
  cmpq $14, last_vector
  jne 1f
  mov %cr2, %rax
  jmp 2f
1: cmpq $1, last_vector
  jne 3f
  mov %dr6, %rax
  and $0xe00f, %eax
  mov $0xffff0ff0, %edx
  mov %rdx, %dr6
2: push %rax
  mov $':', %al
  out %al, $0xe9
  pop %rax
  call print_long
  jmp 4f
3: mov $' ', %al
  out %al, $0xe9
4: mov $DATA, %eax
  mov %eax, %ss
  mov resume_rsp, %rsp
  push $2
  popf
  mov last_rax, %rax
  mov last_rcx, %rcx
  mov last_rdx, %rdx
  jmp *resume

# Prints RAX, 8 or 16 digits.
print_word: push %rcx
  mov $8, %ecx
  jmp 1f
print_long: push %rcx
  mov $16, %ecx
1: push %rdx
  mov %rax, %rdx
  call digits
  mov $' ', %al
  out %al, $0xe9
  pop %rdx
  pop %rcx
  ret
digits: push %rcx
  shl $2, %ecx
  neg %ecx
  add $64, %ecx
  shl %cl, %rdx
  pop %rcx
1: rol $4, %rdx
  mov %edx, %eax
  and $15, %eax
  mov hex(%rax), %al
  out %al, $0xe9
  loop 1b
  ret

.balign 16
stubs:
.set vector, 0
.rept 48
  .balign 16
  .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
  .else
  push $0
  .endif
  push $vector
  jmp handler
  .set vector, vector + 1
.endr
.data
hex: .ascii "0123456789abcdef"
.balign 8
down: .long again32
  .word COMPAT
.balign 8
pristine: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
  .quad 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0x0000890000002067
  .quad 0, 0, 0, 0x00af9f000000ffff, 0x00009b000000ffff, 0x000093000000ffff
pristine_end:
gdtr: .word NOWHERE-1
  .quad gdt
idtr: .word 48*16-1
  .quad idt
.bss
.balign 4096
tables: .skip 4096
pointers: .skip 4096
directory: .skip 4096
pages: .skip 4096
user_pages: .skip 4096
page: .skip 16384
user_stack:
.balign 8
gdt: .skip NOWHERE
idt: .skip 48*16
.balign 4096
task: .skip 104+8192+1
tables_end:
.balign 8
resume: .skip 8
resume_rsp: .skip 8
which: .skip 8
rounds: .skip 8
last_vector: .skip 8
last_error: .skip 8
last: .skip 8
last_cs: .skip 8
last_flags: .skip 8
last_rsp: .skip 8
last_ss: .skip 8
last_rax: .skip 8
last_rcx: .skip 8
last_rdx: .skip 8
  .skip 8192
.balign 16
stack:
.skip 64
.text
`;
