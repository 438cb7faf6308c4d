/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kexec-into KERNEL INITRD CMDLINE: another kernel takes the running one's
 * place, at once and by way of its drivers' shutdown. What is mounted stays as
 * it is. The package kexec-tools does more, and changes how its host reboots.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(const char *what)
{
    perror(what);
    return 1;
}

int main(int argc, char **argv)
{
    int kernel, initrd;

    if (argc != 4) {
        fprintf(stderr, "usage: kexec-into KERNEL INITRD CMDLINE\n");
        return 2;
    }
    kernel = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (kernel < 0) {
        return fail(argv[1]);
    }
    initrd = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (initrd < 0) {
        return fail(argv[2]);
    }
    /* The length counts the byte that ends the string. */
    if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1,
                argv[3], 0UL) < 0) {
        return fail("kexec_file_load");
    }
    reboot(RB_KEXEC);
    return fail("reboot");
}
