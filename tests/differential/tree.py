# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Area "tree": chunks, who owns them, what they are called, what is in them.

The operations, by what they are about; X, Y are objects, C a context or "-" for none, K a script, T a type:

    making      new X C; chain X C N; named X C SIZE TEXT; namedf X C SIZE TEXT N; init X TEXT N; size, zsize X C SIZE;
                struct, zero, ptrtype X C T; array, zarray, arrptr X C T N; arrsize X C SIZE N; memdup X C Y;
                pool X C SIZE; pooled X C T N SIZE; autofree X;
                strdup X C TEXT; strndup X C TEXT N; asprintf, vasprintf X C FORMAT TEXT N; append_none X TEXT
    resizing    realloc C X T N; reallocsize, reallocfn C X SIZE; append, appendbuf X TEXT;
                nappend, nappendbuf X TEXT N; fappend, fappendbuf, vappend, vappendbuf, addbuf X FORMAT TEXT N;
                appendmacro C X TEXT
    content     fill X AT BYTE; put X AT NUMBER
    freeing     destructor X K; free, FREE, children X; unlink C X
    moving      steal, move C X; reparent C C X; ref C X; incref X
    names       setname X TEXT N; setconst X TEXT; settype X T; check X TEXT; gettype, musttype X T; findname X TEXT;
                findtype X T
    the whole   isparent X Y; memlimit X SIZE; track; trackonly; untrack; look X; tree C DEPTH MAX;
                report C full|short|parents|DEPTH MAX; totals; all
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from .program import Choices, Interpreter
from .tree_side import Tree
from .tree_world import SIZES

NAMES = tuple(f"c{index}" for index in range(12))
SCRIPTS = tuple(f"K{index}" for index in range(6))
KINDS = tuple(SIZES)
TEXTS = ("a", "abc", "context", "struct", "int", "x" * 40, "\u00e9t\u00e9", "name-1", "UNNAMED", ".name")
#: Sizes around what matters: nothing, a few bytes, 16, the 1024 below which nothing is moved, the maximum.
COUNTS = (1, 0, 2, 3, 5, 8, 15, 16, 17, 100, 500, 1023, 1024, 1025, 3000, 1 << 26, (1 << 28) - 1, 1 << 28)
SMALL = (1, 0, 2, 3, 5, 8, 15, 16, 17, 33, 100, 500)
POOLS = (1000, 0, 100, 112, 200, 300, 500, 4000)
LIMITS = (1000, 0, 1, 100, 200, 300, 400, 500, 700, 2000, 10000)


