# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Programs of the area "requests" that are always run: what has differed once, and each kind of operation.

Lines as in ``c/requests.c``; a program's last words are always those of the line "end".
"""

from __future__ import annotations

#: What was found by random programs, and is right now.
FOUND = {
    "a trace callback hears of requests that were posted before it was set": """
        req r0 root foo
        callback r0 k0
        imm i0 root
        post r0 e0
        schedule i0 e0 k1
        watch e0 1
        loop e0 2
        watch e0 0
        post r0 e0
        watch e0 1
        free r0
    """,
    "what dies with a state still sees it": """
        req r0 root foo
        script k0 default r0 ; data r0 foo ; blocks r0
        destructor s0 k0
        req r1 s0 bar
        cleanup r1 k0
        received r0
    """,
    "a request below a request that hangs on a request is a subrequest": """
        req r0 root foo
        set_profile r0
        req r1 r0 bar
        req r2 r1 bar
        tree r0
        done r2
        pshow r0
    """,
    "a finish inside the cleanup function changes the state, but not what is recorded": """
        req r0 root foo
        script k0 done r0
        script k1 look r0
        set_profile r0
        cleanup r0 k0
        callback r0 k1
        error r0 5
        default r0
        pshow r0
    """,
    "a request that posts itself again tells a trace callback of its end first": """
        watch e0 1
        ev e1 root
        req r0 root foo
        script k0 post r0 e1
        callback r0 k0
        post r0 e0
        loop e0 1
    """,
    "a post is still there while the state of a request with another destructor goes": """
        req r0 root foo
        destructor r0 k0
        req r1 s0 foo
        script k1 loop e0 1
        cleanup r1 k1
        post r0 e0
        free r0
    """,
}

#: Each kind of operation, a rule or a few at a time.
EACH = {
    "creation and ownership": """
        req r0 root foo
        tree r0
        blocks r0
        parent r0
        parent s0
        data r0 foo
        req r1 s0 bar
        req r2 - foo
        steal r1 root
        steal r0 s1
        tree r1
        blocks r1
        free r1
    """,
    "data of another type": """
        req r0 root foo
        data r0 bar
    """,
    "data of a received request": """
        req r0 root foo
        received r0
        data r0 foo
    """,
    "callback data": """
        req r0 root foo
        req r1 root foo
        callback r0 k0
        callback_data r0 script
        callback r0 k0 r1
        callback_data r0 req
        callback_data r0 script
    """,
    "callback data that was never set": """
        req r0 root foo
        callback_data r0 req
    """,
    "finishing again and again": """
        req r0 root foo
        callback r0 k0
        done r0
        done r0
        error r0 5
        done r0
        default r0
        oom r0
        nomem r0 1
        nomem r0 0
        notify r0
        default r0
        error r0 0
        error r0 -1
        default r0
        error r0 0x8000000000000001
        default r0
        look r0
    """,
    "callbacks that set another, post again, and free": """
        script k0 callback r0 k1 ; look r0
        script k1 post r0 e0 ; callback r0 k2
        script k2 free r0
        req r0 root foo
        callback r0 k0
        done r0
        post r0 e0
        loop e0 3
    """,
    "callbacks that finish other requests": """
        script k0 error r1 7 ; free r0
        script k1 done r2 ; received r1
        script k2 free r1 ; look r2
        req r0 root foo
        req r1 root foo
        req r2 s1 foo
        callback r0 k0
        callback r1 k1
        callback r2 k2
        done r0
        look r2
    """,
    "posting": """
        req r0 root foo
        post r0 e0
        callback r0 k0
        req r1 root foo
        done r1
        callback r1 k0
        post r1 e0
        imm i0 root
        schedule i0 e0 k0
        post r0 e0
        timer t0 root e0 zero k0
        loop e0 5
        look r0
        done r0
    """,
    "posting a received request": """
        req r0 root foo
        received r0
        post r0 e0 blind
    """,
    "posting while the state goes": """
        req r0 root foo
        script k0 done r0 ; tree r0 ; post r0 e0 blind
        req r1 s0 foo
        cleanup r1 k0
        received r0
    """,
    "deferring": """
        req r0 root foo
        callback r0 k0
        defer r0 e0
        done r0
        look r0
        defer r0 e0
        loop e0 3
        defer r0 e0
        defer r0 -
        error r0 3
        defer r0 e0
        error r0 4
        done r0
        post r0 e0
        loop e0 2
    """,
    "a deferral that becomes due after received": """
        req r0 root foo
        defer r0 e0 blind
        received r0
        done r0
    """,
    "cleanup functions": """
        script k0 look r0 ; data r0 foo ; default r0
        req r0 root foo
        cleanup r0 k0
        callback r0 k1
        error r0 5
        done r0
        oom r0
        cleanup r0 k0
        done r0
        received r0
        received r0
        free r0
    """,
    "cleanup functions that finish": """
        script k0 error r0 77
        script k1 look r0
        req r0 root foo
        cleanup r0 k0
        callback r0 k1
        done r0
        free r0
    """,
    "cleanup functions that receive": """
        script k0 received r0
        req r0 root foo
        cleanup r0 k0
        callback r0 k1
        done r0
        look r0
    """,
    "cleanup functions of dying requests": """
        script k0 done r0 ; endtime r0 e0 zero ; chunk c0 r0 k2 ; cancel r0
        script k1 look r0 ; error r0 3
        script k2 return -1
        req r0 root foo
        cancelfn r0 k2
        cleanup r0 k0
        callback r0 k1
        free r0
        loop e0 1
        tree root
    """,
    "free with subrequests": """
        req r0 root foo
        req r1 s0 foo
        req r2 s0 foo
        req r3 r0 foo
        chunk c0 s0 k0
        chunk c1 r0 k0
        cleanup r0 k0
        cleanup r1 k0
        cleanup r2 k0
        cleanup r3 k0
        destructor s0 k0
        free r0
    """,
    "a state that refuses": """
        script k0 return -1
        chunk c0 root -
        req r0 c0 foo
        req r1 s0 foo
        destructor s0 k0
        free r0
        tree c0
        req r2 s0 foo
        free s0
        destructor s0 -
        free s0
    """,
    "a state that refuses to be received": """
        script k0 return -1
        req r0 root foo
        destructor s0 k0
        received r0
        tree r0
        destructor s0 -
        free r0
    """,
    "a destructor in the place of the request's": """
        script k0 look r0
        req r0 root foo
        cleanup r0 k1
        destructor r0 k0
        post r0 e0
        endtime r0 e0 zero
        free r0
        loop e0 2
        req r1 root foo
        destructor r1 k0
        received r1
        free r1
        req r2 root foo
        cleanup r2 k1
        destructor r2 -
        free r2
    """,
    "received": """
        req r0 root foo
        callback r0 k0
        cleanup r0 k0
        cancelfn r0 k0
        printfn r0 k0
        post r0 e0
        endtime r0 e0 zero
        set_profile r0
        chunk c0 s0 k0
        chunk c1 r0 k0
        received r0
        blocks r0
        tree r0
        print r0
        cancel r0
        look r0
        loop e0 2
        done r0
        endtime r0 e0 zero
        loop e0 1
        received r0
    """,
    "cancelling": """
        script k0 return 1
        script k1 error r0 125 ; return 1
        script k2 free r0
        req r0 root foo
        cancel r0
        cancelfn r0 k0
        cancel r0
        cancelfn r0 k1
        callback r0 k3
        cancel r0
        cancelfn r0 -
        cancel r0
        cancelfn r0 k2
        cancel r0
    """,
    "printing": """
        script k0 free r0
        req r0 root foo
        print r0
        print -
        endtime r0 e0 1000
        default r0
        printfn r0 k1
        print r0
        default r0
        printfn r0 -
        print r0
        printfn r0 k0
        print r0
        wakeup r1 root e0 1000
        default r1
        queue q0 root work
        wait r2 root e0 q0
        default r2
    """,
    "endtimes": """
        req r0 root foo
        callback r0 k0
        cleanup r0 k0
        endtime r0 e0 5000
        endtime r0 e0 2000
        loop e0 1
        default r0
        endtime r0 e0 -1000
        blocks r0
        reset r0
        reset r0
        req r1 root foo
        callback r1 k0
        endtime r1 e0 zero
        req r2 root foo
        callback r2 k0
        endtime r2 e0 0
        post r1 e0
        notify r2
        loop e0 3
        endtime r2 e0 1000
        done r2
        loop e0 1
        endtime r2 e0 1000
        loop e0 1
    """,
    "endtimes of contexts that went": """
        ev e1 root
        req r0 root foo
        endtime r0 e1 1000
        post r0 e1
        free e1
        post r0 e0
        loop e0 1
        endtime r0 e0 1000
        loop e0 1
        free r0
    """,
    "wakeups": """
        script k0 recv r0 wakeup ; free r0
        wakeup r0 root e0 3000
        blocks r0
        recv r0 wakeup
        callback r0 k0
        wakeup r1 root e0 zero
        recv r1 wakeup
        loop e0 2
        recv r1 wakeup
        received r1
        recv r1 wakeup
    """,
    "polling": """
        req r0 root foo
        endtime r0 e0 5000
        poll r0 e0 plain
        poll r0 e0 unix
        req r1 root foo
        poll r1 e0 nt
        req r2 root foo
        script k0 done r2
        timer t0 root e0 2000 k0
        callback r2 k1
        defer r2 e0
        poll r2 e0 werror
        loop e0 1
    """,
    "polling inside a handler": """
        script k0 poll r0 e0 plain nested
        req r0 root foo
        timer t0 root e0 zero k0
        loop e0 1
    """,
    "unix errors": """
        req r0 root foo
        look r0
        recv r0 unix
        recv r0 unix
        req r1 root foo
        done r1
        recv r1 unix
        req r2 root foo
        error r2 0x1234567890
        look r2
        recv r2 unix
        req r3 root foo
        oom r3
        recv r3 unix
        wakeup r4 root e0 zero
        loop e0 1
        look r4
        recv r4 unix
    """,
    "status codes": """
        req r0 root foo
        nterror r0 0
        nt r0
        nterror r0 0xC0000022
        nt r0
        default r0
        recv r0 nt
        recv r0 nt
        wakeup r1 root e0 zero
        loop e0 1
        nt r1
        recv r1 nt
        req r2 root foo
        oom r2
        nt r2
        recv r2 nt
        req r3 root foo
        done r3
        recv r3 nt
        req r4 root foo
        werror r4 5
        werror r4 0
        recv r4 werror
        recv r4 werror
    """,
    "a number that is no status code": """
        req r0 root foo
        error r0 5
        nt r0 blind
    """,
    "handing a status code on": """
        script k0 look r0 ; look r2
        req r0 root foo
        req r1 s0 foo
        cleanup r1 k0
        callback r0 k0
        callback r1 k0 r0
        finish r1 nt 0xC0000022
        default r0
        req r1 s0 foo
        callback r1 k0 r0
        finish r1 werror 0
        default r0
        req r2 root foo
        req r1 root foo
        callback r1 k0 r2
        free r2
        finish r1 nt 0
    """,
    "queues": """
        script k0 length q0 ; look r0
        script k1 free r1
        queue q0 root work
        tree q0
        length q0
        req r0 root foo
        req r1 root foo
        req r2 root foo
        add q0 e0 r0 k0
        add q0 e0 r1 k1
        entry n0 q0 e0 r2 k2
        add q0 e0 r0 k3
        tree r0
        length q0
        loop e0 2
        received r0
        done r0
        loop e0 1
        free r0
        loop e0 2
        length q0
        free n0
        length q0
    """,
    "a queue without a name": """
        queue q0 root -
    """,
    "blockers": """
        queue q0 root work
        req r0 root foo
        req r1 root foo
        entry n0 q0 e0 r0 -
        add q0 e0 r1 k0
        loop e0 2
        free n0
        loop e0 1
        req r2 root foo
        req r3 root foo
        queue q1 root other
        optimize n1 q1 e0 r2 -
        add q1 e0 r3 k0
        loop e0 1
        free r2
        loop e0 1
    """,
    "triggers inside the call": """
        script k0 done r0 ; optimize n1 q0 e0 r1 k1
        script k1 look r1 ; length q0
        queue q0 root work
        req r0 root foo
        req r1 root foo
        optimize n0 q0 e0 r0 k0
        length q0
        free r0
        loop e0 2
        free r1
        callback r2 k3
        req r2 root foo
        callback r2 k1
        optimize n2 q0 e0 r2 k3
        loop e0 1
    """,
    "triggers inside the call that free": """
        script k0 free r0 ; optimize n1 q0 e0 r1 k1 ; length q0
        script k1 free q0 ; look r1
        queue q0 root work
        req r0 root foo
        req r1 root foo
        optimize n0 q0 e0 r0 k0
        look r1
        loop e0 1
    """,
    "a stale immediate": """
        script k1 look r1
        queue q0 root work
        req r0 root foo
        req r1 root foo
        entry n0 q0 e0 r0 k0
        free r0
        optimize n1 q0 e0 r1 k1
        loop e0 1
    """,
    "stopping and starting": """
        script k0 stop q0 ; untrigger n0 ; look r0
        queue q0 root work
        stop q0
        length q0
        req r0 root foo
        req r1 root foo
        entry n0 q0 e0 r0 k0
        add q0 e0 r1 k1
        loop e0 1
        start q0
        start q0
        stop q0
        start q0
        loop e0 2
        start q0
        loop e0 2
        stop q0
        free n0
        start q0
        loop e0 1
    """,
    "untrigger while the queue runs": """
        queue q0 root work
        req r0 root foo
        entry n0 q0 e0 r0 k0
        untrigger n0 blind
    """,
    "untrigger of another than the first": """
        queue q0 root work
        stop q0
        req r0 root foo
        entry n0 q0 e0 r0 k0
        entry n1 q0 e0 r0 k0
        untrigger n0
        untrigger n1
    """,
    "freeing the queue": """
        script k0 free q0 ; look r0
        queue q0 root work
        req r0 root foo
        req r1 root foo
        entry n0 q0 e0 r0 k0
        add q0 e0 r1 k1
        loop e0 2
        look r1
        tree r1
    """,
    "waiting for a turn": """
        script k0 recv r0 wait ; length q0
        queue q0 root work
        wait r0 root e0 q0
        callback r0 k0
        wait r1 root e0 q0
        callback r1 k1
        look r0
        tree r0
        loop e0 2
        recv r0 wait
        free r0
        loop e0 1
        free q0
        recv r1 wait
    """,
    "queues on several contexts": """
        ev e1 root
        queue q0 root work
        req r0 root foo
        req r1 root foo
        req r2 root foo
        entry n0 q0 e1 r0 k0
        add q0 e0 r1 k0
        add q0 e1 r2 k0
        loop e0 1
        loop e1 1
        free r0
        loop e0 1
        free r1
        loop e0 1
        loop e1 1
    """,
    "an immediate that is scheduled again moves back": """
        queue q0 root work
        imm i0 root
        req r0 root foo
        req r1 root foo
        req r2 root foo
        add q0 e0 r0 k0
        schedule i0 e0 k0
        add q0 e0 r1 k0
        entry n0 q0 e0 r2 k0
        free n0
        post r2 e0
        callback r2 k0
        loop e0 4
    """,
    "tags and traces": """
        watch e0 1
        watch_queue e0 1
        queue q0 root work
        req r0 root foo
        req r1 root foo
        entry n0 q0 e0 r0 k0
        tag n0 -1
        tag - 5
        entry n1 q0 e0 r1 -
        optimize n2 q0 e0 r1 k0
        loop e0 1
        free n0
        loop e0 1
        free q0
        callback r0 k0
        done r0
        post r0 e0
        post r1 e0
        loop e0 2
    """,
    "wrapper contexts": """
        wrapper e1 e0 root
        wrapper e2 e1 root
        ev e3 root
        watch e0 1
        watch_queue e0 1
        req r0 root foo
        callback r0 k0
        post r0 e1
        post r0 e0
        loop e0 1
        post r0 e0
        loop e0 1
        endtime r0 e1 zero
        loop e0 1
        defer r0 e1
        done r0
        queue q0 root work
        req r1 root foo
        add q0 e1 r0 k0
        optimize n0 q0 e1 r1 k0
        wait r2 root e0 q0
        loop e0 2
        free r0
        loop e0 1
        free e1
        loop e0 1
    """,
    "freeing a wrapper context": """
        wrapper e1 e0 root
        req r0 root foo
        callback r0 k0
        post r0 e1
        endtime r0 e1 1000
        free e1
        loop e0 2
        wrapper e1 e0 root
        post r0 e1
        free e0
        post r0 e1
        free r0
    """,
    "references": """
        script k0 free r0 ; unlink r0 c0 ; look r0
        chunk c0 root -
        chunk c1 root -
        req r0 c1 foo
        cleanup r0 k1
        reference r0 c0
        free r0
        unlink r0 c1
        parent r0
        callback r0 k0
        done r0
        req r1 c1 foo
        reference s1 c0
        reference r1 c0
        received r1
        blocks r1
        free c1
        tree c0
        free c0
    """,
    "profiles": """
        req r0 root foo
        set_profile r0
        pshow r0
        advance 1000
        req r1 s0 bar
        req r2 s0 foo
        req r3 s2 foo
        wakeup r4 s0 e0 1000
        tree r0
        pstring r0 0 5
        done r2
        free r1
        loop e0 1
        look r2
        error r0 5
        advance 2500000
        done r0
        pstring r0 1 2
        pstring r0 1 3
        pstring r0 0 0
        pack r0
        move_profile r0 root p0
        pshow p0
        oom r3
        pshow p0
        tree p0
        pack p0
        repack p1 root p0
        pstring p1 0 9
        look r0
        move_profile r0 root p2
        free p0
        set_profile r0
        set_profile r0
        look r0
    """,
    "subprofiles that come and go": """
        req r0 root foo
        set_profile r0
        req r1 s0 foo
        req r2 s0 foo
        req r3 s0 foo
        free r2
        req r2 s0 bar
        free r2
        pshow r0
        req r4 s0 bar
        free r1
        done r3
        wakeup r1 s0 e0 zero
        pshow r0
        free r4
        free r1
        req r5 s0 bar
        pshow r0
    """,
    "profiles that go before the requests": """
        req r0 root foo
        set_profile r0
        req r1 s0 foo
        req r2 s0 foo
        req r3 s1 foo
        move_profile r0 root p0
        done r2
        tree p0
        free p0
        pshow r1
        tree r1
        done r3
        done r1
        pshow r1
        req r4 s0 foo
        look r4
        req r5 s1 foo
        error r5 3
        pshow r1
        free r1
    """,
    "profiles made by hand": """
        profile p0 root
        profile p1 root
        pshow p0
        pstring p0 0 1
        pname p0 name
        pname p1 -
        pstart p0 start 1000
        pstart p1 - 1000
        pstop p0 stop 5
        pstop p1 - 5
        pstatus p0 4294967301 9 -1
        pshow p0
        pappend p0 p1
        pshow p0
        tree p0
        pack p0
        pack p1
        pstring p0 0 2
        free p1
        pack p0
    """,
    "unpacking": """
        unpack p0 root 1_name|start|stop|1_2_3_4_0_2_0|0_sub|a|b|5_6_7_8_9_3_5|
        unpack p1 root 2_name|start|stop|1_2_3_4_0_2_0|0_sub|a|b|5_6_7_8_9_3_5|
        unpack p1 root 0_name|start|stop|+1_-2___3_4_-1_77_18446744073709551615|rest|
        unpack p2 root 0_name|start|stop|1_2_3_4_0_2_18446744073709551616|
        unpack p2 root 0_name|start|stop|1_2_3_4_0_2_0
        unpack p2 root 0_name|start|stop|1_2_3_4_0_2|
        unpack p2 root _|||______|
        unpack p2 root 0|
        unpack p2 root |
    """,
}

#: Every errno that Linux has, and some that it has not.
EACH["errno in other worlds"] = "\n".join(f"errno {number}" for number in range(-1, 140))

_DEEP = 45
#: Deeper than the packages nest the free of requests with something below their state.
EACH["a deep chain of subrequests"] = "\n".join(
    [
        "script k0 look r0 ; data r0 foo",
        "req r0 root foo",
        *(f"req r{level} s{level - 1} foo" for level in range(1, _DEEP)),
        *(f"cleanup r{level} k0" for level in range(1, _DEEP)),
        *(f"destructor s{level} k1" for level in range(1, _DEEP)),
        "free r0",
    ]
)
