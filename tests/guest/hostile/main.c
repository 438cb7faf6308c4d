// SPDX-License-Identifier: GPL-2.0-only
/*
 * vbu_hostile: a driver of virtio-blk-uring disks that attacks the host
 *
 * Test code: it makes no disk.  It takes each disk of the kind that no other
 * driver has, sets it up, and then does what the files of
 * /sys/bus/virtio/drivers/vbu_hostile/virtio<N>/hostile/ are told:
 *
 *   addresses   write: hexadecimal addresses of the host's to aim at
 *   attack      write: "NAME SEED COUNT"; returns when the attack is over
 *   results     read: what became of the last attack's requests
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "hostile.h"

struct hostile_attack {
	const char *name;
	int (*run)(struct hostile *h, u32 count);
	bool no_rings;		/* it starts without any, and makes no requests */
};

static const struct hostile_attack hostile_attacks[] = {
	{ "sqes", hostile_sqes },
	{ "chains", hostile_chains },
	{ "offsets", hostile_offsets },
	{ "flip", hostile_flip },
	{ "peek", hostile_peek },
	{ "poke", hostile_poke },
	{ "hidden", hostile_hidden },
	{ "iovecs", hostile_iovecs },
	{ "indices", hostile_indices },
	{ "overflow", hostile_overflow },
	{ "flushes", hostile_flushes },
	{ "doorbells", hostile_doorbells },
	{ "places", hostile_places },
	{ "config", hostile_config },
	{ "states", hostile_states },
	{ "storm-bad", hostile_storm_bad, true },
	{ "storm-good", hostile_storm_good, true },
	{ "storm-mix", hostile_storm_mix, true },
};

/* Keeps what must not have succeeded; a few of many are enough. */
void hostile_report(struct hostile *h, const char *format, ...)
{
	struct hostile_results *r = &h->results;
	va_list args;

	r->escaped++;
	if (r->reports == HOSTILE_REPORTS)
		return;
	va_start(args, format);
	vscnprintf(r->report[r->reports++], sizeof(r->report[0]), format, args);
	va_end(args);
}

static struct hostile *hostile_of(struct device *dev)
{
	return dev_to_virtio(dev)->priv;
}

static ssize_t addresses_store(struct device *dev,
			       struct device_attribute *attr, const char *buf,
			       size_t count)
{
	struct hostile *h = hostile_of(dev);
	u64 targets[HOSTILE_TARGETS];
	unsigned int n = 0;
	int used;

	while (n < HOSTILE_TARGETS &&
	       sscanf(buf, " %llx%n", &targets[n], &used) == 1) {
		buf += used;
		n++;
	}
	mutex_lock(&h->lock);
	memcpy(h->targets, targets, n * sizeof(*targets));
	h->num_targets = n;
	mutex_unlock(&h->lock);
	return n ? count : -EINVAL;
}

static int hostile_run(struct hostile *h, const struct hostile_attack *attack,
		       u32 count)
{
	int err;

	if (attack->no_rings)
		err = hostile_end(h);
	else if (h->num_rings > HOSTILE_RINGS)
		err = -EOPNOTSUPP;
	else
		err = hostile_start(h);
	if (!err)
		err = attack->run(h, count);
	/* Whatever it left: the memory is to be ours again. */
	return err ?: hostile_end(h);
}

static ssize_t attack_store(struct device *dev, struct device_attribute *attr,
			    const char *buf, size_t size)
{
	struct hostile *h = hostile_of(dev);
	char name[16];
	u32 count, i;
	u64 seed;
	int err = -EINVAL;

	if (sscanf(buf, "%15s %llu %u", name, &seed, &count) != 3)
		return -EINVAL;
	mutex_lock(&h->lock);
	for (i = 0; i < ARRAY_SIZE(hostile_attacks); i++) {
		if (strcmp(name, hostile_attacks[i].name))
			continue;
		memset(&h->results, 0, sizeof(h->results));
		prandom_seed_state(&h->rnd, seed);
		err = hostile_run(h, &hostile_attacks[i], count);
	}
	mutex_unlock(&h->lock);
	return err ?: size;
}

static ssize_t results_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct hostile *h = hostile_of(dev);
	struct hostile_results *r = &h->results;
	unsigned int i;
	int at = 0;

	mutex_lock(&h->lock);
	at += sysfs_emit_at(buf, at, "submitted %lu\nok %lu\n",
			    r->submitted, r->ok);
	at += sysfs_emit_at(buf, at, "efault %lu\neacces %lu\neinval %lu\n",
			    r->efault, r->eacces, r->einval);
	at += sysfs_emit_at(buf, at, "ebadf %lu\nother %lu\nbytes %lu\n",
			    r->ebadf, r->other, r->bytes);
	at += sysfs_emit_at(buf, at, "unanswered %lu\nstray %lu\nlate %lu\n",
			    r->unanswered, r->stray, r->late);
	at += sysfs_emit_at(buf, at, "overflows %lu\ndrain_stalls %lu\n",
			    r->overflows, r->drain_stalls);
	at += sysfs_emit_at(buf, at, "commands %lu\n", r->commands);
	at += sysfs_emit_at(buf, at, "activations %lu\ndeaths %lu\n",
			    r->activations, r->deaths);
	at += sysfs_emit_at(buf, at, "escaped %lu\n", r->escaped);
	for (i = 0; i < r->reports; i++)
		at += sysfs_emit_at(buf, at, "report %s\n", r->report[i]);
	mutex_unlock(&h->lock);
	return at;
}

