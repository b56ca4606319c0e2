/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * What every driver of a real library shares: it reads a line, carries it out, prints what was observed, a line each,
 * and then a line ".".
 *
 * A driver defines `operations` (name and function of each), `area_begin()` and `area_end()`, and includes this file
 * once. The driver forks for each program, so that what a program breaks ends with it:
 *
 *   begin              forks; the child carries out all lines up to and including "end"
 *   end                calls area_end(), and the child exits
 *   script K op args ; op args ; ...
 *                      defines the script K, which destructors and handlers run by run_script(K)
 *
 * Objects have names (an operation's first argument, as a rule) and are looked up by object_get(), which answers NULL
 * once a chunk is dead: an operation on what is not there does nothing at all. So any subset of a program's lines is a
 * program again, and none of them does what C leaves undefined. To know that a chunk is dead its header is looked at,
 * after the library has freed it, which works because free() does nothing within a program.
 *
 * With VIRTUAL_CLOCK defined before the inclusion time stands still but for clock_us, and waiting moves it.
 */
#ifndef DIFFERENTIAL_COMMON_H
#define DIFFERENTIAL_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <talloc.h>

#define WORDS_MAX 64
#define LINE_MAX_BYTES 65536
#define SCRIPTS_MAX 64
#define OBJECTS_MAX 4096
#define NAME_MAX_BYTES 32
/* Operations that the scripts of one program may carry out; the Python side counts alike. */
#define SCRIPT_BUDGET 3000
#define SCRIPT_DEPTH 40

/* A program that takes longer hangs: it ends with "abort by signal 26". */
#define CPU_SECONDS_MAX 1

/* Shared by the driver and the child of the moment, so that either goes on where the other stopped. */
struct channel {
	size_t in_have, in_at, out_have;
	char in[1 << 20];
	char out[4 << 20];
};

static struct channel *channel;
static bool in_program;
static int script_budget, script_depth;
/* How many lines of the program have been begun. */
static int lines_count;

/* --- what the driver of an area defines ------------------------------------------------------------------------- */

struct operation {
	const char *name;
	void (*run)(int argc, char **argv);
};

static const struct operation operations[];
static void area_begin(void);
static void area_end(void);

/* --- output ----------------------------------------------------------------------------------------------------- */

static void channel_flush(void)
{
	size_t at = 0;

	while (at < channel->out_have) {
		ssize_t n = write(1, channel->out + at, channel->out_have - at);
		if (n == -1 && errno != EINTR) {
			_exit(3);
		}
		at += n > 0 ? (size_t)n : 0;
	}
	channel->out_have = 0;
}

static void channel_write(const char *text, size_t length)
{
	if (channel->out_have + length > sizeof(channel->out)) {
		channel_flush();
	}
	if (length > sizeof(channel->out)) {
		_exit(3);
	}
	memcpy(channel->out + channel->out_have, text, length);
	channel->out_have += length;
}

/* One observation. Newlines within it are written as "\n". */
__attribute__((format(printf, 1, 2))) static void saw(const char *format, ...)
{
	static char text[1 << 20];
	va_list ap;
	char *p, *newline;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	for (p = text; (newline = strchr(p, '\n')) != NULL; p = newline + 1) {
		channel_write(p, newline - p);
		channel_write("\\n", 2);
	}
	channel_write(p, strlen(p));
	channel_write("\n", 1);
}

/* The end of this program, as the library's abort function or a signal would have it. */
static void program_aborts(const char *reason)
{
	saw("abort %s", reason);
	_exit(1);
}

/* --- input ------------------------------------------------------------------------------------------------------ */

/* The next line without its newline, in a buffer of its own; NULL at the end of the input. */
static char *next_line(void)
{
	static char line[LINE_MAX_BYTES];

	while (true) {
		char *from = channel->in + channel->in_at;
		size_t have = channel->in_have - channel->in_at;
		char *newline = memchr(from, '\n', have);
		ssize_t n;

		if (newline != NULL) {
			size_t length = newline - from;
			if (length >= sizeof(line)) {
				_exit(3);
			}
			memcpy(line, from, length);
			line[length] = '\0';
			channel->in_at += length + 1;
			return line;
		}
		memmove(channel->in, from, have);
		channel->in_at = 0;
		channel->in_have = have;
		/* Nothing is held back while one waits for more. */
		channel_flush();
		n = read(0, channel->in + have, sizeof(channel->in) - have);
		if (n == 0) {
			return NULL;
		}
		if (n > 0) {
			channel->in_have += n;
		} else if (errno != EINTR) {
			_exit(3);
		}
	}
}

/* --- the chunks of a program ------------------------------------------------------------------------------------ */

/* Within a program nothing is freed: what has been freed can still be looked at, and no address comes twice. */
extern void __libc_free(void *);
void free(void *p)
{
	if (!in_program) {
		__libc_free(p);
	}
}

#define CHUNK_HEADER 96
#define CHUNK_FLAG_FREE 1

static bool chunk_is_dead(const void *ptr)
{
	return *(const unsigned *)((const char *)ptr - CHUNK_HEADER) & CHUNK_FLAG_FREE;
}

struct object {
	char name[NAME_MAX_BYTES];
	/* What it is, in the driver's own words; compared by pointer or by text. */
	const char *kind;
	/* NULL once it is dead. */
	void *ptr;
	/* Whatever the driver remembers about it. */
	void *more;
};

static struct object objects[OBJECTS_MAX];
static int objects_count;

static struct object *object_find(const char *name)
{
	int i;

	for (i = objects_count - 1; i >= 0; i--) {
		if (objects[i].ptr != NULL && strcmp(objects[i].name, name) == 0) {
			return &objects[i];
		}
	}
	return NULL;
}

/* Says which chunks have died since it was called last, in the order of their creation. */
static void objects_scan(void)
{
	int i;

	for (i = 0; i < objects_count; i++) {
		if (objects[i].ptr != NULL && chunk_is_dead(objects[i].ptr)) {
			saw("died %s", objects[i].name);
			objects[i].ptr = NULL;
		}
	}
}

/* The living chunk of that name and, if kind is given, of that kind; or NULL. */
__attribute__((unused)) static void *object_get(const char *name, const char *kind)
{
	struct object *object = object_find(name);

	if (object == NULL || (kind != NULL && strcmp(kind, object->kind) != 0)) {
		return NULL;
	}
	return object->ptr;
}

/* Gives a chunk a name; an older living object of that name is forgotten. NULL is not entered. */
static struct object *object_add(const char *name, const char *kind, void *ptr)
{
	struct object *object = object_find(name);
	int i;

	if (object != NULL) {
		object->ptr = NULL;
	}
	if (ptr == NULL) {
		return NULL;
	}
	/* The place may have been another chunk's in a pool. */
	for (i = 0; i < objects_count; i++) {
		if (objects[i].ptr == ptr) {
			saw("died %s", objects[i].name);
			objects[i].ptr = NULL;
		}
	}
	if (objects_count == OBJECTS_MAX) {
		program_aborts("too many objects");
	}
	object = &objects[objects_count++];
	snprintf(object->name, sizeof(object->name), "%s", name);
	object->kind = kind;
	object->ptr = ptr;
	object->more = NULL;
	return object;
}

/* The name of a chunk in this program: "none" for NULL, "?" for one that has none. */
static const char *object_name(const void *ptr)
{
	int i;

	if (ptr == NULL) {
		return "none";
	}
	for (i = 0; i < objects_count; i++) {
		if (objects[i].ptr == ptr) {
			return objects[i].name;
		}
	}
	return "?";
}

/* --- operations and scripts ------------------------------------------------------------------------------------- */

static char *scripts[SCRIPTS_MAX];
static char script_names[SCRIPTS_MAX][NAME_MAX_BYTES];
static int scripts_count;

/* Cuts text at its spaces. */
static int words_of(char *text, char **argv)
{
	int argc = 0;
	char *rest = NULL;
	char *word;

	for (word = strtok_r(text, " ", &rest); word != NULL && argc < WORDS_MAX - 1; word = strtok_r(NULL, " ", &rest)) {
		argv[argc++] = word;
	}
	argv[argc] = NULL;
	return argc;
}

/* Carries out one operation, words of argv: its name and its arguments. Missing arguments are "". */
static void run_operation(int argc, char **argv)
{
	const struct operation *operation;
	int i;

	for (i = argc; i < WORDS_MAX; i++) {
		argv[i] = "";
	}
	for (operation = operations; operation->name != NULL; operation++) {
		if (strcmp(operation->name, argv[0]) == 0) {
			operation->run(argc, argv);
			objects_scan();
			return;
		}
	}
	saw("unknown operation %s", argv[0]);
}

static void define_script(const char *name, const char *body)
{
	int i;

	for (i = 0; i < scripts_count; i++) {
		if (strcmp(script_names[i], name) == 0) {
			break;
		}
	}
	if (i == SCRIPTS_MAX) {
		program_aborts("too many scripts");
	}
	if (i == scripts_count) {
		scripts_count++;
	}
	snprintf(script_names[i], sizeof(script_names[i]), "%s", name);
	scripts[i] = strdup(body);
}

/* The script's value: what its last "return N" said, or 0. Unknown names are empty scripts. */
static int script_value;

static int run_script(const char *name)
{
	char *copy, *rest = NULL, *part;
	int i, value, outer = script_value;

	objects_scan();
	for (i = 0; i < scripts_count; i++) {
		if (strcmp(script_names[i], name) == 0) {
			break;
		}
	}
	if (i == scripts_count || script_depth >= SCRIPT_DEPTH) {
		return 0;
	}
	script_value = 0;
	script_depth++;
	copy = strdup(scripts[i]);
	for (part = strtok_r(copy, ";", &rest); part != NULL; part = strtok_r(NULL, ";", &rest)) {
		char *argv[WORDS_MAX];
		int argc = words_of(part, argv);

		if (argc == 0) {
			continue;
		}
		if (script_budget == 0) {
			break;
		}
		script_budget--;
		if (strcmp(argv[0], "return") == 0) {
			script_value = argc > 1 ? atoi(argv[1]) : 0;
			continue;
		}
		run_operation(argc, argv);
	}
	script_depth--;
	value = script_value;
	script_value = outer;
	return value;
}

static void run_line(char *line)
{
	char *argv[WORDS_MAX];
	int argc;

	lines_count++;
	if (strncmp(line, "script ", 7) == 0) {
		char *name = line + 7;
		char *body = strchr(name, ' ');

		if (body != NULL) {
			*body++ = '\0';
		}
		define_script(name, body != NULL ? body : "");
		return;
	}
	argc = words_of(line, argv);
	if (argc > 0) {
		run_operation(argc, argv);
	}
}

/* --- virtual time ----------------------------------------------------------------------------------------------- */

#ifdef VIRTUAL_CLOCK
/* Microseconds since the epoch; both sides start alike. */
static int64_t clock_us = 1000000000LL * 1000000LL;

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	tv->tv_sec = clock_us / 1000000;
	tv->tv_usec = clock_us % 1000000;
	return 0;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	ts->tv_sec = clock_us / 1000000;
	ts->tv_nsec = clock_us % 1000000 * 1000;
	return 0;
}

