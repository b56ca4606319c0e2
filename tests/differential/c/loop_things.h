/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What a program of the event loop has made, and what is known of it: whether C says what an operation does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/eventfd.h>
#include "common.h"
/* Wrappers and nested loops. */
#define TEVENT_DEPRECATED 1
#include <tevent.h>

/* What tevent_internal.h declares, which is not installed. */
int tevent_common_invoke_fd_handler(struct tevent_fd *fde, uint16_t flags, bool *removed);
int tevent_common_invoke_timer_handler(struct tevent_timer *te, struct timeval current_time, bool *removed);
int tevent_common_invoke_immediate_handler(struct tevent_immediate *im, bool *removed);
int tevent_common_invoke_signal_handler(struct tevent_signal *se, int signum, int count, void *siginfo, bool *removed);
bool tevent_common_loop_immediate(struct tevent_context *ev);
struct timeval tevent_common_loop_timer_delay(struct tevent_context *ev);
int tevent_common_check_signal(struct tevent_context *ev);
int tevent_common_wakeup(struct tevent_context *ev);
int tevent_common_wakeup_init(struct tevent_context *ev);

#define THINGS_MAX 2048
#define FDS_MAX 300
#define FDS_BASE 300
#define SIGNALS_MAX 65
/* Handlers that may run in one line, and in one call of tevent_loop_wait(); waits in one call of that. */
#define LINE_HANDLERS_MAX 60
#define WAIT_HANDLERS_MAX 15
#define WAIT_WAITS_MAX 6
#define LOOPS_MAX 4
#define RAISES_MAX 200
#define FILL_MAX (1 << 20)
#define STORM_MAX 256

/* What a program has made: a chunk, and what is known about it. */
struct thing {
	char name[NAME_MAX_BYTES];
	char script[NAME_MAX_BYTES];
	const char *kind;
	void *ptr;
	/* The context of an event (the main one), and the one that was given; NULL once detached. */
	struct thing *ev, *via;
	/* The context on which an immediate runs. */
	struct thing *was_of;
	int fd, flags, signum, backend_is_epoll;
	/* Freed while its handler ran, so it is there until that is over. */
	bool freed;
	/* An immediate that stands in a queue, that a thread has scheduled, that belongs to a proxy. */
	bool queued, threaded, taken;
	/* An error was seen on its descriptor. */
	bool latched;
	/* Its handler runs inside itself, or did so. */
	bool recursed;
	bool agrees;
	char close_mode;
	int running;
	/* Of a context: loop calls on it. */
	int looping;
	/* Of a context that was initialised again inside a handler: one loop too few is counted ever after. */
	bool miscounts;
	char hook;
	int hook_begin, hook_end;
	void *state;
};

/* The timers of op_storm(), which are no things. */
static struct tevent_timer *storm_timers[STORM_MAX];
static struct tevent_context *storm_ev;

static struct thing things[THINGS_MAX];
static int things_count;

static struct {
	char name[NAME_MAX_BYTES];
	int fd;
} fds[FDS_MAX];
static int fds_count;

/* What is being added now, whose chunk is not known yet. */
static struct thing *pending;
/* The handlers and loop calls that are active, the innermost last. */
static struct thing *handler_stack[256];
static struct thing *handler_next[256];
static int handlers_active, signal_handlers_active;
static struct thing *loop_stack[16];
static int loops_active;
static int line_handlers;
/* The calls of tevent_loop_wait() that are active. */
static struct waiting {
	struct thing *ev;
	int handlers, waits;
	bool quenched;
	struct waiting *outer;
} *waitings;
/* The driver itself asks: that is not told. */
static int quiet;
/* Loops inside handlers were allowed. */
static bool nested;
static int raise_in_wait, raises[SIGNALS_MAX], foreign[SIGNALS_MAX];
static int64_t clock_us = 1000000000LL * 1000000LL;

/* --- what is known ---------------------------------------------------------------------------------------------- */

static bool alive(const struct thing *t)
{
	return t != NULL && t->ptr != NULL && !chunk_is_dead(t->ptr);
}

static bool is(const struct thing *t, const char *kind)
{
	return strcmp(t->kind, kind) == 0;
}

static struct thing *thing_get(const char *name, const char *kind)
{
	int i;

