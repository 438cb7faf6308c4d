/*
 * virtio-blk-uring: PCI binding
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What is special to it are the rings' interrupts.  A virtqueue's vector will
 * not do for them: Linux drops an interrupt of a virtqueue that brings no used
 * buffer.  So each ring has a vector besides, raised by the ring's eventfd:
 * within the kernel under KVM, by the main loop otherwise.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-blk-uring.h"
#include "hw/virtio/virtio-pci.h"
#include "system/kvm.h"

#define TYPE_VIRTIO_BLK_URING_PCI "virtio-blk-uring-pci-base"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOBlkUringPCI, VIRTIO_BLK_URING_PCI)

typedef struct RingVector {
    VirtIOBlkUringPCI *pci;
    EventNotifier *notifier;
    uint64_t *interrupts;
    uint16_t vector;
    bool attached;
    int virq;               /* KVM's route, -1: through the main loop */
    bool irqfd;             /* the route has the notifier (vector unmasked) */
} RingVector;

struct VirtIOBlkUringPCI {
    VirtIOPCIProxy parent_obj;
    VirtIOBlkUring vdev;

    RingVector *vectors;    /* one for each ring */
    unsigned num_vectors;
    unsigned num_routed;    /* those with a KVM route */

    PCIConfigWriteFunc *parent_config_write;

    /* virtio-pci's own notifiers of masking, which ours call. */
    MSIVectorUseNotifier vector_use;
    MSIVectorReleaseNotifier vector_release;
    MSIVectorPollNotifier vector_poll;
};

static void ring_event(void *opaque)
{
    RingVector *v = opaque;

    if (event_notifier_test_and_clear(v->notifier)) {
        (*v->interrupts)++;
        /* Remembers it as pending while the vector is masked. */
        msix_notify(PCI_DEVICE(v->pci), v->vector);
    }
}

static int connect_irqfd(RingVector *v)
{
    int ret = kvm_irqchip_add_irqfd_notifier_gsi(kvm_state, v->notifier, NULL,
                                                 v->virq);
    v->irqfd = ret == 0;
    return ret;
}

static void disconnect_irqfd(RingVector *v)
{
    if (v->irqfd) {
        kvm_irqchip_remove_irqfd_notifier_gsi(kvm_state, v->notifier, v->virq);
        v->irqfd = false;
    }
}

static int vector_unmasked(PCIDevice *dev, unsigned vector, MSIMessage msg)
{
    VirtIOBlkUringPCI *pci = VIRTIO_BLK_URING_PCI(dev);

    for (unsigned i = 0; i < pci->num_vectors; i++) {
        RingVector *v = &pci->vectors[i];

        if (v->attached && v->virq >= 0 && v->vector == vector && !v->irqfd) {
            int ret = kvm_irqchip_update_msi_route(kvm_state, v->virq, msg,
                                                   dev);
            if (ret < 0) {
                return ret;
            }
            kvm_irqchip_commit_routes(kvm_state);
            ret = connect_irqfd(v);
            if (ret < 0) {
                return ret;
            }
        }
    }
    return pci->vector_use ? pci->vector_use(dev, vector, msg) : 0;
}

static void vector_masked(PCIDevice *dev, unsigned vector)
{
    VirtIOBlkUringPCI *pci = VIRTIO_BLK_URING_PCI(dev);

    for (unsigned i = 0; i < pci->num_vectors; i++) {
        RingVector *v = &pci->vectors[i];

        if (v->attached && v->vector == vector) {
            disconnect_irqfd(v);
        }
    }
    if (pci->vector_release) {
        pci->vector_release(dev, vector);
    }
}

/* The guest asks what is pending: what the eventfd of a masked vector holds. */
static void vector_polled(PCIDevice *dev, unsigned first, unsigned end)
{
    VirtIOBlkUringPCI *pci = VIRTIO_BLK_URING_PCI(dev);

    for (unsigned i = 0; i < pci->num_vectors; i++) {
        RingVector *v = &pci->vectors[i];

        if (v->attached && v->virq >= 0 && !v->irqfd &&
            v->vector >= first && v->vector < end &&
            event_notifier_test_and_clear(v->notifier)) {
            msix_set_pending(dev, v->vector);
        }
    }
    if (pci->vector_poll) {
        pci->vector_poll(dev, first, end);
    }
}

/*
 * msix.c knows one set of notifiers, and virtio-pci has set its own by now,
 * for as long as the driver is there.  Rings do not outlive that.
 */
