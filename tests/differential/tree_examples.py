# SPDX-License-Identifier: LGPL-3.0-or-later
"""Programs about the tree: each difference that was ever found, as short as it got, and each kind of operation."""

from __future__ import annotations

#: What once was different, by what it was about.
FOUND: dict[str, str] = {
    "an empty name in a type mismatch": """
        strndup c8 - abc 0
        musttype c8 pointer
    """,
    "an empty name is not UNNAMED": """
        asprintf c1 - 3 x 0
        check c1 UNNAMED
        setconst c1 -
        check c1 UNNAMED
    """,
    "the children of a chunk that is one of them": """
        new c4 -
        new c8 c4
        struct c1 c8 char
        steal c8 c4
        children c8
    """,
    "a loop through a reference whose children are freed": """
        new c4 -
        new c1 c4
        size c11 c1 0
        ref c1 c4
        free c4
        children c1
    """,
    "a string that becomes a buffer of the same size": """
        strdup c1 - abc
        reallocsize - c1 4
        fill c1 1 65
    """,
    "a string that becomes numbers of the same size": """
        strdup c1 - abc
        realloc - c1 int 1
        report c1 full
    """,
    "tracking begins with an autofree context that has an owner and a reference": """
        init c5 int 0
        autofree c8
        incref c8
        steal c5 c8
        track
    """,
    "the autofree context while it dies": """
        script K0 autofree c5
        autofree c9
        new c10 c9
        destructor c10 K0
        free c9
        autofree c1
    """,
    "a member of a pool below a limit that shrinks": """
        pool c7 - 4000
        pooled c9 c7 char 3 33
        memlimit c7 400
        pool c4 c9 112
        zsize c6 c7 1025
        realloc c4 c6 int 16
    """,
    "a child that refuses for ever, below a limit": """
        script K4 memlimit c10 1000 ; return -1
        asprintf c10 - 5 a 103
        size c9 c10 15
        move c9 c10
        memlimit c9 400
        destructor c9 K4
        children c10
    """,
    "a limit that is put below itself": """
        new a -
        new b a
        memlimit b 500
        ref b a
        unlink - a
    """,
}