	/* Whose handler runs. */
	if (strcmp(name, "self") == 0) {
		struct thing *t = handlers_active > 0 ? handler_stack[handlers_active - 1] : NULL;
		return alive(t) && (kind == NULL || is(t, kind)) ? t : NULL;
	}
	for (i = things_count - 1; i >= 0; i--) {
		struct thing *t = &things[i];
		if (strcmp(t->name, name) == 0 && alive(t)) {
			return kind == NULL || is(t, kind) ? t : NULL;
		}
	}
	return NULL;
}

/* The main context of a context, NULL if that is gone. */
static struct thing *main_of(struct thing *ev)
{
	if (is(ev, "ev")) {
		return ev;
	}
	return ev->ev != NULL && alive(ev->ev) ? ev->ev : NULL;
}

/* A main context or a wrapper; one whose main context has gone only where C does not crash. */
static struct thing *context_get(const char *name, bool orphan)
{
	struct thing *t = thing_get(name, NULL);

	if (t == NULL || (!is(t, "ev") && !is(t, "wrap"))) {
		return NULL;
	}
	return is(t, "ev") || main_of(t) != NULL || (orphan && !t->freed) ? t : NULL;
}

/* Whether an event is in the lists of a context, as far as the program can know. */
static bool attached(const struct thing *t)
{
	return alive(t) && t->ev != NULL && alive(t->ev) && alive(t->via) && !t->freed;
}

/* What an event wants, as the driver asks it. */
static int flags_of(const struct thing *t)
{
	int flags;

	quiet++;
	flags = tevent_fd_get_flags(t->ptr);
	quiet--;
	return flags;
}

static struct thing *thing_of(const void *ptr)
{
	int i;

	for (i = things_count - 1; i >= 0; i--) {
		if (things[i].ptr == ptr) {
			return &things[i];
		}
	}
	return NULL;
}

/* Also a chunk that is about to die has its name. */
static const char *name_of(const void *ptr)
{
	struct thing *t = ptr != NULL ? thing_of(ptr) : NULL;
	return ptr == NULL ? "none" : t != NULL ? t->name : "?";
}

static bool is_within(const struct thing *t, const struct thing *owner)
{
	void *p;

	for (p = t->ptr; p != NULL; p = talloc_parent(p)) {
		if (p == owner->ptr) {
			return true;
		}
	}
	return false;
}

static bool in_use(const struct thing *ev)
{
	int i;

	if (ev->looping > 0) {
		return true;
	}
	for (i = 0; i < handlers_active; i++) {
		if (handler_stack[i]->ev == ev) {
			return true;
		}
	}
	return false;
}

/* Whether threads have scheduled what a context has not taken over yet. */
static bool has_threaded(const struct thing *ev)
{
	int i;

	for (i = 0; i < things_count; i++) {
		if (things[i].threaded && attached(&things[i]) && things[i].ev == ev) {
			return true;
		}
	}
	return false;
}

/* Whether the handler of an event on that descriptor runs that was added through a wrapper. */
static bool is_wrapped(int fd)
{
	int i;

	for (i = 0; i < handlers_active; i++) {
		const struct thing *t = handler_stack[i];
		if (is(t, "fd") && t->fd == fd && t->via != NULL && is(t->via, "wrap")) {
			return true;
		}
	}
	return false;
}

/* Whether C says what happens when a chunk is freed now. */
static bool may_be_freed(const struct thing *x)
{
	int i;

	for (i = 0; i < things_count; i++) {
		const struct thing *t = &things[i];
		if (!alive(t)) {
			continue;
		}
		if (is(t, "ev") && in_use(t) && is_within(t, x)) {
			return false;
		}
		/* C forgets what threads have scheduled with the last threaded context. */
		if (is(t, "tctx") && has_threaded(t->ev) && is_within(t, x)) {
			return false;
		}
		if (t->threaded
		    && (is_within(t, x) || (attached(t) && (is_within(t->ev, x) || is_within(t->via, x))))) {
			return false;
		}
		/* C forgets the wrapper of an event whose descriptor is closed in its handler. */
		if (is(t, "fd") && t->running == 0 && (t->close_mode == 'a' || t->close_mode == 'c') && is_wrapped(t->fd)
		    && is_within(t, x)) {
			return false;
		}
		/* C frees such an event too early, or twice. */
		if ((t->recursed || (is(t, "proxy") && t->running > 0)) && is_within(t, x)) {
			return false;
		}
		/* C is going to free a signal event that was in its handler when its context was initialised again. */
		if (is(t, "signal") && t->running > 0 && t->ev == NULL && !t->freed && is_within(t, x)) {
			return false;
		}
	}
	for (i = 0; i < handlers_active; i++) {
		const struct thing *t = handler_next[i];
		if (t != NULL && alive(t)
		    && (is_within(t, x) || (attached(t) && (is_within(t->ev, x) || is_within(t->via, x))))) {
			return false;
		}
	}
	return true;
}

