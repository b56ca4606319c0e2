/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The driver of tsocket: streams, datagrams, addresses, the PDU engine and the queue helpers.
 *
 * Built against the tsocket of Samba 4.17 (Debian 12) or against that of 4.23 and newer, which the packages follow.
 * Where the older one is known to differ (see known.py) the driver says "skip" instead of carrying an operation out; the Python
 * side decides likewise, from the same facts. "NEWER" is the name of that decision in both.
 */
#define VIRTUAL_CLOCK
#define epoll_wait common_epoll_wait
#include "common.h"
#undef epoll_wait
#include "streams.h"
#include <limits.h>
#include <stddef.h>
#include <tevent.h>
#include <tsocket.h>
#include <tsocket_internal.h>

#ifdef TEVENT_FD_ERROR
#define NEWER 1
#else
#define NEWER 0
#endif

#if !NEWER
/* Only here to compile; never called. */
static struct tevent_req *tstream_monitor_send(TALLOC_CTX *c, struct tevent_context *e, struct tstream_context *s)
{
	return NULL;
}
static int tstream_monitor_recv(struct tevent_req *req, int *perrno)
{
	return -1;
}
static bool tstream_bsd_fail_readv_first_error(struct tstream_context *s, bool on)
{
	return false;
}
#endif

/* A stream or datagram context, and what the program has done to its wire. */
struct target {
	void *ptr;
	bool is_dgram;
	bool optimize;
	bool disconnected;
	/* The peer has shut its side down, or is gone. */
	bool peer_bad;
	/* An operation has waited for the descriptor at some time. */
	bool waited;
	/* The descriptor is none, or one end of a pipe used as the other: it fails, and no event ever tells. */
	bool odd, odd_failed;
	char pipe_end;
	/* Failed while nothing was outstanding: the newer library loses data here, the packages do not. */
	bool tainted;
	/* Made by a connect request. */
	bool connected;
	/* The other end, if that is a stream too. */
	struct target *twin;
	/* The state of a backend of the driver's own. */
	struct fake *fake;
	struct tevent_context *ev;
};

enum slot { READ, WRITE, DISCONNECT, MONITOR, OTHER };

struct request {
	char name[NAME_MAX_BYTES];
	const char *type;
	enum slot slot;
	bool direct;
	struct tevent_req *req;
	struct target *target;
	char script[NAME_MAX_BYTES];
	/* The buffers of all vectors, in order. */
	struct iovec *buffers;
	size_t buffers_count;
	/* Of a PDU: its vectors, and how many it has asked for. */
	char **vectors;
	int vector_at, asked;
	bool received, called;
	/* The driver has received it already: a "recv" of the program does nothing. */
	bool received_at_once;
	/* A helper that was started inside its send function, so it does not look at its target any more. */
	bool at_once;
	struct tevent_queue *queue;
	struct tevent_context *ev;
	/* So many turns have been since it died, of either context. */
	int turns_since[2];
	/* A receive that may have finished inside its send function (what the older library never does). */
	bool early;
	char stream_name[NAME_MAX_BYTES], local_name[NAME_MAX_BYTES];
};

#define REQUESTS_MAX 4096
static struct request *requests[REQUESTS_MAX];
static struct target *targets[REQUESTS_MAX];
static int requests_count, targets_count;
static int descriptors_at_begin;
/* There is another event context than e. */
static bool two_contexts;
/* By then an immediate that was on its way has arrived: each turn serves one. */
#define STALE_TURNS 12
static bool in_turn, in_vector;

static bool request_lives(const struct request *r)
{
	return !chunk_is_dead(r->req);
}

static bool request_runs(const struct request *r)
{
	return request_lives(r) && !r->received && tevent_req_is_in_progress(r->req);
}

static bool target_lives(const struct target *t)
{
	return !chunk_is_dead(t->ptr);
}

static bool timed_out(const struct request *r)
{
	enum tevent_req_state state;
	uint64_t error;

	return tevent_req_is_error(r->req, &state, &error) && state == TEVENT_REQ_TIMED_OUT;
}

/* "-" is no parent at all. False: there is no such chunk. */
static bool parent_get(const char *name, TALLOC_CTX **ctx)
{
	*ctx = strcmp(name, "-") == 0 ? NULL : object_get(name, "ctx");
	return *ctx != NULL || strcmp(name, "-") == 0;
}

static struct target *target_get(const char *name, bool is_dgram)
{
	struct object *object = object_find(name);

	if (object == NULL || strcmp(object->kind, is_dgram ? "dgram" : "stream") != 0) {
		return NULL;
	}
	return object->more;
}

static struct request *request_get(const char *name)
{
	struct object *object = object_find(name);

	return object == NULL || strcmp(object->kind, "req") != 0 ? NULL : object->more;
}

