# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Names for annotations that C has no need of.

.. data:: tevent_subreq

   The parameter of a request's callback that goes on with the next request under the same name, as C code does::

       def foo_written(subreq: tevent_subreq) -> None:
           req = tevent_req_callback_data(subreq, tevent_req)
           ...
           subreq = tstream_readv_send(...)
           if tevent_req_nomem(subreq, req):
               return

   A ``_send`` function may return None, which a parameter annotated ``tevent_req`` cannot hold. This one can be
   assigned anything, and is a `tevent_req` wherever it is read. Where the name is not used again, `tevent_req` says
   more.
"""

from __future__ import annotations

from ._request import tevent_req

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    # The Any is what lets a checker accept an assignment; reading goes by the other half.
    tevent_subreq: TypeAlias = tevent_req | Any  # noqa: PYI042  # named as C names it
else:
    tevent_subreq = tevent_req

__all__ = ["tevent_subreq"]
