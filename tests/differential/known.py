# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Where the packages and the libraries that Debian 12 ships are known to differ, and how programs are kept off it.

Everything that programs avoid, or that is made equal before it is compared, stands here; what is different by nature
(places in the code, addresses) is `program.plain`'s.
"""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """One difference."""

    area: str
    #: What differs.
    what: str
    #: The exact restriction of the generator, or the exact change to an observation.
    how: str
    why: str


_UNDEFINED = "Undefined in C."

TREE: tuple[Known, ...] = (
    Known(
        "tree",
        "C moves a child that refuses to an owner that a destructor has freed meanwhile, and aborts; Python takes the "
        "top level.",
        "Tree._abandon() ends the program with C's messages there.",
        _UNDEFINED,
    ),
    Known(
        "tree",
        "In a loop of owners C looks for ever for another owner of a child that refuses; Python takes the top level.",
        "Tree._abandon() leaves the child where it is, as C does; on either side the program ends when a destructor is "
        "asked for the 21st time by a line, or is not even asked.",
        "A flaw of C's that is not taken over.",
    ),
    Known(
        "tree",
        "C hangs where a memory limit comes to lie above itself: also when a chunk with children is moved within one.",
        "hangs(): no steal, move or reparent that does it; where a free or unlink does it, the program ends with it.",
        "A flaw of C's that is not taken over.",
    ),
    Known(
        "tree",
        "A limit that is set within a loop of owners counts in C with numbers that are not set yet.",
        "`memlimit` does nothing where a search upwards would not end.",
        _UNDEFINED,
    ),
    Known(
        "tree",
        "C cannot move a chunk that is dying or give it new references, and may know an owner of it that is dead.",
        "is_dying(): no steal, move, reparent, ref, memlimit; cannot_look_up(): no search upwards from it.",
        _UNDEFINED,
    ),
    Known(
        "tree",
        "C uses what it has freed where a destructor lets its own chunk be freed after it set another destructor, and "
        "where it frees a chunk whose children are being freed by talloc_free_children().",
        "can_free(): nothing is freed then.",
        _UNDEFINED,
    ),
    Known(
        "tree",
        "A realloc moves a chunk in memory, and C's limits, autofree context and whatever frees its children keep "
        "pointing to the old place.",
        "can_resize(): not of a chunk that is a limit or the autofree context; not of one that dies, is asked, owns "
        "such a one or lies below.",
        _UNDEFINED,
    ),
    Known(
        "tree",
        "talloc_find_parent_byname() and talloc_show_parents() do not end in a loop of owners in C.",
        "cannot_look_up(): not called there.",
        "A flaw of C's that is not taken over.",
    ),
    Known(
        "tree",
        "A string that has lost its NUL is still called by what stands behind it in C's memory.",
        "stop_at_end(): it gets a name of its own on both sides.",
        _UNDEFINED,
    ),
    Known(
        "tree",
        "Elements of another size are kept by index in Python, by their bytes in C.",
        "Objects that were resized so are `opaque`: sizes and names are compared, content is not, nothing is appended.",
        "Written down as Python's own.",
    ),
    Known(
        "tree",
        "New memory is not zero in C.",
        "The driver writes zeros where talloc(), talloc_size(), talloc_array() and the realloc family do not.",
        _UNDEFINED,
    ),
    Known(
        "tree",
        "The autofree context would be remembered after its death, had it another destructor than C's own.",
        "`destructor` does nothing with it.",
        _UNDEFINED,
    ),
    Known(
        "tree",
        "talloc_realloc_zero() and talloc_asprintf_addsep() are newer than the library, and its version is 2.4.",
        "No operation for them.",
        "Nothing to compare with.",
    ),
)

FRAMES: tuple[Known, ...] = (
    Known(
        "frames",
        "The parent of the first frame is an array in C, whose size counts; in Python it is a plain context.",
        "No null tracking, which would show it.",
        "Nobody owns it, so nobody else sees it.",
    ),
    Known(
        "frames",
        "C's stack has frames in the order of their making: where one is stolen below another, or is freed by a "
        "destructor below itself, C writes before its array.",
        "hangs(): no move of a frame, or of what owns one, below a frame, no loops of owners, no references to frames; "
        "can_free(): no destructor frees a frame.",
        _UNDEFINED,
    ),
    Known(
        "frames",
        "talloc_keep_secret() gives every chunk the source text of its argument for a name.",
        'The driver passes "(secret)", and gives what was not named by its content its old name back.',
        "Python does not see the source text, and only content has to be hidden.",
    ),
    Known(
        "frames",
        'Reports print a chunk that is called "char" up to the first NUL, wherever that is.',
        "`texts` does nothing while something is called so and is no text with an end.",
        _UNDEFINED,
    ),
    Known(
        "frames",
        "A frame that a memory limit refuses is a panic in C, with a backtrace; warnings begin with a function's name.",
        "The driver tells the reason of a panic alone, and cuts the function's name off.",
        "Porting rule: what C answers by abort() is the abort function.",
    ),
)

REQUESTS: tuple[Known, ...] = (
    Known(
        "requests",
        "An immediate of a queue that is pending when an entry is triggered directly triggers that entry again in C.",
        "The driver passes over a second run of a trigger, and a second trace point before it, unless the entry was "
        "untriggered in between. Either way one round of the loop is used up.",
        "A flaw of C's that is not taken over.",
    ),
    Known(
        "requests",
        "The chunk of a trigger that runs: in C it stays until its handler has returned, also below a request that was "
        "received, and goes to the owner of one that was freed; in Python a posted request has no such chunk.",
        "`tree` and `blocks` do nothing in callbacks and cleanup functions that a loop has called by itself.",
        "The packages are free to do that.",
    ),
    Known(
        "requests",
        "A trace callback for immediates that is set by the callback of a posted request hears, in C, of the end of "
        "that very immediate.",
        "`watch` does nothing while a loop runs.",
        "Python would have to ask after each of them whether somebody has begun to look on.",
    ),
    Known(
        "requests",
        "What C answers by a signal goes to the abort function: a post (at once, or a deferral that becomes due) and "
        "set_profile of a received request, a wrong untrigger, the NTSTATUS of a request with another error.",
        'World.aborted() gives the reason as "by signal 11" or "by signal 6". Programs do it only with "blind".',
        "Porting rule: what C leaves undefined or answers by abort() is the abort function.",
    ),
    Known(
        "requests",
        "C crashes where it packs a profile without a name or a place; Python packs empty strings.",
        "`pack` and `repack` do nothing with such a profile.",
        "Written down as Python's own.",
    ),
    Known(
        "requests",
        "What EPROTONOSUPPORT is as an NTSTATUS, tevent_context_set_wait_timeout(), and "
        "tevent_thread_call_depth_set_callback() as it is now are newer than the library.",
        "`errno` says nothing of that one; contexts keep their 30 seconds, which the virtual clock jumps over; no "
        "program sets such a callback.",
        "Nothing to compare with.",
    ),
    Known(
        "requests",
        "An immediate that was scheduled through a wrapper context runs in C as if it were so also later, elsewhere.",
        "A program has one context and wrappers of it, or several contexts; `schedule` cancels through none of them. "
        "What was queued through a wrapper and is scheduled again before it runs stays with it, as in C.",
        "A flaw of C's; it would run the handlers of one context between the operations of another's wrapper.",
    ),
    Known(
        "requests",
        "C goes on to use what a handler may have freed: a request in its own cleanup function, in "
        "tevent_req_received() and in tevent_req_poll(), a context that a loop runs on or that a queue entry or a "
        "deferral names.",
        "World.may_free() refuses those and their owners, also of what is dying; contexts have no owner but the top of "
        "the program; nothing is moved or referenced while something is freed; references are held below the root "
        "alone.",
        "Undefined in C.",
    ),
    Known(
        "requests",
        "A chunk whose destructor has agreed and whose children go has, in C, pointers to some that are gone.",
        "World.get() does not find it any more, and no loop runs while a request with an endtime goes.",
        "Undefined in C.",
    ),
)

_OLDER = "Newer than Debian's library; compared with a newer one, through PKG_CONFIG_PATH."

STREAMS: tuple[Known, ...] = (
    Known(
        "streams",
        "In the older library a request keeps its stream busy until it is received; freeing the stream receives it.",
        "kept_off(): no second operation of a kind, and no disconnect, while a finished one is not received; "
        "undefined_to_free(): such a stream is not freed without it; done(): received at once if a helper waits; "
        "made-up backends do not refuse to make a request.",
        _OLDER,
    ),
    Known(
        "streams",
        "While a disconnect is outstanding the older library gives ENOTCONN from the backend, and knows no such one.",
        "kept_off(): nothing is started on the stream until then, and none where a helper waits; the stream stays.",
        _OLDER,
    ),
    Known(
        "streams",
        "A recvfrom that ends inside its send function stays in progress in the older library until the loop runs.",
        "`early` requests: not looked at, received or given a time before their callback, nor their socket used; no "
        "recvfrom of a made-up backend that ends at once.",
        _OLDER,
    ),
    Known(
        "streams",
        "tstream_monitor_send() and tstream_bsd_fail_readv_first_error() are newer than the older library.",
        "`monitor` and `failfirst` say skip.",
        _OLDER,
    ),
    Known(
        "streams",
        "The older library keeps the descriptor of a connection that failed until the request is received.",
        "`crowd` says skip while a connect request is outstanding, and `connect` while there is no descriptor left.",
        _OLDER,
    ),
    Known(
        "streams",
        "With a blocked write, the older library also waits for input, takes up to a second to see an error, and its "
        "errno may be another one.",
        "peer_must_stay(): the raw end does not fail while its stream writes; kept_off(): no write that may block "
        "after that, nor a big one between two streams.",
        _OLDER,
    ),
    Known(
        "streams",
        "The older library takes a silent descriptor out of epoll, so it is woken up at other times and the kernel "
        "reports several ready ones in another order.",
        "turns_count(): a turn is then all there is to do, whether it was idle is not told, and of several ready "
        "descriptors the first created is served.",
        _OLDER,
    ),
    Known(
        "streams",
        "The newer library remembers an error that it sees while nothing is outstanding, so that bytes that wait are "
        "lost.",
        "note_taint(): a stream that a turn would do this to is only freed from then on; the turn is left out where a "
        "helper waits for it.",
        "A flaw of C's that is not taken over.",
    ),
    Known(
        "streams",
        "A read or monitor of a stream that has failed without an event of its descriptor hangs in C: EBADF, a pipe's "
        "wrong end, a peer that shut its reading side down.",
        "`odd` streams: no read, PDU or monitor once an operation may have failed so.",
        "Python reports the stream's error.",
    ),
    Known(
        "streams",
        "A request that has been received or has timed out while it waited in a queue is started in C, and aborts or "
        "writes.",
        "`recv` and `endtime` say skip for helpers that may wait; what has timed out is received in its callback.",
        "A flaw of C's that is not taken over: such a request only keeps its place.",
    ),
    Known(
        "streams",
        "A helper that finds its queue empty while an immediate is on its way is started twice in C.",
        "queue_is_stale(): nothing is added to an empty queue until twelve turns after the last request died.",
        "A flaw of C's that is not taken over.",
    ),
    Known(
        "streams",
        "A connect request that is not received in its callback is called back again and again in C.",
        "done() receives it.",
        "A flaw of C's that is not taken over.",
    ),
    Known(
        "streams",
        "C uses freed memory where a helper's stream is freed while it waits, and where a vector function frees what "
        "it reads for; it lets a destination die under its datagram.",
        "undefined_to_free(); scripts of vector functions free and start nothing; destinations are copied.",
        "Undefined in C.",
    ),
    Known(
        "streams",
        "A TCP connection to a listener with no room is tried again by the kernel after a second of real time.",
        "_backlog(): listeners of TCP have room for all.",
        "Nothing of the libraries.",
    ),
    Known(
        "streams",
        "Sums of more than 2 GiB are EMSGSIZE in the older library, and of no consequence here.",
        "No vector is longer than its buffers, which are small.",
        "Python has no buffer that is longer than its memory.",
    ),
    Known(
        "streams",
        "C leaves a copy of the text of a host and port below its owner.",
        "Programs do not list the children of a context.",
        "A flaw of C's that is not taken over.",
    ),
)

_FLAW = "A flaw of C's that is not taken over."

LOOP: tuple[Known, ...] = (
    Known(
        "loop",
        "How often an iteration does nothing but empty the library's own wakeup descriptor.",
        "Before each wait both sides empty those descriptors (drain_wakeups(), World.waits()).",
        "Nobody can rely on it.",
    ),
    Known(
        "loop",
        "Fd events with flags 0 keep the older library's tevent_loop_wait() going.",
        "The driver's tevent_common_have_events() takes the place of the library's, which decides unless all fd events "
        "are silent.",
        "Newer than the library.",
    ),
    Known(
        "loop",
        "In the older library only two events can share a descriptor of epoll, and one of them starves the other.",
        "has_rival(): with epoll and standard only one event on a descriptor has flags other than 0.",
        "Newer than the library; the backends poll and poll_mt are compared with any number.",
    ),
    Known(
        "loop",
        "The older library does not trace that an fd event goes because its descriptor is closed, or with its wrapper.",
        "Both sides pass over that trace point where the descriptor is closed or the wrapper was freed.",
        "Newer than the library.",
    ),
    Known(
        "loop",
        "TEVENT_FD_ERROR, tevent_reset_immediate(), tevent_context_set_wait_timeout() and the highest debug level are "
        "newer than the library.",
        "Flags are 0 to 3, and 8 with READ; contexts wait for 30 seconds of the virtual clock; op_debug() asks for "
        "level TRACE.",
        "Nothing to compare with.",
    ),
    Known(
        "loop",
        "After an error was seen on a descriptor of epoll, an event that only wants to write keeps its flag in C and "
        "is silent; in Python the flag is taken away again.",
        "may_set(): such an event is not given WRITE alone.",
        "The flags are free there.",
    ),
    Known(
        "loop",
        "C's poll waits, without sleeping, for errors of an event that wants nothing but bits it does not know.",
        "flags_are_fine(): unknown bits only together with READ.",
        _FLAW,
    ),
    Known(
        "loop",
        "A timer with a negative tv_usec makes C wait for ever, or not at all.",
        "Programs make none.",
        _FLAW,
    ),
    Known(
        "loop",
        "SA_RESETHAND takes the handler from the system at the first occurrence; Python keeps it until the event is "
        "freed. A siginfo is invalid in C where the first event of a number did not ask for one.",
        "do_raise() does not raise such a number again; op_signal() asks for siginfo only if all others did.",
        "Undefined in C.",
    ),
    Known(
        "loop",
        "A loop inside a signal handler delivers the same occurrences again in C; a handler that frees the next event "
        "of its number lets C use it.",
        "loop_begins() does nothing in signal handlers; may_be_freed() refuses the next event and what it depends on.",
        "Undefined in C.",
    ),
    Known(
        "loop",
        "A foreign signal that interrupts a wait ends it in C.",
        "`raise_in_wait` raises only what is watched by the context that waits.",
        "The interpreter waits on.",
    ),
    Known(
        "loop",
        "C uses a context that was freed while its loop or a handler of it runs, an event whose handler ran inside "
        "itself, a proxy in its handler, and there a signal event whose context was initialised again meanwhile.",
        "may_be_freed() refuses those and their owners; may_own() keeps what must not go with a timer or signal event "
        "from belonging to one.",
        "Undefined in C.",
    ),
    Known(
        "loop",
        "A context that is initialised again inside a handler counts one loop too few in C ever after.",
        "It gets no nesting hook then, and no loop inside a loop.",
        _FLAW,
    ),
    Known(
        "loop",
        "C lets an immediate that was queued or cancelled through a wrapper run through it elsewhere, also when it is "
        "gone.",
        "`cancel` goes through main contexts; `sched` does nothing with what a wrapper of another context has queued.",
        _FLAW,
    ),
    Known(
        "loop",
        "An orphaned wrapper that is freed in use, or whose context has gone and which must abort, crashes C; so does "
        "an immediate on it.",
        "context_get(): such a wrapper is only added to, asked and pushed.",
        "Undefined in C.",
    ),
    Known(
        "loop",
        "C leaves a wrapper in use where the descriptor of its event is closed, or the main context is initialised "
        "again, in the handler of that fd or signal event.",
        "is_wrapped(): the descriptor stays open meanwhile; is_wrapped_on(): `reinit` does nothing.",
        _FLAW,
    ),
    Known(
        "loop",
        "What threads have scheduled is lost in C with the last threaded context, cannot be freed or used, and "
        "outlives its context.",
        "may_be_freed() and reinit refuse that; such an immediate is not touched until the loop has taken it over.",
        _FLAW,
    ),
    Known(
        "loop",
        "A trace callback for immediates that is set in the handler of one hears, in C, of the end of that very one.",
        "op_trace() does nothing there.",
        "Python would have to ask after each of them whether somebody has begun to look on.",
    ),
    Known(
        "loop",
        "C calls abort() itself where epoll refuses a descriptor and where an immediate is freed that a thread has "
        "scheduled; a proxy names its handlers by a variable of its own; "
        "messages of what goes wrong with epoll and poll have the libraries' own words.",
        'World.aborted() gives the reason as "by signal 6"; debug() puts the handler\'s name there, and passes over '
        "messages with epoll or poll in them.",
        "Porting rule: what C answers by abort() is the abort function; the words are free.",
    ),
)

KNOWN: tuple[Known, ...] = (*TREE, *FRAMES, *REQUESTS, *STREAMS, *LOOP)