static void note_descriptors(void);

static struct target *target_add(const char *name, void *ptr, bool is_dgram)
{
	struct target *t;

	if (ptr == NULL) {
		return NULL;
	}
	t = calloc(1, sizeof(*t));
	t->ptr = ptr;
	t->is_dgram = is_dgram;
	object_add(name, is_dgram ? "dgram" : "stream", ptr)->more = t;
	if (targets_count == REQUESTS_MAX) {
		program_aborts("too many targets");
	}
	targets[targets_count++] = t;
	note_descriptors();
	return t;
}

static bool peer_is_bad(const struct target *t)
{
	return t->peer_bad || (t->twin != NULL && (t->twin->disconnected || !target_lives(t->twin)));
}

#include "streams_known.h"

/* --- requests --------------------------------------------------------------------------------------------------- */

static void receive(struct request *r, TALLOC_CTX *mem_ctx);

static bool helper_waits(const struct target *t, enum slot slot)
{
	for (int i = 0; i < requests_count; i++) {
		const struct request *r = requests[i];
		if (r->target == t && !r->direct && !r->at_once && r->slot == slot && request_runs(r)) {
			return true;
		}
	}
	return false;
}

static void done(struct tevent_req *req)
{
	struct request *r = tevent_req_callback_data_void(req);

	r->called = true;
	saw("called %s", r->name);
	/*
	 * A connect request that is not received here is called back again and again; one that has timed out is not over yet;
	 * and for the older library none is, so that a helper that waits would find the stream busy.
	 */
	if (strcmp(r->type, "connect") == 0 || timed_out(r) || (!NEWER && r->direct && helper_waits(r->target, r->slot))) {
		receive(r, object_get("r", NULL));
		r->received_at_once = true;
	}
	run_script(r->script);
}

static struct request *request_new(const char *name, const char *type, enum slot slot, bool direct, const char *script)
{
	struct request *r = calloc(1, sizeof(*r));

	snprintf(r->name, sizeof(r->name), "%s", name);
	snprintf(r->script, sizeof(r->script), "%s", script);
	r->type = type;
	r->slot = slot;
	r->direct = direct;
	return r;
}

static void request_started(struct request *r, struct target *t, struct tevent_context *ev, struct tevent_req *req)
{
	r->req = req;
	r->target = t;
	r->ev = ev;
	if (requests_count == REQUESTS_MAX) {
		program_aborts("too many requests");
	}
	requests[requests_count++] = r;
	if (t == NULL) {
		note_descriptors();
	}
	object_add(r->name, "req", req)->more = r;
	tevent_req_set_callback(req, done, r);
	if (t != NULL) {
		t->waited |= tevent_req_is_in_progress(req) && r->slot != DISCONNECT;
		t->disconnected |= r->slot == DISCONNECT && tevent_req_is_in_progress(req);
		t->ev = ev;
		t->odd_failed |= t->odd && (t->pipe_end == '\0' || t->pipe_end == (r->slot == READ ? 'w' : 'r'));
	}
	if (r->early) {
		saw("%s sent", r->name);
	} else {
		saw("%s prog=%d", r->name, tevent_req_is_in_progress(req));
	}
	settle();
}

/* The vector that text describes; "fill" puts the next bytes of the pattern into it. */
static size_t vector_parse(struct request *r, const char *text, bool fill, TALLOC_CTX *mem_ctx, struct iovec **vector)
{
	const unsigned char *bytes = fill ? pattern_next() : NULL;
	size_t count = 0, room = 1;
	const char *p;

	*vector = NULL;
	if (strcmp(text, "none") == 0) {
		return 0;
	}
	for (p = text; *p != '\0'; p++) {
		room += *p == ',';
	}
	if (text[0] == 'x') {
		room = strtoul(text + 1, NULL, 10);
	}
	*vector = talloc_array(mem_ctx, struct iovec, room);
	if (strcmp(text, "empty") == 0) {
		return 0;
	}
	r->buffers = realloc(r->buffers, (r->buffers_count + room) * sizeof(struct iovec));
	for (p = text; count < room; count++) {
		size_t length = text[0] == 'x' ? 1 : strtoul(p, NULL, 10);
		struct iovec *element = *vector + count;

		element->iov_len = length;
		element->iov_base = text[0] != 'x' && *p == 'z' ? NULL : calloc(1, length + 1);
		if (fill && length > 0) {
			memcpy(element->iov_base, bytes, length);
			bytes += length;
		}
		r->buffers[r->buffers_count++] = *element;
		p += strcspn(p, ",");
		p += *p == ',';
	}
	return count;
}

static size_t vector_bytes(const char *text)
{
	size_t total = 0;

	for (const char *p = text; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
		total += strtoul(p, NULL, 10);
	}
	return total;
}

