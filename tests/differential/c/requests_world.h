/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * What the driver of the area "requests" remembers about its objects, what it keeps programs off, and its handlers.
 *
 * An operation whose objects are not there does nothing. Beyond that a program is kept off what C leaves undefined:
 * what the library, or the loop, goes on to use is not freed, and neither is any of its owners.
 */
#define VIRTUAL_CLOCK
#include "common.h"

/* Wrapper contexts. */
#define TEVENT_DEPRECATED 1
#include <tevent.h>
#include <core/error.h>
#include <util/tevent_ntstatus.h>
#include <util/tevent_unix.h>
#include <util/tevent_werror.h>

/* --- what the driver remembers ---------------------------------------------------------------------------------- */

/* About a chunk; which of it is used depends on the kind. */
struct note {
	char callback[NAME_MAX_BYTES], cleanup[NAME_MAX_BYTES], cancel[NAME_MAX_BYTES], print[NAME_MAX_BYTES];
	char destructor[NAME_MAX_BYTES];
	/* A request's private data: another request, which may be dead by now, or a `struct script`. */
	struct object *pvt;
	const void *pvt_ptr;
	/* A request: its state has a name, too; it has been received; its callback may be deferred; it may have a timer. */
	bool has_state, received, deferred, timed;
	/* An event context: loops that run, and whether a queue or a deferral may still use it. */
	int loops;
	bool kept;
	/* Of a wrapper context. */
	struct object *main;
	/* An entry. */
	struct turn *turn;
	struct tevent_queue *queue;
	/* A profile: made by hand, and not below another one. */
	bool loose;
	/* An immediate that was freed in its own handler. */
	bool doomed;
	/* Its destructor, one of the program's, runs. */
	bool dying;
	/* A chunk that holds references. */
	bool holds;
};

/* The private data of a queue entry. A stale immediate of the queue may run a trigger again: see known.py. */
struct turn {
	struct turn *next;
	char script[NAME_MAX_BYTES], queue[NAME_MAX_BYTES];
	bool taken;
};

static struct turn *turns;

/* The private data of callbacks, timers and immediates. */
struct script {
	char name[NAME_MAX_BYTES];
};

struct foo_state {
	int value;
};

struct bar_state {
	char text[64];
};

static void *root, *hidden;
static const void *pins[256];
static int pins_count;
/* A handler of the driver's own runs, so it is known that no trigger of a request does. */
static bool known;
/* How many loops run, and how many callbacks below that may have come from a trigger. */
static int loops, in_trigger;
static uint8_t packed[1 << 20];

static struct object *object_of(const void *ptr)
{
	int i;

	for (i = objects_count - 1; i >= 0; i--) {
		if (objects[i].ptr == ptr) {
			return &objects[i];
		}
	}
	return NULL;
}

static struct note *note_of(const void *ptr)
{
	return object_of(ptr)->more;
}

static void add(const char *name, const char *kind, void *ptr)
{
	struct object *object = object_add(name, kind, ptr);

	if (object != NULL) {
		object->more = calloc(1, sizeof(struct note));
	}
}

/* A name as it is remembered: "-" is none. */
static void remember(char *where, const char *name)
{
	snprintf(where, NAME_MAX_BYTES, "%s", strcmp(name, "-") == 0 ? "" : name);
}

#define CHUNK_FLAG_LOOP 2

/* Its destructor has agreed, and its children are going. */
static bool is_going(const void *ptr)
{
	return *(const unsigned *)((const char *)ptr - CHUNK_HEADER) & CHUNK_FLAG_LOOP;
}

static struct script *script_chunk(const char *name)
{
	static struct script *known_scripts[SCRIPTS_MAX];
	struct script *script;
	int i;

	for (i = 0; i < SCRIPTS_MAX && known_scripts[i] != NULL; i++) {
		if (strcmp(known_scripts[i]->name, name) == 0) {
			return known_scripts[i];
		}
	}
	script = talloc_zero(hidden, struct script);
	snprintf(script->name, sizeof(script->name), "%s", name);
	return known_scripts[i] = script;
}

static struct timeval in_us(const char *word)
{
	int64_t at = clock_us + strtoll(word, NULL, 10);

