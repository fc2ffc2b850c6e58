"""Objects between ranks: what they cost in memory, and messages that are none."""

from __future__ import annotations

import gc
import struct
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pynexar as nx
from pynexar import objects
from ranks import Ranks


# --------------------------------------------------------------------------------------------------------------- memory
def test_memory_is_freed_with_the_last_array(pair: nx.LocalCluster) -> None:
    def live() -> int:
        gc.collect()
        held: int = pair[0].stats()["memory"]["bytes"]
        return held

    def arrays() -> tuple[np.ndarray, np.ndarray]:
        sent = pair[1].nb.send_object([np.ones(1 << 20), np.zeros(1 << 20)], 0)
        first, second = pair[0].recv_object(1)
        sent.wait()
        return first, second

    arrays()
    before = live()
    first, second = arrays()
    assert live() > before + (15 << 20)
    died = weakref.ref(first)
    del first
    assert died() is None
    view = second[5:]
    del second
    assert live() > before + (15 << 20)
    assert view.sum() == 0
    del view
    assert live() < before + (1 << 20)
    sent = pair[1].nb.send_object(np.ones(1 << 20), 0)
    op = pair[0].nb.recv_object(1)
    assert nx.wait_any([op], timeout=30) == 0
    sent.wait()
    del op  # nobody looks at it
    assert live() < before + (1 << 20)


def test_arrays_are_copied_once_by_the_sender_and_not_by_the_receiver(ranks: Ranks) -> None:
    """By the peak of resident memory of a process each, with an array of 64 MiB inside a dict inside a list."""
    size = 64 << 20
    peak = "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024"
    with nx.Seed("127.0.0.1:0", 2) as seed:
        sender, receiver = (ranks.member(seed.join_string, i, 2, NEXAR_PEER_TIMEOUT="60") for i in range(2))
        for rank in (sender, receiver):
            rank.end()
            rank.do("import resource")
        receiver.do(f"before = {peak}")
        sender.do(f"obj = ['x', {{'y': np.arange({size // 8}), 'z': 'zed'}}]; before = {peak}")
        for way in ("p2p", "broadcast", "gather"):
            send, recv = {
                "p2p": ("comm.send_object(obj, 1)", "comm.recv_object(0)"),
                "broadcast": ("comm.broadcast_object(obj)", "comm.broadcast_object()"),
                "gather": ("comm.gather_object(obj, 1)", "comm.gather_object(None, 1)[0]"),
            }[way]
            sender.begin(f"_ = {send}")
            receiver.do(f"got = {recv}", timeout=60)
            sender.end(timeout=60)
            count = size // 8
            assert receiver.do("got[0], got[1]['z'], int(got[1]['y'].sum())") == ("x", "zed", count * (count - 1) // 2)
            for rank in (sender, receiver):
                assert rank.do(f"{peak} - before") < 1.3 * size, way
            receiver.do("del got")
        for rank in (sender, receiver):
            rank.begin("comm.close()")
        for rank in (sender, receiver):
            rank.end()


# ----------------------------------------------------------------------------------------------------- hostile messages
@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 1 << 32), st.integers(0, 1 << 64), st.booleans())
def test_messages_that_are_no_objects_are_refused(tail: bytes, count: int, length: int, magic: bool) -> None:
    head = struct.pack("<4sIQ", b"nxo1" if magic else b"nxo2", count % (1 << 32), length % (1 << 64))
    for message in (tail, head[: len(tail)], head + tail):
        try:
            pickled, buffers = objects._split(memoryview(message), "f", 3)
        except nx.NexarError as error:
            assert (error.code_name, error.peer) == ("EPROTO", 3)  # noqa: PT017
            assert "is no object" in str(error)  # noqa: PT017
        else:
            assert magic
            sizes = [16, 8 * len(buffers), *(view.nbytes for view in (pickled, *buffers))]
            assert len(message) - 15 * len(buffers) <= sum(sizes) <= len(message)


@settings(deadline=None)
@given(st.integers(0, 3), st.data())
def test_messages_that_are_cut_or_longer_are_refused(buffers: int, data: st.DataObject) -> None:
    message = objects.pack([np.arange(1000 + i) for i in range(buffers)], "f")
    assert len(objects.unpack(memoryview(message), "f", 0)) == buffers
    end = data.draw(st.integers(0, len(message) - 1))
    for wrong in (message[:end], message + b"x"):
        with pytest.raises(nx.NexarError, match="is no object"):
            objects.unpack(memoryview(wrong), "f", 0)
