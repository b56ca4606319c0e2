# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Programs of the area "streams" that are always run: what has differed once, and each kind of operation.

Lines as in ``c/streams.c``.
"""

from __future__ import annotations

#: What was found by random programs, and is right now. Monitors are compared with a newer library than Debian's only.
FOUND = {
    "a read of a failed stream waits for its descriptor, behind what ended inside send": """
        unix s0 r p1
        rshut p1 w
        readv n1 r e s0 1 K0
        turn e
        turn e
        readv n2 r e s0 6 K0
        unix s1 r p2
        writev n3 r e s1 3,2 K0
        turn e
        turn e
        turn e
    """,
    "a monitor of a failed stream does not get ahead of its read": """
        tcp s0 r p1
        readv n4 r e s0 z,9,2 K5
        rshut p1 b
        disconnect n13 r e s0 K14
        pending s0
        turn e
        monitor n35 r e s0 K36
        turn e
        turn e
        turn e
    """,
    "a monitor that was told leaves the descriptor watched once more": """
        unix s3 r p19
        rreset p19
        monitor n40 r e s3 K41
        turn e
        turn e
        turn e
        turn e
    """,
    "a monitor that was refused does not watch": """
        ev f
        unix s0 r p1
        readv n2 r e s0 257,5,7 K3
        script K7 free n2
        readv n6 r e s0 30,700,3 K7
        rshut p1 b
        monitor n8 r f s0 K9
        turn e
        turn e
        monitor n10 r e s0 K11
        recv n10
        turn f
        turn f
        recv n8
    """,
    "a read is told of the end before a blocked write, time after time": """
        unix s0 r p1 1
        vectors V4 20000,4 ^z,5 6,0,4,20000
        pdu n2 r e s0 V4 K3
        writev n5 r e s0 20000,2,2 K12
        rclose p1
        turn e
        vectors V15 9 2,6 * 1
        pdu n13 r e s0 V15 K14
        turn e
        turn e
        turn e
    """,
    "data that nobody asked for lets a failed stream be watched for errors": """
        queue q0 r
        pipe s0 r p1 r
        vectors V4 2,6 ^4,3,1
        pduq n2 r e s0 q0 V4 K3
        writev n5 r e s0 257,5,30 K6
        rwrite p1 3
        free n2
        turn e
        turn e
        rclose p1
        turn e
        turn e
    """,
}

#: One program for each kind of operation.
EACH = {
    "reading": """
        ctx c0 r
        unix s0 c0 p1
        script K1 recv n1 ; free n1 ; readv n2 c0 e s0 1 K2
        script K2 recv n2 r ; pending s0
        readv n1 c0 e s0 3,0,z,2 K1
        readv n3 c0 e s0 1 K3
        simple n3
        turn e
        rwrite p1 4
        turn e
        inprog n1
        rwrite p1 5
        turn e
        turn e
        turn e
        free n2
        optimize s0 1
        readv n4 - e s0 3 K4
        turn e
        recv n4
        readv n5 r e s0 none K0
        readv n6 r e s0 empty K0
        readv n7 r e s0 x1025 K0
        readv n8 r e s0 0,z K0
        turn e
        turn e
        turn e
        turn e
        recv n5
        recv n6
        recv n7
        recv n8
        parent s0
        free c0
    """,
    "writing": """
        unix s0 r p1 1
        writev n1 r e s0 3,0,4 K1
        turn e
        recv n1
        rread p1 100
        writev n2 r e s0 20000,5 K2
        writev n3 r e s0 1 K3
        turn e
        rread p1 3000
        turn e
        rread p1 100000
        turn e
        rread p1 100000
        turn e
        rread p1 100000
        turn e
        rread p1 100000
        turn e
        recv n2
        recv n3
    """,
    "the end of a stream": """
        tcp s0 r p1
        readv n1 r e s0 5 K1
        rwrite p1 3
        rclose p1
        turn e
        turn e
        recv n1
        writev n2 r e s0 1 K2
        turn e
        recv n2
        pending s0
        disconnect n3 r e s0 K3
        turn e
        recv n3
        disconnect n4 r e s0 K4
        turn e
        recv n4
    """,
    "a reset": """
        tcp s0 r p1
        rwrite p1 3
        readv n1 r e s0 9 K1
        turn e
        rreset p1
        turn e
        recv n1
        pending s0
    """,
    "disconnecting": """
        unix s0 r p1
        readv n1 r e s0 2 K1
        disconnect n2 r e s0 K2
        free n1
        turn e
        recv n2
        disconnect n3 r e s0 K3
        rread p1 10
        turn e
        recv n3
        readv n4 r e s0 2 K4
        turn e
        recv n4
        pending s0
    """,
    "two streams of one pair": """
        twins s0 r s1 r
        script K1 recv n1 ; free s1
        readv n1 r e s0 3 K1
        writev n2 r e s1 2,1 K2
        turn e
        turn e
        turn e
        readv n3 r e s0 1 K3
        turn e
        recv n3
    """,
    "other contexts and times": """
        ev f
        unix s0 r p1
        readv n1 r e s0 2 K1
        writev n2 r f s0 2 K2
        turn f
        recv n2
        endtime n1 e 500
        turn e
        recv n1
        readv n3 r f s0 2 K3
        rwrite p1 2
        turn e
        turn f
        recv n3
        cancel n3
    """,
    "a PDU in pieces": """
        unix s0 r p1
        vectors V1 2 =5/1,0,2 ^3 .
        script K1 recv n1 ; free n1
        pdu n1 r e s0 V1 K1
        rwrite p1 9
        turn e
        turn e
        turn e
        turn e
        vectors V2
        pdu n2 r e s0 V2 K2
        turn e
        recv n2
        vectors V3 !71
        pdu n3 r e s0 V3 K3
        turn e
        recv n3
        script K9 rwrite p1 4
        vectors V4 &K9 1,z 1 x1025
        pdu n4 r e s0 V4 K4
        turn e
        turn e
        turn e
        turn e
        recv n4
        vectors V5 0,z
        pdu n5 r e s0 V5 K5
        turn e
        recv n5
        vectors V6 1 *
        pdu n6 r e s0 V6 K6
        rwrite p1 60
        turn e
        turn e
        turn e
        pdu n7 r e s0 V6 K7
        turn e
        recv n7
        free n6
        pending s0
    """,
    "queues": """
        ctx c0 r
        unix s0 r p1 1
        queue q0 c0
        script K1 recv n1 ; free n1
        script K2 recv n2 ; qlen q0 ; free n2 ; qlen q0
        writevq n1 r e s0 q0 3 K1
        writevq n2 r e s0 q0 4,1 K2
        writevq n3 r e s0 q0 empty K3
        writevq n4 r e s0 q0 2 K4
        change n2
        qstop q0
        turn e
        turn e
        turn e
        qstart q0
        turn e
        turn e
        turn e
        recv n3
        free n3
        turn e
        turn e
        rread p1 100
        free n4
        vectors V1 2 .
        pduq n5 r e s0 q0 V1 K5
        pduq n6 r e s0 q0 V1 K6
        rwrite p1 5
        turn e
        recv n5
        free n5
        turn e
        turn e
        turn e
        recv n6
        free c0
        qlen q0
    """,
    "connecting": """
        inet a0 r ipv4 $H 2001
        inet a1 r ip null 0
        inet a2 r ipv4 $H 2002
        listen l0 inet 2001 5
        connect n1 r e inet a1 a0 s1 a5 K1
        turn e
        accept p1 l0
        rwrite p1 5
        readv n2 r e s1 5 K2
        turn e
        recv n2
        show a5
        connect n3 r e inet a1 a2 s2 a6 K3
        turn e
        unixaddr a7 r $D/u1
        unixaddr a8 r null
        connect n4 r e unix a8 a7 s3 a9 K4
        turn e
        listen l1 unix $D/u1 1
        connect n5 r e unix a8 a7 s4 a9 K5
        turn e
        accept p2 l1
        rclose p2
        connect n6 r e unix a0 a7 s5 a9 K6
        turn e
        connect n7 r e inet a0 a2 s6 a9 K7
        turn e
    """,
    "datagrams": """
        inet a0 r ipv4 $H 2001
        inet a1 r ipv4 $H 2002
        dgram d0 r inet a0 none
        dgram d1 r inet a1 a0
        recvfrom n1 r e d0 a5 K1
        recvfrom n2 r e d0 a6 K2
        sendto n3 r e d1 5 none K3
        turn e
        turn e
        turn e
        recv n1
        recv n2
        recv n3
        show a5
        sendto n4 r e d0 65508 a5 K4
        sendto n5 r e d0 none a5 K5
        turn e
        turn e
        turn e
        recv n4
        recv n5
        rdgram p1 inet 2003
        rsendto p1 inet 2001 0
        recvfrom n6 r e d0 a7 K6
        turn e
        turn e
        turn e
        recv n6
        ddisconnect n7 r e d0 K7
        turn e
        recv n7
        ddisconnect n8 r e d0 K8
        turn e
        recv n8
        sendto n9 r e d1 1 none K9
        turn e
        recv n9
        recvfrom n10 r e d1 a8 K10
        turn e
        recv n10
    """,
    "datagrams by path, queued": """
        unixaddr a0 r $D/u1
        unixaddr a1 r null
        unixaddr a2 r $D/no/x
        dgram d0 r unix a0 none
        dgram d1 r unix a1 a0
        dgram d2 r unix a0 none
        dgram d3 r unix a2 none
        exists $D/u1
        queue q0 r
        script K1 recv n1 ; free n1
        sendtoq n1 r e d1 q0 3 none K1
        sendtoq n2 r e d1 q0 300000 a0 K2
        turn e
        turn e
        turn e
        recv n2
        doptimize d0 1
        dpair d4 r p1
        rwrite p1 4
        rwrite p1 0
        rwrite p1 0
        rwrite p1 2
        recvfrom n3 r e d4 a3 K3
        turn e
        recv n3
        show a3
        copy a4 r a3
        recvfrom n4 r e d4 a4 K4
        turn e
        turn e
        turn e
        recv n4
        recvfrom n5 r e d4 a4 K5
        turn e
        turn e
        recv n5
        rclose p1
        sendto n6 r e d4 1 none K6
        turn e
        recv n6
        unlink $D/u1
    """,
    "addresses": """
        inet a0 r ip ::1 445
        show a0
        inet a1 r IPv4 127.1 1
        show a1
        setport a1 65535
        show a1
        inet a2 r ipv5 127.0.0.1 1
        inet a3 r ipv4 %ef%bc%91.2.3.4 1
        inet a3 r ip fe80::1%257 1
        show a3
        hostport a4 r ip [::1]:80 445
        hostport a5 r ip 1.2.3.4:+80 445
        hostport a6 r ip ::1:80 445
        hostport a7 r ip 1.2.3.4:1_0 445
        hostport a8 r ip xx[1.2.3.4] 445
        unixaddr a9 r /tmp/x
        show a9
        copy a10 r a9
        show a10
        unixaddr a11 r null
        show a11
        sockaddr a0 r abstract xyz
        show a0
        sockaddr a1 r unix
        show a1
        sockaddr a2 r inet6 fe80::1 80 5 3
        show a2
        sockaddr a3 r unspec
        isinet a2 IPV6
        parent a2
        setport a9 1
    """,
    "descriptors that are none": """
        badfd s0 r -1
        readv n1 r e s0 1 K1
        writev n2 r e s0 1 K2
        turn e
        turn e
        recv n1
        recv n2
        pending s0
        disconnect n3 r e s0 K3
        turn e
        recv n3
        badfd s1 r 60000
        writev n4 r e s1 1 K4
        turn e
        recv n4
        dbad d0 r 60000
        sendto n5 r e d0 1 none K5
        turn e
        recv n5
        file $D/f
    """,
    "no descriptor left": """
        inet a0 r ipv4 $H 2001
        unixaddr a1 r null
        unixaddr a2 r $D/u1
        twins s0 r s1 r
        crowd 1
        twins s2 r s3 r
        dgram d0 r inet a0 none
        dgram d1 r unix a1 none
        connect n1 r e inet a0 a0 s2 a3 K1
        connect n2 r e unix a1 a2 s3 a3 K1
        turn e
        turn e
        free s0
        dgram d2 r unix a2 none
        twins s4 r s5 r
        crowd 0
        dgram d0 r inet a0 none
    """,
    "the last descriptor is that of a datagram socket": """
        ctx c0 r
        queue q0 r
        inet a0 r ipv4 $H 2001
        unixaddr a2 r $D/u1
        rdgram p0 inet 2003
        rdgram p1 unix $D/u3
        dgram d0 r inet a0 none
        dgram d1 r unix a2 none
        crowd 1
        rclose p1
        recvfrom n3 c0 e d0 a5 K4
        unixaddr a0 r $D/f
        dgram d3 r unix a0 none
        sendtoq n24 r e d1 q0 7 a0 K25
        turn e
        recvfrom n26 r e d3 a4 K27
        rsendto p0 inet 2001 9
        turn e
    """,
    "backends": """
        fake s0 r
        dfake d0 r
        queue q0 r
        readv n1 r e s0 2,3 K1
        writev n2 r e s0 4 K2
        disconnect n3 r e s0 K3
        bdone b0 5
        berror b1 71
        recv n1
        recv n2
        fmode s0 read done 9
        vectors V1 1 2,2 .
        pdu n4 r e s0 V1 K4
        turn e
        turn e
        turn e
        recv n4
        fmode s0 pending x -5
        pending s0
        writevq n5 r e s0 q0 3 K5
        writevq n6 r e s0 q0 3 K6
        bdone b4 3
        recv n5
        free n5
        turn e
        sendto n7 r e d0 4 none K7
        recvfrom n8 r e d0 a0 K8
        ddisconnect n9 r e d0 K9
        bdone b6 4
        bdone b7 2
        turn e
        turn e
        recv n7
        recv n8
        disconnect n10 r e s0 K10
        free s0
        turn e
        fake s1 r nomonitor
        fmode s1 pending x -5
        monitor n11 r e s1 K11
        fmode s1 pending x 0
        monitor n12 r e s1 K12
        fmode s1 write error 32
        writev n13 r e s1 1 K13
        turn e
        turn e
        turn e
        recv n11
        recv n12
        recv n13
    """,
    "received twice": """
        unix s0 r p1
        writev n1 r e s0 1 K1
        turn e
        recv n1
        recv n1
    """,
}
