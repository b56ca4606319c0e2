/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The event loop of the real library. The language is described in loop.py.
 *
 * Each operation first asks whether C leaves undefined what it is about to do; then it does nothing. loop.py asks the
 * same, from the same knowledge, so a program means the same on both sides.
 *
 * Time stands still but for clock_us; waiting moves it. What the library asks of the system is seen here because the
 * functions of libc that it calls are defined in this program.
 */
#include "loop_things.h"
#include "loop_system.h"
#include "loop_make.h"
#include "loop_change.h"

/* --- operations: signals ---------------------------------------------------------------------------------------- */

static int signum_of(const char *word)
{
	int signum = atoi(word);

	return signum > 0 && signum < SIGNALS_MAX ? signum : 0;
}

static void op_raise(int argc, char **argv)
{
	int signum = signum_of(argv[1]);

	if (signum != 0 && foreign[signum] >= 0) {
		saw("raise %d %s", signum, disposition(signum));
		do_raise(signum);
	}
}

static void op_raise_in_wait(int argc, char **argv)
{
	int signum = signum_of(argv[1]);

	raise_in_wait = signum != 0 && foreign[signum] >= 0 ? signum : 0;
}

static void op_signals(int argc, char **argv)
{
	int signum = signum_of(argv[1]);

	if (signum != 0 && foreign[signum] >= 0) {
		saw("signal %d %s, %d not ours", signum, disposition(signum), foreign[signum]);
	}
}

/* --- operations: loops ------------------------------------------------------------------------------------------ */

static bool loop_begins(struct thing *ev)
{
	/* C delivers the occurrences of a signal again in a loop inside its handler. */
	if (ev == NULL || loops_active == LOOPS_MAX || signal_handlers_active > 0 || (ev->miscounts && ev->looping > 0)) {
		return false;
	}
	if (handlers_active == 0) {
		line_handlers = 0;
	}
	loop_stack[loops_active++] = ev;
	ev->looping++;
	return true;
}

static void loop_ends(struct thing *ev)
{
	ev->looping--;
	loops_active--;
	flags_scan();
}

static void op_once(int argc, char **argv)
{
	struct thing *ev = context_get(argv[1], false);
	int i, ret, count = atoi(argv[2]);

	for (i = 0; i < count; i++) {
		if (!loop_begins(ev)) {
			return;
		}
		errno = 0;
		ret = tevent_loop_once(ev->ptr);
		saw("once %s %d %d", argv[1], ret, ret == -1 ? errno : 0);
		loop_ends(ev);
		if (ret != 0 || tired()) {
			return;
		}
	}
}

static void op_wait(int argc, char **argv)
{
	struct thing *ev = context_get(argv[1], false);
	struct waiting waiting = { .ev = ev, .outer = waitings };
	int ret;

	if (!loop_begins(ev)) {
		return;
	}
	waitings = &waiting;
	errno = 0;
	ret = tevent_loop_wait(ev->ptr);
	saw("wait %s %d %d", argv[1], ret, ret == -1 ? errno : 0);
	waitings = waiting.outer;
	loop_ends(ev);
}

static bool finished(void *private_data)
{
	int *left = private_data;

	saw("finished? %d", *left);
	return (*left)-- <= 0 || tired();
}

static void op_until(int argc, char **argv)
{
	struct thing *ev = context_get(argv[1], false);
	int ret, left = atoi(argv[2]);

	if (!loop_begins(ev)) {
		return;
	}
	errno = 0;
	ret = tevent_loop_until(ev->ptr, finished, &left);
	saw("until %s %d %d", argv[1], ret, ret == -1 ? errno : 0);
	loop_ends(ev);
}

static void op_nest(int argc, char **argv)
{
	struct thing *ev = context_get(argv[1], false);
	int i;

	if (ev == NULL) {
		return;
	}
	for (i = 0; i < things_count; i++) {
		struct thing *t = &things[i];
		if (alive(t) && (is(t, "fd") || is(t, "imm")) && (goes_with(t, "timer") || goes_with(t, "signal"))) {
			return;
		}
	}
	nested = true;
	tevent_loop_allow_nesting(ev->ptr);
	saw("nest %s", argv[1]);
}

