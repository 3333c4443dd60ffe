/**
 * What the small guests of ring 0 stand on, in 32-bit assembly (GNU as, --64): flat segments, an IDT whose handlers
 * print `vector:error` (for #PF also `:CR2`, for #DB `:DR6`) and go on where `try` said, and a page directory. Guest
 * EBX runs ECX times, each time with tables as new, on a line of its own.
 */
export const RUNTIME = `
.code32
.text
.macro try where
  movl $\\where, resume
  movl %esp, resume_esp
.endm
.macro print value
  pushl \\value
  call print_word
.endm
# How far the instruction that was interrupted last lies from a label.
.macro from label
  pushl last
  subl $\\label, (%esp)
  call print_word
.endm
# Makes the gate of a vector: type 0x8e00 interrupt, 0x8f00 trap, 0x8500 task; 0x6000 is DPL 3.
.macro gate vector handler type=0x8e00 selector=CODE
  pushl $\\handler
  popw idt+\\vector*8
  popw idt+\\vector*8+6
  movw $\\selector, idt+\\vector*8+2
  movw $\\type, idt+\\vector*8+4
.endm
# Gives a descriptor the base of a label.
.macro base selector label
  pushl $\\label
  popw gdt+(\\selector&~7)+2
  popw last
  pushl %eax
  mov last, %ax
  mov %al, gdt+(\\selector&~7)+4
  mov %ah, gdt+(\\selector&~7)+7
  popl %eax
.endm
# To ring 3, to the instruction after it.
.macro user flags=$2
  pushl $USER_DATA
  popl %ds
  pushl $USER_DATA
  pushl $user_stack
  pushl \\flags
  pushl $USER_CODE
  pushl $.Luser\\@
  iret
  .Luser\\@:
.endm
.macro reload
  mov %cr3, %eax
  mov %eax, %cr3
.endm
.macro cr number bits
  mov %cr\\number, %eax
  or $\\bits, %eax
  mov %eax, %cr\\number
.endm
# A call gate of ring 3: type 0xec 32-bit, 0xe4 16-bit.
.macro callgate handler params=0 type=0xec00 selector=CODE
  pushl $\\handler
  popw gdt+GATE
  popw gdt+GATE+6
  movw $\\selector, gdt+GATE+2
  movw $\\type+\\params, gdt+GATE+4
.endm
# Has what came from a port before it happen.
.macro look
  push %eax
  mov %cr0, %eax
  mov %eax, %cr0
  pop %eax
.endm
# Single steps, on and off.
.macro step
  pushl $0x102
  popf
.endm
.macro walk
  pushl $2
  popf
.endm
# Entry of the LDT: a segment at a label, with the upper word of its descriptor but for the base, and 16 bits of limit.
.macro local number label rights limit
  mov $LDT, %eax
  lldt %ax
  mov $\\label, %eax
  mov %ax, ldt+\\number*8+2
  shr $16, %eax
  movl $\\rights, ldt+\\number*8+4
  mov %al, ldt+\\number*8+4
  mov %ah, ldt+\\number*8+7
  movw $\\limit, ldt+\\number*8
.endm
.macro say character
  push %eax
  mov $\\character, %al
  out %al, $0xe9
  pop %eax
.endm
.set CODE, 0x08
.set DATA, 0x10
.set ABSENT, 0x18
.set SMALL, 0x20
.set USER_CODE, 0x2b
.set USER_DATA, 0x33
.set TASK, 0x38
.set DOWN, 0x40
.set CODE16, 0x48
.set DATA16, 0x50
.set CONFORMING, 0x58
.set TASK2, 0x60
.set GATE, 0x68
.set LDT, 0x70
.set RING1_CODE, 0x79
.set RING1_DATA, 0x81
.set NOWHERE, 0xf8
begin: mov %ebx, which
  mov %ecx, rounds
afresh: mov $stack, %esp
  pushl $2
  popf
  mov $0x11, %eax
  mov %eax, %cr0
  xor %eax, %eax
  mov %eax, %cr4
  mov %eax, %dr7
  mov $pristine, %esi
  mov $gdt, %edi
  mov $pristine_end-pristine, %ecx
  rep movsb
  mov $task, %edi
  mov $idt_end-task, %ecx
  rep stosb
  lgdt gdtr
  ljmp $CODE, $1f
1: mov $DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  xor %eax, %eax
  mov %eax, %fs
  mov %eax, %gs
  lldt %ax
  base TASK task
  base TASK2 task2
  base LDT ldt
  movl $stack-4096, task+4
  movl $DATA, task+8
  movw $104, task+102
  mov $TASK, %eax
  ltr %ax
  mov $idt, %edi
  mov $stubs, %esi
  mov $48, %ecx
2: mov %esi, %eax
  mov %ax, (%edi)
  movw $CODE, 2(%edi)
  movw $0x8e00, 4(%edi)
  shr $16, %eax
  mov %ax, 6(%edi)
  add $8, %edi
  add $16, %esi
  loop 2b
  orw $0x6000, idt+3*8+4
  lidt idtr
  mov which, %ebx
  call *bodies(,%ebx,4)
  mov $10, %al
  out %al, $0xe9
  decl rounds
  jnz afresh
  out %al, $0xf4
  hlt

handler: cld
  push %eax
  mov $DATA, %eax
  mov %eax, %ds
  popl last_eax
  mov %ecx, last_ecx
  mov %edx, last_edx
  popl last_vector
  popl last_error
  mov (%esp), %eax
  mov %eax, last
  mov 4(%esp), %eax
  mov %eax, last_cs
  mov 8(%esp), %eax
  mov %eax, last_flags
  mov 12(%esp), %eax
  mov %eax, last_esp
  mov 16(%esp), %eax
  mov %eax, last_ss
  pushl last_vector
  call print_byte
  mov $':', %al
  out %al, $0xe9
  pushl last_error
  call print_half
  cmpl $14, last_vector
  jne 1f
  mov %cr2, %eax
  jmp 2f
1: cmpl $1, last_vector
  jne 3f
  mov %dr6, %eax
  and $0xe00f, %eax
  mov $0xffff0ff0, %edx
  mov %edx, %dr6
2: push %eax
  mov $':', %al
  out %al, $0xe9
  call print_word
  jmp 4f
3: mov $' ', %al
  out %al, $0xe9
4: mov $DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov resume_esp, %esp
  pushl $2
  popf
  mov last_eax, %eax
  mov last_ecx, %ecx
  mov last_edx, %edx
  jmp *resume

print_byte: mov $2, %ecx
  jmp print_digits
print_half: mov $4, %ecx
  jmp print_digits
print_word: pusha
  mov $8, %ecx
  mov 36(%esp), %edx
  call digits
  mov $' ', %al
  out %al, $0xe9
  popa
  ret $4
print_digits: mov 4(%esp), %edx
  call digits
  ret $4
digits: push %ecx
  shl $2, %ecx
  neg %ecx
  add $32, %ecx
  shl %cl, %edx
  pop %ecx
1: rol $4, %edx
  mov %edx, %eax
  and $15, %eax
  mov hex(%eax), %al
  out %al, $0xe9
  loop 1b
  ret

# Maps the first 4 MiB to themselves in pages of 4 KiB, user and writable, and turns paging on.
paging: mov $directory, %edi
  mov $1024, %ecx
  xor %eax, %eax
  rep stosl
  mov $7, %eax
  mov $1024, %ecx
1: mov %eax, (%edi)
  add $4, %edi
  add $0x1000, %eax
  loop 1b
  movl $tables+7, directory
  mov $directory, %eax
  mov %eax, %cr3
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0
  ret

.balign 16
stubs:
.set vector, 0
.rept 48
  .balign 16
  .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
  .else
  pushl $0
  .endif
  pushl $vector
  jmp handler
  .set vector, vector + 1
.endr
.data
hex: .ascii "0123456789abcdef"
.balign 8
pristine: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cf13000000ffff
  .quad 0x0040930000000fff, 0x00cffb000000ffff, 0x00cff3000000ffff, 0x0000890000002067
  .quad 0x0040970000000fff, 0x00009b000000ffff, 0x000093000000ffff, 0x00cf9f000000ffff
  .quad 0x0000890000000067, 0, 0x000082000000003f, 0x00cfbb000000ffff
  .quad 0x00cfb3000000ffff
pristine_end:
gdtr: .word NOWHERE-1
  .long gdt
idtr: .word 48*8-1
  .long idt
.bss
.balign 4096
directory: .skip 4096
tables: .skip 4096
page: .skip 8192
.skip 4096
user_stack:
.balign 8
gdt: .skip NOWHERE
.balign 4096
task: .skip 104+8192+1
.balign 4
task2: .skip 104
task3: .skip 104
ldt: .skip 64
idt: .skip 48*8
idt_end:
.balign 4
resume: .skip 4
resume_esp: .skip 4
which: .skip 4
rounds: .skip 4
last_vector: .skip 4
last_error: .skip 4
last: .skip 4
last_cs: .skip 4
last_flags: .skip 4
last_esp: .skip 4
last_ss: .skip 4
last_eax: .skip 4
last_ecx: .skip 4
last_edx: .skip 4
.skip 8192
stack:
.skip 64
.text
`;
