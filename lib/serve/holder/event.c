// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/holder/event.h"

#include <string.h>
#include <sys/fanotify.h>

/* Linux 6.14; not in Debian 12's headers. */
#define PRE_ACCESS UINT64_C(0x00100000)
#define INFO_RANGE 6

struct range_record {
	uint8_t type, pad;
	uint16_t len;
	uint32_t pad2;
	uint64_t offset, count;
};

_Static_assert(sizeof(struct fanotify_event_metadata) + sizeof(struct range_record) == EVENT_SIZE,
	"the kernel's layout");

static int read_records(const char *p, size_t n, struct event *e)
{
	while (n) {
		struct fanotify_event_info_header h;
		struct range_record range;

		if (n < sizeof(h))
			return -1;
		memcpy(&h, p, sizeof(h));
		if (h.len < sizeof(h) || h.len > n)
			return -1;
		if (h.info_type == INFO_RANGE && h.len >= sizeof(range)) {
			memcpy(&range, p, sizeof(range));
			e->has_range = true;
			e->offset = range.offset;
			e->len = range.count;
		}
		p += h.len;
		n -= h.len;
	}
	return 0;
}

int event_next(const void *bytes, size_t n, size_t *at, struct event *e)
{
	struct fanotify_event_metadata m;
	const char *p = (const char *)bytes + *at;
	size_t left = n - *at;

	if (!left)
		return 0;
	if (left < sizeof(m))
		return -1;
	memcpy(&m, p, sizeof(m));
	if (m.vers != FANOTIFY_METADATA_VERSION || m.event_len < sizeof(m) || m.event_len > left ||
		m.metadata_len < sizeof(m) || m.metadata_len > m.event_len)
		return -1;
	*e = (struct event){ .fd = m.fd, .pid = m.pid };
	e->waits = m.mask & (PRE_ACCESS | FAN_ACCESS_PERM | FAN_OPEN_PERM | FAN_OPEN_EXEC_PERM);
	*at += m.event_len;
	return read_records(p + m.metadata_len, m.event_len - m.metadata_len, e) < 0 ? -1 : 1;
}