/* What the buffers of a request hold. */
static const char *buffers_shown(const struct request *r)
{
	static unsigned char all[1 << 21];
	size_t n = 0;

	for (size_t i = 0; i < r->buffers_count && n + r->buffers[i].iov_len <= sizeof(all); i++) {
		if (r->buffers[i].iov_base != NULL) {
			memcpy(all + n, r->buffers[i].iov_base, r->buffers[i].iov_len);
		}
		n += r->buffers[i].iov_len;
	}
	return bytes_shown(all, n);
}

/* readv R C E S VECTOR K */
static void op_readv(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], false);
	struct request *r;
	struct iovec *vector;
	size_t count;

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || in_vector) {
		return;
	}
	if (kept_off(t, READ, ev, 0) && skip()) {
		return;
	}
	r = request_new(argv[1], "readv", READ, true, argv[6]);
	count = vector_parse(r, argv[5], false, NULL, &vector);
	request_started(r, t, ev, tstream_readv_send(mem_ctx, ev, t->ptr, vector, count));
	/* The array itself has been copied. */
	memset(vector, 0xff, count * sizeof(*vector));
}

/* writev R C E S VECTOR K */
static void op_writev(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], false);
	struct request *r;
	struct iovec *vector;
	size_t count;

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || in_vector) {
		return;
	}
	if (kept_off(t, WRITE, ev, vector_bytes(argv[5])) && skip()) {
		return;
	}
	r = request_new(argv[1], "writev", WRITE, true, argv[6]);
	count = vector_parse(r, argv[5], true, NULL, &vector);
	request_started(r, t, ev, tstream_writev_send(mem_ctx, ev, t->ptr, vector, count));
	memset(vector, 0xff, count * sizeof(*vector));
}

/* disconnect R C E S K; monitor R C E S K */
static void simple(char **argv, const char *type, enum slot slot)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], false);

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || in_vector) {
		return;
	}
	if (kept_off(t, slot, ev, 0) && skip()) {
		return;
	}
	request_started(request_new(argv[1], type, slot, true, argv[5]), t, ev,
			slot == MONITOR ? tstream_monitor_send(mem_ctx, ev, t->ptr)
					: tstream_disconnect_send(mem_ctx, ev, t->ptr));
}

static void op_disconnect(int argc, char **argv)
{
	simple(argv, "disconnect", DISCONNECT);
}

static void op_monitor(int argc, char **argv)
{
	simple(argv, "monitor", MONITOR);
}

/* --- PDUs ------------------------------------------------------------------------------------------------------- */

#define PLANS_MAX 64
static struct {
	char name[NAME_MAX_BYTES];
	char **items;
} plans[PLANS_MAX];
static int plans_count;
static int vectors_count;

/* vectors V ITEM ... */
static void op_vectors(int argc, char **argv)
{
	int i;

	for (i = 0; i < plans_count && strcmp(plans[i].name, argv[1]) != 0; i++) {
	}
	if (i == PLANS_MAX) {
		program_aborts("too many plans");
	}
	plans_count += i == plans_count;
	snprintf(plans[i].name, sizeof(plans[i].name), "%s", argv[1]);
	plans[i].items = calloc(argc, sizeof(char *));
	for (int k = 2; k < argc; k++) {
		plans[i].items[k - 2] = strdup(argv[k]);
	}
}

static char **plan_get(const char *name)
{
	for (int i = 0; i < plans_count; i++) {
		if (strcmp(plans[i].name, name) == 0) {
			return plans[i].items;
		}
	}
	return NULL;
}

/*
 * The items of a plan: VECTOR on the context that is given, ^VECTOR on none and with a name, "." the end, !N the errno N, =N/VECTOR
 * returns N, &K runs the script K before the next item, "*" starts all over again.
 */
static int next_vector(struct tstream_context *stream, void *private_data, TALLOC_CTX *mem_ctx, struct iovec **vector,
		       size_t *count)
{
	struct request *r = private_data;
	const char *item;
	int ret = 0;

	saw("vector %s %d of %s", r->name, r->asked++, object_name(stream));
	*vector = NULL;
	*count = 0;
	if (r->asked > 50) {
		return 0;
	}
	while ((item = r->vectors[r->vector_at]) != NULL && *item == '&') {
		bool outer = in_vector;

		r->vector_at++;
		in_vector = true;
		run_script(item + 1);
		in_vector = outer;
	}
	if (item != NULL && *item == '*') {
		r->vector_at = 0;
		item = r->vectors[0];
	}
	if (item == NULL || *item == '.' || *item == '&' || *item == '*') {
		return 0;
	}
	r->vector_at++;
	if (*item == '!') {
		errno = atoi(item + 1);
		return -1;
	}
	if (*item == '=') {
		ret = atoi(item + 1);
		item = strchr(item, '/') + 1;
	}
	if (*item == '^') {
		mem_ctx = NULL;
		item++;
	}
	*count = vector_parse(r, item, false, mem_ctx, vector);
	if (mem_ctx == NULL) {
		char name[NAME_MAX_BYTES];
		snprintf(name, sizeof(name), "v%d", vectors_count++);
		object_add(name, "vector", *vector);
	}
	return ret;
}

