// SPDX-License-Identifier: MIT
/*
 * Which pools there are, what they say, and why one cannot be had.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <math.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

/* tests have one of their own */
#ifndef SYSFS
# define SYSFS	"/sys/class/lfpool"
#endif
#define NODES	"/dev/lfpool"

const struct lfpool_config kinds[KINDS] = {
	[SERIALIZATION] = { .name = "serialization", .buffer_size = 131072, .buffer_count = 256 },
	[COMPRESSION] = { .name = "compression", .buffer_size = 65536, .buffer_count = 256 },
	[SIMD] = { .name = "simd", .buffer_size = 2048, .buffer_count = 256,
		   .pool_flags = LFPOOL_POOL_ZERO },
};

#define FIELD(name, kind, metric, unit, help)	\
	{ #name, offsetof(struct lfpool_stats, name), kind, metric, unit, help }

const struct field fields[] = {
	FIELD(buffer_size, GAUGE, "buffer_size_bytes", "bytes", "Usable size of a buffer"),
	FIELD(stride, GAUGE, "stride_bytes", "bytes", "Memory that a buffer takes"),
	FIELD(buffer_count, GAUGE, "initial_buffers", NULL, "Buffers the pool started with"),
	FIELD(max_count, GAUGE, "max_buffers", NULL, "How far the pool may grow"),
	FIELD(capacity, GAUGE, "capacity_buffers", NULL, "Buffers there are now"),
	FIELD(available, GAUGE, "available_buffers", NULL,
	      "Free buffers: reserve, depot and caches"),
	FIELD(in_use, STATE, "in_use", NULL, NULL),
	FIELD(cached, STATE, "cached", NULL, NULL),
	FIELD(reserve, STATE, "reserve", NULL, NULL),
	FIELD(quarantined, STATE, "quarantined", NULL, NULL),
	FIELD(peak_granted, GAUGE, "peak_granted_buffers", NULL,
	      "Most buffers out of the reserve at one time since the last reset"),
	FIELD(allocations, COUNTER, "allocations", NULL,
	      "Buffers allocated because of a miss, by growth or from the heap"),
	FIELD(deallocations, COUNTER, "deallocations", NULL, "Buffers put back"),
	FIELD(pool_hits, COUNTER, "pool_hits", NULL, "Gets that a free buffer satisfied"),
	FIELD(pool_misses, COUNTER, "pool_misses", NULL, "Gets that found no free buffer"),
	FIELD(cas_retries, COUNTER, "cas_retries", NULL,
	      "Lost compare-and-swaps on the head of the depot"),
	FIELD(refills, COUNTER, "refills", NULL, "Batches that came into caches"),
	FIELD(flushes, COUNTER, "flushes", NULL, "Batches that left caches"),
	FIELD(grown, COUNTER, "grown", NULL, "Buffers the pool grew by"),
	FIELD(scavenged, COUNTER, "scavenged", NULL, "Buffers taken from idle caches"),
	FIELD(reclaimed, COUNTER, "reclaimed", NULL,
	      "Buffers taken back from processes that died"),
	FIELD(clients, GAUGE, "clients", NULL, "Open nodes that a process has mapped"),
	FIELD(threads, GAUGE, "threads", NULL, "Threads attached"),
};

const unsigned int nr_fields = ARRAY_SIZE(fields);

/*
 * sysfs
 */

int pool_read(const char *name, const char *file, char *text, size_t size)
{
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), SYSFS "/%s/%s", name, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return n;
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	return 0;
}

static int compare_pools(const void *a, const void *b)
{
	const struct pool *x = a, *y = b;

	return x->minor < y->minor ? -1 : x->minor > y->minor;
}

bool pools_find(struct pools *pools)
{
	DIR *dir = opendir(SYSFS);
	struct dirent *entry;

	*pools = (struct pools) { 0 };
	if (!dir)
		return false;
	while ((entry = readdir(dir))) {
		char dev[32], *colon;
		struct pool *p;

		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= LFPOOL_NAME_LEN)
			continue;
		pools->at = xrealloc(pools->at, pools->n + 1, sizeof(*pools->at));
		p = &pools->at[pools->n++];
		strcpy(p->name, entry->d_name);
		p->minor = 0;
		if (!pool_read(p->name, "dev", dev, sizeof(dev))) {
			colon = strchr(dev, ':');
			p->minor = colon ? strtol(colon + 1, NULL, 10) : 0;
		}
	}
	closedir(dir);
	if (pools->n)
		qsort(pools->at, pools->n, sizeof(*pools->at), compare_pools);
	return true;
}

bool pools_have(const struct pools *pools, const char *name)
{
	unsigned int i;

	for (i = 0; i < pools->n; i++) {
		if (!strcmp(pools->at[i].name, name))
			return true;
	}
	return false;
}

int pools_select(char **names, unsigned int n, struct pools *pools)
{
	struct pools all;
	unsigned int i, k;
	int status = TOOL_OK;

	if (!pools_find(&all) || !all.n) {
		free(all.at);
		return pool_refused(n ? names[0] : NULL, -ENOENT);
	}
	if (!n) {
		*pools = all;
		return TOOL_OK;
	}
	pools->n = 0;
	pools->at = xrealloc(NULL, n, sizeof(*pools->at));
	for (i = 0; i < n; i++) {
		for (k = 0; k < all.n && strcmp(names[i], all.at[k].name); k++)
			;
		/* metrics and JSON of a pool that is named twice must not come twice */
		if (pools_have(pools, names[i]))
			continue;
		if (k < all.n)
			pools->at[pools->n++] = all.at[k];
		else
			status = pool_refused(names[i], -ENOENT);
	}
	free(all.at);
	return status;
}

