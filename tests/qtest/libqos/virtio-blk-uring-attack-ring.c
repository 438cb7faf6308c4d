/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest of virtio-blk-uring that writes at memory speed
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "../libqtest.h"
#include "qemu/atomic.h"
#include "virtio-blk-uring-attack-ring.h"

/* Guest RAM */

static void ram_free(void *opaque)
{
    QVBURam *ram = opaque;

    munmap(ram->host, QVBU_RAM_BYTES);
    close(ram->fd);
    g_free(ram);
    qos_invalidate_command_line();
}

QVBURam *qvbu_ram_before(GString *cmd_line)
{
    QVBURam *ram = g_new0(QVBURam, 1);

    /* Nothing of it is left behind, however the test ends. */
    ram->fd = memfd_create("guest-ram", MFD_CLOEXEC);
    g_assert_cmpint(ram->fd, >=, 0);
    g_assert_cmpint(ftruncate(ram->fd, QVBU_RAM_BYTES), ==, 0);
    ram->host = mmap(NULL, QVBU_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                     ram->fd, 0);
    g_assert_true(ram->host != MAP_FAILED);
    g_test_queue_destroy(ram_free, ram);

    g_string_append_printf(cmd_line, " -object memory-backend-file,id=ram0,"
                           "mem-path=/proc/%d/fd/%d,share=on,size=%d "
                           "-machine memory-backend=ram0 -m size=%dB ",
                           getpid(), ram->fd, QVBU_RAM_BYTES, QVBU_RAM_BYTES);
    return ram;
}

/* The ring */

void qvbu_fast_init(QVBUFastRing *f, QVBURing *r, QVBURam *ram)
{
    const uint32_t probe = 0x70726f62;

    g_assert_cmphex(r->ring, <, QVBU_RAM_BYTES);
    g_assert_cmphex(r->sqes, <, QVBU_RAM_BYTES);
    *f = (QVBUFastRing) {
        .r = r,
        .ring = ram->host + r->ring,
        .sqes = (void *)(ram->host + r->sqes),
    };
    qtest_writel(r->u->qts, r->sqes, probe);
    g_assert_cmphex(qatomic_read((uint32_t *)f->sqes), ==, probe);
}

uint32_t qvbu_fast_read(QVBUFastRing *f, uint32_t offset)
{
    return qatomic_load_acquire((uint32_t *)(f->ring + offset));
}

void qvbu_fast_write(QVBUFastRing *f, uint32_t offset, uint32_t value)
{
    qatomic_store_release((uint32_t *)(f->ring + offset), value);
}

void qvbu_fast_doorbell(QVBUFastRing *f)
{
    qvbu_doorbell(f->r);
    f->doorbells++;
}

static void wake_if_asleep(QVBUFastRing *f)
{
    /* The kernel sets the flag and looks at the tail; the other way round. */
    smp_mb();
    if (qvbu_fast_read(f, f->r->u->desc.sq_flags) & IORING_SQ_NEED_WAKEUP) {
        qvbu_fast_doorbell(f);
    }
}

void qvbu_fast_publish(QVBUFastRing *f, uint32_t n)
{
    f->r->sq_tail += n;
    qvbu_fast_write(f, f->r->u->desc.sq_tail, f->r->sq_tail);
    wake_if_asleep(f);
}

bool qvbu_fast_reap(QVBUFastRing *f, struct io_uring_cqe *cqe)
{
    QVBUDesc *desc = &f->r->u->desc;
    struct io_uring_cqe *cqes = (void *)(f->ring + desc->cqes);

    if (qvbu_fast_read(f, desc->cq_tail) == f->r->cq_head) {
        wake_if_asleep(f);
        sched_yield();
        return false;
    }
    *cqe = cqes[f->r->cq_head++ & (desc->cq_entries - 1)];
    qvbu_fast_write(f, desc->cq_head, f->r->cq_head);
    return true;
}
