/*
 * The jail's part that each architecture has to write anew: x86-64
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Another architecture needs: jail_syscall(), _start, the page that stays, the
 * end of a process's addresses, and its audit number for seccomp.
 */
#ifndef RING_JAIL_ARCH_X86_64_H
#define RING_JAIL_ARCH_X86_64_H

#include <linux/audit.h>

#define JAIL_AUDIT_ARCH     AUDIT_ARCH_X86_64
/* With five levels of page tables, too: nobody here asked for higher ones. */
#define JAIL_TASK_END       0x7ffffffff000

static inline long jail_syscall(long nr, long a, long b, long c, long d,
                                long e, long f)
{
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    long ret;

    asm volatile("syscall"
                 : "=a" (ret)
                 : "a" (nr), "D" (a), "S" (b), "d" (c), "r" (r10), "r" (r8),
                   "r" (r9)
                 : "rcx", "r11", "memory");
    return ret;
}

/* The kernel starts a program with an aligned stack and nothing to return to */
asm(".pushsection .text\n"
    ".globl _start\n"
    "_start:\n"
    "    xorl %ebp, %ebp\n"
    "    call jail_main\n"
    "    hlt\n"
    ".popsection\n");

/*
 * The page that stays.  It has no stack and no memory to write to: what it
 * knows is in registers, what it says is in itself.
 *
 * jail_page_leave: rbx, r12, r13: the first byte of this page, of guest RAM,
 * and behind guest RAM; r14: number of rings; r15: how many of them have an
 * SQPOLL thread of their own.  File descriptors are JAIL_FD_*.
 * jail_page_watch: makes the system call (clone) that is in the registers, and
 * is what the new thread runs.  It has to be in here, since that thread may get
 * to run when all else is unmapped.
 */