	if (strcmp(word, "zero") == 0) {
		return (struct timeval) { 0, 0 };
	}
	return (struct timeval) { .tv_sec = at / 1000000, .tv_usec = at % 1000000 };
}

/* The request of a state's name, if it is there. */
static struct object *object_of_state(const char *name)
{
	char req[NAME_MAX_BYTES];

	snprintf(req, sizeof(req), "r%s", name + 1);
	return object_find(req);
}

/* --- what may be freed ------------------------------------------------------------------------------------------ */

static void pin(const void *ptr)
{
	pins[pins_count++] = ptr;
}

static void unpin(void)
{
	pins_count--;
}

/* How many frees are going on. */
static int freeing;

/* A destructor of the program's runs: a second free is refused by talloc, as long as nobody takes the destructor away. */
static bool in_destructor(const void *ptr)
{
	return note_of(ptr)->dying;
}

/* Its destructor runs, or its children are going. */
static bool is_dying(const void *ptr)
{
	return note_of(ptr)->dying || is_going(ptr);
}

/* A post of a request that goes may run in a loop, and finds a pointer to a timer that has gone. */
static bool may_loop(void)
{
	int i;

	for (i = 0; i < objects_count; i++) {
		struct note *note = objects[i].more;

		if (objects[i].ptr != NULL && note->timed && is_going(objects[i].ptr)) {
			return false;
		}
	}
	return true;
}

/* How many loops run on a context, or on that which it wraps. */
static int loops_on(const struct note *note)
{
	return note->main == NULL ? note->loops : ((struct note *)note->main->more)->loops;
}

static bool may_free(const void *ptr)
{
	int i;

	for (i = 0; i < pins_count; i++) {
		if (talloc_is_parent(pins[i], ptr)) {
			return false;
		}
	}
	for (i = 0; i < objects_count; i++) {
		struct note *note = objects[i].more;
		const void *used = objects[i].ptr;

		if (used == NULL) {
			continue;
		}
		if (is_dying(used) && used != ptr && talloc_is_parent(used, ptr)) {
			/* talloc itself goes on to use the owners of what is dying. */
			return false;
		}
		if (strcmp(objects[i].kind, "state") == 0 && is_dying(used)) {
			/* tevent_req_received(), in the destructor of the request or not, is not done with that. */
			struct object *req = object_of_state(objects[i].name);
			used = req != NULL ? req->ptr : NULL;
		} else if (strcmp(objects[i].kind, "ev") != 0 || (loops_on(note) == 0 && !note->kept)) {
			continue;
		}
		if (used != NULL && talloc_is_parent(used, ptr)) {
			return false;
		}
	}
	return true;
}

/* tevent_req_received() frees the state with all that is below it. */
static bool may_receive(const struct tevent_req *req)
{
	char state[NAME_MAX_BYTES];
	const void *ptr;

	snprintf(state, sizeof(state), "s%s", object_name(req) + 1);
	ptr = object_get(state, "state");
	return !in_destructor(req) && (ptr == NULL || may_free(ptr));
}

/* Its trigger is gone, and a post would read NULL. */
static bool is_received(struct tevent_req *req)
{
	enum tevent_req_state status = TEVENT_REQ_INIT;
	char name[NAME_MAX_BYTES];
	uint64_t error;
	const void *state;

	if (note_of(req)->received || (tevent_req_is_error(req, &status, &error) && status == TEVENT_REQ_RECEIVED)) {
		return true;
	}
	if (!note_of(req)->has_state) {
		return false;
	}
	snprintf(name, sizeof(name), "s%s", object_name(req) + 1);
	state = object_get(name, "state");
	return state == NULL || is_dying(state);
}

/* The last argument of what a received request cannot take, where it is done all the same. */
static bool is_blind(const char *word)
{
	return strcmp(word, "blind") == 0;
}

/* --- arguments -------------------------------------------------------------------------------------------------- */

/* A chunk to work with: not one whose children are going, which may have pointers to some of them. */
static void *get(const char *name, const char *kind)
{
	void *ptr = object_get(name, kind);

	return ptr == NULL || is_going(ptr) ? NULL : ptr;
}