/* Nothing is ready: the clock goes to the end of the wait. One without end would hang, and ends the program. */
static void wait_for(int timeout_ms)
{
	if (timeout_ms < 0) {
		program_aborts("waits for ever");
	}
	clock_us += timeout_ms * 1000LL;
}

int epoll_wait(int fd, struct epoll_event *events, int maxevents, int timeout)
{
	int n = syscall(SYS_epoll_wait, fd, events, maxevents, 0);

	if (n == 0 && timeout != 0) {
		wait_for(timeout);
	}
	return n;
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	int n = syscall(SYS_poll, fds, count, 0);

	if (n == 0 && timeout != 0) {
		wait_for(timeout);
	}
	return n;
}
#endif

/* --- the program ------------------------------------------------------------------------------------------------ */

static void on_abort(const char *reason)
{
	program_aborts(reason);
}

static void child(void)
{
	/* Its own time only: on a machine that is short of memory the kernel's time says nothing. */
	struct itimerval cpu = { .it_value = { .tv_sec = CPU_SECONDS_MAX } };
	struct rlimit core = { .rlim_cur = 0, .rlim_max = 0 };
	char *line;

	setitimer(ITIMER_VIRTUAL, &cpu, NULL);
	setrlimit(RLIMIT_CORE, &core);
	in_program = true;
	script_budget = SCRIPT_BUDGET;
	talloc_set_abort_fn(on_abort);
	area_begin();
	channel_write(".\n", 2);
	while ((line = next_line()) != NULL) {
		bool end = strcmp(line, "end") == 0;

		if (end) {
			area_end();
		} else {
			run_line(line);
		}
		if (end) {
			_exit(0);
		}
		channel_write(".\n", 2);
	}
	_exit(0);
}

static int driver_main(void)
{
	char *line;
	bool over = true;

	signal(SIGPIPE, SIG_IGN);
	fcntl(1, F_SETPIPE_SZ, 1 << 20);
	channel = mmap(NULL, sizeof(*channel), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (channel == MAP_FAILED) {
		return 3;
	}
	while ((line = next_line()) != NULL) {
		if (strcmp(line, "begin") == 0) {
			int status = 0;
			pid_t pid = fork();

			if (pid == -1) {
				return 3;
			}
			if (pid == 0) {
				child();
			}
			while (waitpid(pid, &status, 0) == -1 && errno == EINTR) {
				continue;
			}
			/* After an abort the rest of the program is read and passed over. */
			over = WIFEXITED(status) && WEXITSTATUS(status) == 0;
			if (WIFSIGNALED(status)) {
				/* What the child was writing when it died may be half a line. */
				if (channel->out_have > 0 && channel->out[channel->out_have - 1] != '\n') {
					channel_write("\n", 1);
				}
				saw("abort by signal %d", WTERMSIG(status));
			}
		} else if (strcmp(line, "end") == 0) {
			over = true;
		} else if (over) {
			saw("no program");
		}
		channel_write(".\n", 2);
	}
	return 0;
}

#endif
