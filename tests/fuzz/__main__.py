# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The long run: bytes that reach ever more of a reader, until the time is over.

    pip install -e '.[fuzz,tests]'
    python -m tests.fuzz --target gensec --minutes 10
    python -m tests.fuzz --target all --minutes 5 --corpus corpus/
    python -m tests.fuzz --target gensec --replay crash-0123
    python -m tests.fuzz --target all --damages

Atheris decides what comes next by what the last bytes have reached: it counts the branches taken in `tsocket` and in
the readers of the examples. Prints a line of figures a format; what fails is kept in a file, and its traceback shown.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterable

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ("ldap_search", "cldap_ping", "dcerpc_ping", "share_list")
#: The longest input; what needs more takes too long to be tried often.
INPUT_MAX = 4096
#: A run that takes longer, in seconds, hangs; much longer than any does, for a machine may stand still.
RUN_SECONDS_MAX = 300
MEMORY_MAX_MIB = 2048
FIGURES = re.compile(
    r"^#(\d+)\s+(?:DONE|pulse|NEW|REDUCE|INITED|RELOAD)\s.*?cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE
)
KEPT = re.compile(r"Test unit written to (\S+)")


def prepare_path() -> None:
    """Find the packages and the helpers of the tests, installed or not."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]


def child(name: str, arguments: list[str]) -> None:
    """Search, in a process of its own; does not return."""
    import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

    prepare_path()
    with atheris.instrument_imports(include=["tsocket"]):
        from . import formats

        run = formats.target(name)
        for module in map(formats.example, EXAMPLES):
            instrument(module, atheris.instrument_func)
        # Some modules are loaded by their first use.
        for seed in formats.seeds(name):
            run(seed)
    atheris.Setup([sys.argv[0], *arguments], run)
    atheris.Fuzz()


def instrument(module: types.ModuleType, how: types.FunctionType) -> None:
    """Count the branches of the functions of *module*."""
    for key, value in list(vars(module).items()):
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            setattr(module, key, how(value))


def search(name: str, minutes: float, corpus: pathlib.Path, seed: int) -> bool:
    """Search in one format, and print what came of it; False if something was found."""
    prepare_path()
    from . import formats

    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(formats.seeds(name)):
        (folder / f"seed-{number}").write_bytes(data)
    line = [sys.executable, "-m", "tests.fuzz", "--target", name, "--child", "--", str(folder)]
    line += [
        f"-max_total_time={round(minutes * 60)}",
        f"-max_len={INPUT_MAX}",
        f"-seed={seed}",
        f"-timeout={RUN_SECONDS_MAX}",
    ]
    line += [f"-rss_limit_mb={MEMORY_MAX_MIB}", f"-artifact_prefix={corpus}/{name}-"]
    done = subprocess.run(line, capture_output=True, text=True, errors="replace", cwd=ROOT)
    said = done.stdout + done.stderr
    found = FIGURES.findall(said)
    if not found:
        print(said[-5000:])
        raise SystemExit(f"{name}: the search did not begin")
    runs, branches, features, kept = found[-1]
    print(
        f"{name}: {minutes:g} minutes, {runs} runs, {branches} branches, {features} features, {kept} inputs kept, "
        f"{'nothing found' if done.returncode == 0 else 'FOUND SOMETHING'}",
        flush=True,
    )
    if done.returncode:
        print(said[-3000:], *KEPT.findall(said), sep="\n")
    return done.returncode == 0


def run_damages(run: Callable[[bytes], None], damages: Iterable[bytes]) -> int:
    """Feed *run* with all of them, and count; the first that it does not stand is shown."""
    count = 0
    for data in damages:
        try:
            run(data)
        except Exception as error:
            error.add_note(f"bytes.fromhex({data.hex()!r})")
            raise
        count += 1
    return count


def main(argv: list[str] | None = None) -> int:
    """The program: 0 if nothing was found."""
    prepare_path()
    from . import formats

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("--target", choices=[*formats.NAMES, "all"], required=True)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each format")
    parser.add_argument("--corpus", type=pathlib.Path, help="where inputs are kept from run to run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=pathlib.Path, metavar="FILE", help="run one input, without a search")
    parser.add_argument("--damages", action="store_true", help="all damages of good bytes, without a search")
    options = parser.parse_args(argv)
    names = formats.NAMES if options.target == "all" else (options.target,)
    if options.replay:
        for name in names:
            formats.target(name)(options.replay.read_bytes())
        return 0
    if options.damages:
        for name in names:
            print(f"{name}: {run_damages(formats.target(name), formats.all_damages(name))} damages", flush=True)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        corpus = options.corpus or pathlib.Path(folder)
        # A list, so that each of them is searched.
        clean = [search(name, options.minutes, corpus.resolve(), options.seed) for name in names]
        if not all(clean) and options.corpus is None:
            raise SystemExit("use --corpus to keep what was found")
    return 0 if all(clean) else 1


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(sys.argv[2], sys.argv[sys.argv.index("--") + 1 :])
    sys.exit(main())
