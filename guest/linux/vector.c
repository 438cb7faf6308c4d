// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_blk_uring: completion interrupts
 *
 * A virtqueue's own vector will not do, since the virtio core drops an
 * interrupt that brings no used buffer.  So a ring gets one of the MSI-X
 * vectors that the virtqueues have left; without one it shares the config
 * interrupt with all others.
 */
#include <linux/interrupt.h>
#include <linux/pci.h>

#include "vbu.h"

static irqreturn_t vbu_vector_interrupt(int irq, void *data)
{
	vbu_ring_interrupt(data);
	return IRQ_HANDLED;
}

/* The CPUs that submit to @q. */
static void vbu_vector_mask(struct vbu_queue *q, struct cpumask *mask)
{
	const struct blk_mq_queue_map *map;
	unsigned int cpu;

	map = &q->vbu->set.map[HCTX_TYPE_DEFAULT];
	for_each_possible_cpu(cpu) {
		if (map->mq_map[cpu] == q->index)
			cpumask_set_cpu(cpu, mask);
	}
}

static bool vbu_vector_alloc(struct vbu_queue *q, struct pci_dev *pdev)
{
	struct irq_affinity_desc affinity = { };
	int err;

	vbu_vector_mask(q, &affinity.mask);
	q->vector = pci_msix_alloc_irq_at(pdev, MSI_ANY_INDEX,
					  cpumask_empty(&affinity.mask) ?
					  NULL : &affinity);
	if (q->vector.index < 0)
		return false;
	snprintf(q->irq_name, sizeof(q->irq_name), "%s-ring.%u",
		 dev_name(&q->vbu->vdev->dev), q->index);
	err = request_irq(q->vector.virq, vbu_vector_interrupt, 0, q->irq_name,
			  q);
	if (err) {
		pci_msix_free_irq(pdev, q->vector);
		q->vector.index = -1;
		return false;
	}
	return true;
}

/* A vector for each ring that is not polled, as long as there are any. */
void vbu_vectors_alloc(struct vbu *vbu)
{
	struct device *parent = vbu->vdev->dev.parent;
	struct pci_dev *pdev;
	unsigned int i;

	for (i = 0; i < vbu->num_queues; i++)
		vbu->queues[i].vector.index = -1;
	if (!vbu->can_ring || !vbu->desc.vectors || !dev_is_pci(parent))
		return;
	pdev = to_pci_dev(parent);
	if (!pdev->msix_enabled || !pci_msix_can_alloc_dyn(pdev))
		return;
	for (i = 0; i < vbu->num_queues - vbu->num_poll; i++) {
		if (!vbu_vector_alloc(&vbu->queues[i], pdev)) {
			dev_info(&vbu->vdev->dev,
				 "no interrupt vector is left for ring %u and later ones, they use the config interrupt; raise the device's vectors\n",
				 i);
			break;
		}
	}
}

/* After the reset of the device; before its other vectors go. */
void vbu_vectors_free(struct vbu *vbu)
{
	unsigned int i;

	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		if (q->vector.index < 0)
			continue;
		free_irq(q->vector.virq, q);
		pci_msix_free_irq(to_pci_dev(vbu->vdev->dev.parent), q->vector);
		q->vector.index = -1;
	}
}
