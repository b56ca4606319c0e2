/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The driver of area "tree". */
#include "tree.h"

static const struct operation operations[] = {
	TREE_OPERATIONS
	{ NULL, NULL },
};

static void area_begin(void)
{
	tree_begin();
}

static void area_end(void)
{
	tree_end();
}

int main(void)
{
	return driver_main();
}
