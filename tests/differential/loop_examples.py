# SPDX-License-Identifier: LGPL-3.0-or-later
"""Programs of the area "loop": what has differed once, and each kind of operation."""

from __future__ import annotations

FOUND = {
    "what came before the first event of a number": """
        ev e1 - epoll
        signal s1 - e1 10 i -
        raise 1
        signal s2 - e1 1 ih -
        raise 10
        once e1 2
    """,
    "a higher number that a handler raises": """
        ev e1 - poll
        script k1 raise 12
        script k2 raise 10
        signal s1 - e1 10 - k1
        signal s2 - e1 12 - k2
        raise 10
        once e1 3
    """,
    "an immediate of a wrapper that is scheduled again": """
        ev e1 - epoll
        wrap w1 - e1 yes
        imm i1 -
        sched i1 w1 -
        sched i1 e1 -
        once e1 2
        sched i1 e1 -
        once e1 2
    """,
    "the same hook again": """
        ev e1 - epoll
        hook e1 1 0 0
        hook e1 1 0 0
        once e1 1
        hook e1 2 0 0
    """,
    "a closed descriptor for which an event wants nothing": """
        ev e1 - poll
        pair a1 b1
        close b1
        fd f1 - e1 b1 0 -
        fd f2 - e1 b1 2 -
        closefn f1 p
        once e1 2
        query f1
        query f2
        free f1
    """,
    "an error on a descriptor for which an event wants nothing": """
        ev e1 - +poll
        pair a1 b1
        close b1
        fd f1 - e1 a1 0 -
        fd f2 - e1 a1 1 -
        fd f3 - e1 a1 2 -
        once e1 3
    """,
    "debug messages switched on by a timer": """
        ev e1 - standard
        script k1 debug e1 on
        timer t1 - e1 0 0 k1
        timer t2 - e1 0 0 -
        once e1 3
    """,
    "a timer that is traced from its own handler on": """
        ev e1 - epoll
        script k1 trace e1 timer on
        timer t1 - e1 0 0 k1
        once e1 2
    """,
    "a timer that is freed in its handler": """
        ev e1 - epoll
        debug e1 on
        trace e1 timer on
        script k1 free self
        timer t1 - e1 0 0 k1
        once e1 2
    """,
    "a wait of whole milliseconds": """
        ev e1 - epoll
        timer t1 - e1 1000000256 499000 -
        timer t2 - e1 1000000256 500000 -
        once e1 3
    """,
    "how long until a timer that is not normalised": """
        ev e1 - poll
        timer t1 - e1 1000000001 1500000 -
        part e1 timer
        advance 1
        part e1 timer
        advance 999999
        part e1 timer
        advance 1
        part e1 timer
    """,
    "closed before it is freed": """
        ev e1 - epoll
        pipe a1 b1
        fd f1 - e1 a1 1 -
        closefn f1 p
        close a1
        free f1
        fd f2 - e1 b1 2 -
        closefn f2 p
        free f2
    """,
    "closed before it is silent": """
        ev e1 - epoll
        pair a1 b1
        fd f1 - e1 a1 3 -
        closefn f1 p
        close a1
        flags f1 0
        free f1
    """,
    "a wrapper whose signal event is traced": """
        ev e1 - standard
        wrap w1 - e1 yes
        signal s1 - w1 1 r -
        trace e1 signal on
        free w1
        parent s1
    """,
    "wrappers and loops inside handlers": """
        ev e1 - epoll
        debug e1 on
        nest e1
        wrap w1 - e1 yes
    """,
    "a wrapper of a wrapper, and a proxy of one": """
        ev e1 - epoll
        debug e1 on
        wrap w1 - e1 yes
        wrap w2 - w1 yes
        proxy p1 w1
    """,
    "a signal event that frees its wrapper": """
        ev e1 - epoll
        wrap w1 - e1 yes
        signal s1 - w1 34 - k1
        script k1 free w1
        raise 34
        once e1 2
    """,
    "a signal event that initialises its context again": """
        ev e1 - epoll
        script k1 reinit e1
        signal s1 - e1 10 - k1
        signal s2 - e1 12 - -
        raise 10
        once e1 2
        signals 12
    """,
    "what a thread schedules has no tag": """
        ev e1 - epoll
        tctx x1 - e1
        imm i1 -
        trace e1 imm on
        tag i1 1
        tsched x1 i1 -
        once e1 2
    """,
    "what a thread schedules through a wrapper": """
        ev e1 - poll
        wrap w1 - e1 yes
        trace e1 imm on
        tctx x1 - w1
        imm i1 -
        tsched x1 i1 -
        once e1 2
    """,
    "what a thread schedules with operations of one's own": """
        ev e1 - +epoll
        trace e1 imm on
        tctx x1 - e1
        imm i1 -
        tsched x1 i1 -
        once e1 2
    """,
    "an immediate that runs out of turn": """
        ev e1 - epoll
        imm i1 -
        imm i2 -
        imm i3 -
        sched i1 e1 -
        sched i2 e1 -
        sched i3 e1 -
        invoke i2 0
        once e1 3
        sched i2 e1 -
        once e1 2
    """,
    "poll takes a flag away with the operation of the context": """
        ev e1 - +poll
        pair a1 b1
        close b1
        fd f1 - e1 a1 2 -
        once e1 3
    """,
    "a timer that is moved makes no descriptor": """
        ev e1 - +epoll
        timer t1 - e1 0 0 -
        update t1 1000000453 500000
        wakeup e1 now
    """,
    "a number that is refused makes one": """
        ev e1 - epoll
        signal s1 - e1 500 - -
        wakeup e1 now
    """,
    "a proxy that is freed": """
        ev e1 - epoll
        debug e1 on
        proxy p1 e1
        imm i1 -
        imm i2 -
        imm i3 -
        psched p1 i1 -
        psched p1 i2 -
        once e1 1
        psched p1 i3 -
        free p1
        once e1 2
    """,
    "a wrapper's handler that leaves a use behind": """
        ev e1 - +poll
        script k1 push e1 ; free c1
        ctx c1 e1
        wrap w1 c1 e1 yes
        pair a1 b1
        fd f1 - w1 a1 3 k1
        once e1 2
    """,
    "a signal event that is detached and freed in its handler": """
        ev e1 - -
        script k1 reinit e1 ; free self
        ctx c3 -
        signal s3 c3 e1 34 - k1
        raise 34
        once e1 8
        free c3
    """,
    "a wrapper's handler that initialises the main context again": """
        ev e1 - epoll
        wrap w1 - e1 yes
        script k1 reinit e1
        timer t1 - w1 0 0 k1
        once e1 2
        timer t2 - w1 0 0 k1
        push w1
    """,
}