static int hook(struct tevent_context *ev, void *private_data, uint32_t level, bool begin, void *stack_ptr,
		const char *location)
{
	struct thing *t = private_data;
	void **stack = stack_ptr;

	saw("hook %s %c ev=%s level=%u %s stack=%s", t->name, t->hook, name_of(ev), level, begin ? "begin" : "end", *stack == NULL ? "none" : "set");
	*stack = t;
	return begin ? t->hook_begin : t->hook_end;
}

static int hook_2(struct tevent_context *ev, void *private_data, uint32_t level, bool begin, void *stack_ptr,
		  const char *location)
{
	return hook(ev, private_data, level, begin, stack_ptr, location);
}

static void op_hook(int argc, char **argv)
{
	struct thing *ev = thing_get(argv[1], "ev");

	if (ev == NULL || ev->miscounts) {
		return;
	}
	ev->hook_begin = atoi(argv[3]);
	ev->hook_end = atoi(argv[4]);
	ev->hook = argv[2][0];
	tevent_loop_set_nesting_hook(ev->ptr, argv[2][0] == '1' ? hook : argv[2][0] == '2' ? hook_2 : NULL,
				     argv[2][0] == '-' ? NULL : ev);
}

/* Whether the handler of an fd or signal event of a context runs that was added through a wrapper. */
static bool is_wrapped_on(const struct thing *ev)
{
	int i;

	for (i = 0; i < handlers_active; i++) {
		const struct thing *t = handler_stack[i];
		if ((is(t, "fd") || is(t, "signal")) && t->ev == ev && is(t->via, "wrap")) {
			return true;
		}
	}
	return false;
}

static void op_reinit(int argc, char **argv)
{
	struct thing *ev = context_get(argv[1], false);
	int i, ret;

	if (ev == NULL) {
		return;
	}
	if (is(ev, "ev")) {
		if (has_threaded(ev) || is_wrapped_on(ev)) {
			return;
		}
		for (i = 0; i < handlers_active; i++) {
			if (handler_next[i] != NULL && attached(handler_next[i]) && handler_next[i]->ev == ev) {
				return;
			}
		}
	}
	ev->miscounts = ev->miscounts || ev->looping > 0;
	ret = tevent_re_initialise(ev->ptr);
	for (i = 0; i < things_count; i++) {
		/* Proxies are not told; they stay children of the context, without an event. */
		if (&things[i] != ev && things[i].ev == ev) {
			things[i].ev = NULL;
			things[i].queued = false;
		}
	}
	saw("reinit %s %d", argv[1], ret);
}

static void op_push(int argc, char **argv)
{
	struct thing *ev = context_get(argv[1], true);

	if (ev != NULL) {
		saw("push %s %d", argv[1], tevent_context_push_use(ev->ptr));
	}
}

static void op_pop(int argc, char **argv)
{
	struct thing *ev = context_get(argv[1], true);

	if (ev != NULL && !ev->freed) {
		tevent_context_pop_use(ev->ptr);
		saw("pop %s", argv[1]);
	}
}

static void op_wakeup(int argc, char **argv)
{
	struct thing *ev = thing_get(argv[1], "ev");

	if (ev == NULL) {
		return;
	}
	if (strcmp(argv[2], "init") == 0) {
		saw("wakeup init %s %d", argv[1], tevent_common_wakeup_init(ev->ptr));
	} else {
		saw("wakeup %s %d", argv[1], tevent_common_wakeup(ev->ptr));
	}
}

/* What a backend does in its loop, one by one. */
static void op_part(int argc, char **argv)
{
	struct thing *ev = thing_get(argv[1], "ev");
	struct timeval tv;

	if (!loop_begins(ev)) {
		return;
	}
	if (strcmp(argv[2], "signal") == 0) {
		saw("check signal %s %d", argv[1], tevent_common_check_signal(ev->ptr));
	} else if (strcmp(argv[2], "imm") == 0) {
		saw("loop immediate %s %d", argv[1], tevent_common_loop_immediate(ev->ptr));
	} else {
		tv = tevent_common_loop_timer_delay(ev->ptr);
		saw("timer delay %s %lld.%06lld", argv[1], (long long)tv.tv_sec, (long long)tv.tv_usec);
	}
	loop_ends(ev);
}

