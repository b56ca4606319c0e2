/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A chain of immediates with the C library: immediates COUNT. */
#include "common.h"

static long left;

static void again(struct tevent_context *ev, struct tevent_immediate *im, void *private_data)
{
	left--;
	if (left != 0) {
		tevent_schedule_immediate(im, ev, again, private_data);
	}
}

static void run(struct tevent_context *ev, struct tevent_immediate *im, long total)
{
	left = total;
	tevent_schedule_immediate(im, ev, again, NULL);
	while (left != 0) {
		tevent_loop_once(ev);
	}
}

int main(int argc, char **argv)
{
	long count = count_argument(argc, argv, 2);
	TALLOC_CTX *top = talloc_new(NULL);
	struct tevent_context *ev = tevent_context_init(top);
	struct tevent_immediate *im = tevent_create_immediate(top);
	struct stopwatch watch = {0};

	run(ev, im, 1000);
	stopwatch_start(&watch);
	run(ev, im, count);
	stopwatch_stop(&watch);
	stopwatch_print(&watch, count);
	return 0;
}
