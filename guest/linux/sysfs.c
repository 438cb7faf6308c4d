// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_blk_uring: what /sys/block/<disk>/ tells
 *
 * serial and cache_type are those of virtio_blk.  The directory uring/ has the
 * state of the path, and counters since the disk appeared: "counters" has their
 * sums, one a line, "queues" is a table with a line for each queue.
 */
#include <linux/blkdev.h>
#include <linux/device.h>
#include <linux/sysfs.h>

#include "vbu.h"

static struct vbu *vbu_of(struct device *dev)
{
	return dev_to_disk(dev)->private_data;
}

static ssize_t serial_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	char id[VIRTIO_BLK_ID_BYTES + 1] = "";
	int err;

	err = vbu_get_id(vbu_of(dev), id);
	if (err && err != -EIO)
		return err;
	/* -EIO is how a device says that it has none. */
	return err ? 0 : sysfs_emit(buf, "%s", id);
}

static ssize_t cache_type_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", vbu_of(dev)->write_cache ?
			  "write back" : "write through");
}

static DEVICE_ATTR_RO(serial);
static DEVICE_ATTR_RO(cache_type);

static struct attribute *vbu_attrs[] = {
	&dev_attr_serial.attr,
	&dev_attr_cache_type.attr,
	NULL
};

static const struct attribute_group vbu_attr_group = {
	.attrs = vbu_attrs,
};

static ssize_t path_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%s\n",
			  vbu_state_name(READ_ONCE(vbu_of(dev)->state)));
}

static ssize_t reason_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "%s\n",
			  vbu_reason_name(READ_ONCE(vbu_of(dev)->reason)));
}

static ssize_t activations_show(struct device *dev,
				struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n", READ_ONCE(vbu_of(dev)->activations));
}

static DEVICE_ATTR_RO(path);
static DEVICE_ATTR_RO(reason);
static DEVICE_ATTR_RO(activations);

/* All of these are a long, some of them atomic. */
#define VBU_COUNTER(name) { #name, offsetof(struct vbu_queue, name) }

static const struct {
	const char *name;
	size_t offset;
} vbu_counters[] = {
	VBU_COUNTER(submitted),
	VBU_COUNTER(completed),
	VBU_COUNTER(doorbells),
	VBU_COUNTER(interrupts),
	VBU_COUNTER(empty),
	VBU_COUNTER(sq_full),
	VBU_COUNTER(stray),
	VBU_COUNTER(vq_requests),
	VBU_COUNTER(shorts),
	VBU_COUNTER(again),
	VBU_COUNTER(replayed),
};

static unsigned long vbu_count(const struct vbu_queue *q, unsigned int counter)
{
	return READ_ONCE(*(const unsigned long *)((const char *)q +
						  vbu_counters[counter].offset));
}

static ssize_t counters_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	const struct vbu *vbu = vbu_of(dev);
	unsigned int i, c;
	int at = 0;

	for (c = 0; c < ARRAY_SIZE(vbu_counters); c++) {
		unsigned long sum = 0;

		for (i = 0; i < vbu->num_queues; i++)
			sum += vbu_count(&vbu->queues[i], c);
		at += sysfs_emit_at(buf, at, "%s %lu\n", vbu_counters[c].name,
				    sum);
	}
	return at;
}

static ssize_t queues_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	const struct vbu *vbu = vbu_of(dev);
	unsigned int i, c;
	int at;

	at = sysfs_emit(buf, "queue type");
	for (c = 0; c < ARRAY_SIZE(vbu_counters); c++)
		at += sysfs_emit_at(buf, at, " %s", vbu_counters[c].name);
	for (i = 0; i < vbu->num_queues; i++) {
		const struct vbu_queue *q = &vbu->queues[i];

		at += sysfs_emit_at(buf, at, "\n%u %s", i,
				    q->polled ? "poll" : "interrupt");
		for (c = 0; c < ARRAY_SIZE(vbu_counters); c++)
			at += sysfs_emit_at(buf, at, " %lu", vbu_count(q, c));
	}
	return at + sysfs_emit_at(buf, at, "\n");
}

static DEVICE_ATTR_RO(counters);
static DEVICE_ATTR_RO(queues);

static struct attribute *vbu_uring_attrs[] = {
	&dev_attr_path.attr,
	&dev_attr_reason.attr,
	&dev_attr_activations.attr,
	&dev_attr_counters.attr,
	&dev_attr_queues.attr,
	NULL
};

static const struct attribute_group vbu_uring_attr_group = {
	.name = "uring",
	.attrs = vbu_uring_attrs,
};

const struct attribute_group *vbu_attr_groups[] = {
	&vbu_attr_group,
	&vbu_uring_attr_group,
	NULL
};
