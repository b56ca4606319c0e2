# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The Python side of area "tree"; ``c/tree.h`` and what it includes are the other one, function by function.

Both look into headers for what C leaves undefined and names do not tell: a dying chunk, an owner that has died before
what it owned, a loop of owners. The module's last section is about what C does by mistake where Python does not: the
program then ends on both sides, with the same words.
"""

from __future__ import annotations

import io
from typing import Any

import talloc_py as t
from talloc_py import _free, _walk, debug
from talloc_py._chunk import CONTENT, LEFT, RUNNING, being_freed, chunk, world

from .program import Interpreter
from .tree_world import (
    AFTER_FREE,
    ASKED_DEPTH_MAX,
    ASKED_MAX,
    NODES_MAX,
    SIZES,
    TEXT,
    TYPES,
    formatted,
    is_above,
    known,
    limit_of,
    raw_of,
    shown_content,
    shown_string,
    with_list,
)


class Tree(Interpreter):
    """The operations of ``c/tree.h``."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: list[known] = []
        self._replaced = 0
        t.talloc_set_log_fn(self._log)
        self._real_abandon = _free._abandon
        _free._abandon = self._abandon
        self._real_closes_loop = _walk.closes_loop
        _walk.closes_loop = self._closes_loop

    def close(self) -> None:
        """Put back what is process-wide, and free what the program has left."""
        super().close()
        _free._abandon = self._real_abandon
        _walk.closes_loop = self._real_closes_loop
        t.talloc_disable_null_tracking()
        # Whatever has become of it, the next program gets another one.
        debug._state.autofree = None

    def finish(self) -> None:
        """Tell all there is."""
        self.op_all()

    def _log(self, message: str) -> None:
        self.saw(f"log {message}")

    # --- objects

    def _object(self, name: str) -> Any:
        """What is known of a living object; "@" is the one whose destructor is running."""
        if name == "@":
            if self._asked and self._asked[-1].obj is not None:
                return self._asked[-1]
            return None
        return self.get(name)

    def scan(self) -> None:
        """Say which chunks have died; the table holds what is known of each, not the chunk itself."""
        dead = [entry[2] for entry in self._objects if entry[2].obj._talloc_chunk.obj is not entry[2].obj]
        if dead:
            for one in dead:
                self.saw(f"died {one.name}")
                one.obj = None
            self._objects = [entry for entry in self._objects if entry[2].obj is not None]

    def name_of(self, obj: object) -> str:
        """The name of a chunk in this program."""
        if obj is None:
            return "none"
        for name, _, one in self._objects:
            if one.obj is obj:
                return name
        return "?"

    def _context(self, name: str) -> tuple[bool, Any]:
        """A context that is given by name: "-" is None; False if there is none of that name."""
        if name == "-":
            return True, None
        one = self._object(name)
        return (False, None) if one is None else (True, one.obj)

    def _can_make(self, name: str, ctx: str = "-") -> tuple[bool, Any]:
        good, context = self._context(ctx)
        return good and name != "@" and self.get(name) is None, context

    def _made(self, name: str, kind: str, obj: Any) -> None:
        self.saw(f"failed {name}" if obj is None else f"made {name}")
        if obj is not None:
            self.add(name, "chunk", known(name, kind, obj))

    # --- looking at chunks

    @staticmethod
    def _cannot_look_up(obj: Any, endless: bool = True) -> bool:
        c = obj._talloc_chunk.parent
        for _level in range(_free.TALLOC_MAX_DEPTH):
            if c is None:
                return False
            if c.obj is None:
                return True
            c = c.parent
        return endless

    def _can_free(self, obj: Any) -> bool:
        if self._replaced > 0:
            return False
        c = obj._talloc_chunk
        return not any(
            (one.emptied or (one.frame and self._asked)) and is_above(one.obj._talloc_chunk, c)
            for _, _, one in self._objects
        )

    def _can_resize(self, one: Any) -> bool:
        if one is None or one.limited or one.autofree or one.frame:
            return False
        c = one.obj._talloc_chunk
        for _, _, other in self._objects:
            header = other.obj._talloc_chunk
            if not other.asked and not other.emptied and not being_freed(header):
                continue
            # In C only the first of its siblings knows its owner.
            is_first = header.prev is None or header.next is LEFT
            if is_above(c, header) or (is_first and header.parent is c):
                return False
        return True

    # --- making

    def op_new(self, name: str, ctx: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, "context", t.talloc_new(context))

    def op_chain(self, name: str, ctx: str, count: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            left = int(count) - 1
            while left > 0 and context is not None:
                context = t.talloc_new(context)
                left -= 1
            self._made(name, "context", None if context is None else t.talloc_new(context))

    def op_named(self, name: str, ctx: str, size: str, text: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            kind = "context" if size == "0" else "uint8_t"
            self._made(name, kind, t.talloc_named_const(context, int(size), text))

    def op_namedf(self, name: str, ctx: str, size: str, text: str, number: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            kind = "context" if size == "0" else "uint8_t"
            self._made(name, kind, t.talloc_named(context, int(size), "%s-%d", text, int(number)))

    def op_init(self, name: str, text: str, number: str) -> None:
        if self._can_make(name)[0]:
            self._made(name, "context", t.talloc_init("%s-%d", text, int(number)))

    def op_size(self, name: str, ctx: str, size: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, "uint8_t", t.talloc_size(context, int(size)))

    def op_zsize(self, name: str, ctx: str, size: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, "uint8_t", t.talloc_zero_size(context, int(size)))

    def op_struct(self, name: str, ctx: str, kind: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, kind, t.talloc(context, TYPES[kind]))

    def op_zero(self, name: str, ctx: str, kind: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, kind, t.talloc_zero(context, TYPES[kind]))

    def op_ptrtype(self, name: str, ctx: str, kind: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, kind, t.talloc_ptrtype(context, TYPES[kind]))

    def op_array(self, name: str, ctx: str, kind: str, count: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, kind, t.talloc_array(context, TYPES[kind], int(count)))

    def op_zarray(self, name: str, ctx: str, kind: str, count: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, kind, t.talloc_zero_array(context, TYPES[kind], int(count)))

    def op_arrptr(self, name: str, ctx: str, kind: str, count: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, kind, t.talloc_array_ptrtype(context, TYPES[kind], int(count)))

    def op_arrsize(self, name: str, ctx: str, size: str, count: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, "uint8_t", t.talloc_array_size(context, int(size), int(count)))

    def op_memdup(self, name: str, ctx: str, source: str) -> None:
        one = self._object(source)
        if one is None:
            return
        good, context = self._can_make(name, ctx)
        if good:
            what = raw_of(one.obj) if isinstance(one.obj, str) else one.obj
            self._made(name, one.type, t.talloc_memdup(context, what))
            copy = self.get(name)
            if copy is not None:
                copy.opaque = one.opaque

    def op_pool(self, name: str, ctx: str, size: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, "context", t.talloc_pool(context, int(size)))

    def op_pooled(self, name: str, ctx: str, kind: str, count: str, total: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, kind, t.talloc_pooled_object(context, TYPES[kind], int(count), int(total)))

    def op_autofree(self, name: str) -> None:
        if self._can_make(name)[0]:
            obj = t.talloc_autofree_context()
            if self.name_of(obj) != "?":
                self.saw(f"autofree is {self.name_of(obj)}")
                return
            self._made(name, "context", obj)
            self.get(name).autofree = True

    # --- strings

    def op_strdup(self, name: str, ctx: str, text: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, "char", t.talloc_strdup(context, text))

    def op_strndup(self, name: str, ctx: str, text: str, count: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, "char", t.talloc_strndup(context, text, int(count)))

    def op_asprintf(self, name: str, ctx: str, index: str, text: str, number: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            self._made(name, "char", t.talloc_asprintf(context, *formatted(int(index), text, int(number))))

    def op_vasprintf(self, name: str, ctx: str, index: str, text: str, number: str) -> None:
        good, context = self._can_make(name, ctx)
        if good:
            call = with_list(t.talloc_vasprintf)
            self._made(name, "char", call(context, *formatted(int(index), text, int(number))))

    def op_append_none(self, name: str, text: str) -> None:
        if self._can_make(name)[0]:
            self._made(name, "char", t.talloc_strdup_append(None, text))

    # --- another size

    def _resize(self, what: str, one: known, kind: str, call: Any, *args: Any) -> None:
        c = one.obj._talloc_chunk
        was_content = c.name is CONTENT
        obj = call(*args)
        self.saw(f"{what} {one.name} {'failed' if obj is None else 'ok'}")
        if obj is None:
            return
        one.opaque = one.opaque or SIZES.get(one.type) != SIZES[kind]
        one.type = kind
        one.obj = obj
        if was_content and kind not in TEXT and isinstance(c.name, str):
            # C goes on reading the name from what are numbers now.
            t.talloc_set_name_const(obj, "cut")
        self._stop_at_end(one)

    @staticmethod
    def _stop_at_end(one: known) -> None:
        """Where a chunk is named by its content, and that has lost its NUL, C would read on behind it."""
        if one.obj._talloc_chunk.name is CONTENT and b"\0" not in raw_of(one.obj):
            t.talloc_set_name_const(one.obj, "cut")

    def op_realloc(self, ctx: str, name: str, kind: str, count: str) -> None:
        one = self._object(name)
        good, context = self._context(ctx)
        if one is None or not good:
            return
        if count == "0":
            if self._can_free(one.obj) and not self._cannot_look_up(one.obj):
                self.saw(f"realloc {self.name_of(t.talloc_realloc(context, one.obj, TYPES[kind], 0))}")
        elif self._can_resize(one):
            self._resize("realloc", one, kind, t.talloc_realloc, context, one.obj, TYPES[kind], int(count))

    def op_reallocsize(self, ctx: str, name: str, size: str) -> None:
        one = self._object(name)
        good, context = self._context(ctx)
        if good and size != "0" and self._can_resize(one):
            self._resize("realloc", one, "uint8_t", t.talloc_realloc_size, context, one.obj, int(size))

    def op_reallocfn(self, ctx: str, name: str, size: str) -> None:
        one = self._object(name)
        good, context = self._context(ctx)
        if good and size != "0" and self._can_resize(one):
            self._resize("realloc", one, "uint8_t", t.talloc_realloc_fn, context, one.obj, int(size))

    def _can_append(self, one: Any, to_nul: bool) -> bool:
        if one is None or one.type not in TEXT or one.opaque or not self._can_resize(one):
            return False
        return not to_nul or b"\0" in raw_of(one.obj)

    def op_append(self, name: str, text: str) -> None:
        one = self._object(name)
        if self._can_append(one, True):
            self._resize("append", one, "char", t.talloc_strdup_append, one.obj, text)

    def op_appendbuf(self, name: str, text: str) -> None:
        one = self._object(name)
        if self._can_append(one, False):
            self._resize("append", one, "char", t.talloc_strdup_append_buffer, one.obj, text)

    def op_nappend(self, name: str, text: str, count: str) -> None:
        one = self._object(name)
        if self._can_append(one, True):
            self._resize("append", one, "char", t.talloc_strndup_append, one.obj, text, int(count))

    def op_nappendbuf(self, name: str, text: str, count: str) -> None:
        one = self._object(name)
        if self._can_append(one, False):
            self._resize("append", one, "char", t.talloc_strndup_append_buffer, one.obj, text, int(count))

    def _append_formatted(self, call: Any, to_nul: bool, one: Any, index: str, text: str, number: str) -> None:
        if self._can_append(one, to_nul):
            kind = one.type if index == "3" else "char"
            self._resize("append", one, kind, call, one.obj, *formatted(int(index), text, int(number)))

    def op_fappend(self, name: str, *rest: str) -> None:
        self._append_formatted(t.talloc_asprintf_append, True, self._object(name), *rest)

    def op_fappendbuf(self, name: str, *rest: str) -> None:
        self._append_formatted(t.talloc_asprintf_append_buffer, False, self._object(name), *rest)

    def op_vappend(self, name: str, *rest: str) -> None:
        self._append_formatted(with_list(t.talloc_vasprintf_append), True, self._object(name), *rest)

    def op_vappendbuf(self, name: str, *rest: str) -> None:
        self._append_formatted(with_list(t.talloc_vasprintf_append_buffer), False, self._object(name), *rest)

    def op_addbuf(self, name: str, *rest: str) -> None:
        one = self._object(name)
        if one is not None and self._can_free(one.obj):
            self._append_formatted(t.talloc_asprintf_addbuf, False, one, *rest)

    def op_appendmacro(self, ctx: str, name: str, text: str) -> None:
        one = self._object(name)
        good, context = self._context(ctx)
        if not good:
            return
        if one is not None:
            if self._can_append(one, True):
                self._resize("append", one, "char", t.talloc_append_string, context, one.obj, text)
        elif name != "@":
            self._made(name, "char", t.talloc_append_string(context, None, text))

    # --- content

    def op_fill(self, name: str, at: str, byte: str) -> None:
        one = self._object(name)
        if one is not None and one.type == "uint8_t" and int(at) < len(one.obj):
            one.obj[int(at)] = int(byte)
            self._stop_at_end(one)

    def op_put(self, name: str, at: str, value: str) -> None:
        one = self._object(name)
        if one is not None and one.type == "int" and int(at) < len(one.obj):
            one.obj[int(at)] = int(value)

    def _show_content(self, one: known) -> None:
        if one.opaque:
            return
        if one.type in TEXT:
            self.saw(f"content {one.name} {shown_content(raw_of(one.obj))}")
        elif one.type == "int":
            self.saw(" ".join(["content", one.name, *map(str, one.obj[:100])]))

    # --- destructors

    def _destroyed(self, obj: Any) -> int:
        if self.over:
            return 0
        self.scan()
        one = self.get(self.name_of(obj))
        if one.asked_line != self.lines:
            one.asked_line = self.lines
            one.asked_count = 0
        one.asked_count += 1
        if one.asked_count > ASKED_MAX:
            self._undefined("the destructor is asked for ever")
            return 0
        parent = "?" if self._cannot_look_up(obj) else self.name_of(t.talloc_parent(obj))
        self.saw(f"asked {one.name} parent {parent}")
        if len(self._asked) == ASKED_DEPTH_MAX:
            return 0
        one.asked, one.replaced = True, False
        self._asked.append(one)
        value = self.run_destructor(one.script)
        self._asked.pop()
        self._replaced -= one.replaced
        one.asked = one.replaced = False
        self.saw(f"answer {one.name} {value}")
        return value

    def op_destructor(self, name: str, script: str) -> None:
        one = self._object(name)
        if one is None or one.autofree or one.frame:
            return
        if one.asked and not one.replaced:
            one.replaced = True
            self._replaced += 1
        one.script = script
        t.talloc_set_destructor(one.obj, None if script == "-" else self._destroyed)

    # --- freeing

    def op_free(self, name: str) -> None:
        one = self._object(name)
        if one is not None and self._can_free(one.obj):
            self.saw(f"free {t.talloc_free(one.obj)}")

    def op_FREE(self, name: str) -> None:
        one = self._object(name)
        if one is not None and self._can_free(one.obj):
            self.saw(f"FREE {self.name_of(t.TALLOC_FREE(one.obj))}")  # None, that is

    def op_children(self, name: str) -> None:
        one = self._object(name)
        if one is not None and self._can_free(one.obj):
            outer, one.emptied = one.emptied, True
            t.talloc_free_children(one.obj)
            one.emptied = outer

    def op_unlink(self, ctx: str, name: str) -> None:
        one = self._object(name)
        good, context = self._context(ctx)
        if one is not None and good and self._can_free(one.obj) and not self._cannot_look_up(one.obj):
            self.saw(f"unlink {t.talloc_unlink(context, one.obj)}")

    # --- moving and references

    def _movable(self, name: str) -> Any:
        one = self._object(name)
        return None if one is None or being_freed(one.obj._talloc_chunk) else one

    def _spoils_stack(self, context: chunk, c: chunk) -> bool:
        """Whether a move makes a loop, or puts a frame of the stack below another: C's stack would not survive it."""
        frames = [one.obj._talloc_chunk for _, _, one in self._objects if one.frame]
        from_frame = any(is_above(frame, c) for frame in frames)
        return is_above(context, c) or (from_frame and any(is_above(context, frame) for frame in frames))

    #: An area that keeps off loops of owners.
    LOOPS = True

    def _hangs(self, context: Any, obj: Any) -> bool:
        """Whether a move would put a memory limit above itself, which C then goes round for ever."""
        if not self.LOOPS and context is not None and self._spoils_stack(context._talloc_chunk, obj._talloc_chunk):
            return True
        chain = []
        limit = None if context is None else limit_of(context._talloc_chunk)
        while limit is not None:
            chain.append(limit)
            limit = limit.upper
        root = obj._talloc_chunk
        own = limit_of(root)
        old = own if own is not None and own.owner is root else None
        todo = [root] if chain else []
        while todo and len(todo) < NODES_MAX:
            c = todo.pop()
            found = limit_of(c)
            if c is root:
                found = old
            if found in chain and (found is old or found.upper is old):
                return True
            child = c.child
            while child is not None:
                if child is not root:
                    todo.append(child)
                child = child.next
        return False

    def op_steal(self, ctx: str, name: str) -> None:
        one = self._movable(name)
        good, context = self._context(ctx)
        if one is not None and good and not self._hangs(context, one.obj):
            self.saw(f"steal {self.name_of(t.talloc_steal(context, one.obj))}")

    def op_move(self, ctx: str, name: str) -> None:
        one = self._movable(name)
        good, context = self._context(ctx)
        if one is not None and good and not self._hangs(context, one.obj):
            self.saw(f"move {self.name_of(t.talloc_move(context, one.obj))}")

    def op_reparent(self, old: str, new: str, name: str) -> None:
        one = self._movable(name)
        good, old_context = self._context(old)
        good_too, new_context = self._context(new)
        if one is not None and good and good_too and not self._hangs(new_context, one.obj):
            self.saw(f"reparent {self.name_of(t.talloc_reparent(old_context, new_context, one.obj))}")

    def op_ref(self, ctx: str, name: str) -> None:
        one = self._movable(name)
        good, context = self._context(ctx)
        if not self.LOOPS and one is not None and (one.frame or self._hangs(context, one.obj)):
            return
        if one is not None and good and not one.asked:
            self.saw(f"ref {self.name_of(t.talloc_reference(context, one.obj))}")

    def op_incref(self, name: str) -> None:
        one = self._movable(name)
        if one is not None and not one.asked and not one.frame:
            self.saw(f"incref {t.talloc_increase_ref_count(one.obj)}")

    # --- names

    def op_setname(self, name: str, text: str, number: str) -> None:
        one = self._object(name)
        if one is not None:
            self.saw(f"setname {shown_string(t.talloc_set_name(one.obj, '%s-%d', text, int(number)))}")

    def op_setconst(self, name: str, text: str) -> None:
        one = self._object(name)
        if one is not None:
            t.talloc_set_name_const(one.obj, None if text == "-" else text)

    def op_settype(self, name: str, kind: str) -> None:
        one = self._object(name)
        if one is not None:
            t.talloc_set_type(one.obj, TYPES[kind])

    def op_check(self, name: str, text: str) -> None:
        one = self._object(name)
        if one is not None:
            self.saw(f"check {self.name_of(t.talloc_check_name(one.obj, text))}")

    def op_gettype(self, name: str, kind: str) -> None:
        one = self._object(name)
        if one is not None:
            self.saw(f"gettype {self.name_of(t.talloc_get_type(one.obj, TYPES[kind]))}")

    def op_musttype(self, name: str, kind: str) -> None:
        good, obj = self._context(name)
        if good:
            self.saw(f"musttype {self.name_of(t.talloc_get_type_abort(obj, TYPES[kind]))}")

    def op_findname(self, name: str, text: str) -> None:
        one = self._object(name)
        if one is not None and not self._cannot_look_up(one.obj):
            self.saw(f"find {self.name_of(t.talloc_find_parent_byname(one.obj, text))}")

    def op_findtype(self, name: str, kind: str) -> None:
        one = self._object(name)
        if one is not None and not self._cannot_look_up(one.obj):
            self.saw(f"find {self.name_of(t.talloc_find_parent_bytype(one.obj, TYPES[kind]))}")

    # --- the whole

    def op_isparent(self, name: str, other: str) -> None:
        one, presumed = self._object(name), self._object(other)
        if one is not None and presumed is not None and not self._cannot_look_up(one.obj, False):
            self.saw(f"isparent {t.talloc_is_parent(one.obj, presumed.obj)}")

    def op_memlimit(self, name: str, size: str) -> None:
        one = self._movable(name)
        if one is not None and not self._cannot_look_up(one.obj):
            one.limited = True
            self.saw(f"memlimit {t.talloc_set_memlimit(one.obj, int(size))}")

    def op_track(self) -> None:
        if not self._asked:
            t.talloc_enable_null_tracking()

    def op_trackonly(self) -> None:
        if not self._asked:
            t.talloc_enable_null_tracking_no_autofree()

    def op_untrack(self) -> None:
        if not self._asked:
            t.talloc_disable_null_tracking()

    def _look(self, one: known) -> None:
        obj = one.obj
        up = not self._cannot_look_up(obj)
        self.saw(
            f"look {one.name} parent {self.name_of(t.talloc_parent(obj)) if up else '?'}"
            f" ({shown_string(t.talloc_parent_name(obj)) if up else '?'}) name {shown_string(t.talloc_get_name(obj))}"
            f" size {t.talloc_get_size(obj)} refs {t.talloc_reference_count(obj)} blocks {t.talloc_total_blocks(obj)}"
            f" total {t.talloc_total_size(obj)} length {t.talloc_array_length(obj)}"
        )
        self._show_content(one)

    def op_look(self, name: str) -> None:
        one = self._object(name)
        if one is not None:
            self._look(one)

    def _visit(self, obj: Any, depth: int, max_depth: int, is_ref: int, _private: object) -> None:
        name = self.name_of(obj)
        if name == "?":
            name = shown_string(t.talloc_get_name(obj))
        self.saw(f"tree {depth} {max_depth} {is_ref} {name}")

    def op_tree(self, name: str, depth: str, max_depth: str) -> None:
        good, obj = self._context(name)
        if good:
            t.talloc_report_depth_cb(obj, int(depth), int(max_depth), self._visit, None)

    def op_report(self, name: str, what: str, max_depth: str = "0") -> None:
        good, obj = self._context(name)
        if not good:
            return
        f = io.StringIO()
        if what == "full":
            t.talloc_report_full(obj, f)
        elif what == "short":
            t.talloc_report(obj, f)
        elif what == "parents":
            if obj is None or not self._cannot_look_up(obj):
                t.talloc_show_parents(obj, f)
        else:
            t.talloc_report_depth_file(obj, int(what), int(max_depth), f)
        for line in f.getvalue().split("\n"):
            if line:
                self.saw(f"report {shown_string(line)}")

    def op_totals(self) -> None:
        self.saw(f"totals {t.talloc_total_size(None)} {t.talloc_total_blocks(None)}")

    def op_all(self) -> None:
        for _, _, one in list(self._objects):
            self._look(one)
            parent = t.talloc_parent(one.obj)
            if parent is None or self.name_of(parent) == "?":
                t.talloc_report_depth_cb(one.obj, 0, -1, self._visit, None)
        self.op_totals()

    # --- where C works on what it has freed

    def _undefined(self, reason: str) -> None:
        """End the program as C does; Python, which knows better, may go on, but is not looked at any more."""
        self.saw(f"abort {reason}")
        self.over = True

    def _after_free(self) -> None:
        self.saw("log talloc: access after free error - first free may be at elsewhere.c:1\n")
        self.saw(f"log {AFTER_FREE}\n")
        self._undefined(AFTER_FREE)

    def _abandon(self, child: chunk, heir: chunk | None, dying: chunk, errors: list[BaseException]) -> None:
        """
        Stand in the place of the function that moves a child that cannot be freed to a new owner.

        Two things that it avoids C does: it moves the child to an owner that is dead by now, and it looks for ever for
        another owner where that would be the child itself.
        """
        if not self.over:
            new = heir
            if heir is None or heir is world.null:
                if dying.obj is None:
                    self._after_free()
                new = dying.parent
            if new is not None and new.obj is None:
                self._after_free()
            elif new is child and child.destructor is RUNNING:
                # Not even a destructor is asked.
                self._undefined("by signal 26")
            elif new is child:
                _free.steal_internal(child, child)
                return
        self._real_abandon(child, heir, dying, errors)

    def _closes_loop(self, inner: Any, new: Any) -> bool:
        """Stand in the place of the function that notices a loop of memory limits, which C goes round for ever."""
        found = self._real_closes_loop(inner, new)
        if found:
            self._undefined("by signal 26")
        return found