static void op_invoke(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], NULL);
	bool removed = false;
	int ret;

	if (t == NULL || t->threaded || t->taken || t->running > 0) {
		return;
	}
	/* C forgets the wrapper of an event whose descriptor is closed. */
	if (is(t, "fd") && t->via != NULL && is(t->via, "wrap") && fcntl(t->fd, F_GETFD) == -1) {
		return;
	}
	if (handlers_active == 0) {
		line_handlers = 0;
	}
	if (is(t, "fd") && atoi(argv[2]) > 0) {
		ret = tevent_common_invoke_fd_handler(t->ptr, atoi(argv[2]), &removed);
	} else if (is(t, "timer")) {
		ret = tevent_common_invoke_timer_handler(t->ptr, tv_of(argv[2], argv[3]), &removed);
	} else if (is(t, "imm") && t->queued && attached(t)) {
		ret = tevent_common_invoke_immediate_handler(t->ptr, &removed);
	} else if (is(t, "signal") && signal_handlers_active == 0) {
		ret = tevent_common_invoke_signal_handler(t->ptr, t->signum, atoi(argv[2]), NULL, &removed);
	} else {
		return;
	}
	saw("invoke %s %d %d", argv[1], ret, removed);
}

static void op_advance(int argc, char **argv)
{
	int64_t us = atoll(argv[1]);

	if (us > 0) {
		clock_us += us;
	}
}

/* --- operations: looking on ------------------------------------------------------------------------------------- */

static const char *event_points[] = { "attach", "detach", "before handler" };

static void trace_event(const char *kind, const void *event, enum tevent_event_trace_point point, void *private_data)
{
	struct thing *t = thing_of(event), *ev = private_data;

	if (t == NULL && pending != NULL && is(pending, kind) && pending->ptr == NULL) {
		t = pending;
		t->ptr = (void *)event;
		/* Looked at below; the chunk is entered when it is complete. */
	}
	/* Only newer libraries trace that an event goes because its descriptor is closed, or with a wrapper. */
	if (t != NULL && is(t, "fd") && point == TEVENT_EVENT_TRACE_DETACH
	    && (fcntl(t->fd, F_GETFD) == -1 || (t->via != NULL && is(t->via, "wrap") && t->via->freed))) {
		return;
	}
	if (t != NULL) {
		saw("trace %s %s %s tag=%llu on %s", kind, t->name, event_points[point],
		    (unsigned long long)tag_of(t), ev->name);
	}
}

static void trace_fd(struct tevent_fd *fde, enum tevent_event_trace_point point, void *private_data)
{
	trace_event("fd", fde, point, private_data);
}

static void trace_timer(struct tevent_timer *te, enum tevent_event_trace_point point, void *private_data)
{
	trace_event("timer", te, point, private_data);
}

static void trace_imm(struct tevent_immediate *im, enum tevent_event_trace_point point, void *private_data)
{
	trace_event("imm", im, point, private_data);
}

static void trace_signal(struct tevent_signal *se, enum tevent_event_trace_point point, void *private_data)
{
	trace_event("signal", se, point, private_data);
}

static void trace_point(enum tevent_trace_point point, void *private_data)
{
	static const char *points[] = { "before wait", "after wait", "before loop", "after loop" };
	struct thing *ev = private_data;

	saw("trace %s on %s", points[point], ev->name);
}

/* Whether a handler of an immediate of a context is active. */
static bool in_immediate(const struct thing *ev)
{
	int i;

	for (i = 0; i < handlers_active; i++) {
		if (is(handler_stack[i], "imm") && handler_stack[i]->was_of == ev) {
			return true;
		}
	}
	return false;
}

