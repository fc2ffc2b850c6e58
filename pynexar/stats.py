"""Counters of the library, as Python has them."""

from __future__ import annotations

import json

from ._ffi import lib
from ._ffi.call import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .comm import Comm


def of(comm: Comm) -> dict[str, Any]:
    """The counters of a communicator and its node."""
    with comm.lock:
        pointer = comm.pointer("stats")
        counters: dict[str, Any] = json.loads(text(lambda *place: lib.nexar_comm_stats(pointer, *place)))
    return counters