EACH = {
    "backends": """
        backends
        ev e1 - nothing
        ev e1 - select
        default poll
        ev e1 - -
        default nothing
        ev e2 - -
        default -
        ev e2 - -
        query e1 e2
        query e1 e1
    """,
    "times": """
        tv add 5 999999 1 1
        tv add 5 999999 4294967296 4294967297
        tv add -5 -999999 1 1
        tv until 5 999999 6 1
        tv until 6 1 5 999999
        tv until 1 1 1 1
        tv compare 1 2 1 3
        tv compare 2 0 1 3
        tv set 0 0 3 2000000
        tv ofs 0 0 1 1500000
        tv is_zero 0 0 0 0
        tv is_zero 0 1 0 0
        tv current 0 0 0 0
        tv zero 0 0 0 0
    """,
    "many timers": """
        ev e1 - epoll
        storm e1 60 1
        ev e2 - +poll
        storm e2 60 2
    """,
    "timers": """
        ev e1 - poll
        script k1 timer t4 - e1 0 0 - ; update t3 0 0
        timer t1 - e1 1000000001 500000 -
        timer t2 - e1 1000000001 0 -
        timer t3 - e1 1000000001 500000 -
        timer t5 - e1 0 0 k1
        update t1 1000000001 500000
        tag t1 7
        gettag t1
        once e1 6
    """,
    "zero timers": """
        ev e1 - epoll
        timer t1 - e1 0 0 -
        timer t2 - e1 1000000001 0 -
        timer t3 - e1 -1 0 -
        update t2 0 0
        timer t4 - e1 0 0 -
        once e1 5
    """,
    "immediates": """
        ev e1 - epoll
        ev e2 - poll
        imm i1 -
        imm i2 -
        script k1 sched self e1 - ; free i2
        sched i1 e1 k1
        sched i2 e1 -
        sched i1 e2 -
        sched i1 e1 k1
        cancel i2 e1
        sched i2 e1 k1
        wait e1
        part e2 imm
    """,
    "the order of epoll": """
        ev e1 - epoll
        pair a1 b1
        pair a2 b2
        fd f1 - e1 a1 1 -
        fd f2 - e1 a2 1 -
        fd f3 - e1 b2 2 -
        write b2 1
        write b1 1
        once e1 6
    """,
    "the order of poll": """
        ev e1 - poll
        pair a1 b1
        fd f1 - e1 a1 1 -
        fd f2 - e1 a1 3 -
        fd f3 - e1 a1 2 -
        write b1 1
        once e1 6
    """,
    "fd events that change each other": """
        ev e1 - epoll
        pipe a1 b1
        pipe a2 b2
        script k1 flags f2 0 ; drain a1
        script k2 flag f1 not_readable ; free self
        fd f1 - e1 a1 1 k1
        fd f2 - e1 a2 1 k2
        closefn f2 c
        write b1 3
        write b2 1
        once e1 2
        flags f2 1
        once e1 3
        wait e1
    """,
    "errors on descriptors": """
        ev e1 - epoll
        pipe a1 b1
        pair a2 b2
        pair a3 b3
        fd f1 - e1 a1 1 -
        fd f2 - e1 a2 3 -
        fd f3 - e1 b3 2 -
        close b1
        shut b2 1
        close a3
        once e1 4
        shut b2 0
        close b2
        once e1 4
    """,
    "a file": """
        ev e1 - standard
        pipe a1 b1
        fd f1 - e1 a1 1 -
        file c1
        fd f2 - e1 c1 1 -
        write b1 1
        once e1 4
        reinit e1
        fd f3 - e1 c1 3 -
        once e1 2
    """,
    "a file with epoll alone": """
        ev e1 - epoll
        file a1
        fd f1 - e1 a1 1 -
    """,
    "signals": """
        ev e1 - epoll
        ev e2 - poll
        signal s1 - e1 10 - -
        signal s2 - e2 10 i -
        signal s3 - e1 12 h -
        signals 10
        raise 10
        raise 10
        raise 12
        raise 12
        signals 12
        once e1 2
        signals 12
        raise 10
        free s1
        free s2
        signals 10
        signal s1 - e2 10 - -
        once e2 2
        signal s4 - e1 9 - -
        signal s4 - e1 0 - -
    """,
    "a signal that ends a wait": """
        ev e1 - poll
        ev e2 - epoll
        signal s1 - e1 34 - -
        signal s2 - e2 34 i -
        raise_in_wait 34
        once e1 2
        raise_in_wait 34
        once e2 2
    """,
    "who looks on": """
        ev e1 - epoll
        trace e1 point on
        trace e1 fd on
        trace e1 timer on
        trace e1 imm on
        trace e1 signal on
        debug e1 on
        gettrace e1
        pipe a1 b1
        fd f1 - e1 b1 2 k1
        timer t1 - e1 0 0 -
        imm i1 -
        sched i1 e1 -
        signal s1 - e1 1 - -
        raise 1
        script k1 free self
        once e1 5
        trace e1 point off
        gettrace e1
        reinit e1
    """,
    "loops": """
        ev e1 - epoll
        hook e1 1 0 0
        timer t1 - e1 1000000001 0 -
        until e1 2
        until e1 0
        wait e1
        hook e1 1 7 0
        once e1 1
        hook e1 1 0 9
        once e1 1
        wait e1
    """,
    "loops inside handlers": """
        ev e1 - poll
        nest e1
        hook e1 1 0 0
        pipe a1 b1
        script k1 once e1 2
        timer t1 - e1 0 0 k1
        timer t2 - e1 0 0 -
        fd f1 - e1 b1 2 -
        imm i1 -
        sched i1 e1 k1
        once e1 4
    """,
    "a loop inside a handler": """
        ev e1 - poll
        script k1 once e1 1
        timer t1 - e1 0 0 k1
        once e1 1
    """,
    "wrappers": """
        ev e1 - epoll
        wrap w1 - e1 yes
        wrap w2 - e1 no
        push w1
        push w2
        push e1
        pop e1
        pop w1
        pipe a1 b1
        imm i1 -
        fd f1 - w1 b1 2 k1
        timer t1 - w1 0 0 -
        sched i1 w1 -
        signal s1 - w1 10 i -
        script k1 free w1
        raise 10
        once e1 6
        query w2 e1
        free e1
        timer t2 - w2 0 0 -
        push w2
    """,
    "threads": """
        ev e1 - poll_mt
        tctx x1 - e1
        proxy p1 e1
        imm i1 -
        imm i2 -
        imm i3 -
        imm i4 -
        psched p1 i1 -
        psched p1 i2 -
        tsched x1 i3 -
        sched i4 e1 -
        once e1 7
        reinit e1
        tsched x1 i3 -
        free x1
    """,
    "who owns what": """
        ev e1 - epoll
        ctx c1 -
        ctx c2 c1
        script k1 free c2 ; parent self
        pipe a1 b1
        fd f1 c2 e1 b1 2 k1
        closefn f1 p
        timer t1 c2 e1 0 0 k1
        imm i1 c2
        sched i1 e1 k1
        steal i1 c1
        once e1 1
        ctx c2 c1
        timer t1 c2 e1 0 0 k1
        once e1 3
        free c1
    """,
    "a context that is freed first": """
        ev e1 - epoll
        pipe a1 b1
        fd f1 - e1 b1 2 -
        closefn f1 p
        timer t1 - e1 0 0 -
        imm i1 -
        sched i1 e1 -
        signal s1 - e1 10 - -
        free e1
        query f1
        flags f1 3
        gettag t1
        ev e2 - poll
        sched i1 e2 -
        once e2 1
    """,
    "an immediate is used after it was freed": """
        ev e1 - epoll
        imm i1 -
        script k1 free self ; sched self e1 -
        sched i1 e1 k1
        once e1 1
    """,
    "freed while a thread schedules it": """
        ev e1 - epoll
        tctx x1 - e1
        imm i1 -
        imm i2 i1
        script k1 free self ; tsched x1 i2 -
        sched i1 e1 k1
        once e1 1
    """,
    "freed twice": """
        ev e1 - epoll
        pipe a1 b1
        fd f1 - e1 b1 2 k1
        script k1 free self ; free self
        once e1 1
    """,
    "a loop of a wrapper": """
        ev e1 - epoll
        debug e1 on
        wrap w1 - e1 yes
        once w1 1
    """,
    "a use that ends twice": """
        ev e1 - epoll
        push e1
        pop e1
        pop e1
    """,
    "the operations of a context": """
        ev e1 - +epoll
        pipe a1 b1
        fd f1 - e1 b1 2 -
        closefn f1 p
        flag f1 readable
        flags f1 2
        timer t1 - e1 0 0 -
        imm i1 -
        sched i1 e1 -
        signal s1 - e1 10 - -
        once e1 3
        free f1
        free s1
        wait e1
        invoke i1 0
    """,
}
