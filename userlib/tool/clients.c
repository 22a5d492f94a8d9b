// SPDX-License-Identifier: MIT
/*
 * Who has a pool open: /proc/PID/fdinfo of every descriptor of a pool's node.
 *
 * The kernel shows it to whoever may trace the process: to root, and to each
 * user for processes of one's own.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static ssize_t read_file(int dir, const char *path, char *text, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, text, size - 1);
	close(fd);
	text[n < 0 ? 0 : n] = 0;
	return n;
}

static bool is_number(const char *text)
{
	return text[0] >= '0' && text[0] <= '9';
}

/* One line of fdinfo: "lfpool-KEY:<tab>VALUE". */
static void holder_line(struct holder *h, const char *key, const char *value)
{
	static const struct {
		const char *key;
		size_t offset;
	} numbers[] = {
		{ "held", offsetof(struct holder, held) },
		{ "cached", offsetof(struct holder, cached) },
		{ "gets", offsetof(struct holder, gets) },
		{ "puts", offsetof(struct holder, puts) },
		{ "misses", offsetof(struct holder, misses) },
		{ "age-ms", offsetof(struct holder, age_ms) },
	};
	unsigned int i;

	if (!strcmp(key, "pool"))
		snprintf(h->pool, sizeof(h->pool), "%s", value);
	else if (!strcmp(key, "client"))
		h->client = strtoul(value, NULL, 10);
	else if (!strcmp(key, "pid"))
		h->pid = strtol(value, NULL, 10);
	else if (!strcmp(key, "comm"))
		snprintf(h->comm, sizeof(h->comm), "%s", value);
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (!strcmp(key, numbers[i].key))
			*(uint64_t *)((char *)h + numbers[i].offset) = strtoull(value, NULL, 10);
	}
}

/* False if it is no client of a pool: another file, or one that is not mapped. */
static bool holder_parse(struct holder *h, char *text)
{
	static const char prefix[] = "lfpool-";
	char *line, *colon;

	memset(h, 0, sizeof(*h));
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (strncmp(line, prefix, sizeof(prefix) - 1))
			continue;
		colon = strchr(line, ':');
		if (!colon)
			continue;
		*colon++ = 0;
		holder_line(h, line + sizeof(prefix) - 1, colon + strspn(colon, " \t"));
	}
	return h->pool[0] && h->client;
}

/* Names come from programs: nothing in them may reach a terminal as it is. */
static void holder_clean(struct holder *h)
{
	char *c;

	if (!h->comm[0])
		strcpy(h->comm, "?");
	for (c = h->comm; *c; c++) {
		if (!isprint((unsigned char)*c))
			*c = '?';
	}
}

/* Several processes may have the file open: it is still one client. */
static bool holder_known(const struct holders *holders, const struct holder *h)
{
	size_t i;

	for (i = 0; i < holders->n; i++) {
		if (holders->at[i].client == h->client && !strcmp(holders->at[i].pool, h->pool))
			return true;
	}
	return false;
}

static void scan_process(struct holders *holders, const char *pid)
{
	char path[64], text[1024];
	struct dirent *entry;
	struct holder h;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		/* sockets, pipes and the like have no path */
		if (!is_number(entry->d_name) ||
		    readlinkat(dirfd(dir), entry->d_name, text, sizeof(text)) <= 0 ||
		    text[0] != '/')
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, entry->d_name);
		if (read_file(AT_FDCWD, path, text, sizeof(text)) <= 0 ||
		    !holder_parse(&h, text) || holder_known(holders, &h))
			continue;
		holder_clean(&h);
		holders->at = xrealloc(holders->at, holders->n + 1, sizeof(*holders->at));
		holders->at[holders->n++] = h;
	}
	closedir(dir);
}

void holders_scan(struct holders *holders)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	*holders = (struct holders) { 0 };
	if (!proc)
		return;
	while ((entry = readdir(proc))) {
		if (is_number(entry->d_name))
			scan_process(holders, entry->d_name);
	}
	closedir(proc);
}

void holders_free(struct holders *holders)
{
	free(holders->at);
	holders->at = NULL;
	holders->n = 0;
}

uint64_t holders_missing(const struct holders *holders, const char *pool)
{
	char text[32];
	uint64_t clients, seen = 0;
	size_t i;

	if (pool_read(pool, "clients", text, sizeof(text)))
		return 0;
	clients = strtoull(text, NULL, 10);
	for (i = 0; i < holders->n; i++)
		seen += !strcmp(holders->at[i].pool, pool);
	return clients > seen ? clients - seen : 0;
}

struct json_object *holders_missing_json(const struct holders *holders, const struct pools *pools)
{
	struct json_object *o = json_dict();
	unsigned int i;

	for (i = 0; i < pools->n; i++)
		json_add(o, pools->at[i].name, holders_missing(holders, pools->at[i].name));
	return o;
}

const char *holders_missing_why(void)
{
	return geteuid() ? "processes of other users, which only root may look at" :
			   "in another PID namespace, or just ending";
}

struct json_object *holder_json(const struct holder *h)
{
	struct json_object *o = json_dict();

	json_object_object_add(o, "pool", json_object_new_string(h->pool));
	json_add(o, "pid", h->pid);
	json_object_object_add(o, "command", json_object_new_string(h->comm));
	json_add(o, "client", h->client);
	json_add(o, "held", h->held);
	json_add(o, "cached", h->cached);
	json_add(o, "gets", h->gets);
	json_add(o, "puts", h->puts);
	json_add(o, "misses", h->misses);
	json_add(o, "age_ms", h->age_ms);
	return o;
}
