/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The driver of area "tree": chunks and who owns them. */
#include "common.h"

static void op_new(int argc, char **argv)
{
	object_add(argv[1], "context", talloc_named_const(object_get(argv[2], NULL), 0, "x"));
}

static void op_free(int argc, char **argv)
{
	void *ptr = object_get(argv[1], NULL);
	if (ptr != NULL) {
		saw("free %d", talloc_free(ptr));
	}
}

static const struct operation operations[] = {
	{ "new", op_new },
	{ "free", op_free },
	{ NULL, NULL },
};

static void area_begin(void)
{
}

static void area_end(void)
{
}

int main(void)
{
	return driver_main();
}