static struct tevent_req *req_get(const char *name)
{
	return get(name, "req");
}

/* A request that is going to call back; one that was received cannot do it from the loop. */
static struct tevent_req *req_to_finish(const char *name)
{
	struct tevent_req *req = req_get(name);

	if (req != NULL && note_of(req)->deferred && is_received(req)) {
		tevent_req_defer_callback(req, NULL);
		note_of(req)->deferred = false;
	}
	return req;
}

/* A context to be used now. */
static struct tevent_context *ev_get(const char *name)
{
	struct tevent_context *ev = get(name, "ev");
	struct object *main_ev = ev == NULL ? NULL : note_of(ev)->main;

	return main_ev != NULL && (main_ev->ptr == NULL || is_going(main_ev->ptr)) ? NULL : ev;
}

/* A context with a loop and with trace callbacks: no wrapper. */
static struct tevent_context *main_get(const char *name)
{
	struct tevent_context *ev = ev_get(name);

	return ev == NULL || note_of(ev)->main != NULL ? NULL : ev;
}

/* A context to be used later, which from now on is not freed. */
static struct tevent_context *ev_keep(const char *name)
{
	struct tevent_context *ev = ev_get(name);

	if (ev != NULL) {
		note_of(ev)->kept = true;
		if (note_of(ev)->main != NULL) {
			((struct note *)note_of(ev)->main->more)->kept = true;
		}
	}
	return ev;
}

/* Where a chunk is to hang: "-" for nowhere, "root", or a chunk. False if it is not there. */
static bool owner_get(const char *name, void **owner)
{
	struct object *object;

	*owner = NULL;
	if (strcmp(name, "-") == 0) {
		return true;
	}
	if (strcmp(name, "root") == 0) {
		*owner = root;
		return true;
	}
	object = object_find(name);
	if (object == NULL || strcmp(object->kind, "entry") == 0) {
		return false;
	}
	*owner = object->ptr;
	return true;
}

static const struct tevent_req_profile *profile_get(const char *name)
{
	struct tevent_req *req = req_get(name);

	return req != NULL ? tevent_req_get_profile(req) : get(name, "profile");
}

/* --- handlers --------------------------------------------------------------------------------------------------- */

static void on_callback(struct tevent_req *req)
{
	struct object *object = object_of(req);
	struct note *note = object->more;
	const void *pvt = tevent_req_callback_data_void(req);
	enum tevent_req_state state = TEVENT_REQ_INIT;
	uint64_t error = 0;
	bool failed = tevent_req_is_error(req, &state, &error);
	int unknown = loops > 0 && !known;

	saw("callback %s %d %d %llu %s", object->name, failed, state, (unsigned long long)error,
	    pvt == note->pvt_ptr ? "right" : "wrong");
	in_trigger += unknown;
	run_script(note->callback);
	in_trigger -= unknown;
}

static void on_cleanup(struct tevent_req *req, enum tevent_req_state state)
{
	struct object *object = object_of(req);
	struct note *note = object->more;
	int unknown = loops > 0 && !known;

	saw("cleanup %s %d", object->name, state);
	note->received = note->received || state == TEVENT_REQ_RECEIVED;
	pin(req);
	in_trigger += unknown;
	run_script(note->cleanup);
	in_trigger -= unknown;
	unpin();
}

static bool on_cancel(struct tevent_req *req)
{
	struct object *object = object_of(req);
	struct note *note = object->more;

	saw("cancel-fn %s", object->name);
	return run_script(note->cancel) != 0;
}

static char *on_print(struct tevent_req *req, TALLOC_CTX *mem_ctx)
{
	struct object *object = object_of(req);
	struct note *note = object->more;
	char name[NAME_MAX_BYTES];

	snprintf(name, sizeof(name), "%s", object->name);
	saw("print-fn %s", name);
	run_script(note->print);
	return talloc_asprintf(mem_ctx, "print-fn of %s", name);
}

static int on_destructor(void *ptr)
{
	struct object *object = object_of(ptr);
	struct note *note = object->more;
	int value;

	saw("destructor %s", object->name);
	note->dying = true;
	value = run_script(note->destructor);
	note->dying = false;
	return value == -1 ? -1 : 0;
}

