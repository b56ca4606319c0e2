# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What of the packages works here: ``python -m tsocket`` prints versions, backends and optional layers.

An optional layer works if what it needs can be imported, so that is tried. The exit status is 0 whatever is missing:
nothing that is optional is needed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from talloc_py import talloc_free, talloc_version_major, talloc_version_minor
from tevent import tevent_backend_list, tevent_context_init_byname

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LAYERS", "layer", "main"]


class layer(NamedTuple):
    """Something that needs more than Python."""

    #: What it is for.
    use: str
    #: What must be imported.
    module: str
    #: The extra that installs it; empty for a module of Python's own, which some builds lack.
    extra: str


LAYERS: Final = (
    layer("TLS", "ssl", ""),
    layer("certificates for servers that have none", "cryptography", "tls"),
    layer("signed and sealed streams, by NTLM or Negotiate", "spnego", "gssapi"),
    layer("signed and sealed streams, by Kerberos", "gssapi", "kerberos"),
    layer("named pipes over SMB", "smbprotocol", "smb"),
    layer("strategies and state machines for tests", "hypothesis", "testing"),
    layer("contexts in a loop of asyncio", "asyncio", ""),
)


def _version() -> str:
    try:
        return importlib.metadata.version("tsocket")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed: used from its sources)"


def _python() -> str:
    """The interpreter, and whether its threads run side by side."""
    free = "" if getattr(sys, "_is_gil_enabled", lambda: True)() else ", free-threaded"
    return f"{platform.python_implementation()} {platform.python_version()}{free}, {platform.system()}"


def _backends() -> Iterator[str]:
    """A line for each backend of which a context can be made."""
    for name in tevent_backend_list(None):
        ev = tevent_context_init_byname(None, name)
        if ev is None:
            yield f"  {name}: cannot be used here"
        else:
            talloc_free(ev)
            yield f"  {name}"


def _state(each: layer, distributions: Mapping[str, list[str]]) -> str:
    """Whether a layer works: with which version of what it needs, or what to do."""
    try:
        module = importlib.import_module(each.module)
    except Exception as error:  # one that is there, but broken, fails in its own way
        remedy = f"; pip install 'tsocket[{each.extra}]'" if each.extra else ""
        return f"no ({type(error).__name__}: {error}){remedy}"
    for name in distributions.get(each.module, ()):
        return f"yes ({name} {importlib.metadata.version(name)})"
    return f"yes ({getattr(module, 'OPENSSL_VERSION', 'comes with Python')})"


def _layers() -> Iterator[str]:
    """A line for each optional layer."""
    distributions = importlib.metadata.packages_distributions()
    for each in LAYERS:
        yield f"  {each.use}: {_state(each, distributions)}"


def main() -> None:
    """Print it all."""
    print(f"tsocket {_version()}, talloc {talloc_version_major()}.{talloc_version_minor()}'s API")
    print(_python())
    print("Backends, the default first")
    print(*_backends(), sep="\n")
    print("Optional layers")
    print(*_layers(), sep="\n")


if __name__ == "__main__":
    main()
