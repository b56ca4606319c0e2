/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The streams driver: what makes both sides comparable, see known.py; a part of streams.c. */

/* --- which of several is told first ------------------------------------------------------------------------------ */

/*
 * The older library takes a descriptor out of epoll where the newer one keeps it in for errors, so that the kernel reports
 * several ready ones in another order. For the older one it is that of their creation, on both sides.
 */
#define FDS_MAX 256
static struct {
	ino_t inode;
	int rank;
	/* What epoll knows it by. */
	void *ptr;
} descriptors[FDS_MAX];
static int ranks;

static void note_descriptors(void)
{
	struct stat st;

	for (int fd = 3; !NEWER && fd < FDS_MAX; fd++) {
		if (fstat(fd, &st) == 0 && st.st_ino != descriptors[fd].inode) {
			descriptors[fd].inode = st.st_ino;
			descriptors[fd].rank = ++ranks;
		}
	}
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	if (event != NULL && fd >= 0 && fd < FDS_MAX) {
		descriptors[fd].ptr = event->data.ptr;
	}
	return syscall(SYS_epoll_ctl, epfd, op, fd, event);
}

int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout)
{
	struct epoll_event ready[FDS_MAX];
	int n = NEWER ? 0 : syscall(SYS_epoll_wait, epfd, ready, FDS_MAX, 0);
	int best = INT_MAX;

	if (n <= 0) {
		return common_epoll_wait(epfd, events, maxevents, timeout);
	}
	for (int i = 0; i < n; i++) {
		for (int fd = 0; fd < FDS_MAX; fd++) {
			if (descriptors[fd].ptr == ready[i].data.ptr && descriptors[fd].rank < best) {
				best = descriptors[fd].rank;
				events[0] = ready[i];
			}
		}
	}
	return 1;
}

/* --- what is kept off, see known.py ----------------------------------------------------------------------------- */

static bool connecting(void)
{
	for (int i = 0; !NEWER && i < requests_count; i++) {
		const struct request *r = requests[i];
		if (request_lives(r) && !r->received && strcmp(r->type, "connect") == 0) {
			return true;
		}
	}
	return false;
}

/* Whether the raw end is, or may be, the other end of t. */
static bool faces(const struct raw *raw, const struct target *t)
{
	return raw->peer == t || (raw->loose && t->connected);
}

static bool skip(void)
{
	saw("skip");
	return true;
}

/* Whether nothing on t waits for an event of ev. */
static bool is_idle(const struct target *t, const struct tevent_context *ev)
{
	for (int i = 0; i < requests_count; i++) {
		const struct request *r = requests[i];
		/* A helper that waits for its turn does nothing yet. */
		if (r->target == t && r->slot != DISCONNECT && request_runs(r) && r->ev == ev &&
		    (r->direct || r->at_once)) {
			return false;
		}
	}
	return true;
}

/* Before a turn; false if a waiting helper would be started on what fails now. */
static bool note_taint(const struct tevent_context *ev)
{
	for (int i = 0; NEWER && i < targets_count; i++) {
		struct target *t = targets[i];
		if (t->is_dgram || !t->waited || !peer_is_bad(t) || !target_lives(t) || !is_idle(t, ev)) {
			continue;
		}
		t->tainted = true;
		for (int k = 0; k < requests_count; k++) {
			if (requests[k]->target == t && requests[k]->slot != DISCONNECT && request_runs(requests[k])) {
				return false;
			}
		}
	}
	return true;
}

/* A write of a few bytes may have to wait, for its peer has not read what was written before. */
static bool may_block(const struct target *t)
{
	for (int i = 0; i < raws_count; i++) {
		int unread = 0;
		if (raws[i].fd != -1 && faces(&raws[i], t) && ioctl(raws[i].fd, FIONREAD, &unread) == 0 && unread > 0) {
			return true;
		}
	}
	return false;
}

/* Whether an operation of that kind on t must not be carried out. */
static bool kept_off(const struct target *t, enum slot slot, struct tevent_context *ev, size_t bytes)
{
	if (t->tainted || (slot == MONITOR && !NEWER) || (t->odd_failed && (slot == READ || slot == MONITOR))) {
		return true;
	}
	for (int i = 0; i < requests_count; i++) {
		const struct request *r = requests[i];
		bool meets = r->slot == slot || (slot == DISCONNECT && (r->slot == READ || r->slot == WRITE));

		if (r->target != t || !request_lives(r) || r->received) {
			continue;
		}
		if (meets && r->direct && !tevent_req_is_in_progress(r->req) && (!NEWER || timed_out(r))) {
			return true;
		}
		if (NEWER) {
			continue;
		}
		if (!t->is_dgram && r->slot == DISCONNECT && tevent_req_is_in_progress(r->req)) {
			return true;
		}
		if (!t->is_dgram && slot == DISCONNECT && !r->direct) {
			return true;
		}
		if (t->is_dgram && (slot == READ || slot == DISCONNECT) && r->early && !r->called) {
			return true;
		}
	}
	return !NEWER && !t->is_dgram && slot == WRITE && (t->twin != NULL || t->peer_bad) && (bytes > 256 || may_block(t));
}

/*
 * Whether an immediate of a queue may be on its way although the queue is empty: it would start what is added now for a
 * second time.
 */
static bool queue_is_stale(const struct tevent_queue *queue)
{
	if (tevent_queue_length((struct tevent_queue *)queue) > 0) {
		return false;
	}
	for (int i = 0; i < requests_count; i++) {
		const struct request *r = requests[i];
		if (r->queue == queue && !request_lives(r) &&
		    (r->turns_since[0] < STALE_TURNS || (two_contexts && r->turns_since[1] < STALE_TURNS))) {
			return true;
		}
	}
	return false;
}

static void note_turn(bool other)
{
	for (int i = 0; i < requests_count; i++) {
		if (requests[i]->queue != NULL && !request_lives(requests[i])) {
			requests[i]->turns_since[other]++;
		}
	}
}

/* A waiting helper looks at its stream when its turn comes; C looks at freed memory then. */
static bool undefined_to_free(const void *ptr)
{
	for (int i = 0; i < requests_count; i++) {
		const struct request *r = requests[i];

		bool waits, unheard;

		if (r->target == NULL || !request_lives(r) || r->received || !target_lives(r->target)) {
			continue;
		}
		waits = !r->direct && !r->at_once && tevent_req_is_in_progress(r->req);
		/* The older library knows a finished request until it is received. */
		unheard = !NEWER && r->direct && (!tevent_req_is_in_progress(r->req) || (r->early && !r->called) ||
						  (r->slot == DISCONNECT && !r->target->is_dgram));
		if ((waits || unheard) && talloc_is_parent(r->target->ptr, ptr) && !talloc_is_parent(r->req, ptr)) {
			return true;
		}
	}
	return false;
}

/* Whether a write on t is outstanding, or waits in a queue. */
static bool writes(const struct target *t)
{
	for (int i = 0; i < requests_count; i++) {
		if (requests[i]->target == t && requests[i]->slot == WRITE && request_runs(requests[i])) {
			return true;
		}
	}
	return false;
}

/* A peer that fails while a write is blocked: the older library may take a second to notice. */
static bool peer_must_stay(const struct raw *raw)
{
	for (int i = 0; !NEWER && i < targets_count; i++) {
		if (faces(raw, targets[i]) && writes(targets[i])) {
			return true;
		}
	}
	return false;
}