#: Each kind of operation, and what the catalogue of rules has been checked with.
EACH: dict[str, str] = {
    "making": """
        new c1 -
        named c2 c1 0 abc
        named c3 c1 5 abc
        namedf c4 c2 0 abc 7
        namedf c5 c2 3 abc 7
        init c6 abc 1
        size c7 c6 10
        zsize c8 c6 0
        struct c9 c7 pair
        zero c10 c7 int
        ptrtype c11 c7 double
        array c0 c10 bool 3
        all
        report c1 full
        report c6 1 3
        size d1 c1 268435456
        array d3 c1 int64_t 33554432
        arrsize d4 c1 7 3
        memdup d5 c1 c7
        memdup d6 c9 c9
    """,
    "strings": """
        new c0 -
        strdup c1 c0 abc
        strndup c2 c1 abc 2
        strndup c3 c1 \u00e9t\u00e9 1
        asprintf c4 c0 2 x 5
        asprintf c5 c0 4 abcdef 250
        append_none c6 x
        append c4 yy
        asprintf c7 c0 2 x 5
        appendbuf c7 yy
        nappend c1 defg 2
        nappendbuf c2 defg 0
        fappend c1 1 x -5
        fappendbuf c1 3 x 0
        addbuf c1 5 x 0
        vappend c1 0 y 0
        vappendbuf c1 1 y 12
        vasprintf d1 c0 2 zz 0
        appendmacro c0 c1 xyz
        appendmacro c0 d2 xyz
        strndup d3 c0 abc -1
        array c8 c0 char 8
        fill c8 0 65
        append c8 cd
        array c9 c0 uint8_t 0
        appendbuf c9 cd
        ref c0 c1
        append c1 no
        all
    """,
    "another size": """
        new c0 -
        array c1 c0 int 3
        put c1 1 5
        new c2 c1
        realloc c0 c1 int 5
        realloc c0 c1 int 2
        report c0 full
        size c3 c0 3000
        realloc c0 c3 uint8_t 1977
        look c3
        realloc c0 c3 uint8_t 953
        look c3
        reallocfn c0 c3 1000
        look c3
        reallocsize c0 c3 1000
        look c3
        ref c0 c3
        realloc c0 c3 int 1
        realloc c2 c1 int 0
        realloc c0 c1 int 0
        realloc c0 c3 int 0
        pool c4 c0 100
        reallocsize c0 c4 10
        struct c5 c0 pair
        realloc c0 c5 pair 3
    """,
    "the order of a free": """
        script K0 look c1
        new c1 -
        new c2 c1
        new c3 c1
        new c4 c2
        new c5 c1
        destructor c1 K0
        destructor c2 K0
        destructor c3 K0
        destructor c4 K0
        destructor c5 K0
        free c1
    """,
    "refusing": """
        script K0 return -1
        script K1 return 1
        script K2 destructor @ K1 ; free @ ; return -1
        new c1 -
        new c2 c1
        new c3 c2
        new c4 c3
        destructor c4 K0
        free c2
        all
        new c5 c1
        destructor c1 K1
        free c1
        all
        new c6 -
        destructor c6 K2
        free c6
        free c6
        children c4
        free c4
    """,
    "refusing below what has a younger sibling": """
        script K0 return -1
        new c1 -
        new c2 c1
        new c3 c2
        new c4 c1
        destructor c3 K0
        free c2
        all
    """,
    "destructors that free, steal, make": """
        script K0 free c3 ; steal c0 c4 ; new c6 c1 ; destructor c6 K1 ; new c7 @
        script K1 free c1 ; free @
        script K2 steal c0 @ ; return -1
        script K3 steal c0 @
        new c0 -
        new c1 -
        new c2 c1
        new c3 c1
        new c4 c1
        new c5 c1
        destructor c5 K0
        destructor c2 K2
        free c1
        all
        destructor c4 K3
        free c4
        all
        new c1 -
        new c3 c1
        new c8 c1
        destructor c3 K1
        free c3
        all
    """,
    "references": """
        new c0 -
        new c1 -
        new c2 -
        new c3 c0
        ref c1 c3
        ref c2 c3
        free c3
        report c1 full
        free c0
        all
        incref c3
        unlink - c3
        unlink c1 c3
        reparent c2 c0 c3
        reparent c1 - c3
        steal c1 c3
        free c2
        all
        ref c3 c3
        free c3
        unlink c1 c3
        free c1
        all
    """,
    "references without an owner": """
        track
        new c1 -
        incref c1
        incref c1
        incref c1
        free c1
        unlink - c1
        unlink - c1
        unlink - c1
        unlink - c1
        new c2 -
        new c3 c2
        ref c3 c2
        free c2
        totals
        free c3
        new c4 -
        untrack
        totals
        track
        free c4
        totals
    """,
    "loops": """
        new c1 -
        new c2 c1
        new c3 c2
        ref c3 c1
        free c1
        new c4 -
        new c5 c4
        new c6 c5
        steal c6 c4
        tree c5 0 -1
        report c4 full
        isparent c4 c6
        free c5
        all
    """,
    "deep trees": """
        new c1 -
        chain c2 c1 9999
        chain c3 c1 10000
        isparent c2 c1
        isparent c3 c1
        isparent c1 c2
        look c2
        steal c3 c2
        isparent c2 c1
        look c1
        free c1
    """,
    "names": """
        new c1 -
        setname c1 abc 3
        setname c1 def 4
        report c1 full
        children c1
        report c1 full
        setconst c1 -
        look c1
        new c2 c1
        look c2
        findname c2 UNNAMED
        check c1 UNNAMED
        settype c1 pair
        gettype c1 pair
        gettype c1 blob
        findtype c2 pair
        report c2 parents
        musttype c1 pair
        musttype - pair
    """,
    "limits": """
        new c1 -
        memlimit c1 1000
        size c2 c1 300
        report c1 full
        size c3 c1 400
        size c3 c1 300
        report c1 full
        append_none c4 x
        steal c1 c4
        new c5 c1
        reallocsize c1 c2 500
        free c3
        reallocsize c1 c2 500
        ref c1 c2
        setname c1 abc 1
        report c1 full
        memlimit c1 0
        new c5 c1
        steal - c2
        report c1 full
        free c1
        look c2
    """,
    "limits in limits": """
        new c1 -
        new c2 c1
        new c3 c2
        memlimit c2 400
        memlimit c1 2000
        size c4 c3 200
        report c1 full
        steal - c3
        report c1 full
        steal c1 c2
        report c1 full
        size c5 c3 1000
        free c3
        report c1 full
    """,
    "a limit that gives back what it never had": """
        new c1 -
        new c2 -
        ref c1 c2
        memlimit c1 200
        free c1
    """,
    "pools": """
        new c0 -
        memlimit c0 5000
        pool c1 c0 1000
        size c2 c1 10
        size c3 c1 10
        reallocsize c1 c3 11
        reallocsize c1 c2 100
        reallocsize c1 c3 400
        pool c4 c1 200
        size c5 c4 50
        steal c0 c5
        report c0 full
        free c1
        report c0 full
        free c5
        report c0 full
        pooled c6 c0 pair 2 40
        strdup c7 c6 abc
        size c8 c6 3000
        report c0 full
        free c6
        report c0 full
    """,
    "tracking": """
        autofree c1
        track
        new c2 -
        autofree c3
        report - full
        tree - 0 -1
        free c1
        autofree c1
        totals
        untrack
        totals
        trackonly
        totals
        FREE c2
    """,
}