class AREA:
    """Programs about the tree."""

    name: ClassVar[str] = "tree"
    packages: ClassVar[tuple[str, ...]] = ("talloc",)
    flags: ClassVar[tuple[str, ...]] = ()
    length: ClassVar[int] = 80

    def __init__(self) -> None:
        self._alive: list[str] = []
        self._begun = 0
        self._mixture = 0
        self._scripts: list[str] = []
        #: A line that is to come next.
        self._then = ""

    def python(self) -> Interpreter:
        """A fresh Python side."""
        return Tree()

    def saw(self, line: str, observations: list[str]) -> None:
        """Keep the list of what is alive."""
        for text in observations:
            if text.startswith("made "):
                self._alive.append(text[5:])
            elif text.startswith("died ") and text[5:] in self._alive:
                self._alive.remove(text[5:])

    # --- the parts of a line

    def _some(self, choices: Choices, in_script: bool = False) -> str:
        """An object, nearly always one that is alive."""
        if in_script and choices.chance(30):
            return "@"
        if self._alive and not choices.chance(3) and not (in_script and choices.chance(20)):
            return choices.pick(self._alive)
        return choices.pick(NAMES)

    def _context(self, choices: Choices, in_script: bool = False) -> str:
        return "-" if choices.chance(12) else self._some(choices, in_script)

    def _fresh(self, choices: Choices) -> str:
        free = [name for name in NAMES if name not in self._alive]
        return choices.pick(free or NAMES)

    def _count(self, choices: Choices, kind: str) -> int:
        count = choices.pick(COUNTS)
        # Large arrays take time and show nothing.
        return count if count <= 3000 or count * SIZES[kind] >= 1 << 28 else choices.pick(SMALL)

    # --- lines

    def next_line(self, choices: Choices) -> str:
        """The next line of a program."""
        self._begun += 1
        if self._then:
            line, self._then = self._then, ""
            return line
        if self._begun == 1:
            self._mixture = choices.integer(0, len(self._MIXTURES) - 1)
        if self._begun <= 3:
            return f"new {self._fresh(choices)} {self._context(choices)}"
        if self._begun <= 6 or choices.chance(4):
            return self._script(choices)
        if choices.chance(6):
            return "all"
        return self._operation(choices, False)

    def _script(self, choices: Choices) -> str:
        body = [self._operation(choices, True) for _ in range(choices.integer(0, 3))]
        if choices.chance(45):
            body.append("return -1")
        elif choices.chance(10):
            body.append(f"return {choices.pick((1, -2))}")
        name = choices.pick(SCRIPTS)
        self._scripts.append(name)
        return f"script {name} {' ; '.join(body)}".rstrip()

    def _known_script(self, choices: Choices) -> str:
        """A script, mostly one that has been written."""
        return choices.pick(self._scripts if self._scripts and choices.chance(85) else SCRIPTS)

    def _operation(self, choices: Choices, in_script: bool) -> str:
        number = choices.integer(0, 99)
        for limit, make in self._MIXTURES[self._mixture]:
            if number < limit:
                return make(self, choices, in_script)
        raise AssertionError(number)

    def _bare(self, choices: Choices, in_script: bool) -> str:
        name, ctx = self._fresh(choices), self._context(choices, in_script)
        if not in_script and choices.chance(70):
            self._then = f"destructor {name} {self._known_script(choices)}"
        if choices.chance(20):
            return f"namedf {name} {ctx} 0 {choices.pick(TEXTS)} {choices.integer(0, 9)}"
        if choices.chance(3):
            return f"chain {name} {ctx} {choices.pick((2, 3, 100))}"
        return f"new {name} {ctx}"

    def _rooms(self, choices: Choices, in_script: bool) -> str:
        name, ctx = self._fresh(choices), self._context(choices, in_script)
        if choices.chance(30):
            return f"pooled {name} {ctx} {choices.pick(KINDS)} {choices.integer(0, 3)} {choices.pick(SMALL)}"
        return f"pool {name} {ctx} {choices.pick(POOLS)}"

    def _limiting(self, choices: Choices, in_script: bool) -> str:
        return f"memlimit {self._some(choices, in_script)} {choices.pick(LIMITS)}"

    def _making(self, choices: Choices, in_script: bool) -> str:
        what = choices.pick(("new", "named", "struct", "strdup", "array", "size", "other"))
        name, ctx = self._fresh(choices), self._context(choices, in_script)
        if what == "new":
            return f"new {name} {ctx}"
        if what == "named":
            text, size = choices.pick(TEXTS), choices.pick((0, 0, 7))
            if choices.chance(40):
                return f"namedf {name} {ctx} {size} {text} {choices.integer(0, 9)}"
            return f"named {name} {ctx} {size} {text}"
        if what == "struct":
            return f"{choices.pick(('struct', 'zero', 'ptrtype'))} {name} {ctx} {choices.pick(KINDS)}"
        if what == "strdup":
            return self._string(choices, name, ctx)
        if what == "array":
            kind = choices.pick(KINDS)
            return f"{choices.pick(('array', 'zarray', 'arrptr'))} {name} {ctx} {kind} {self._count(choices, kind)}"
        if what == "size":
            size = self._count(choices, "char")
            if choices.chance(20):
                return f"arrsize {name} {ctx} {choices.pick((1, 4, 7))} {choices.pick(SMALL)}"
            return f"{choices.pick(('size', 'zsize'))} {name} {ctx} {size}"
        return self._rare(choices, in_script, name, ctx)

    def _string(self, choices: Choices, name: str, ctx: str) -> str:
        text = choices.pick(TEXTS)
        what = choices.pick(("strdup", "strndup", "asprintf", "vasprintf", "append_none"))
        if what == "strdup":
            return f"strdup {name} {ctx} {text}"
        if what == "strndup":
            return f"strndup {name} {ctx} {text} {choices.integer(-1, 6)}"
        if what in ("asprintf", "vasprintf"):
            return f"{what} {name} {ctx} {choices.integer(0, 5)} {text} {choices.integer(-3, 300)}"
        return f"append_none {name} {text}"

    def _rare(self, choices: Choices, in_script: bool, name: str, ctx: str) -> str:
        what = choices.pick(("pool", "pooled", "memdup", "init", "autofree"))
        if what == "pool":
            return f"pool {name} {ctx} {choices.pick(POOLS)}"
        if what == "pooled":
            return f"pooled {name} {ctx} {choices.pick(KINDS)} {choices.integer(0, 3)} {choices.pick(SMALL)}"
        if what == "memdup":
            return f"memdup {name} {ctx} {self._some(choices, in_script)}"
        if what == "init":
            return f"init {name} {choices.pick(TEXTS)} {choices.integer(0, 9)}"
        return f"autofree {name}"

    def _resizing(self, choices: Choices, in_script: bool) -> str:
        name = self._some(choices, in_script)
        what = choices.pick(("append", "realloc", "reallocsize", "nappend", "fappend"))
        if what == "realloc":
            kind = choices.pick(KINDS)
            return f"realloc {self._context(choices, in_script)} {name} {kind} {self._count(choices, kind)}"
        if what == "reallocsize":
            how = choices.pick(("reallocsize", "reallocfn"))
            return f"{how} {self._context(choices, in_script)} {name} {self._count(choices, 'char')}"
        text = choices.pick(TEXTS)
        if what == "append":
            if choices.chance(20):
                return f"appendmacro {self._context(choices, in_script)} {name} {text}"
            return f"{choices.pick(('append', 'appendbuf'))} {name} {text}"
        if what == "nappend":
            return f"{choices.pick(('nappend', 'nappendbuf'))} {name} {text} {choices.integer(-1, 6)}"
        how = choices.pick(("fappend", "fappendbuf", "addbuf", "vappend", "vappendbuf"))
        return f"{how} {name} {choices.integer(0, 5)} {text} {choices.integer(-3, 300)}"

    def _content(self, choices: Choices, in_script: bool) -> str:
        name = self._some(choices, in_script)
        if choices.chance(50):
            return f"put {name} {choices.integer(0, 5)} {choices.integer(-9, 9)}"
        return f"fill {name} {choices.integer(0, 9)} {choices.pick((65, 0, 97, 255, 195))}"

    def _destructor(self, choices: Choices, in_script: bool) -> str:
        script = "-" if choices.chance(15) else self._known_script(choices)
        return f"destructor {self._some(choices, in_script)} {script}"

    def _freeing(self, choices: Choices, in_script: bool) -> str:
        name = self._some(choices, in_script)
        what = choices.pick(("free", "free", "unlink", "children", "FREE"))
        if what == "unlink":
            return f"unlink {self._context(choices, in_script)} {name}"
        return f"{what} {name}"

    def _moving(self, choices: Choices, in_script: bool) -> str:
        name, ctx = self._some(choices, in_script), self._context(choices, in_script)
        if choices.chance(25):
            return f"reparent {ctx} {self._context(choices, in_script)} {name}"
        return f"{choices.pick(('steal', 'steal', 'move'))} {ctx} {name}"

    def _referring(self, choices: Choices, in_script: bool) -> str:
        name = self._some(choices, in_script)
        return f"incref {name}" if choices.chance(20) else f"ref {self._context(choices, in_script)} {name}"

    def _naming(self, choices: Choices, in_script: bool) -> str:
        name, text, kind = self._some(choices, in_script), choices.pick(TEXTS), choices.pick(KINDS)
        what = choices.pick(("setname", "setconst", "settype", "check", "gettype", "findname", "findtype", "musttype"))
        if what == "setname":
            return f"setname {name} {text} {choices.integer(0, 9)}"
        if what == "setconst":
            return f"setconst {name} {'-' if choices.chance(20) else text}"
        if what in ("check", "findname"):
            return f"{what} {name} {text}"
        # The mismatch ends the program.
        if what == "musttype" and not choices.chance(10):
            what = "gettype"
        return f"{what} {name} {kind}"

    def _whole(self, choices: Choices, in_script: bool) -> str:
        what = choices.integer(0, 9)
        if what < 2:
            return self._limiting(choices, in_script)
        if what == 2:
            return choices.pick(("track", "untrack", "trackonly"))
        return self._looking(choices, in_script)

    def _looking(self, choices: Choices, in_script: bool) -> str:
        name = self._some(choices, in_script)
        what = choices.pick(("look", "tree", "report", "isparent", "totals"))
        if what == "tree":
            return f"tree {self._context(choices, in_script)} {choices.integer(0, 1)} {choices.integer(-1, 3)}"
        if what == "report":
            how = choices.pick(("full", "short", "parents", "numbers"))
            if how == "numbers":
                how = f"{choices.integer(0, 2)} {choices.integer(-1, 3)}"
            return f"report {self._context(choices, in_script)} {how}"
        if what == "isparent":
            return f"isparent {name} {self._some(choices, in_script)}"
        return f"look {name}" if what == "look" else what

    #: Of a hundred operations, those up to each number; a program keeps to one of these mixtures.
    _MIXTURES: ClassVar[tuple[tuple[tuple[int, Callable[[AREA, Choices, bool], str]], ...], ...]] = (
        # A little of everything.
        (
            (22, _making),
            (33, _freeing),
            (44, _moving),
            (54, _referring),
            (66, _destructor),
            (76, _resizing),
            (80, _content),
            (86, _naming),
            (100, _whole),
        ),
        # Who owns whom, and who refuses.
        (
            (26, _bare),
            (44, _freeing),
            (62, _moving),
            (80, _referring),
            (90, _destructor),
            (92, _naming),
            (100, _looking),
        ),
        # Limits and pools.
        (
            (12, _rooms),
            (30, _making),
            (42, _freeing),
            (54, _moving),
            (60, _referring),
            (64, _destructor),
            (84, _resizing),
            (94, _limiting),
            (100, _looking),
        ),
        # Strings, arrays and their names.
        (
            (25, _making),
            (30, _freeing),
            (34, _moving),
            (70, _resizing),
            (80, _content),
            (94, _naming),
            (100, _looking),
        ),
    )