asm(".pushsection .jail_page, \"ax\", @progbits\n"
    ".balign 4096\n"
    ".globl jail_page, jail_page_leave, jail_page_watch\n"
    "jail_page:\n"
    "jail_page_leave:\n"
    /* munmap() of what lies before this page, between it and RAM, behind RAM */
    "    xorl %edi, %edi\n"
    "    movq %rbx, %rsi\n"
    "    movl $" JAIL_STR(__NR_munmap) ", %eax\n"
    "    syscall\n"
    "    testq %rax, %rax\n"
    "    jnz 8f\n"
    "    leaq 4096(%rbx), %rdi\n"
    "    movq %r12, %rsi\n"
    "    subq %rdi, %rsi\n"
    "    movl $" JAIL_STR(__NR_munmap) ", %eax\n"
    "    syscall\n"
    "    testq %rax, %rax\n"
    "    jnz 8f\n"
    "    movq %r13, %rdi\n"
    "    movabsq $" JAIL_STR(JAIL_TASK_END) ", %rsi\n"
    "    subq %rdi, %rsi\n"
    "    movl $" JAIL_STR(__NR_munmap) ", %eax\n"
    "    syscall\n"
    "    testq %rax, %rax\n"
    "    jnz 8f\n"
    /* Only now may anything run.  IORING_REGISTER_ENABLE_RINGS is 12. */
    "    xorl %ebx, %ebx\n"
    "1:  leal " JAIL_STR(JAIL_FD_RING0) "(%rbx), %edi\n"
    "    movl $12, %esi\n"
    "    xorl %edx, %edx\n"
    "    xorl %r10d, %r10d\n"
    "    movl $" JAIL_STR(__NR_io_uring_register) ", %eax\n"
    "    syscall\n"
    "    testq %rax, %rax\n"
    "    jnz 9f\n"
    "    incl %ebx\n"
    "    cmpl %r14d, %ebx\n"
    "    jb 1b\n"
    /* sendto(control, "R", 1, MSG_NOSIGNAL) */
    "    movl $" JAIL_STR(JAIL_FD_CONTROL) ", %edi\n"
    "    leaq 7f(%rip), %rsi\n"
    "    movl $1, %edx\n"
    "    movl $0x4000, %r10d\n"
    "    xorl %r8d, %r8d\n"
    "    xorl %r9d, %r9d\n"
    "    movl $" JAIL_STR(__NR_sendto) ", %eax\n"
    "    syscall\n"
    "    cmpq $1, %rax\n"
    "    jne 9f\n"
    /*
     * Sleep until the doorbell rings.  There is no memory that its count could
     * go to: the kernel takes it off the eventfd and then finds -EFAULT (14).
     */
    "2:  movl $" JAIL_STR(JAIL_FD_DOORBELL) ", %edi\n"
    "    xorl %esi, %esi\n"
    "    movl $8, %edx\n"
    "    movl $" JAIL_STR(__NR_read) ", %eax\n"
    "    syscall\n"
    "    cmpq $-14, %rax\n"
    "    jne 9f\n"
    /* io_uring_enter(ring, 0, 0, IORING_ENTER_SQ_WAKEUP (2)) */
    "    xorl %ebx, %ebx\n"
    "3:  leal " JAIL_STR(JAIL_FD_RING0) "(%rbx), %edi\n"
    "    xorl %esi, %esi\n"
    "    xorl %edx, %edx\n"
    "    movl $2, %r10d\n"
    "    xorl %r8d, %r8d\n"
    "    xorl %r9d, %r9d\n"
    "    movl $" JAIL_STR(__NR_io_uring_enter) ", %eax\n"
    "    syscall\n"
    "    testq %rax, %rax\n"
    "    js 9f\n"
    "    incl %ebx\n"
    "    cmpl %r15d, %ebx\n"
    "    jb 3b\n"
    "    jmp 2b\n"
    "jail_page_watch:\n"
    "    syscall\n"
    "    testq %rax, %rax\n"
    "    jz 5f\n"
    "    ret\n"
    /*
     * recvfrom(control, NULL, 0, 0): QEMU says nothing any more, so this
     * returns when QEMU is gone or has had enough of us.
     */
    "5:  movl $" JAIL_STR(JAIL_FD_CONTROL) ", %edi\n"
    "    xorl %esi, %esi\n"
    "    xorl %edx, %edx\n"
    "    xorl %r10d, %r10d\n"
    "    xorl %r8d, %r8d\n"
    "    xorl %r9d, %r9d\n"
    "    movl $" JAIL_STR(__NR_recvfrom) ", %eax\n"
    "    syscall\n"
    "    xorl %edi, %edi\n"
    "    jmp 6f\n"
    "8:  movl $" JAIL_STR(RING_JAIL_EXIT_UNMAP) ", %edi\n"
    "    jmp 6f\n"
    "9:  movl $" JAIL_STR(RING_JAIL_EXIT_RING) ", %edi\n"
    "6:  movl $" JAIL_STR(__NR_exit_group) ", %eax\n"
    "    syscall\n"
    "    hlt\n"
    "7:  .byte 'R'\n"
    ".balign 4096\n"
    ".popsection\n");

extern const char jail_page[];

/*
 * Starts the thread that watches the socket.  It shares the caller's stack and
 * does not touch it.  0 or -errno.
 */
static inline long jail_start_watch(unsigned long clone_flags)
{
    register long r10 asm("r10") = 0;
    register long r8 asm("r8") = 0;
    long ret;

    asm volatile("call jail_page_watch"
                 : "=a" (ret)
                 : "a" (__NR_clone), "D" (clone_flags), "S" (0), "d" (0),
                   "r" (r10), "r" (r8)
                 : "rcx", "r11", "memory");
    return ret < 0 ? ret : 0;
}

static inline __attribute__((noreturn))
void jail_leave(uint64_t page, uint64_t ram, uint64_t ram_end, uint64_t rings,
                uint64_t threads)
{
    register uint64_t r12 asm("r12") = ram;
    register uint64_t r13 asm("r13") = ram_end;
    register uint64_t r14 asm("r14") = rings;
    register uint64_t r15 asm("r15") = threads;

    asm volatile("jmp jail_page_leave"
                 : : "b" (page), "r" (r12), "r" (r13), "r" (r14), "r" (r15)
                 : "memory");
    __builtin_unreachable();
}

#endif /* RING_JAIL_ARCH_X86_64_H */