/*
 * Why not
 */

static bool module_loaded(void)
{
	return !access("/sys/module/lfpool", F_OK) || !access(SYSFS, F_OK);
}

/* Whether the module has such a pool; what it has, in words. */
static bool pool_there(const char *name, char *names, size_t size)
{
	struct pools all;
	bool found = false;
	unsigned int i;
	size_t len = 0;

	pools_find(&all);
	names[0] = 0;
	for (i = 0; i < all.n; i++) {
		found = found || !strcmp(all.at[i].name, name);
		if (len < size)
			len += snprintf(names + len, size - len, "%s%s", i ? ", " : "",
					all.at[i].name);
	}
	free(all.at);
	return found;
}

/* A file that is not mapped is no client: nobody sees that we asked. */
int pool_writable(const char *name)
{
	char path[sizeof(NODES) + 1 + LFPOOL_NAME_LEN];
	int fd;

	snprintf(path, sizeof(path), NODES "/%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno == ENXIO || errno == ENODEV ? -ENOENT : -errno;
	close(fd);
	return 0;
}

/* Says what would help, which depends on whom the node belongs to. */
static void say_permission(const char *name)
{
	char path[sizeof(NODES) + 1 + LFPOOL_NAME_LEN];
	struct passwd *user;
	struct group *group;
	struct stat st;

	snprintf(path, sizeof(path), NODES "/%s", name);
	if (stat(path, &st)) {
		say("no permission for %s", path);
		return;
	}
	user = getpwuid(st.st_uid);
	group = getgrgid(st.st_gid);
	say("no permission for %s (%s:%s, mode %04o)", path, user ? user->pw_name : "?",
	    group ? group->gr_name : "?", st.st_mode & 07777);
	if (st.st_gid && group)
		say("be root, or join its group: usermod -aG %s USER, and log in anew",
		    group->gr_name);
	else
		say("be root; to open it to a group, see PERMISSIONS in lfpool(7)");
}

int pool_refused(const char *name, int err)
{
	char names[512];

	if (!name)
		name = "";
	if (err == -EACCES || err == -EPERM) {
		say_permission(name);
	} else if (err == -EPROTO) {
		say("%s: the module in the kernel is of another version than this command (%s)",
		    name, TOOL_VERSION);
		say("load the one that belongs to it: modprobe -r lfpool && modprobe lfpool");
	} else if (err != -ENOENT) {
		say("%s: %s", name, strerror(-err));
	} else if (access("/sys/module", F_OK)) {
		say("cannot see whether the module is loaded: /sys is not mounted");
	} else if (!module_loaded()) {
		say("the lfpool module is not loaded; as root: modprobe lfpool, "
		    "or insmod lfpool.ko");
		say("without a module there are only: lfpool demo --embedded, "
		    "lfpool bench --embedded");
	} else if (!pool_there(name, names, sizeof(names))) {
		say("there is no pool '%s'; there are: %s", name, *names ? names : "none");
	} else {
		say("pool '%s' is there, but its node " NODES "/%s is not", name, name);
		say("devtmpfs must be mounted on /dev; in a container, the node must be passed in");
	}
	return TOOL_NO_POOL;
}

/*
 * Statistics
 */

static int stats_by_sysfs(const char *name, struct lfpool_stats *stats)
{
	char text[64];
	unsigned int i;
	int err;

	memset(stats, 0, sizeof(*stats));
	for (i = 0; i < nr_fields; i++) {
		err = pool_read(name, fields[i].name, text, sizeof(text));
		if (err)
			return err;
		*(uint64_t *)((char *)stats + fields[i].offset) = strtoull(text, NULL, 10);
	}
	err = pool_read(name, "hit_rate", text, sizeof(text));
	if (err)
		return err;
	stats->hit_rate_ppm = llround(strtod(text, NULL) * 1e6);
	return 0;
}

/*
 * The pool is not kept open from one look to the next: the module may go when
 * its last user does.
 */
int pool_stats(const char *name, struct lfpool_stats *stats)
{
	struct lfpool *pool = lfpool_open(name, LFPOOL_OPEN_RDONLY);
	int err = -errno;

	if (!pool)
		return stats_by_sysfs(name, stats) ? err : 0;
	err = lfpool_stats(pool, stats);
	lfpool_close(pool);
	return err;
}

uint64_t pool_depot(const struct lfpool_stats *stats)
{
	uint64_t elsewhere = stats->cached + stats->reserve;

	return stats->available > elsewhere ? stats->available - elsewhere : 0;
}

struct json_object *pool_json(const char *name, const struct lfpool_stats *stats)
{
	struct json_object *o = json_dict();
	unsigned int i;

	json_object_object_add(o, "pool", json_object_new_string(name));
	for (i = 0; i < nr_fields; i++)
		json_add(o, fields[i].name, field_value(stats, &fields[i]));
	json_object_object_add(o, "hit_rate", json_fraction(stats->hit_rate_ppm / 1e6, 6));
	return o;
}