static void on_turn(struct tevent_req *req, void *private_data)
{
	struct turn *turn = private_data;
	bool outer = known;

	if (turn->taken) {
		return;
	}
	turn->taken = true;
	saw("trigger %s in %s", object_name(req), turn->queue);
	known = true;
	run_script(turn->script);
	known = outer;
}

static void on_immediate(struct tevent_context *ev, struct tevent_immediate *im, void *private_data)
{
	struct script *script = talloc_get_type_abort(private_data, struct script);
	bool outer = known;

	saw("immediate %s on %s", object_name(im), object_name(ev));
	known = true;
	run_script(script->name);
	known = outer;
}

static void on_timer(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *private_data)
{
	struct script *script = talloc_get_type_abort(private_data, struct script);
	bool outer = known;

	saw("timer %s on %s", object_name(te), object_name(ev));
	known = true;
	run_script(script->name);
	known = outer;
}

static const char *const points[] = { "attach", "detach", "before" };

static void on_trace_immediate(struct tevent_immediate *im, enum tevent_event_trace_point point, void *private_data)
{
	saw("trace immediate %s %s on %s", points[point], object_name(im), object_name(private_data));
}

/* An entry is opaque, but somewhere in it is its private data. */
static struct turn *turn_of(const struct tevent_queue_entry *entry)
{
	void *const *words = (void *const *)entry;
	size_t i, count = talloc_get_size(entry) / sizeof(*words);
	struct turn *turn;

	for (turn = turns; turn != NULL; turn = turn->next) {
		for (i = 0; i < count; i++) {
			if (words[i] == turn) {
				return turn;
			}
		}
	}
	return NULL;
}

static void on_trace_queue(struct tevent_queue_entry *entry, enum tevent_event_trace_point point, void *private_data)
{
	if (point == TEVENT_EVENT_TRACE_BEFORE_HANDLER) {
		struct turn *turn = turn_of(entry);

		if (turn != NULL && turn->taken) {
			return;
		}
		if (turn != NULL && turn->script[0] == '\0') {
			turn->taken = true;
		}
	}
	saw("trace entry %s %s on %s tag %llu", points[point], object_name(entry), object_name(private_data),
	    (unsigned long long)tevent_queue_entry_get_tag(entry));
}

/* What a wrapper context does around the handlers of its events. */
static bool on_before_use(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev,
			  const char *location)
{
	return true;
}

static void on_after_use(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev,
			 const char *location)
{
}

static void on_fd(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev,
		  struct tevent_fd *fde, uint16_t flags, const char *handler_name, const char *location)
{
}

static void on_before_timer(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev,
			    struct tevent_timer *te, struct timeval requested, struct timeval now,
			    const char *handler_name, const char *location)
{
	saw("before timer %s on %s of %s", object_name(te), object_name(wrap_ev), object_name(main_ev));
}

static void on_after_timer(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev,
			   struct tevent_timer *te, struct timeval requested, struct timeval now,
			   const char *handler_name, const char *location)
{
	saw("after timer %s on %s", object_name(te), object_name(wrap_ev));
}

static void on_before_immediate(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev,
				struct tevent_immediate *im, const char *handler_name, const char *location)
{
	saw("before immediate %s on %s of %s", object_name(im), object_name(wrap_ev), object_name(main_ev));
}

static void on_after_immediate(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev,
			       struct tevent_immediate *im, const char *handler_name, const char *location)
{
	saw("after immediate %s on %s", object_name(im), object_name(wrap_ev));
}

static void on_signal(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev,
		      struct tevent_signal *se, int signum, int count, void *siginfo, const char *handler_name,
		      const char *location)
{
}

static const struct tevent_wrapper_ops wrapper_ops = {
	.name = "wrapper",
	.before_use = on_before_use,
	.after_use = on_after_use,
	.before_fd_handler = on_fd,
	.after_fd_handler = on_fd,
	.before_timer_handler = on_before_timer,
	.after_timer_handler = on_after_timer,
	.before_immediate_handler = on_before_immediate,
	.after_immediate_handler = on_after_immediate,
	.before_signal_handler = on_signal,
	.after_signal_handler = on_signal,
};