/* pdu R C E S V K; pduq R C E S Q V K */
static void pdu(char **argv, bool queued)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], false);
	struct tevent_queue *queue = queued ? object_get(argv[5], "queue") : NULL;
	char **vectors = plan_get(argv[5 + queued]);
	struct request *r;
	struct tevent_req *req;
	bool at_once;

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || vectors == NULL || in_vector ||
	    (queued && queue == NULL)) {
		return;
	}
	at_once = !queued || (tevent_queue_length(queue) == 0 && tevent_queue_running(queue));
	if ((kept_off(t, READ, ev, 0) || (queued && queue_is_stale(queue)) || (t->odd && !at_once)) && skip()) {
		return;
	}
	r = request_new(argv[1], queued ? "pduq" : "pdu", READ, false, argv[6 + queued]);
	r->queue = queue;
	r->vectors = vectors;
	r->at_once = at_once;
	req = queued ? tstream_readv_pdu_queue_send(mem_ctx, ev, t->ptr, queue, next_vector, r)
		     : tstream_readv_pdu_send(mem_ctx, ev, t->ptr, next_vector, r);
	request_started(r, t, ev, req);
}

static void op_pdu(int argc, char **argv)
{
	pdu(argv, false);
}

static void op_pduq(int argc, char **argv)
{
	pdu(argv, true);
}

/* --- queues ----------------------------------------------------------------------------------------------------- */

/* queue Q C */
static void op_queue(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;

	if (parent_get(argv[2], &mem_ctx)) {
		object_add(argv[1], "queue", tevent_queue_create(mem_ctx, "queue"));
	}
}

static void op_qstop(int argc, char **argv)
{
	struct tevent_queue *queue = object_get(argv[1], "queue");

	if (queue != NULL) {
		tevent_queue_stop(queue);
	}
}

static void op_qstart(int argc, char **argv)
{
	struct tevent_queue *queue = object_get(argv[1], "queue");

	if (queue != NULL && !in_vector) {
		tevent_queue_start(queue);
		saw("%s length=%zu", argv[1], tevent_queue_length(queue));
	}
}

static void op_qlen(int argc, char **argv)
{
	struct tevent_queue *queue = object_get(argv[1], "queue");

	if (queue != NULL) {
		saw("%s length=%zu running=%d", argv[1], tevent_queue_length(queue), tevent_queue_running(queue));
	}
}

/* writevq R C E S Q VECTOR K */
static void op_writevq(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], false);
	struct tevent_queue *queue = object_get(argv[5], "queue");
	struct request *r;
	struct iovec *vector;
	size_t count;

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || queue == NULL || in_vector) {
		return;
	}
	if ((kept_off(t, WRITE, ev, vector_bytes(argv[6])) || queue_is_stale(queue)) && skip()) {
		return;
	}
	r = request_new(argv[1], "writevq", WRITE, false, argv[7]);
	r->queue = queue;
	r->at_once = tevent_queue_length(queue) == 0 && tevent_queue_running(queue);
	count = vector_parse(r, argv[6], true, NULL, &vector);
	request_started(r, t, ev, tstream_writev_queue_send(mem_ctx, ev, t->ptr, queue, vector, count));
}

/* change R: other bytes in the buffers of a request, which are looked at when its turn comes */
static void op_change(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);
	const unsigned char *bytes;

	if (r == NULL || r->slot != WRITE || r->received) {
		return;
	}
	bytes = pattern_next();
	for (size_t i = 0; i < r->buffers_count; i++) {
		if (r->buffers[i].iov_len > 0) {
			memcpy(r->buffers[i].iov_base, bytes, r->buffers[i].iov_len);
			bytes += r->buffers[i].iov_len;
		}
	}
}

#include "streams_address.h"

/* --- making streams --------------------------------------------------------------------------------------------- */

static void stream_made(const char *name, int ret, struct tstream_context *stream)
{
	saw("%s ret=%d e=%d %s", name, ret, ret == 0 ? 0 : errno, ret == 0 ? talloc_get_name(stream) : "");
	target_add(name, ret == 0 ? stream : NULL, false);
}