static void hook_masking(VirtIOBlkUringPCI *pci)
{
    PCIDevice *dev = PCI_DEVICE(pci);

    pci->vector_use = dev->msix_vector_use_notifier;
    pci->vector_release = dev->msix_vector_release_notifier;
    pci->vector_poll = dev->msix_vector_poll_notifier;
    dev->msix_vector_use_notifier = vector_unmasked;
    dev->msix_vector_release_notifier = vector_masked;
    dev->msix_vector_poll_notifier = vector_polled;
}

static void unhook_masking(VirtIOBlkUringPCI *pci)
{
    PCIDevice *dev = PCI_DEVICE(pci);

    dev->msix_vector_use_notifier = pci->vector_use;
    dev->msix_vector_release_notifier = pci->vector_release;
    dev->msix_vector_poll_notifier = pci->vector_poll;
}

static bool attach_route(VirtIOBlkUringPCI *pci, RingVector *v)
{
    PCIDevice *dev = PCI_DEVICE(pci);
    KVMRouteChange change = kvm_irqchip_begin_route_changes(kvm_state);

    v->virq = kvm_irqchip_add_msi_route(&change, v->vector, dev);
    if (v->virq < 0) {
        return false;
    }
    kvm_irqchip_commit_route_changes(&change);
    if (!msix_is_masked(dev, v->vector) && connect_irqfd(v) < 0) {
        kvm_irqchip_release_virq(kvm_state, v->virq);
        v->virq = -1;
        return false;
    }
    if (pci->num_routed++ == 0) {
        hook_masking(pci);
    }
    return true;
}

static void detach_route(VirtIOBlkUringPCI *pci, RingVector *v)
{
    disconnect_irqfd(v);
    kvm_irqchip_release_virq(kvm_state, v->virq);
    v->virq = -1;
    if (--pci->num_routed == 0) {
        unhook_masking(pci);
    }
}

static bool vector_valid(void *opaque, uint16_t vector)
{
    PCIDevice *dev = PCI_DEVICE(opaque);

    return msix_enabled(dev) && vector < VIRTIO_PCI(opaque)->nvectors;
}

static bool vector_attach(void *opaque, unsigned ring, uint16_t vector,
                          EventNotifier *notifier, uint64_t *interrupts)
{
    VirtIOBlkUringPCI *pci = opaque;
    RingVector *v = &pci->vectors[ring];

    *v = (RingVector) {
        .pci = pci,
        .notifier = notifier,
        .interrupts = interrupts,
        .vector = vector,
        .virq = -1,
    };
    msix_vector_use(PCI_DEVICE(pci), vector);
    if (kvm_msi_via_irqfd_enabled()) {
        if (!attach_route(pci, v)) {
            msix_vector_unuse(PCI_DEVICE(pci), vector);
            return false;
        }
    } else {
        qemu_set_fd_handler(event_notifier_get_fd(notifier), ring_event, NULL,
                            v);
    }
    v->attached = true;
    return true;
}

static void vector_detach(void *opaque, unsigned ring)
{
    VirtIOBlkUringPCI *pci = opaque;
    RingVector *v = &pci->vectors[ring];

    if (v->virq >= 0) {
        detach_route(pci, v);
    } else {
        qemu_set_fd_handler(event_notifier_get_fd(v->notifier), NULL, NULL,
                            NULL);
    }
    v->attached = false;
    msix_vector_unuse(PCI_DEVICE(pci), v->vector);
}

/* As virtio-pci has it for virtqueues; a device in D3hot does no DMA either. */
static bool dma_enabled(void *opaque)
{
    PCIDevice *dev = PCI_DEVICE(opaque);

    return pci_get_word(dev->config + PCI_COMMAND) & PCI_COMMAND_MASTER &&
           (!dev->pm_cap ||
            !(pci_get_word(dev->config + dev->pm_cap + PCI_PM_CTRL) &
              PCI_PM_CTRL_STATE_MASK));
}

static bool check(void *opaque, Error **errp)
{
    VirtIOPCIProxy *proxy = VIRTIO_PCI(opaque);

    if (proxy->flags & (1 << VIRTIO_PCI_FLAG_ATS_BIT)) {
        error_setg(errp, "ats=on says that the guest's addresses go through "
                   "an IOMMU, which a ring cannot ask; use ats=off or "
                   "passthrough=off");
        return false;
    }
    if (virtio_host_has_feature(VIRTIO_DEVICE(&VIRTIO_BLK_URING_PCI(proxy)->
                                              vdev),
                                VIRTIO_F_IOMMU_PLATFORM)) {
        error_setg(errp, "iommu_platform=on lets an IOMMU translate the "
                   "guest's addresses, which a ring cannot ask; use "
                   "iommu_platform=off or passthrough=off");
        return false;
    }
    return true;
}

