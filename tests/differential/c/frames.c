/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The driver of area "frames": the tree, and on it Samba's stack of contexts, secrets, and reports with texts.
 *
 * These functions are in Samba's libraries but not in their headers.
 */
#include "tree.h"

TALLOC_CTX *_talloc_stackframe(const char *location);
TALLOC_CTX *_talloc_stackframe_pool(const char *location, size_t size);
TALLOC_CTX *_talloc_tos(const char *location);
bool talloc_stackframe_exists(void);
void _talloc_keep_secret(void *ptr, const char *name);
void talloc_full_report_printf(TALLOC_CTX *root, FILE *f);
void debuglevel_set_class(size_t index, int level);
void fault_configure(void (*fn)(const char *reason));
void debug_set_callback(void *private_data, void (*fn)(void *private_data, int level, const char *message));

#define talloc_stackframe() _talloc_stackframe(__location__)
#define talloc_stackframe_pool(size) _talloc_stackframe_pool(__location__, size)
#define talloc_tos() _talloc_tos(__location__)

static void made_frame(const char *name, void *ptr)
{
	made(name, "context", ptr);
	more_of(object_find(name))->frame = true;
}

static bool can_push(const char *name)
{
	return object_find(name) == NULL && strcmp(name, "@") != 0;
}

static void op_push(int argc, char **argv)
{
	if (can_push(argv[1])) {
		made_frame(argv[1], talloc_stackframe());
	}
}

static void op_pushpool(int argc, char **argv)
{
	if (can_push(argv[1])) {
		made_frame(argv[1], talloc_stackframe_pool(strtoul(argv[2], NULL, 10)));
	}
}

static void op_tos(int argc, char **argv)
{
	if (can_push(argv[1])) {
		void *ptr = talloc_tos();
		const char *name = object_name(ptr);

		if (strcmp(name, "?") != 0) {
			saw("tos is %s", name);
			return;
		}
		made_frame(argv[1], ptr);
	}
}

static void op_exists(int argc, char **argv)
{
	saw("exists %d", talloc_stackframe_exists());
}

static void op_secret(int argc, char **argv)
{
	struct object *object = find(argv[1]);
	struct more *more;

	if (object == NULL || more_of(object)->autofree || more_of(object)->frame) {
		return;
	}
	more = more_of(object);
	if (talloc_get_size(object->ptr) != 0) {
		const char *name = header_of(object->ptr)->name;

		if (more->asked && !more->replaced) {
			more->replaced = true;
			replaced_count++;
		}
		_talloc_keep_secret(object->ptr, "(secret)");
		/* C puts the source text of its argument for every name. */
		if (name != object->ptr) {
			talloc_set_name_const(object->ptr, name);
		}
	}
}

/* Whether everything that is called "char" is a text with an end: C prints it. */
static bool texts_end(void)
{
	int i;

	for (i = 0; i < objects_count; i++) {
		struct object *object = &objects[i];

		if (object->ptr == NULL || strcmp(talloc_get_name(object->ptr), "char") != 0) {
			continue;
		}
		if (!is_text(object) || more_of(object)->opaque ||
		    memchr(object->ptr, 0, talloc_get_size(object->ptr)) == NULL) {
			return false;
		}
	}
	return true;
}

static void op_texts(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL && texts_end()) {
		char *text = NULL, *line, *rest = NULL;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		talloc_full_report_printf(ptr, f);
		fclose(f);
		for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
			/* What follows is about malloc(). */
			if (strcmp(line, "mallinfo:") == 0) {
				break;
			}
			saw("report %s", shown_string(line));
		}
	}
}

static const struct operation operations[] = {
	TREE_OPERATIONS
	{ "push", op_push },
	{ "pushpool", op_pushpool },
	{ "tos", op_tos },
	{ "exists", op_exists },
	{ "secret", op_secret },
	{ "texts", op_texts },
	{ NULL, NULL },
};

/* A panic begins with a line of "=" and tells much; on_panic() tells the reason. */
static bool panics;

static void on_debug(void *private_data, int level, const char *message)
{
	panics = panics || strncmp(message, "====", 4) == 0;
	if (!panics) {
		/* Warnings begin with the name of the function. */
		saw("log %s\n", strncmp(message, "talloc_pop: ", 12) == 0 ? message + 12 : message);
	}
}

static void on_panic(const char *reason)
{
	saw("log %s\n", reason);
	program_aborts(reason);
}

static void area_begin(void)
{
	no_loops = true;
	fault_configure(on_panic);
	debug_set_callback(NULL, on_debug);
	/* Warnings are shown from 1 on. */
	debuglevel_set_class(0, 1);
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