static void wire(const char *stream, TALLOC_CTX *mem_ctx, int fd, const char *raw_name, int raw_fd)
{
	struct tstream_context *made = NULL;
	struct raw *raw = raw_add(raw_name, raw_fd);
	int ret;

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	ret = tstream_bsd_existing_socket(mem_ctx, fd, &made);
	stream_made(stream, ret, made);
	raw->peer = target_get(stream, false);
}

/* unix S C R [BUFFER]: one end of a socketpair; tcp S C R; pipe S C R r|w */
static void op_unix(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	int fds[2], size = atoi(argv[4]);

	if (!parent_get(argv[2], &mem_ctx) || in_vector || crowded || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == -1) {
		return;
	}
	if (size > 0) {
		setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	wire(argv[1], mem_ctx, fds[0], argv[3], fds[1]);
}

static void op_tcp(int argc, char **argv)
{
	struct sockaddr_in name;
	socklen_t length = sizeof(name);
	TALLOC_CTX *mem_ctx;
	int listener, fd, raw;

	if (!parent_get(argv[2], &mem_ctx) || in_vector || crowded) {
		return;
	}
	listener = raw_inet_socket(SOCK_STREAM, own_host, 0);
	listen(listener, 1);
	getsockname(listener, (struct sockaddr *)&name, &length);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	connect(fd, (struct sockaddr *)&name, length);
	raw = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	no_delay();
	wire(argv[1], mem_ctx, fd, argv[3], raw);
}

static void op_pipe(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	int fds[2];
	bool reads = argv[4][0] == 'r';

	if (parent_get(argv[2], &mem_ctx) && !in_vector && !crowded && pipe2(fds, O_CLOEXEC) == 0) {
		wire(argv[1], mem_ctx, fds[!reads], argv[3], fds[reads]);
		target_get(argv[1], false)->odd = true;
		target_get(argv[1], false)->pipe_end = reads ? 'r' : 'w';
	}
}

/* twins S1 C1 S2 C2 */
static void op_twins(int argc, char **argv)
{
	struct tstream_context *one = NULL, *two = NULL;
	struct target *first, *second;
	TALLOC_CTX *ctx1, *ctx2;
	int ret;

	if (!parent_get(argv[2], &ctx1) || !parent_get(argv[4], &ctx2) || in_vector) {
		return;
	}
	ret = tstream_unix_socketpair(ctx1, &one, ctx2, &two);
	stream_made(argv[1], ret, one);
	stream_made(argv[3], ret, two);
	first = target_get(argv[1], false);
	second = target_get(argv[3], false);
	if (first != second) {
		first->twin = second;
		second->twin = first;
	}
}

/* badfd S C FD: a descriptor that is none */
static void op_badfd(int argc, char **argv)
{
	struct tstream_context *stream = NULL;
	TALLOC_CTX *mem_ctx;

	if (parent_get(argv[2], &mem_ctx)) {
		int ret = tstream_bsd_existing_socket(mem_ctx, atoi(argv[3]), &stream);
		stream_made(argv[1], ret, stream);
		target_get(argv[1], false)->odd = atoi(argv[3]) != -1;
	}
}

/* connect R C E inet|unix LOCAL REMOTE STREAM ADDRESS K */
static void op_connect(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct tsocket_address *local = address_get(argv[5]), *remote = address_get(argv[6]);
	struct request *r;
	struct tevent_req *req;
	bool inet = argv[4][0] == 'i';

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || local == NULL || remote == NULL || in_vector) {
		return;
	}
	if (!NEWER && crowded && skip()) {
		return;
	}
	inet_used |= inet;
	r = request_new(argv[1], "connect", OTHER, true, argv[9]);
	snprintf(r->stream_name, sizeof(r->stream_name), "%s", argv[7]);
	snprintf(r->local_name, sizeof(r->local_name), "%s", inet ? argv[8] : "");
	req = inet ? tstream_inet_tcp_connect_send(mem_ctx, ev, local, remote)
		   : tstream_unix_connect_send(mem_ctx, ev, local, remote);
	request_started(r, NULL, ev, req);
}

/* optimize S 0|1; failfirst S 0|1; pending S */
static void op_optimize(int argc, char **argv)
{
	struct target *t = target_get(argv[1], false);

	if (t != NULL) {
		saw("optimize was %d", tstream_bsd_optimize_readv(t->ptr, argv[2][0] == '1'));
	}
}

static void op_failfirst(int argc, char **argv)
{
	struct target *t = target_get(argv[1], false);

	if (t != NULL && !(!NEWER && skip())) {
		saw("failfirst was %d", tstream_bsd_fail_readv_first_error(t->ptr, argv[2][0] == '1'));
	}
}