static void op_trace(int argc, char **argv)
{
	struct thing *ev = context_get(argv[1], false);
	bool on = strcmp(argv[3], "off") != 0;
	void *private_data = on ? ev : NULL;

	if (ev == NULL || (strcmp(argv[2], "imm") == 0 && on && in_immediate(ev))) {
		return;
	}
	if (strcmp(argv[2], "fd") == 0) {
		tevent_set_trace_fd_callback(ev->ptr, on ? trace_fd : NULL, private_data);
	} else if (strcmp(argv[2], "timer") == 0) {
		tevent_set_trace_timer_callback(ev->ptr, on ? trace_timer : NULL, private_data);
	} else if (strcmp(argv[2], "imm") == 0) {
		tevent_set_trace_immediate_callback(ev->ptr, on ? trace_imm : NULL, private_data);
	} else if (strcmp(argv[2], "signal") == 0) {
		tevent_set_trace_signal_callback(ev->ptr, on ? trace_signal : NULL, private_data);
	} else {
		tevent_set_trace_callback(ev->ptr, on ? trace_point : NULL, private_data);
	}
}

static void op_gettrace(int argc, char **argv)
{
	struct thing *ev = context_get(argv[1], false);
	void *private_data[5];
	tevent_trace_callback_t point;
	tevent_trace_fd_callback_t fd;
	tevent_trace_timer_callback_t timer;
	tevent_trace_immediate_callback_t imm;
	tevent_trace_signal_callback_t signal;

	if (ev == NULL) {
		return;
	}
	tevent_get_trace_callback(ev->ptr, &point, &private_data[0]);
	tevent_get_trace_fd_callback(ev->ptr, &fd, &private_data[1]);
	tevent_get_trace_timer_callback(ev->ptr, &timer, &private_data[2]);
	tevent_get_trace_immediate_callback(ev->ptr, &imm, &private_data[3]);
	tevent_get_trace_signal_callback(ev->ptr, &signal, &private_data[4]);
	saw("callbacks %s %d%d%d%d%d %d%d%d%d%d", argv[1], point != NULL, fd != NULL, timer != NULL, imm != NULL,
	    signal != NULL, private_data[0] == ev, private_data[1] == ev, private_data[2] == ev, private_data[3] == ev,
	    private_data[4] == ev);
}

/* A text with names instead of addresses; false if one is not of this program's chunks. */
static bool with_names(const char *text, char *to, size_t size)
{
	const char *p = text;
	size_t at = 0;

	while (*p != '\0' && at + NAME_MAX_BYTES + 1 < size) {
		if (p[0] == '0' && p[1] == 'x') {
			char *after;
			void *ptr = (void *)strtoull(p, &after, 16);
			struct thing *t = thing_of(ptr);

			if (t == NULL && pending != NULL && pending->ptr == NULL) {
				t = pending;
				t->ptr = ptr;
			}
			if (t == NULL) {
				return false;
			}
			at += snprintf(to + at, size - at, "%s", t->name);
			p = after;
		} else {
			to[at++] = *p++;
		}
	}
	to[at] = '\0';
	return true;
}

static void debug(void *context, enum tevent_debug_level level, const char *format, va_list ap)
{
	struct thing *ev = context;
	char text[1024], named[1024], *proxy;

	vsnprintf(text, sizeof(text), format, ap);
	/* What the library calls the handler of a proxy is its own variable. */
	proxy = strstr(text, "im_entry->handler");
	if (proxy != NULL) {
		memmove(proxy + 13, proxy + 17, strlen(proxy + 17) + 1);
		memcpy(proxy, "proxy_handler", 13);
	}
	/* What a hook has ended has no errno. */
	if (strncmp(text, "_tevent_loop_once() failed: ", 28) == 0 && text[28] != '-') {
		*strchr(text + 28, ' ') = '\0';
	}
	/* The words for what goes wrong with the system are not compared. */
	if (strcasestr(text, "poll") == NULL && with_names(text, named, sizeof(named))) {
		saw("debug %s %d %s", ev->name, level, named);
	}
}

/* Newer than Debian's library, which has no such limit. */
enum tevent_debug_level tevent_set_max_debug_level(struct tevent_context *ev, enum tevent_debug_level max_level)
	__attribute__((weak));