static const VirtIOBlkUringTransportOps transport_ops = {
    .check = check,
    .vector_valid = vector_valid,
    .vector_attach = vector_attach,
    .vector_detach = vector_detach,
    .dma_enabled = dma_enabled,
};

static void config_write(PCIDevice *dev, uint32_t addr, uint32_t value, int len)
{
    VirtIOBlkUringPCI *pci = VIRTIO_BLK_URING_PCI(dev);
    bool before = dma_enabled(pci);

    pci->parent_config_write(dev, addr, value, len);
    if (dma_enabled(pci) != before) {
        virtio_blk_uring_dma_changed(&pci->vdev);
    }
}

static void pci_realize(VirtIOPCIProxy *proxy, Error **errp)
{
    VirtIOBlkUringPCI *pci = VIRTIO_BLK_URING_PCI(proxy);
    VirtIOBlkUring *s = &pci->vdev;
    VirtIOBlkConf *conf = &s->parent_obj.conf;
    unsigned queues;

    if (conf->num_queues == VIRTIO_BLK_AUTO_NUM_QUEUES) {
        conf->num_queues = virtio_pci_optimal_num_queues(0);
    }
    queues = conf->num_queues + s->poll_queues;
    if (proxy->nvectors == DEV_NVECTORS_UNSPECIFIED) {
        /*
         * One for the configuration, one for each virtqueue, and one for each
         * ring that interrupts; also with passthrough=off, where a guest that
         * had rings may migrate to.
         */
        proxy->nvectors = MIN(1 + queues + conf->num_queues,
                              PCI_MSIX_FLAGS_QSIZE + 1);
    }
    s->transport = &transport_ops;
    s->transport_opaque = pci;
    pci->num_vectors = queues;
    pci->vectors = g_new0(RingVector, queues);
    if (qdev_realize(DEVICE(s), BUS(&proxy->bus), errp)) {
        virtio_blk_uring_plugged(s);
        /* virtio-pci has set its own by now. */
        pci->parent_config_write = PCI_DEVICE(proxy)->config_write;
        PCI_DEVICE(proxy)->config_write = config_write;
    }
}

static void pci_finalize(Object *obj)
{
    g_free(VIRTIO_BLK_URING_PCI(obj)->vectors);
}

static void pci_instance_init(Object *obj)
{
    VirtIOBlkUringPCI *pci = VIRTIO_BLK_URING_PCI(obj);

    virtio_instance_init_common(obj, &pci->vdev, sizeof(pci->vdev),
                                TYPE_VIRTIO_BLK_URING);
    object_property_add_alias(obj, "bootindex", OBJECT(&pci->vdev),
                              "bootindex");
    virtio_blk_uring_describe(obj);
}

static const Property pci_properties[] = {
    DEFINE_PROP_UINT32("class", VirtIOPCIProxy, class_code, 0),
    DEFINE_PROP_BIT("ioeventfd", VirtIOPCIProxy, flags,
                    VIRTIO_PCI_FLAG_USE_IOEVENTFD_BIT, true),
    DEFINE_PROP_UINT32("vectors", VirtIOPCIProxy, nvectors,
                       DEV_NVECTORS_UNSPECIFIED),
};

static void pci_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pdc = PCI_DEVICE_CLASS(klass);

    set_bit(DEVICE_CATEGORY_STORAGE, dc->categories);
    dc->desc = "virtio block device that hands a host io_uring to the guest";
    device_class_set_props(dc, pci_properties);
    VIRTIO_PCI_CLASS(klass)->realize = pci_realize;
    pdc->vendor_id = PCI_VENDOR_ID_REDHAT_QUMRANET;
    pdc->device_id = PCI_DEVICE_ID_VIRTIO_BLOCK;
    pdc->revision = VIRTIO_PCI_ABI_VERSION;
    pdc->class_id = PCI_CLASS_STORAGE_SCSI;
}

static const VirtioPCIDeviceTypeInfo pci_info = {
    .base_name = TYPE_VIRTIO_BLK_URING_PCI,
    .generic_name = "virtio-blk-uring-pci",
    .transitional_name = "virtio-blk-uring-pci-transitional",
    .non_transitional_name = "virtio-blk-uring-pci-non-transitional",
    .instance_size = sizeof(VirtIOBlkUringPCI),
    .instance_init = pci_instance_init,
    .instance_finalize = pci_finalize,
    .class_init = pci_class_init,
};

static void register_types(void)
{
    virtio_pci_types_register(&pci_info);
}

type_init(register_types)
