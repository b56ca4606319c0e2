/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Timers with the C library: timers cancelled|fired COUNT. */
#include "common.h"

static long left;

static void fired(struct tevent_context *ev, struct tevent_timer *te, struct timeval current_time, void *private_data)
{
	left--;
}

static uint32_t offset_us(long n, long count)
{
	return n * 7919 % 500009 % (5 * count);
}

static void cancelled_run(struct tevent_context *ev, TALLOC_CTX *top, long count, struct stopwatch *watch)
{
	struct tevent_timer **timers = talloc_array(NULL, struct tevent_timer *, count);
	long i;

	stopwatch_start(watch);
	for (i = 0; i < count; i++) {
		struct timeval when = tevent_timeval_current_ofs(1000, offset_us(i, count));

		timers[i] = tevent_add_timer(ev, top, when, fired, NULL);
	}
	for (i = 0; i < count; i++) {
		TALLOC_FREE(timers[i]);
	}
	stopwatch_stop(watch);
	talloc_free(timers);
}

static void fired_run(struct tevent_context *ev, TALLOC_CTX *top, long count, struct stopwatch *watch)
{
	long i;

	left = count;
	stopwatch_start(watch);
	for (i = 0; i < count; i++) {
		tevent_add_timer(ev, top, tevent_timeval_current_ofs(0, offset_us(i, count)), fired, NULL);
	}
	stopwatch_stop(watch);
	usleep(5 * count + 3000);
	stopwatch_start(watch);
	while (left != 0) {
		tevent_loop_once(ev);
	}
	stopwatch_stop(watch);
}

int main(int argc, char **argv)
{
	long count = count_argument(argc, argv, 3);
	TALLOC_CTX *top = talloc_new(NULL);
	struct tevent_context *ev = tevent_context_init(top);
	struct stopwatch warm_up = {0}, watch = {0};
	long repetitions = 1;
	long i;

	while ((repetitions + 1) * (repetitions + 1) <= 1000000 / count) {
		repetitions++;
	}
	for (i = -1; i < repetitions; i++) {
		long size = i == -1 ? 1000 : count;

		(strcmp(argv[1], "fired") == 0 ? fired_run : cancelled_run)(ev, top, size, i == -1 ? &warm_up : &watch);
	}
	stopwatch_print(&watch, count * repetitions);
	return 0;
}