static void op_pending(int argc, char **argv)
{
	struct target *t = target_get(argv[1], false);
	ssize_t n;

	if (t == NULL || (t->tainted && skip())) {
		return;
	}
	t->odd_failed |= t->odd && t->pipe_end == '\0';
	errno = 0;
	n = tstream_pending_bytes(t->ptr);
	saw("pending %zd e=%d", n, n == -1 ? errno : 0);
}

#include "streams_fake.h"
#include "streams_dgram.h"

/* --- results ---------------------------------------------------------------------------------------------------- */

static void receive_connect(struct request *r, TALLOC_CTX *mem_ctx)
{
	struct tstream_context *stream = NULL;
	struct tsocket_address *local = NULL;
	int err = 0, ret;

	ret = r->local_name[0] != '\0' ? tstream_inet_tcp_connect_recv(r->req, &err, mem_ctx, &stream, &local)
				       : tstream_unix_connect_recv(r->req, &err, mem_ctx, &stream);
	saw("%s ret=%d e=%d stream=%s local=%s", r->name, ret, ret == -1 ? err : 0,
	    stream != NULL ? object_name(talloc_parent(stream)) : "no", local != NULL ? object_name(talloc_parent(local)) : "no");
	if (stream != NULL) {
		target_add(r->stream_name, stream, false)->connected = true;
	}
	no_delay();
	if (local != NULL) {
		saw("local %s", shown(tsocket_address_string(local, NULL), true));
		address_add(r->local_name, local, true);
	}
}

static void receive_datagram(struct request *r, TALLOC_CTX *mem_ctx)
{
	struct tsocket_address *src = NULL;
	uint8_t *buf = NULL;
	int err = 0;
	ssize_t n = tdgram_recvfrom_recv(r->req, &err, mem_ctx, &buf, &src);
	char *text;

	if (n == -1) {
		saw("%s ret=-1 e=%d", r->name, err);
		return;
	}
	text = tsocket_address_string(src, NULL);
	saw("%s ret=%zd %s from %s parents %s %s sizes %zu %s", r->name, n, bytes_shown(buf, n),
	    text == NULL ? "nobody" : shown(text, true), object_name(talloc_parent(buf)), object_name(talloc_parent(src)),
	    talloc_get_size(buf), talloc_get_name(buf));
	address_add(r->local_name, src, true);
}

static void receive(struct request *r, TALLOC_CTX *mem_ctx)
{
	int err = 0;
	ssize_t n;

	r->received = true;
	if (strcmp(r->type, "connect") == 0) {
		receive_connect(r, mem_ctx);
		return;
	}
	if (strcmp(r->type, "recvfrom") == 0) {
		receive_datagram(r, mem_ctx);
		return;
	}
	if (strcmp(r->type, "readv") == 0) {
		n = tstream_readv_recv(r->req, &err);
	} else if (strcmp(r->type, "writev") == 0) {
		n = tstream_writev_recv(r->req, &err);
	} else if (strcmp(r->type, "disconnect") == 0) {
		n = tstream_disconnect_recv(r->req, &err);
	} else if (strcmp(r->type, "monitor") == 0) {
		n = tstream_monitor_recv(r->req, &err);
	} else if (strcmp(r->type, "pdu") == 0) {
		n = tstream_readv_pdu_recv(r->req, &err);
	} else if (strcmp(r->type, "pduq") == 0) {
		n = tstream_readv_pdu_queue_recv(r->req, &err);
	} else if (strcmp(r->type, "writevq") == 0) {
		n = tstream_writev_queue_recv(r->req, &err);
	} else if (strcmp(r->type, "sendto") == 0) {
		n = tdgram_sendto_recv(r->req, &err);
	} else if (strcmp(r->type, "sendtoq") == 0) {
		n = tdgram_sendto_queue_recv(r->req, &err);
	} else {
		n = tdgram_disconnect_recv(r->req, &err);
	}
	saw("%s ret=%zd e=%d %s", r->name, n, n == -1 ? err : 0, r->slot == READ ? buffers_shown(r) : "");
}

/* recv R C */
static void op_recv(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);
	TALLOC_CTX *mem_ctx;

	if (r == NULL || in_vector || !parent_get(argv[2][0] == '\0' ? "r" : argv[2], &mem_ctx)) {
		return;
	}
	if (r->early && !r->called && skip()) {
		return;
	}
	/* One that waits in a queue would be started all the same, and abort then. */
	if (r->queue != NULL && !r->at_once && tevent_req_is_in_progress(r->req) && skip()) {
		return;
	}
	/* What a finished connect holds is handed out by its callback. */
	if (strcmp(r->type, "connect") != 0 && !r->received_at_once) {
		receive(r, mem_ctx);
	}
}