static int thing_free(struct thing *x)
{
	int i;

	for (i = 0; i < things_count; i++) {
		struct thing *t = &things[i];
		if (alive(t) && (is(t, "wrap") || (t->running > 0 && !is(t, "timer"))) && is_within(t, x)) {
			t->freed = true;
		}
	}
	return talloc_free(x->ptr);
}

/* Enters what was just made, or forgets the place. */
static bool thing_made(struct thing *t, void *ptr)
{
	pending = NULL;
	t->ptr = ptr;
	if (ptr == NULL) {
		saw("%s %s none %d", t->kind, t->name, errno);
		return false;
	}
	object_add(t->name, t->kind, ptr);
	saw("%s %s ok", t->kind, t->name);
	return true;
}

/* A place for what is about to be made; NULL if there is such a thing already. */
static struct thing *thing_new(const char *name, const char *kind)
{
	struct thing *t;

	if (thing_get(name, NULL) != NULL) {
		return NULL;
	}
	if (things_count == THINGS_MAX) {
		program_aborts("too many things");
	}
	t = &things[things_count++];
	memset(t, 0, sizeof(*t));
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->kind = kind;
	pending = t;
	errno = 0;
	return t;
}

static bool is_event(const struct thing *t)
{
	return is(t, "fd") || is(t, "timer") || is(t, "imm") || is(t, "signal");
}

/* Whether a chunk goes with an immediate that belongs to a proxy. */
static bool is_taken(const struct thing *t)
{
	int i;

	for (i = 0; i < things_count; i++) {
		if (things[i].taken && alive(&things[i]) && is_within(t, &things[i])) {
			return true;
		}
	}
	return false;
}

/* Whether a chunk would be freed by the library itself, with an event that it belongs to. */
static bool goes_with(const struct thing *owner, const char *kind)
{
	int i;

	for (i = 0; i < things_count; i++) {
		if (alive(&things[i]) && is(&things[i], kind) && is_within(owner, &things[i])) {
			return true;
		}
	}
	return false;
}

/*
 * Whether a thing of a kind may belong to another one. The library frees timers and some signal events by itself, so
 * they must not take with them what may not be freed at any moment.
 */
static bool may_own(const struct thing *owner, const char *kind)
{
	bool event = strcmp(kind, "fd") == 0 || strcmp(kind, "timer") == 0 || strcmp(kind, "imm") == 0
		     || strcmp(kind, "signal") == 0;

	if (owner == NULL || is(owner, "ctx") || is(owner, "ev")) {
		return true;
	}
	if (!event || !is_event(owner) || owner->taken) {
		return false;
	}
	if (strcmp(kind, "signal") == 0) {
		return !goes_with(owner, "signal");
	}
	/* In a loop inside a handler C frees such an event too early. */
	return !nested || strcmp(kind, "timer") == 0 || (!goes_with(owner, "timer") && !goes_with(owner, "signal"));
}

/* The owner that an operation names: "-" is none. False if there is no such chunk. */
static bool owner_get(const char *name, const char *kind, void **owner)
{
	struct thing *t = thing_get(name, NULL);

	*owner = t != NULL ? t->ptr : NULL;
	return (strcmp(name, "-") == 0 || t != NULL) && may_own(t, kind);
}

static int fd_get(const char *name)
{
	int i;

	for (i = 0; i < fds_count; i++) {
		if (strcmp(fds[i].name, name) == 0) {
			return fds[i].fd;
		}
	}
	return -1;
}

static const char *fd_name_of(int fd)
{
	int i;

	for (i = 0; i < fds_count; i++) {
		if (fds[i].fd == fd) {
			return fds[i].name;
		}
	}
	return "?";
}

static struct timeval tv_of(const char *sec, const char *usec)
{
	struct timeval tv = { .tv_sec = atoll(sec), .tv_usec = atoll(usec) };
	return tv;
}
