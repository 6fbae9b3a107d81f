// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Where registries send us for blobs, and for how long we go there directly. */
#include "config.h"

#include "lib/registry/redirects.h"
#include "tests/unit/registry_fixture.h"

/* --- how long --- */

static void an_address_is_kept_for_a_minute_or_until_it_expires(void)
{
	static const struct {
		const char *url;
		unsigned seconds;
	} cases[] = {
		{ "https://a/b", 60 },
		{ "https://a/b?x=1", 60 },
		{ "https://a/b?X-Amz-Date=x&X-Amz-Expires=30&y", 25 },
		{ "https://a/b?x-goog-expires=30", 25 },
		{ "https://a/b?X-Amz-Expires=3600", 60 },
		{ "https://a/b?X-Amz-Expires=5", 0 },
		{ "https://a/b?X-Amz-Expires=3x", 60 },
		{ "https://a/b?X-Amz-Expires=", 60 },
		{ "https://a/b?X-Amz-Expires=99999999999999999999", 60 },
		{ "https://a/b?Expires=1000000020&Signature=x", 15 },
		{ "https://a/b?Expires=999999999", 0 },
		{ "https://a/b?Expires=1000000020&X-Amz-Expires=10", 5 },
		{ "https://a/b?NotExpires=0", 60 },
		{ "https://a/Expires=0?", 60 },
		{ "https://a/b?sp=r&se=2001-09-09T01:47:00Z", 15 },
		{ "https://a/b?se=2001-09-09T01%3A47%3A00Z&sig=x", 15 },
		{ "https://a/b?se=2001-09-09T01:46:39Z", 0 },
		{ "https://a/b?se=tomorrow", 60 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (!CHECK_U64(redirect_lifetime(cases[i].url, 1000000000), cases[i].seconds))
			printf("# %s\n", cases[i].url);
}

static struct digest numbered(uint32_t i)
{
	struct digest d = { .algo = DIGEST_SHA256 };

	memcpy(d.bytes, &i, sizeof(i));
	return d;
}

static bool is_kept(struct redirects *t, uint32_t i)
{
	struct digest d = numbered(i);
	char *url = redirects_find(t, &d);
	bool kept = url != NULL;

	free(url);
	return kept;
}

static void so_many_are_kept_and_the_oldest_goes(void)
{
	struct redirects t = { .lock = PTHREAD_MUTEX_INITIALIZER };
	CLEANUP_FREE char *longest = xasprintf("https://a/%*d", REDIRECT_LENGTH_MAX, 1);
	struct digest d;

	for (uint32_t i = 0; i < REDIRECTS_KEPT + 2; i++) {
		d = numbered(i);
		redirects_keep(&t, &d, "https://a/b");
		if (i == REDIRECTS_KEPT - 1) {
			d = numbered(0); /* now the youngest */
			redirects_keep(&t, &d, "https://a/c");
		}
	}
	CHECK_U64(t.n, REDIRECTS_KEPT);
	CHECK(is_kept(&t, 0));
	CHECK(!is_kept(&t, 1));
	CHECK(!is_kept(&t, 2));
	CHECK(is_kept(&t, 3));
	d = numbered(3);
	redirects_drop(&t, &d);
	CHECK(!is_kept(&t, 3));
	redirects_keep(&t, &d, longest);
	CHECK(!is_kept(&t, 3));
	redirects_drop(&t, NULL);
	CHECK_U64(t.n, 0);
	redirects_free(&t);
}

/* --- a registry and its storage --- */

enum { SIZE = 300000 };

struct site {
	char *bytes;
	struct digest digest;
	const char *storage, *query; /* where the registry sends us */
	_Atomic unsigned asked, served; /* of the registry, and of the storage */
	_Atomic unsigned with_authorization; /* requests to the storage */
	_Atomic unsigned without; /* and to the registry */
	_Atomic unsigned refuse; /* the storage's next answer has this status */
	_Atomic bool shift; /* its next answer begins too late */
};

static void serve_registry(struct served *x)
{
	struct site *s = x->server->state;
	CLEANUP_FREE char *to = xasprintf("Location: http://%s/storage%s%s\r\n", s->storage,
		strrchr(x->target, '/'), s->query);
	char value[512];

	s->asked++;
	s->without += strcmp(server_header(x, "Authorization", value), "Bearer secret") != 0;
	server_say(x, 307, to, "");
}

static void serve_storage(struct served *x)
{
	struct site *s = x->server->state;
	unsigned first = 0, last = 0;
	CLEANUP_FREE char *range = NULL;
	char value[512];
	unsigned refuse = atomic_exchange(&s->refuse, 0);

	s->served++;
	s->with_authorization += *server_header(x, "Authorization", value) != '\0';
	if (refuse) {
		server_say(x, refuse, "", "no");
		return;
	}
	sscanf(server_header(x, "Range", value), "bytes=%u-%u", &first, &last);
	first += atomic_exchange(&s->shift, false);
	range = xasprintf("Content-Range: bytes %u-%u/%d\r\n", first, last, SIZE);
	server_answer(x, 206, range, s->bytes + first, last - first + 1);
}

struct scene {
	struct site site;
	struct server *registry, *storage;
	struct registry *client;
};

/* Where a try that fails fails all. */
static void begin(struct scene *c, const char *query)
{
	struct registry_options o = PLAIN;

	*c = (struct scene){ .site = { .bytes = make_bytes(SIZE), .query = query } };
	c->site.digest = digest_of_bytes(c->site.bytes, SIZE);
	c->registry = server_start(serve_registry, &c->site);
	c->storage = server_start(serve_storage, &c->site);
	c->site.storage = c->storage->host;
	o.retries = 0;
	o.credentials = (struct credentials_options){ .registry_token = "secret" };
	c->client = open_at(c->registry, REGISTRY_PULL, &o);
}

static void end(struct scene *c)
{
	registry_close(c->client);
	server_stop(c->registry);
	server_stop(c->storage);
	CHECK_U64(c->site.with_authorization, 0);
	CHECK_U64(c->site.without, 0);
	free(c->site.bytes);
}

static bool read_at(struct scene *c, size_t offset)
{
	CLEANUP_ERROR struct error *err = NULL;
	char buf[1000];

	if (registry_read_blob(c->client, &c->site.digest, offset, buf, sizeof(buf), &err) < 0) {
		printf("# %s\n", err->msg);
		CHECK(!strstr(err->msg, "secret"));
		return false;
	}
	return CHECK(memcmp(buf, c->site.bytes + offset, sizeof(buf)) == 0);
}

static void further_ranges_of_a_blob_are_one_round_trip(void)
{
	struct scene c;

	begin(&c, "?signature=secret");
	for (unsigned i = 0; i < 10; i++)
		CHECK(read_at(&c, i * 20000));
	CHECK_U64(c.site.asked, 1);
	CHECK_U64(c.site.served, 10);
	end(&c);
}

static void an_address_is_of_one_blob(void)
{
	struct scene c;

	begin(&c, "");
	CHECK(read_at(&c, 0));
	c.site.digest.bytes[0] ^= 1;
	CHECK(read_at(&c, 5));
	CHECK_U64(c.site.asked, 2);
	c.site.digest.bytes[0] ^= 1;
	CHECK(read_at(&c, 9));
	CHECK_U64(c.site.asked, 2);
	end(&c);
}

static void whatever_it_answers_but_bytes_the_registry_is_asked_again(void)
{
	static const unsigned statuses[] = { 401, 403, 404, 410, 416, 429, 500, 503 };
	struct scene c;

	begin(&c, "");
	CHECK(read_at(&c, 0));
	for (unsigned i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		c.site.refuse = statuses[i];
		CHECK(read_at(&c, i * 20000));
		CHECK_U64(c.site.asked, 2 + i);
		CHECK(read_at(&c, i * 1000)); /* the new address is kept */
		CHECK_U64(c.site.asked, 2 + i);
	}
	c.site.shift = true;
	CHECK(read_at(&c, 5));
	CHECK_U64(c.site.asked, 2 + sizeof(statuses) / sizeof(*statuses));
	end(&c);
}

static void a_refusal_of_a_new_address_is_one(void)
{
	struct scene c;

	begin(&c, "");
	c.site.refuse = 404;
	CHECK(!read_at(&c, 0));
	CHECK_U64(c.site.asked, 1);
	CHECK(read_at(&c, 0));
	CHECK_U64(c.site.asked, 2);
	end(&c);
}

static void what_expires_soon_is_not_kept(void)
{
	struct scene c;

	begin(&c, "?X-Amz-Expires=3");
	for (unsigned i = 0; i < 3; i++)
		CHECK(read_at(&c, i * 20000));
	CHECK_U64(c.site.asked, 3);
	end(&c);
}

static void who_got_wrong_bytes_has_it_forgotten(void)
{
	struct scene c;

	begin(&c, "");
	CHECK(read_at(&c, 0));
	registry_forget_redirects(c.client);
	CHECK(read_at(&c, 0));
	CHECK_U64(c.site.asked, 2);
	end(&c);
}

int main(void)
{
	alarm(300);
	RUN(an_address_is_kept_for_a_minute_or_until_it_expires);
	RUN(so_many_are_kept_and_the_oldest_goes);
	RUN(further_ranges_of_a_blob_are_one_round_trip);
	RUN(an_address_is_of_one_blob);
	RUN(whatever_it_answers_but_bytes_the_registry_is_asked_again);
	RUN(a_refusal_of_a_new_address_is_one);
	RUN(what_expires_soon_is_not_kept);
	RUN(who_got_wrong_bytes_has_it_forgotten);
	return tap_done();
}
