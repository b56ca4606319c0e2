/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A tree of chunks with the C library: tree built|freed COUNT. */
#include "common.h"

struct node {
	char unused;
};

static void build(TALLOC_CTX *top, long count, void **level, void **following)
{
	long size = 1;

	level[0] = top;
	while (count > 0) {
		void **swap = level;
		long made = 0;
		long i, j;

		for (i = 0; i < size && count > 0; i++, count -= 10) {
			for (j = 0; j < 10 && j < count; j++) {
				following[made++] = talloc(level[i], struct node);
			}
		}
		level = following;
		following = swap;
		size = made;
	}
}

static void run(long count, struct stopwatch *built, struct stopwatch *freed)
{
	void **level = calloc(count + 1, sizeof(void *));
	void **following = calloc(count + 1, sizeof(void *));
	TALLOC_CTX *top = talloc_new(NULL);

	stopwatch_start(built);
	build(top, count, level, following);
	stopwatch_stop(built);
	stopwatch_start(freed);
	talloc_free(top);
	stopwatch_stop(freed);
	free(level);
	free(following);
}

int main(int argc, char **argv)
{
	long count = count_argument(argc, argv, 3);
	struct stopwatch built = {0}, freed = {0};

	run(1000, &built, &freed);
	built = freed = (struct stopwatch){0};
	run(count, &built, &freed);
	stopwatch_print(strcmp(argv[1], "freed") == 0 ? &freed : &built, count);
	return 0;
}