/* simple R: tsocket_simple_int_recv() */
static void op_simple(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);
	int err = 0, ret;

	if (r == NULL || (r->early && !r->called && skip())) {
		return;
	}
	ret = tsocket_simple_int_recv(r->req, &err);
	saw("simple %s ret=%d e=%d", r->name, ret, ret == -1 ? err : 0);
}

/* --- anything --------------------------------------------------------------------------------------------------- */

static void op_ctx(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;

	if (parent_get(argv[2], &mem_ctx)) {
		object_add(argv[1], "ctx", talloc_new(mem_ctx));
	}
}

static void op_free(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);

	if (object == NULL || in_vector || strcmp(object->kind, "ev") == 0 || strcmp(object->kind, "vector") == 0 ||
	    strcmp(object->kind, "breq") == 0) {
		return;
	}
	if (undefined_to_free(object->ptr) && skip()) {
		return;
	}
	saw("free %d", talloc_free(object->ptr));
	settle();
}

/* steal X C */
static void op_steal(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);
	TALLOC_CTX *mem_ctx;

	if (object == NULL || strcmp(object->kind, "ctx") == 0 || strcmp(object->kind, "ev") == 0 ||
	    strcmp(object->kind, "vector") == 0 || strcmp(object->kind, "breq") == 0 || in_vector ||
	    !parent_get(argv[2], &mem_ctx)) {
		return;
	}
	talloc_steal(mem_ctx, object->ptr);
}

static void op_parent(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);

	if (object != NULL && strcmp(object->kind, "breq") != 0) {
		saw("parent %s name %s", object_name(talloc_parent(object->ptr)), talloc_get_name(object->ptr));
	}
}

static void op_inprog(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);

	if (r != NULL && !(r->early && !r->called && skip())) {
		saw("inprog %d", tevent_req_is_in_progress(r->req));
	}
}

static void op_cancel(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);

	if (r != NULL && !in_vector) {
		saw("cancel %d", tevent_req_cancel(r->req));
	}
}

/* endtime R E MICROSECONDS */
static void op_endtime(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);
	struct tevent_context *ev = object_get(argv[2], "ev");

	if (r == NULL || ev == NULL || in_vector || !request_runs(r) || (r->early && !r->called && skip())) {
		return;
	}
	/* One that waits in a queue would be started all the same. */
	if (r->queue != NULL && !r->at_once && skip()) {
		return;
	}
	saw("endtime %d", tevent_req_set_endtime(r->req, ev, tevent_timeval_current_ofs(0, atoi(argv[3]))));
}

/* tick MICROSECONDS */
static void op_tick(int argc, char **argv)
{
	clock_us += atoi(argv[1]);
}

static void on_stop(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *private_data)
{
	*(bool *)private_data = true;
}

/* One iteration, which never waits; false when there was nothing to do. */
static bool one_turn(struct tevent_context *ev, int *ret)
{
	bool idle = false;
	struct tevent_timer *te = tevent_add_timer(ev, ev, tevent_timeval_current_ofs(0, 1000), on_stop, &idle);

	*ret = tevent_loop_once(ev);
	if (!idle) {
		talloc_free(te);
	}
	return !idle;
}

/*
 * The older library is woken up more often while a write is blocked or a peer is gone, for nothing, and not in the same
 * order where there are several streams. All that there is to do is one turn then.
 */
static bool turns_count(void)
{
	int waited = 0;

	for (int i = 0; !NEWER && i < targets_count; i++) {
		const struct target *t = targets[i];
		if (!t->is_dgram && target_lives(t) && t->waited && (peer_is_bad(t) || writes(t) || waited++)) {
			return false;
		}
	}
	return true;
}

#define DRAIN_TURNS_MAX 100

/* turn E */
static void op_turn(int argc, char **argv)
{
	struct tevent_context *ev = object_get(argv[1], "ev");
	int64_t begun = clock_us;
	bool idle, count;
	int ret, turns = 0;

	if (ev == NULL || ((in_turn || !note_taint(ev)) && skip())) {
		return;
	}
	count = turns_count();
	in_turn = true;
	do {
		idle = !one_turn(ev, &ret);
	} while (!idle && !count && ++turns < DRAIN_TURNS_MAX);
	in_turn = false;
	note_turn(strcmp(argv[1], "e") != 0);
	/* A turn is a millisecond, whether or not it found something to do. */
	clock_us = begun + 1000;
	saw("turn %d%s", ret, NEWER && idle ? " idle" : "");
	settle();
}

static void op_ev(int argc, char **argv)
{
	if (crowded) {
		return;
	}
	object_add(argv[1], "ev", tevent_context_init(NULL));
	two_contexts = true;
}

