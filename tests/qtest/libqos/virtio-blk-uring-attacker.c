/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile SQEs: what the kernel may answer to them, and whether it does
 */

#include "qemu/osdep.h"
#include <sys/uio.h>
#include "qemu/units.h"
#include "virtio-blk-uring-attacker.h"

/* All that one request can move */
#define MAX_BYTES   (2 * GiB)

/* Where libqos allocates */
#define LOW_RAM     MiB

/* What is there */

static void free_array(void *array)
{
    g_array_free(array, true);
}

static void free_table(void *table)
{
    g_hash_table_destroy(table);
}

static GArray *new_array(unsigned element)
{
    GArray *array = g_array_new(false, false, element);

    g_test_queue_destroy(free_array, array);
    return array;
}

static void look_at_windows(QVBUAttacker *a)
{
    unsigned i;

    g_array_set_size(a->windows, 0);
    g_array_set_size(a->window_gpas, 0);
    for (i = 0; i < a->u->desc.num_windows; i++) {
        uint64_t gpa;
        QVBURange range;

        qvbu_set(a->u, window_select, i);
        gpa = qvbu_get(a->u, window_gpa);
        range = (QVBURange) {
            .start = qvbu_get(a->u, window_addr),
            .size = qvbu_get(a->u, window_size),
        };
        if (range.size) {
            g_array_append_val(a->windows, range);
            g_array_append_val(a->window_gpas, gpa);
        }
    }
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

static bool is_window(QVBUAttacker *a, const QVBURange *range)
{
    unsigned i;

    for (i = 0; i < a->windows->len; i++) {
        QVBURange *w = &g_array_index(a->windows, QVBURange, i);

        if (overlaps(w->start, w->size, range->start, range->size)) {
            return true;
        }
    }
    return false;
}

static void add_targets(QVBUAttacker *a, pid_t pid, bool jail)
{
    g_autoptr(GArray) maps = qvbu_host_maps(pid);
    unsigned i;

    if (!maps) {
        g_test_message("attack: the mappings of process %d cannot be seen",
                       pid);
        return;
    }
    for (i = 0; i < maps->len; i++) {
        QVBURange *range = &g_array_index(maps, QVBURange, i);

        if (!jail) {
            g_array_append_vals(a->targets, range, 1);
        } else if (!is_window(a, range)) {
            g_array_append_vals(a->targets, range, 1);
            /* A jail has nothing but guest memory and one page of code. */
            g_assert_true(range->executable);
            g_assert_cmpuint(a->code.size, ==, 0);
            a->code = *range;
        }
    }
}

void qvbu_attacker_look(QVBUAttacker *a)
{
    static const QVBURange kernels[] = {
        { 0, 64 * KiB },
        { 0x00007ffffffff000, 4096 },           /* end of user space */
        { 0x0000800000000000, 1ull << 47 },     /* not canonical */
        { 0x8000000000000000, 1ull << 47 },
        { 0xffff800000000000, 1ull << 47 },     /* the kernel's half */
        { 0xffff888000000000, 1ull << 40 },     /* all of memory */
        { 0xffffc90000000000, 1ull << 40 },     /* vmalloc */
        { 0xffffffff80000000, 1ull << 30 },     /* text */
        { 0xffffffffff600000, 4096 },           /* vsyscall */
    };
    pid_t jail = qvbu_jail_pid(a->u);

    look_at_windows(a);
    a->code = (QVBURange) { };
    g_array_set_size(a->targets, 0);
    g_array_append_vals(a->targets, kernels, ARRAY_SIZE(kernels));
    add_targets(a, qtest_pid(a->u->qts), false);
    if (jail) {
        add_targets(a, jail, true);
    }
}

void qvbu_attacker_init(QVBUAttacker *a, QVirtioBlkUring *u, QVBURam *ram,
                        uint64_t seed)
{
    g_assert_cmpuint(u->desc.sq_entries, <=, QVBU_MAX_SLOTS);
    *a = (QVBUAttacker) {
        .u = u,
        .ram = ram,
        .random.state = seed,
        .writable = QVBU_DISK_BYTES,
        .windows = new_array(sizeof(QVBURange)),
        .window_gpas = new_array(sizeof(uint64_t)),
        .targets = new_array(sizeof(QVBURange)),
        .lists = guest_alloc(u->alloc, QVBU_MAX_SLOTS * QVBU_LIST_BYTES),
        .data = guest_alloc(u->alloc, QVBU_MAX_SLOTS * QVBU_DATA_BYTES),
    };
    g_assert_cmphex(a->lists, <, a->data);
    qvbu_attacker_look(a);
}

/* Translation, without a message to QEMU */

uint64_t qvbu_attacker_addr(QVBUAttacker *a, uint64_t gpa)
{
    unsigned i;

    for (i = 0; i < a->windows->len; i++) {
        QVBURange *w = &g_array_index(a->windows, QVBURange, i);
        uint64_t start = g_array_index(a->window_gpas, uint64_t, i);

        if (gpa - start < w->size) {
            return w->start + (gpa - start);
        }
    }
    g_assert_not_reached();
}

/*
 * The bytes from @addr on that lie in guest memory without a gap, @len at
 * most.  @gpa, if there are any, becomes the address of the first.
 */
static uint64_t reachable(QVBUAttacker *a, uint64_t addr, uint64_t len,
                          uint64_t *gpa)
{
    uint64_t n = 0;
    unsigned i;

again:
    for (i = 0; n < len && i < a->windows->len; i++) {
        QVBURange *w = &g_array_index(a->windows, QVBURange, i);
        uint64_t into = addr + n - w->start;

        if (into < w->size) {
            if (!n) {
                *gpa = g_array_index(a->window_gpas, uint64_t, i) + into;
            }
            n += MIN(len - n, w->size - into);
            goto again;
        }
    }
    return n;
}

static uint64_t readable(QVBUAttacker *a, uint64_t addr, uint64_t len)
{
    uint64_t gpa;

    if (addr - a->code.start < a->code.size) {
        return MIN(len, a->code.start + a->code.size - addr);
    }
    return reachable(a, addr, len, &gpa);
}

/* What may become of it */

typedef struct Verdict {
    bool may_succeed;
    int64_t max_bytes;
    bool self_destructive;      /* it may read into memory that is in use */
} Verdict;

struct iovec *qvbu_attacker_list(QVBUAttacker *a, unsigned slot)
{
    return (void *)(a->ram->host + a->lists + slot * QVBU_LIST_BYTES);
}

static void judge_segments(QVBUAttacker *a, unsigned slot,
                           const struct io_uring_sqe *sqe, Verdict *verdict)
{
    uint64_t own = qvbu_attacker_addr(a, a->lists + slot * QVBU_LIST_BYTES);
    uint64_t bytes = (uint64_t)sqe->len * sizeof(struct iovec);
    uint8_t *list = (uint8_t *)qvbu_attacker_list(a, slot);
    struct iovec iov;
    unsigned i;

    if (!sqe->len || sqe->len > QVBU_MAX_IOVECS ||
        readable(a, sqe->addr, bytes) < bytes) {
        return;
    }
    if (sqe->addr - own >= QVBU_LIST_BYTES ||
        bytes > own + QVBU_LIST_BYTES - sqe->addr) {
        /* Who knows what will be there when the kernel looks? */
        verdict->max_bytes = MAX_BYTES;
        verdict->self_destructive = true;
        return;
    }
    for (i = 0; i < sqe->len; i++) {
        uint64_t n, gpa = 0;

        memcpy(&iov, list + (sqe->addr - own) + i * sizeof(iov), sizeof(iov));
        n = reachable(a, (uintptr_t)iov.iov_base, iov.iov_len, &gpa);
        if (n && gpa < a->data && gpa + n > LOW_RAM) {
            verdict->self_destructive = true;
        }
        if (sqe->opcode == IORING_OP_WRITEV) {
            n = readable(a, (uintptr_t)iov.iov_base, iov.iov_len);
        }
        verdict->max_bytes += n;
        if (n < iov.iov_len || verdict->max_bytes >= MAX_BYTES) {
            break;
        }
    }
    verdict->max_bytes = MIN(verdict->max_bytes, MAX_BYTES);
}

static Verdict judge(QVBUAttacker *a, unsigned slot,
                     const struct io_uring_sqe *sqe)
{
    Verdict verdict = { };

    if (sqe->flags != IOSQE_FIXED_FILE || sqe->fd) {
        return verdict;
    }
    switch (sqe->opcode) {
    case IORING_OP_READV:
    case IORING_OP_WRITEV:
        verdict.may_succeed = true;
        judge_segments(a, slot, sqe, &verdict);
        break;
    case IORING_OP_FSYNC:
        verdict.may_succeed = true;
        break;
    }
    return verdict;
}

bool qvbu_attacker_rarely(QVBUAttacker *a)
{
    return !qvbu_random_below(&a->random, 64);
}

/*
 * Keep the attack from what would only cost it its own bookkeeping, or all of
 * its time, and remember what may become of the SQE.
 */
static void settle(QVBUAttacker *a, unsigned slot, struct io_uring_sqe *sqe)
{
    QVBULedger *ledger = a->ledger;
    QVBURecord *s = &ledger->records[ledger->sequence % QVBU_RECORDS];
    Verdict verdict = judge(a, slot, sqe);
    unsigned synchronous = RWF_DSYNC | RWF_SYNC;

    if (a->no_drain && (sqe->flags & IOSQE_IO_DRAIN)) {
        sqe->flags &= ~IOSQE_IO_DRAIN;
        verdict = judge(a, slot, sqe);
    }

    if (sqe->opcode == IORING_OP_READV && verdict.max_bytes &&
        verdict.self_destructive) {
        sqe->opcode = IORING_OP_WRITEV;
        verdict = judge(a, slot, sqe);
    }
    if (sqe->opcode == IORING_OP_WRITEV && verdict.max_bytes) {
        if (a->writable < QVBU_DISK_BYTES && sqe->off < QVBU_DISK_BYTES &&
            sqe->off + verdict.max_bytes > a->writable) {
            sqe->off = QVBU_DISK_BYTES;
        }
        /* The position in the file, and that is anywhere */
        if (a->writable < QVBU_DISK_BYTES && sqe->off == UINT64_MAX) {
            sqe->off--;
        }
        if ((sqe->rw_flags & synchronous) && !qvbu_attacker_rarely(a)) {
            sqe->rw_flags &= ~synchronous;
        }
    }
    if (sqe->opcode == IORING_OP_FSYNC && verdict.may_succeed &&
        !qvbu_attacker_rarely(a)) {
        sqe->opcode = IORING_OP_SYNC_FILE_RANGE;
        verdict = judge(a, slot, sqe);
    }

    sqe->user_data = ledger->sequence++;
    ledger->slots[slot] = s;
    *s = (QVBURecord) {
        .sqe = *sqe,
        .slot = slot,
        .class = QVBU_CLASS_FORBIDDEN,
        .may_succeed = verdict.may_succeed,
        .max_bytes = verdict.max_bytes,
    };
    if (sqe->flags == IOSQE_FIXED_FILE) {
        switch (sqe->opcode) {
        case IORING_OP_READV:
            s->class = QVBU_CLASS_READV;
            break;
        case IORING_OP_WRITEV:
            s->class = QVBU_CLASS_WRITEV;
            break;
        case IORING_OP_FSYNC:
            s->class = QVBU_CLASS_FSYNC;
            break;
        }
    }
}

static void show_and_fail(QVBUAttacker *a, QVBURecord *s, int32_t res)
{
    const uint64_t *words = (const uint64_t *)&s->sqe;
    unsigned i;

    for (i = 0; i < sizeof(s->sqe) / sizeof(*words); i++) {
        g_test_message("SQE + %02zu: 0x%016" PRIx64, i * sizeof(*words),
                       words[i]);
    }
    for (i = 0; i < 4; i++) {
        struct iovec *iov = &qvbu_attacker_list(a, s->slot)[i];

        g_test_message("iovec %u: %p + 0x%zx", i, iov->iov_base, iov->iov_len);
    }
    g_error("opcode %u with flags 0x%02x gave %d, where %s was due",
            s->sqe.opcode, s->sqe.flags, res,
            s->may_succeed ? "less" : "an error");
}

/* The SQE is forgotten, so that it is one that need not have been answered. */
static void check_late_answer(QVBUAttacker *a, const struct io_uring_cqe *cqe)
{
    gpointer bound;

    g_assert_cmphex(cqe->user_data, <, a->ledger->sequence);
    if (cqe->res >= 0) {
        g_assert_true(g_hash_table_lookup_extended(
                          a->ledger->late, (gpointer)cqe->user_data, NULL,
                          &bound));
        g_assert_cmpint(cqe->res, <=, (intptr_t)bound);
    }
    a->late++;
}

/* Whether it was one that had to be */
static bool check_answer(QVBUAttacker *a, const struct io_uring_cqe *cqe)
{
    QVBURecord *s = &a->ledger->records[cqe->user_data % QVBU_RECORDS];
    QVBUTally *tally = &a->tally[s->class];

    if (cqe->user_data != s->sqe.user_data) {
        check_late_answer(a, cqe);
        return false;
    }
    if (cqe->res >= 0 && (!s->may_succeed || cqe->res > s->max_bytes)) {
        show_and_fail(a, s, cqe->res);
    }
    if (cqe->res >= 0) {
        tally->succeeded++;
    } else if (cqe->res == -EACCES || cqe->res == -EINVAL) {
        tally->refused++;
    } else {
        tally->failed++;
    }
    return !s->may_be_silent;
}

/* The attack */

/*
 * The kernel refuses IOSQE_CQE_SKIP_SUCCESS and links, but follows them in
 * what it says: SQEs of a chain that has failed may go without a CQE.
 */
static void mark_silent(QVBUAttacker *a)
{
    const uint8_t links = IOSQE_IO_LINK | IOSQE_IO_HARDLINK;
    QVBURecord **slots = a->ledger->slots;
    unsigned entries = a->u->desc.sq_entries, slot;

    for (slot = 0; slot < entries; slot++) {
        uint8_t before = slots[(slot - 1) & (entries - 1)]->sqe.flags;
        uint8_t flags = slots[slot]->sqe.flags;

        slots[slot]->may_be_silent =
            (flags & (IOSQE_CQE_SKIP_SUCCESS | links)) || (before & links);
        if (slots[slot]->may_be_silent && slots[slot]->may_succeed) {
            g_hash_table_insert(a->ledger->late,
                                (gpointer)slots[slot]->sqe.user_data,
                                (gpointer)slots[slot]->max_bytes);
        }
    }
}

/* The kernel has taken all that was published, and answered what it must. */
static void await_answers(QVBUAttacker *a, QVBUFastRing *f,
                          unsigned first, unsigned published)
{
    QVBUDesc *desc = &a->u->desc;
    QVBURecord **slots = a->ledger->slots;
    gint64 end = g_get_monotonic_time() + QVBU_TIMEOUT_US;
    struct io_uring_cqe cqe;
    unsigned due = 0, i;

    for (i = 0; i < published; i++) {
        due += !slots[(first + i) & (desc->sq_entries - 1)]->may_be_silent;
    }
    while (due || qvbu_fast_read(f, desc->sq_head) != f->r->sq_tail) {
        if (qvbu_fast_reap(f, &cqe)) {
            due -= check_answer(a, &cqe);
        } else if (g_get_monotonic_time() > end) {
            g_error("%u answers of %u are missing: SQ head %u, tail %u, "
                    "flags 0x%x, CQ head %u, tail %u", due, published,
                    qvbu_fast_read(f, desc->sq_head), f->r->sq_tail,
                    qvbu_fast_read(f, desc->sq_flags), f->r->cq_head,
                    qvbu_fast_read(f, desc->cq_tail));
        }
    }
    /*
     * If no answer was due, nothing was taken out so far; and from a CQ that
     * has overflowed once there comes nothing new any more.
     */
    while (qvbu_fast_read(f, desc->cq_tail) != f->r->cq_head &&
           qvbu_fast_reap(f, &cqe)) {
        check_answer(a, &cqe);
    }
    g_assert_false(qvbu_fast_read(f, desc->sq_flags) & IORING_SQ_CQ_OVERFLOW);
}

/* A moment, for a kernel that has nothing else to do */
#define PROBE_US    (2 * G_USEC_PER_SEC)

bool qvbu_attacker_probe_drain(QVBUAttacker *a, QVBUFastRing *f)
{
    static const uint8_t refused[] = {
        IOSQE_IO_LINK,
        IOSQE_IO_LINK | IOSQE_IO_DRAIN,
        0,
        IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS,
        IOSQE_CQE_SKIP_SUCCESS,
    };
    const unsigned reads = 3, n = ARRAY_SIZE(refused) + reads;
    unsigned entries = a->u->desc.sq_entries, missing = reads, i;
    gint64 end = g_get_monotonic_time() + PROBE_US;
    struct io_uring_cqe cqe;

    for (i = 0; i < n; i++) {
        unsigned slot = (f->r->sq_tail + i) & (entries - 1);
        struct io_uring_sqe sqe;

        qvbu_make_honest(a, slot, &sqe, 0);
        sqe.opcode = IORING_OP_READV;
        sqe.user_data = i;
        if (i < ARRAY_SIZE(refused)) {
            sqe.flags = refused[i];
        }
        f->sqes[slot] = sqe;
    }
    qvbu_fast_publish(f, n);
    while (missing && g_get_monotonic_time() < end) {
        if (qvbu_fast_reap(f, &cqe) && cqe.user_data >= ARRAY_SIZE(refused)) {
            g_assert_cmpint(cqe.res, >=, 0);
            missing--;
        }
    }
    return missing;
}

uint64_t qvbu_attack(QVBUAttacker *a, QVBUFastRing *f, uint64_t count,
                     uint64_t different, QVBUMakeSQE *make)
{
    QVBUDesc *desc = &a->u->desc;
    uint64_t made = 0, taken = 0;
    gint64 spoke = g_get_monotonic_time();

    a->ledger = &a->ledgers[f->r->index];
    if (!a->ledger->late) {
        a->ledger->late = g_hash_table_new(NULL, NULL);
        g_test_queue_destroy(free_table, a->ledger->late);
    }
    while (taken < count || made < different) {
        unsigned first = f->r->sq_tail;
        unsigned n = desc->sq_entries, i;

        for (i = 0; i < desc->sq_entries; i++) {
            unsigned slot = (first + i) & (desc->sq_entries - 1);
            struct io_uring_sqe sqe;

            make(a, slot, &sqe, made++);
            settle(a, slot, &sqe);
            f->sqes[slot] = sqe;
        }
        mark_silent(a);
        /*
         * The kernel takes what lies there more than once if it is told to.
         * Half of the CQ is left for answers that come late.
         */
        if (made % 3) {
            n += qvbu_random_below(&a->random,
                                   desc->cq_entries / 2 - n + 1);
        }
        qvbu_fast_publish(f, n);
        await_answers(a, f, first, n);
        taken += n;
        if (g_get_monotonic_time() - spoke > 5 * G_USEC_PER_SEC) {
            g_test_message("%" PRIu64 " of %" PRIu64 " SQEs", taken, count);
            spoke = g_get_monotonic_time();
        }
    }
    a->taken += taken;
    return taken;
}

void qvbu_attacker_report(QVBUAttacker *a, const char *name)
{
    static const char *const classes[QVBU_CLASSES] = {
        [QVBU_CLASS_READV] = "READV",
        [QVBU_CLASS_WRITEV] = "WRITEV",
        [QVBU_CLASS_FSYNC] = "FSYNC",
        [QVBU_CLASS_FORBIDDEN] = "forbidden",
    };
    GString *line = g_string_new(NULL);
    uint64_t answered = a->late;
    unsigned i;

    for (i = 0; i < QVBU_CLASSES; i++) {
        QVBUTally *t = &a->tally[i];

        answered += t->refused + t->failed + t->succeeded;
        g_string_append_printf(line, "; %s: %" PRIu64 " refused, %" PRIu64
                               " failed, %" PRIu64 " succeeded", classes[i],
                               t->refused, t->failed, t->succeeded);
    }
    g_test_message("attack: %s: %" PRIu64 " SQEs taken, %" PRIu64
                   " answered%s", name, a->taken, answered, line->str);
    g_string_free(line, true);
}
