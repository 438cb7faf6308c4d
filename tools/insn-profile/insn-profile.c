/*
 * Counts the instructions that a guest executes, by translation block, and the
 * cache lines that it touches, by instruction
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A plugin for TCG: -plugin insn-profile.so,counts=PATH[,lines=on].  It has
 * nothing to be told and nothing to say: the counts are in the file, which is
 * mapped, and whoever wants them reads it while the machine is stopped.
 * profile.py does, and knows the layout below.
 *
 * For machines of one running vCPU; with more, some counts get lost.
 */

#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "qemu-plugin.h"

#define MAGIC           0x31465250534e49ull     /* "INSPRF1" */
#define BLOCK_SLOTS     (1u << 19)
#define LINE_SLOTS      (1u << 22)
#define LINE_SHIFT      6

/* A translation block; one that is translated again keeps its place. */
struct block {
    uint64_t address;
    uint64_t instructions;      /* 0: a free place */
    uint64_t executed;
};

/* A data cache line, as one instruction sees it */
struct line {
    uint64_t instruction;       /* 0: a free place */
    uint64_t number;            /* address >> LINE_SHIFT */
    uint64_t reads;
    uint64_t writes;
};

struct profile {
    uint64_t magic;
    uint64_t block_slots;
    uint64_t line_slots;
    uint64_t dropped;           /* found no place, so the counts are wrong */
    uint64_t record_lines;      /* set by the reader; it may clear line[] */
    uint64_t reserved[3];
    struct block block[BLOCK_SLOTS];
    struct line line[LINE_SLOTS];
};

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static struct profile *profile;
static bool with_lines;

static uint64_t scatter(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b << 32 | b >> 32)) * 0x9e3779b97f4a7c15ull;

    return x ^ x >> 29;
}

static struct block *find_block(uint64_t address, uint64_t instructions)
{
    uint64_t at = scatter(address, instructions);
    unsigned int i;

    for (i = 0; i < BLOCK_SLOTS; i++) {
        struct block *block = &profile->block[(at + i) % BLOCK_SLOTS];

        if (!block->instructions) {
            block->address = address;
            block->instructions = instructions;
        }
        if (block->address == address &&
            block->instructions == instructions) {
            return block;
        }
    }
    return NULL;
}

static struct line *find_line(uint64_t instruction, uint64_t number)
{
    uint64_t at = scatter(instruction, number);
    unsigned int i;

    for (i = 0; i < LINE_SLOTS / 8; i++) {
        struct line *line = &profile->line[(at + i) % LINE_SLOTS];

        if (!line->instruction) {
            line->instruction = instruction;
            line->number = number;
        }
        if (line->instruction == instruction && line->number == number) {
            return line;
        }
    }
    return NULL;
}

static void block_executed(unsigned int vcpu, void *opaque)
{
    struct block *block = opaque;

    block->executed++;
}

static void memory_accessed(unsigned int vcpu, qemu_plugin_meminfo_t info,
                            uint64_t address, void *opaque)
{
    struct line *line;

    if (!profile->record_lines) {
        return;
    }
    line = find_line((uint64_t)opaque, address >> LINE_SHIFT);
    if (!line) {
        profile->dropped++;
    } else if (qemu_plugin_mem_is_store(info)) {
        line->writes++;
    } else {
        line->reads++;
    }
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t i, n = qemu_plugin_tb_n_insns(tb);
    struct block *block = find_block(qemu_plugin_tb_vaddr(tb), n);

    if (!block) {
        profile->dropped++;
        return;
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, block_executed,
                                         QEMU_PLUGIN_CB_NO_REGS, block);
    for (i = 0; with_lines && i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

        qemu_plugin_register_vcpu_mem_cb(
            insn, memory_accessed, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
            (void *)qemu_plugin_insn_vaddr(insn));
    }
}

static struct profile *map_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    void *mem = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof(struct profile)) == 0) {
        mem = mmap(NULL, sizeof(struct profile), PROT_READ | PROT_WRITE,
                   MAP_SHARED, fd, 0);
    }
    if (mem == MAP_FAILED) {
        perror(path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return mem == MAP_FAILED ? NULL : mem;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info,
                                           int argc, char **argv)
{
    int i;

    for (i = 0; i < argc; i++) {
        if (g_str_has_prefix(argv[i], "counts=") && !profile) {
            profile = map_file(argv[i] + strlen("counts="));
        } else if (!g_str_has_prefix(argv[i], "lines=") ||
                   !qemu_plugin_bool_parse("lines", argv[i] + 6,
                                           &with_lines)) {
            fprintf(stderr, "insn-profile knows counts=PATH and lines=on, not "
                    "'%s'\n", argv[i]);
            return -1;
        }
    }
    if (!profile) {
        fprintf(stderr, "insn-profile has no file to count in: give "
                "counts=PATH\n");
        return -1;
    }
    profile->block_slots = BLOCK_SLOTS;
    profile->line_slots = LINE_SLOTS;
    profile->magic = MAGIC;
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
    return 0;
}