/* rclose R; rreset R; rshut R r|w|b */
static void op_rclose(int argc, char **argv)
{
	struct raw *raw = raw_get(argv[1]);
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	if (raw == NULL || (peer_must_stay(raw) && skip())) {
		return;
	}
	if (strcmp(argv[0], "rreset") == 0) {
		setsockopt(raw->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	}
	close(raw->fd);
	raw->fd = -1;
	for (int i = 0; i < targets_count; i++) {
		targets[i]->peer_bad |= faces(raw, targets[i]);
	}
	settle();
}

static void op_rshut(int argc, char **argv)
{
	struct raw *raw = raw_get(argv[1]);

	if (raw == NULL || (peer_must_stay(raw) && skip())) {
		return;
	}
	for (int i = 0; argv[2][0] == 'r' && i < targets_count; i++) {
		if (faces(raw, targets[i]) && target_lives(targets[i]) && helper_waits(targets[i], READ)) {
			skip();
			return;
		}
	}
	if (shutdown(raw->fd, argv[2][0] == 'r' ? SHUT_RD : argv[2][0] == 'w' ? SHUT_WR : SHUT_RDWR) == -1) {
		saw("shutdown e=%d", errno);
	}
	for (int i = 0; i < targets_count; i++) {
		struct target *t = targets[i];

		t->peer_bad |= faces(raw, t);
		if (faces(raw, t) && argv[2][0] == 'r') {
			/* Its writes fail from now on, and nothing tells the loop. */
			t->odd = true;
			t->pipe_end = 'r';
			t->odd_failed |= writes(t);
		}
	}
	settle();
}

static const struct operation operations[] = {
	{ "accept", op_accept }, { "badfd", op_badfd }, { "bdone", op_bdone }, { "berror", op_bdone }, { "cancel", op_cancel }, { "change", op_change },
	{ "connect", op_connect }, { "copy", op_copy }, { "crowd", op_crowd }, { "ctx", op_ctx }, { "dbad", op_dbad },
	{ "ddisconnect", op_ddisconnect }, { "dfake", op_dfake }, { "dgram", op_dgram }, { "disconnect", op_disconnect },
	{ "doptimize", op_doptimize }, { "dpair", op_dpair }, { "endtime", op_endtime }, { "ev", op_ev },
	{ "exists", op_exists }, { "failfirst", op_failfirst }, { "fake", op_fake }, { "file", op_file }, { "fmode", op_fmode }, { "free", op_free },
	{ "hostport", op_hostport }, { "inet", op_inet }, { "inprog", op_inprog }, { "isinet", op_isinet },
	{ "listen", op_listen }, { "monitor", op_monitor }, { "optimize", op_optimize }, { "parent", op_parent },
	{ "pdu", op_pdu }, { "pduq", op_pduq }, { "pending", op_pending }, { "pipe", op_pipe }, { "qlen", op_qlen },
	{ "qstart", op_qstart }, { "qstop", op_qstop }, { "queue", op_queue }, { "rclose", op_rclose },
	{ "rdgram", op_rdgram }, { "readv", op_readv }, { "recv", op_recv }, { "recvfrom", op_recvfrom },
	{ "rin", op_rin }, { "rread", op_rread }, { "rrecv", op_rrecv }, { "rreset", op_rclose },
	{ "rsendto", op_rsendto }, { "rshut", op_rshut }, { "rwrite", op_rwrite }, { "sendto", op_sendto },
	{ "sendtoq", op_sendtoq }, { "setport", op_setport }, { "show", op_show }, { "simple", op_simple },
	{ "sockaddr", op_sockaddr }, { "steal", op_steal }, { "tcp", op_tcp }, { "tick", op_tick }, { "turn", op_turn },
	{ "twins", op_twins }, { "unix", op_unix }, { "unixaddr", op_unixaddr }, { "unlink", op_unlink },
	{ "vectors", op_vectors }, { "writev", op_writev }, { "writevq", op_writevq }, { NULL, NULL },
};

static void streams_abort(const char *reason)
{
	folder_remove();
	program_aborts(reason);
}

static void area_begin(void)
{
	raw_begin();
	talloc_set_abort_fn(streams_abort);
	tevent_set_abort_fn(streams_abort);
	descriptors_at_begin = descriptors_open();
	object_add("r", "ctx", talloc_new(NULL));
	object_add("e", "ev", tevent_context_init(NULL));
}

static void area_end(void)
{
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < objects_count; i++) {
			void *ptr = objects[i].ptr;
			if (ptr != NULL && !chunk_is_dead(ptr) && (pass == 1 || strcmp(objects[i].kind, "ev") != 0)) {
				talloc_free(ptr);
			}
		}
	}
	for (int i = 0; i < raws_count; i++) {
		close(raws[i].fd);
	}
	close(marker[0]);
	saw("left open %d", descriptors_open() - descriptors_at_begin);
	folder_remove();
}

int main(void)
{
	return driver_main();
}