static void op_debug(int argc, char **argv)
{
	struct thing *ev = context_get(argv[1], false);

	if (ev != NULL) {
		int ret;
		errno = 0;
		ret = tevent_set_debug(ev->ptr, strcmp(argv[2], "off") == 0 ? NULL : debug, ev);
		saw("debug %s %d %d", argv[1], ret, ret == -1 ? errno : 0);
		if (tevent_set_max_debug_level != NULL && strcmp(argv[2], "off") != 0) {
			tevent_set_max_debug_level(ev->ptr, TEVENT_DEBUG_TRACE);
		}
	}
}

/* --- operations: the rest --------------------------------------------------------------------------------------- */

static void op_tv(int argc, char **argv)
{
	struct timeval a = tv_of(argv[2], argv[3]), b = tv_of(argv[4], argv[5]), result;
	uint32_t secs = strtoull(argv[4], NULL, 10), usecs = strtoull(argv[5], NULL, 10);

	if (strcmp(argv[1], "compare") == 0) {
		saw("compare %d", tevent_timeval_compare(&a, &b));
		return;
	}
	if (strcmp(argv[1], "is_zero") == 0) {
		saw("is_zero %d", tevent_timeval_is_zero(&a));
		return;
	}
	result = strcmp(argv[1], "add") == 0 ? tevent_timeval_add(&a, secs, usecs)
	       : strcmp(argv[1], "until") == 0 ? tevent_timeval_until(&a, &b)
	       : strcmp(argv[1], "set") == 0 ? tevent_timeval_set(secs, usecs)
	       : strcmp(argv[1], "ofs") == 0 ? tevent_timeval_current_ofs(secs, usecs)
	       : strcmp(argv[1], "current") == 0 ? tevent_timeval_current() : tevent_timeval_zero();
	saw("%s %lld %lld", argv[1], (long long)result.tv_sec, (long long)result.tv_usec);
}

static void op_default(int argc, char **argv)
{
	tevent_set_default_backend(strcmp(argv[1], "-") == 0 ? NULL : strdup(argv[1]));
}

static void op_backends(int argc, char **argv)
{
	const char **list = tevent_backend_list(NULL);
	int i;

	for (i = 0; list[i] != NULL; i++) {
		saw("backend %s found=%d", list[i], tevent_find_ops_byname(list[i]) != NULL);
	}
	talloc_free(list);
	saw("signals %zu, queue %zu", tevent_num_signals(), tevent_sa_info_queue_count());
}

#define OP(name) { #name, op_##name }
static const struct operation operations[] = {
	OP(ctx), OP(ev), OP(wrap), OP(fd), OP(timer), OP(imm), OP(signal), OP(tctx), OP(proxy), OP(pipe), OP(pair),
	OP(file), OP(write), OP(fill), OP(read), OP(drain), OP(close), OP(shut), OP(free), OP(steal), OP(parent),
	OP(flags), OP(flag), OP(closefn), OP(update), OP(sched), OP(cancel), OP(tsched), OP(psched), OP(tag),
	OP(gettag), OP(query), OP(raise), OP(raise_in_wait), OP(signals), OP(once), OP(wait), OP(until), OP(nest),
	OP(hook), OP(reinit), OP(push), OP(pop), OP(wakeup), OP(part), OP(invoke), OP(advance), OP(trace),
	OP(gettrace), OP(debug), OP(storm), OP(tv), OP(default), OP(backends), { NULL, NULL }
};

static void area_begin(void)
{
	static const int ours[] = { SIGHUP, SIGUSR1, SIGUSR2, 34 };
	struct sigaction action = { .sa_handler = foreign_handler };
	size_t i;

	for (i = 0; i < SIGNALS_MAX; i++) {
		foreign[i] = -1;
	}
	for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		foreign[ours[i]] = 0;
		sigaction(ours[i], &action, NULL);
	}
	tevent_set_abort_fn(on_abort);
}

/* What has no owner is freed, the oldest first. */
static void area_end(void)
{
	int i;

	for (i = 0; i < things_count; i++) {
		struct thing *t = &things[i];
		if (alive(t) && !t->taken && talloc_parent(t->ptr) == NULL && may_be_freed(t)) {
			int ret = thing_free(t);
			saw("free %s %d", t->name, ret);
			objects_scan();
		}
	}
}

int main(void)
{
	return driver_main();
}
