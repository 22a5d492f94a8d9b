// SPDX-License-Identifier: GPL-2.0-only
/*
 * lfpool: /sys/class/lfpool/<pool>/, one value a file.
 *
 * Every number is a field of struct lfpool_stats (uapi/linux/lfpool.h says what
 * each means), read as the STATS ioctl reads it. But as anybody may read these
 * files as often as he likes, each costs no more than it must: what never
 * changes, no lock; what does not tell where buffers are, no walk.
 */
#include <linux/kstrtox.h>
#include <linux/math64.h>
#include <linux/stddef.h>
#include <linux/sysfs.h>
#include "internal.h"

/* a file that shows one field */
struct lfpool_attribute {
	struct device_attribute attr;
	size_t offset;
};

static ssize_t field_emit(struct device_attribute *attr, const struct lfpool_stats *stats,
			  char *buf)
{
	struct lfpool_attribute *a = container_of(attr, struct lfpool_attribute, attr);

	return sysfs_emit(buf, "%llu\n", *(u64 *)((char *)stats + a->offset));
}

static ssize_t fixed_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct lfpool_stats stats = {};

	lfpool_stats_fixed(to_pool(dev), &stats);
	return field_emit(attr, &stats, buf);
}

static ssize_t number_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct lfpool_stats stats = {};

	return lfpool_stats_read(to_pool(dev), &stats, false) ?: field_emit(attr, &stats, buf);
}

static ssize_t walk_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct lfpool_stats stats = {};

	return lfpool_stats_read(to_pool(dev), &stats, true) ?: field_emit(attr, &stats, buf);
}

#define FIELD(name, how)						\
	static struct lfpool_attribute dev_attr_##name = {		\
		.attr = __ATTR(name, 0444, how##_show, NULL),		\
		.offset = offsetof(struct lfpool_stats, name),		\
	}

FIELD(buffer_size, fixed);
FIELD(stride, fixed);
FIELD(buffer_count, fixed);
FIELD(max_count, fixed);
FIELD(capacity, number);
FIELD(available, walk);
FIELD(in_use, walk);
FIELD(cached, number);
FIELD(reserve, number);
FIELD(quarantined, number);
FIELD(peak_granted, number);
FIELD(allocations, number);
FIELD(deallocations, number);
FIELD(pool_hits, number);
FIELD(pool_misses, number);
FIELD(cas_retries, number);
FIELD(refills, number);
FIELD(flushes, number);
FIELD(grown, number);
FIELD(scavenged, number);
FIELD(reclaimed, number);
FIELD(clients, number);
FIELD(threads, number);

/* hits / (hits + misses), as a decimal fraction with six digits */
static ssize_t hit_rate_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct lfpool_stats stats = {};
	u32 rest;
	u64 whole;
	int err;

	err = lfpool_stats_read(to_pool(dev), &stats, false);
	if (err)
		return err;
	whole = div_u64_rem(stats.hit_rate_ppm, 1000000, &rest);
	return sysfs_emit(buf, "%llu.%06u\n", whole, rest);
}
static DEVICE_ATTR_RO(hit_rate);

/* write 1: the counters start at zero again */
static ssize_t reset_stats_store(struct device *dev, struct device_attribute *attr,
				 const char *buf, size_t count)
{
	unsigned int value;

	if (kstrtouint(buf, 0, &value) || value != 1)
		return -EINVAL;
	return lfpool_stats_reset(to_pool(dev)) ?: count;
}
static DEVICE_ATTR_WO(reset_stats);

static struct attribute *lfpool_attrs[] = {
	&dev_attr_buffer_size.attr.attr,
	&dev_attr_stride.attr.attr,
	&dev_attr_buffer_count.attr.attr,
	&dev_attr_max_count.attr.attr,
	&dev_attr_capacity.attr.attr,
	&dev_attr_available.attr.attr,
	&dev_attr_in_use.attr.attr,
	&dev_attr_cached.attr.attr,
	&dev_attr_reserve.attr.attr,
	&dev_attr_quarantined.attr.attr,
	&dev_attr_peak_granted.attr.attr,
	&dev_attr_allocations.attr.attr,
	&dev_attr_deallocations.attr.attr,
	&dev_attr_pool_hits.attr.attr,
	&dev_attr_pool_misses.attr.attr,
	&dev_attr_hit_rate.attr,
	&dev_attr_cas_retries.attr.attr,
	&dev_attr_refills.attr.attr,
	&dev_attr_flushes.attr.attr,
	&dev_attr_grown.attr.attr,
	&dev_attr_scavenged.attr.attr,
	&dev_attr_reclaimed.attr.attr,
	&dev_attr_clients.attr.attr,
	&dev_attr_threads.attr.attr,
	&dev_attr_reset_stats.attr,
	NULL
};

static const struct attribute_group lfpool_group = {
	.attrs = lfpool_attrs,
};

const struct attribute_group *lfpool_groups[] = {
	&lfpool_group,
	NULL
};
