/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Says, in a sentence on standard output, why this process cannot have an
 * io_uring; says nothing if it can. Needs nothing but libc, so that it can be
 * built before the rest.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
    /* struct io_uring_params, of which zero is a valid request */
    unsigned char params[120] = { 0 };
    long fd = syscall(__NR_io_uring_setup, 4, params);

    if (fd >= 0) {
        close(fd);
        return 0;
    }
    if (errno == ENOSYS || errno == EPERM) {
        printf("io_uring is refused here (%s), as container runtimes do by "
               "their seccomp profile; allow io_uring_setup, "
               "io_uring_enter and io_uring_register in it (docker run "
               "--security-opt seccomp=unconfined) or use the host\n",
               strerror(errno));
    } else if (errno == ENOMEM) {
        printf("io_uring cannot lock memory here (%s); raise the limit with: "
               "ulimit -l unlimited\n", strerror(errno));
    } else {
        printf("io_uring cannot be used here (%s); see that the kernel has "
               "CONFIG_IO_URING\n", strerror(errno));
    }
    return 1;
}