static DEVICE_ATTR_WO(addresses);
static DEVICE_ATTR_WO(attack);
static DEVICE_ATTR_RO(results);

static struct attribute *hostile_attrs[] = {
	&dev_attr_addresses.attr,
	&dev_attr_attack.attr,
	&dev_attr_results.attr,
	NULL
};

static const struct attribute_group hostile_group = {
	.name = "hostile",
	.attrs = hostile_attrs,
};

static const struct attribute_group *hostile_groups[] = {
	&hostile_group,
	NULL
};

/* Nothing is ever put into the virtqueues: they are for doorbells. */
static void hostile_vq_done(struct virtqueue *vq)
{
}

static int hostile_find_vqs(struct hostile *h)
{
	struct virtqueue_info *infos;
	struct virtqueue **vqs;
	unsigned int i;
	int err = -ENOMEM;

	infos = kcalloc(h->num_rings, sizeof(*infos), GFP_KERNEL);
	vqs = kcalloc(h->num_rings, sizeof(struct virtqueue *), GFP_KERNEL);
	if (!infos || !vqs)
		goto out;
	for (i = 0; i < h->num_rings; i++) {
		infos[i].name = "hostile";
		infos[i].callback = hostile_vq_done;
	}
	err = virtio_find_vqs(h->vdev, h->num_rings, vqs, infos, NULL);
	for (i = 0; !err && i < h->num_rings; i++)
		h->rings[i].vq = vqs[i];
out:
	kfree(vqs);
	kfree(infos);
	return err;
}

/* From a reset to FEATURES_OK */
void hostile_negotiate(struct hostile *h)
{
	struct virtio_device *vdev = h->vdev;

	virtio_add_status(vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	virtio_add_status(vdev, VIRTIO_CONFIG_S_DRIVER);
	if (vdev->config->finalize_features(vdev))
		dev_err(&vdev->dev, "the features are refused after a reset\n");
	virtio_add_status(vdev, VIRTIO_CONFIG_S_FEATURES_OK);
}

/* A reset, whatever is going on, and the way back to DRIVER_OK. */
void hostile_renegotiate(struct hostile *h)
{
	struct virtio_device *vdev = h->vdev;

	virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
	hostile_negotiate(h);
	if (hostile_find_vqs(h))
		dev_err(&vdev->dev, "no virtqueues after a reset\n");
	else
		virtio_device_ready(vdev);
}

static int hostile_probe(struct virtio_device *vdev)
{
	struct hostile *h;
	u64 sectors;
	int err;

	if (virtio_cread32(vdev, hostile_offset(magic)) !=
	    VIRTIO_BLK_URING_MAGIC)
		return -ENODEV;
	h = kvzalloc(sizeof(*h), GFP_KERNEL);
	if (!h)
		return -ENOMEM;
	mutex_init(&h->lock);
	h->vdev = vdev;
	vdev->priv = h;
	virtio_cread(vdev, struct virtio_blk_config, capacity, &sectors);
	h->capacity = sectors << 9;
	hostile_read_layout(h);
	if (!h->num_rings || h->num_rings > HOSTILE_MAX_RINGS) {
		err = -EINVAL;
		goto free;
	}
	err = hostile_alloc_rings(h);
	if (err)
		goto free;
	err = hostile_find_vqs(h);
	if (err)
		goto free_rings;
	virtio_device_ready(vdev);
	return 0;

free_rings:
	hostile_free_rings(h);
free:
	kvfree(h);
	return err;
}

static void hostile_remove(struct virtio_device *vdev)
{
	struct hostile *h = vdev->priv;

	virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
	hostile_free_rings(h);
	kvfree(h);
}

static int hostile_validate(struct virtio_device *vdev)
{
	return virtio_has_feature(vdev, VIRTIO_BLK_F_URING) &&
	       virtio_has_feature(vdev, VIRTIO_F_VERSION_1) ? 0 : -ENODEV;
}

static const struct virtio_device_id hostile_ids[] = {
	{ VIRTIO_ID_BLOCK, VIRTIO_DEV_ANY_ID },
	{ 0 },
};

static const unsigned int hostile_features[] = {
	VIRTIO_BLK_F_FLUSH,
	VIRTIO_BLK_F_CONFIG_WCE,
	VIRTIO_BLK_F_MQ,
	VIRTIO_BLK_F_URING,
};

static struct virtio_driver hostile_driver = {
	.driver.name		= KBUILD_MODNAME,
	.driver.dev_groups	= hostile_groups,
	.id_table		= hostile_ids,
	.feature_table		= hostile_features,
	.feature_table_size	= ARRAY_SIZE(hostile_features),
	.validate		= hostile_validate,
	.probe			= hostile_probe,
	.remove			= hostile_remove,
};

module_virtio_driver(hostile_driver);

MODULE_DESCRIPTION("Attacks virtio-blk-uring from inside a guest");
MODULE_LICENSE("GPL");
