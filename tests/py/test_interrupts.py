"""Ctrl-C at every point of a call that makes something of C's: it is closed once, or was never made, and no call is
taken for one that goes on."""

from __future__ import annotations

import gc
import inspect
import sys
import warnings
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, Callable

import numpy as np
import pytest

import pynexar as nx
from pynexar import comm as comm_
from pynexar import groups, node, p2p, seed
from pynexar._ffi import call, lib
from pynexar._handle import Handle


def clean_up_begins(function: Any) -> int:
    """The line from which on it only gives back."""
    lines, first = inspect.getsourcelines(function)
    ends = ("except BaseException", "finally:")
    return first + min(i for i, line in enumerate(lines) if line.strip().startswith(ends))


_ALL = ("call", "line", "return")

# Where signals are looked at, by code: kinds of events, and lines before this one.  Not in a `with` of a lock, whose
# end Python does not interrupt.
POINTS: dict[CodeType, tuple[tuple[str, ...], float]] = {
    groups._make.__code__: (("call", "line"), clean_up_begins(groups._make)),
    node.init.__code__: (("call", "line"), clean_up_begins(node.init)),
    seed.Seed.__init__.__code__: (("call", "line"), clean_up_begins(seed.Seed.__init__)),
    seed.Seed.poll.__code__: (("call", "line"), clean_up_begins(seed.Seed.poll)),
    p2p.P2p.probe.__code__: (("call", "line"), clean_up_begins(p2p.P2p.probe)),
    comm_.Comm.__init__.__code__: (_ALL, float("inf")),
    comm_.NonBlocking.__init__.__code__: (_ALL, float("inf")),
    Handle.__init__.__code__: (_ALL, float("inf")),
    Handle.begin_long_call.__code__: (("call", "return"), float("inf")),
    call.check.__code__: (("call",), float("inf")),
}


class CtrlC:
    """At the point of this number; from then on nothing is interrupted."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        events, end = POINTS.get(frame.f_code, ((), 0))
        if not events:
            return None
        if event in events and frame.f_lineno < end:
            self.left -= 1
            if self.left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self

    def interrupts(self, function: Callable[[], object]) -> bool:
        """False: it has fewer points."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            function()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


class Ledger:
    """What C has made, and what was closed."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.closed: list[int] = []

    def makes(self, function: Any) -> Any:
        """Its last argument is where it puts what it makes."""

        def made(*arguments: Any) -> Any:
            status = function(*arguments)
            if arguments[-1].value is not None:
                self.made.append(arguments[-1].value)
            return status

        return made

    def closes(self, function: Any) -> Any:
        def closed(handle: Any) -> Any:
            if handle.value is not None:
                self.closed.append(handle.value)
                if self.closed.count(handle.value) > self.made.count(handle.value):  # C would crash
                    return None
            return function(handle)

        return closed


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    book = Ledger()
    for name in ("nexar_split_wait", "nexar_join_wait", "nexar_seed_open"):
        monkeypatch.setattr(lib, name, book.makes(getattr(lib, name)))
    for name in ("nexar_comm_close", "nexar_seed_close"):
        monkeypatch.setattr(lib, name, book.closes(getattr(lib, name)))
    return book


@pytest.fixture
def alone() -> Iterator[nx.Comm]:
    with nx.local_cluster(1) as comms:
        yield comms[0]


def at_every_point(ledger: Ledger, least: int, function: Callable[[], Any]) -> None:
    """Whatever the function returns is closed."""
    points = 0

    def run() -> None:
        made = function()
        if made is not None:
            made.close()

    while True:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            interrupted = CtrlC(points).interrupts(run)
            gc.collect()
        assert [str(warning.message) for warning in warned] == []
        assert sorted(ledger.closed) == sorted(ledger.made)
        if not interrupted:
            break
        points += 1
    assert points >= least
    assert ledger.made


@pytest.mark.parametrize("how", ["dup", "split_by_host", "split"])
def test_a_communicator_that_is_being_made(alone: nx.Comm, ledger: Ledger, how: str) -> None:
    arguments = (0,) if how == "split" else ()

    at_every_point(ledger, 40, lambda: getattr(alone, how)(*arguments))
    assert alone.all_reduce(np.ones(1)) == 1
    ledger.made.append(alone.pointer("close").value)
    alone.close()  # waits for calls that go on


def test_a_job_that_is_being_joined(ledger: Ledger) -> None:
    at_every_point(ledger, 30, nx.init)


def test_a_seed_that_is_being_made(ledger: Ledger) -> None:
    at_every_point(ledger, 10, lambda: nx.Seed("127.0.0.1:0", 1))


def test_calls_that_wait(alone: nx.Comm) -> None:
    """They end with the interrupt: close() does not wait for them."""

    def probe() -> None:
        with pytest.raises(nx.Timeout):
            alone.probe(0, 1, timeout=0)

    points = 0
    with nx.Seed("127.0.0.1:0", 2) as seed_:
        for function in (probe, seed_.poll):
            while CtrlC(points).interrupts(function):
                points += 1
            assert points > 4
            points = 0
    alone.close()
