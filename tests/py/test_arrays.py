"""Kinds of arrays by kinds of calls: each combination is right, or a UsageError that says why and sends nothing."""

from __future__ import annotations

import array
import ctypes
import gc
import mmap
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import lender
import pynexar as nx
from lender import Lender

ml_dtypes = pytest.importorskip("ml_dtypes")

Cluster = Callable[[int], nx.LocalCluster]
Numbers = np.ndarray[Any, Any]


class Kind(NamedTuple):
    """`make` gives an array with these values; `read` says what it has.  A text: the words of the UsageError."""

    make: Callable[[Numbers], Any]
    dtype: Any = "f8"
    read: Callable[[Any], Numbers] = np.asarray
    as_input: str = ""
    as_output: str = ""
    in_reductions: str = ""
    shape: tuple[int, ...] = (2, 3)


class Interface:
    """Has nothing but numpy's array interface."""

    def __init__(self, x: Numbers, writable: bool = True) -> None:
        self.x = x
        self.__array_interface__ = {**x.__array_interface__, "data": (x.ctypes.data, not writable)}


class InterfaceStruct:
    """The same by its other protocol."""

    def __init__(self, x: Numbers) -> None:
        self.x = x

    @property
    def __array_struct__(self) -> Any:
        return self.x.__array_struct__


def unaligned(x: Numbers) -> Numbers:
    """One byte behind a place for any type."""
    raw = np.zeros(x.nbytes + 65, np.uint8)
    start = -raw.ctypes.data % 64 + 1
    y = raw[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


def with_gaps(x: Numbers) -> Numbers:
    wide = np.zeros((x.shape[0], 2 * x.shape[1]), x.dtype)
    wide[:, ::2] = x
    return wide[:, ::2]


def read_only(x: Numbers) -> Numbers:
    x = x.copy()
    x.flags.writeable = False
    return x


def mapped(x: Numbers) -> mmap.mmap:
    memory = mmap.mmap(-1, x.nbytes)
    memory[:] = x.tobytes()
    return memory


def typed(code: int, bits: int, **more: Any) -> Callable[[Numbers], Lender]:
    return lambda x: Lender(bytearray(x.tobytes()), x.shape, code, bits, **more)


def lent(dtype: Any, shape: tuple[int, ...] = (2, 3)) -> Callable[[Lender], Numbers]:
    return lambda tensor: np.frombuffer(bytes(tensor.data), dtype).reshape(shape)


def c_array(x: Numbers) -> Any:
    return (ctypes.c_double * x.size)(*x.ravel().tolist())


RECORD = np.dtype([("a", "i4"), ("b", "f8")])
NO_OBJECT = "objects cannot be sent as they lie"
GAPS = "is not contiguous: its elements must follow each other in C order"
MASK = "is a masked array, whose mask would be lost"
TORCH_LIKE = (lender.FLOAT, 64)

KINDS: dict[str, Kind] = {
    "numpy": Kind(np.array),
    "0-d": Kind(np.array, shape=()),
    "empty": Kind(np.array, shape=(0, 3)),
    "one of many axes": Kind(np.array, shape=(1,) * 30),
    "Fortran": Kind(np.asfortranarray, as_output=GAPS),
    "Fortran of one row": Kind(np.asfortranarray, shape=(1, 6)),
    "gaps": Kind(with_gaps, as_output=GAPS),
    "reversed": Kind(lambda x: x[::-1].copy()[::-1], as_output=GAPS),
    "transposed": Kind(lambda x: x.T.copy().T, as_output=GAPS),
    "big-endian": Kind(lambda x: x.astype(">f8"), as_output="has dtype >f8, which is not in this machine's byte order"),
    "read-only": Kind(read_only, as_output="is read-only"),
    "broadcast": Kind(lambda x: np.broadcast_to(x[:1] * 0 + 1, x.shape), as_output="is read-only"),
    "unaligned": Kind(unaligned),
    "structured": Kind(lambda x: x.astype(RECORD), RECORD, in_reductions="dtype"),
    "structured big-endian": Kind(
        lambda x: x.astype(RECORD.newbyteorder(">")),
        RECORD,
        as_output="not in this machine's byte order",
        in_reductions="dtype",
    ),
    "objects": Kind(lambda x: x.astype(object), object, as_input=NO_OBJECT, as_output=NO_OBJECT, in_reductions="objec"),
    "structured with objects": Kind(
        lambda x: x.astype([("a", object)]), object, as_input=NO_OBJECT, as_output=NO_OBJECT, in_reductions="objec"
    ),
    "complex": Kind(lambda x: x.astype("c16"), "c16", in_reductions="x has dtype complex128; it must be one of"),
    "dates": Kind(lambda x: x.astype("M8[s]"), "M8[s]", in_reductions="x has dtype datetime64"),
    "text": Kind(lambda x: x.astype("U4"), "U4", in_reductions="x has dtype <U4"),
    "long double": Kind(lambda x: x.astype("g"), "g", in_reductions="x has dtype"),
    "masked": Kind(np.ma.masked_array, as_input=MASK, as_output=MASK, in_reductions=MASK),
    "matrix": Kind(lambda x: x.view(np.matrix)),
    "record array": Kind(lambda x: x.astype(RECORD).view(np.recarray), RECORD, in_reductions="dtype"),
    "memory-mapped numpy": Kind(lambda x: np.frombuffer(mapped(x), "f8").reshape(x.shape)),
    "float16": Kind(lambda x: x.astype("f2"), "f2"),
    "bfloat16": Kind(lambda x: x.astype(ml_dtypes.bfloat16), ml_dtypes.bfloat16),
    "float8": Kind(lambda x: x.astype(ml_dtypes.float8_e4m3fn), ml_dtypes.float8_e4m3fn, in_reductions="float8_e4m3fn"),
    "longs": Kind(lambda x: x.astype("l"), "i8"),
    "long longs": Kind(lambda x: x.astype("q"), "i8"),
    "array interface": Kind(lambda x: Interface(x.copy()), read=lambda obj: obj.x),
    "array interface, read-only": Kind(lambda x: Interface(x.copy(), False), as_output="is read-only"),
    "array interface, gaps": Kind(lambda x: Interface(with_gaps(x)), read=lambda obj: obj.x, as_output=GAPS),
    "array struct": Kind(lambda x: InterfaceStruct(x.copy()), read=lambda obj: obj.x),
    "bytes": Kind(lambda x: x.tobytes(), "u1", lambda obj: np.frombuffer(obj, "u1"), "", "is read-only", "", (48,)),
    "bytearray": Kind(lambda x: bytearray(x.tobytes()), "u1", lambda obj: np.frombuffer(bytes(obj), "u1"), shape=(48,)),
    "memoryview": Kind(lambda x: memoryview(x.copy())),
    "memoryview, read-only": Kind(lambda x: memoryview(read_only(x)), as_output="is read-only"),
    "memoryview, gaps": Kind(lambda x: memoryview(x.repeat(2))[::2], shape=(6,), as_output=GAPS),
    "memoryview of characters": Kind(
        lambda x: memoryview(bytearray(x.tobytes())).cast("c"),
        "u1",
        lambda obj: np.frombuffer(bytes(obj), "u1"),
        in_reductions="dtype",
        shape=(48,),
    ),
    "array.array": Kind(lambda x: array.array("d", x.tolist()), shape=(6,)),
    "mmap": Kind(mapped, "u1", lambda obj: np.frombuffer(bytes(obj), "u1"), shape=(48,)),
    "ctypes array": Kind(c_array, shape=(6,)),
    "ctypes pointers": Kind(
        lambda _: (ctypes.c_void_p * 6)(),
        as_input="numpy does not understand",
        as_output="numpy does not understand",
        in_reductions="numpy does not understand",
    ),
    "numpy scalar": Kind(lambda x: x[()], as_output="is read-only", shape=()),
    "DLPack": Kind(typed(*TORCH_LIKE), read=lent("f8")),
    "DLPack before 1.0": Kind(typed(*TORCH_LIKE, version=None), read=lent("f8")),
    "DLPack of version 2": Kind(
        typed(*TORCH_LIKE, version=(2, 0)), as_input="version 2", as_output="version 2", in_reductions="version 2"
    ),
    "DLPack of pinned memory": Kind(typed(*TORCH_LIKE, device=lender.CUDA_HOST), read=lent("f8")),
    "DLPack of a device": Kind(
        typed(*TORCH_LIKE, device=lender.CUDA), as_input="on a device", as_output="on a device", in_reductions="device"
    ),
    "DLPack with strides": Kind(typed(*TORCH_LIKE, strides=(3, 1)), read=lent("f8")),
    "DLPack with a stride of nothing": Kind(typed(*TORCH_LIKE, strides=(77, 1)), read=lent("f8", (1, 6)), shape=(1, 6)),
    "DLPack, read-only": Kind(typed(*TORCH_LIKE, read_only=True), read=lent("f8"), as_output="is read-only"),
    "DLPack of bfloat16": Kind(
        lambda x: typed(lender.BFLOAT, 16)(x.astype(ml_dtypes.bfloat16)), ml_dtypes.bfloat16, lent(ml_dtypes.bfloat16)
    ),
    "DLPack of float16": Kind(lambda x: typed(lender.FLOAT, 16)(x.astype("f2")), "f2", lent("f2")),
    "DLPack of uint32": Kind(lambda x: typed(lender.UINT, 32)(x.astype("u4")), "u4", lent("u4")),
    "DLPack of complex": Kind(
        lambda x: typed(lender.COMPLEX, 128)(x.astype("c16")), "c16", lent("c16"), in_reductions="complex128"
    ),
    "DLPack of vectors": Kind(
        typed(lender.FLOAT, 64, lanes=4), as_input="float64x4", as_output="float64x4", in_reductions="float64x4"
    ),
    "list of numbers": Kind(
        lambda _: [1.0], as_input=r"is list|\[0\] is float", as_output=r"is list|\[0\] is float", in_reductions="list"
    ),
    "nothing": Kind(lambda _: None, as_input="is NoneType", as_output="is NoneType", in_reductions="is NoneType"),
    "text of Python": Kind(lambda _: "text", as_input="is str", as_output="is str", in_reductions="is str"),
    "number of Python": Kind(lambda _: 3.5, as_input="is float", as_output="is float", in_reductions="is float"),
}


def numbers(kind: Kind, rank: int) -> Numbers:
    """Small whole ones, which all types hold exactly, and so do their sums."""
    if kind.shape == (48,):  # its bytes are what counts
        return np.arange(6.0) + rank
    return (np.arange(np.prod(kind.shape, dtype=int)) % 5 + rank).astype("f8").reshape(kind.shape)


def plain(kind: Kind, rank: int) -> Numbers:
    """What an array of this kind should hold, as the simplest array there is."""
    x = numbers(kind, rank)
    if kind.shape == (48,):
        return np.frombuffer(x.tobytes(), "u1").copy()
    if kind is KINDS["broadcast"]:
        x = np.ones(x.shape)
    return x.astype(kind.dtype)


def same(x: Any, y: Numbers) -> bool:
    x = np.asarray(x)
    if x.dtype.byteorder == ">" or (x.dtype.names and not x.dtype.isnative):
        x = x.astype(x.dtype.newbyteorder("="))
    return x.shape == y.shape and bool((x.tolist() == y.tolist()) if x.dtype.hasobject else x.tobytes() == y.tobytes())


def sent(comm: nx.Comm) -> int:
    messages: int = comm.stats()["transports"]["quic"]["messages_sent"]
    return messages


# What each call does with an array of the kind, and what must come of it.  All run on both ranks of a pair.
def send(comm: nx.Comm, kind: Kind) -> None:
    got = plain(kind, 9)
    op = comm.nb.send(kind.make(numbers(kind, comm.rank)), 1 - comm.rank)
    assert comm.recv(got, 1 - comm.rank).nbytes == got.nbytes
    op.wait()
    assert same(got, plain(kind, 1 - comm.rank))


def recv(comm: nx.Comm, kind: Kind) -> None:
    out = kind.make(numbers(kind, 3))
    op = comm.nb.recv(out, 1 - comm.rank)
    comm.send(plain(kind, comm.rank), 1 - comm.rank)
    op.wait()
    assert same(kind.read(out), plain(kind, 1 - comm.rank))


def broadcast_root(comm: nx.Comm, kind: Kind) -> None:
    x = kind.make(numbers(kind, 2)) if comm.rank == 0 else plain(kind, 9)
    assert comm.broadcast(x) is x
    assert comm.rank == 0 or same(x, plain(kind, 2))


def broadcast_leaf(comm: nx.Comm, kind: Kind) -> None:
    x = kind.make(numbers(kind, 3)) if comm.rank == 1 else plain(kind, 1)
    assert comm.broadcast(x) is x
    assert comm.rank == 0 or same(kind.read(x), plain(kind, 1))


def all_gather(comm: nx.Comm, kind: Kind) -> None:
    y = comm.all_gather(kind.make(numbers(kind, comm.rank)))
    assert same(y, np.stack([plain(kind, 0), plain(kind, 1)]))


def all_reduce(comm: nx.Comm, kind: Kind) -> None:
    y = comm.all_reduce(kind.make(numbers(kind, comm.rank)), "max")
    assert same(y, np.maximum(plain(kind, 0), plain(kind, 1)))


def all_reduce_out(comm: nx.Comm, kind: Kind) -> None:
    out = kind.make(numbers(kind, 3))
    assert comm.all_reduce(plain(kind, comm.rank), "max", out=out) is out
    assert same(kind.read(out), np.maximum(plain(kind, 0), plain(kind, 1)))


def all_reduce_in_place(comm: nx.Comm, kind: Kind) -> None:
    x = kind.make(numbers(kind, comm.rank))
    assert comm.all_reduce(x, "max", out=x) is x
    assert same(kind.read(x), np.maximum(plain(kind, 0), plain(kind, 1)))


def reduce_scatter(comm: nx.Comm, kind: Kind) -> None:
    if kind.shape == () or kind.shape[0] != comm.size:
        with pytest.raises(nx.UsageError, match="its first axis must be 2"):
            comm.reduce_scatter(kind.make(numbers(kind, 0)), "max")
        return
    y = comm.reduce_scatter(kind.make(numbers(kind, comm.rank)), "max")
    assert same(y, np.maximum(plain(kind, 0), plain(kind, 1))[comm.rank])


READS: list[Callable[[nx.Comm, Kind], None]] = [send, broadcast_root, all_gather]
WRITES: list[Callable[[nx.Comm, Kind], None]] = [recv, broadcast_leaf]
REDUCES: list[Callable[[nx.Comm, Kind], None]] = [all_reduce, reduce_scatter]
REDUCES_INTO: list[Callable[[nx.Comm, Kind], None]] = [all_reduce_out, all_reduce_in_place]


def words_for(call: Callable[[nx.Comm, Kind], None], kind: Kind) -> str:
    """Of the error; empty if it must work."""
    if call in READS:
        return kind.as_input
    if call in WRITES:
        return kind.as_output
    if call in REDUCES:
        return kind.as_input or kind.in_reductions
    return kind.in_reductions or kind.as_output


@pytest.mark.parametrize("call", [*READS, *WRITES, *REDUCES, *REDUCES_INTO], ids=lambda call: call.__name__)
@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_arrays(cluster: Cluster, name: str, call: Callable[[nx.Comm, Kind], None]) -> None:
    kind = KINDS[name]
    words = words_for(call, kind)
    comms = cluster(2)
    if not words:
        comms.run(call, kind)
        return
    # The rank that makes the mistake is alone with it: the other has not called anything yet.
    comm = comms[1] if call is broadcast_leaf else comms[0]
    before = sent(comm)
    bad = kind.make(numbers(kind, 0))
    good = np.zeros(1)
    calls: dict[Any, Callable[[], object]] = {
        send: lambda: comm.send(bad, 1),
        recv: lambda: comm.recv(bad, 1),
        broadcast_root: lambda: comm.broadcast(bad, 0),
        broadcast_leaf: lambda: comm.broadcast(bad, 0),
        all_gather: lambda: comm.all_gather(bad),
        all_reduce: lambda: comm.all_reduce(bad),
        reduce_scatter: lambda: comm.reduce_scatter(bad),
        all_reduce_out: lambda: comm.all_reduce(plain(kind, 0) if not kind.in_reductions else bad, out=bad),
        all_reduce_in_place: lambda: comm.all_reduce(bad, out=bad),
    }
    with pytest.raises(nx.UsageError, match=words):
        calls[call]()
    assert sent(comm) == before
    comms.run(lambda comm: comm.all_reduce(good))


# ------------------------------------------------------------------------------------------------------------------ out
OUT: dict[str, tuple[Callable[[], tuple[Any, Any]], str]] = {
    "shape": (lambda: (np.zeros((2, 3)), np.zeros((3, 2))), r"out has shape \(3, 2\) and x \(2, 3\)"),
    "axes": (lambda: (np.zeros(6), np.zeros((1, 6))), r"out has shape \(1, 6\) and x \(6,\)"),
    "0-d and one": (lambda: (np.zeros(()), np.zeros(1)), "shape"),
    "dtype": (lambda: (np.zeros(6), np.zeros(6, "f4")), "out has dtype float32 and x float64"),
    "sign": (lambda: (np.zeros(6, "i4"), np.zeros(6, "u4")), "dtype"),
    "bool and byte": (lambda: (np.zeros(6, "?"), np.zeros(6, "u1")), "dtype"),
    "libraries": (lambda: (np.zeros(6), Lender(bytearray(24), (6,), lender.FLOAT, 32)), "out has dtype float32"),
    "gaps": (lambda: (np.zeros(6), np.zeros(12)[::2]), "out is not contiguous"),
    "read-only": (lambda: (np.zeros(6), read_only(np.zeros(6))), "out is read-only"),
    "scalar": (lambda: (np.float64(1), np.float64(1)), "out is read-only"),
    "half": (lambda: (BUFFER[:6], BUFFER[3:9]), "overlap"),
    "one": (lambda: (BUFFER[:6], BUFFER[5:11]), "overlap"),
    "before": (lambda: (BUFFER[6:], BUFFER[1:7]), "overlap"),
    "in bytes": (lambda: (BUFFER[:6], BUFFER.view("u1")[4:52].view("f8")), "overlap"),
}
BUFFER = np.zeros(12)


@pytest.mark.parametrize("call", ["all_reduce", "reduce", "scan", "exclusive_scan"])
@pytest.mark.parametrize("name", OUT)
def test_c11_out_is_checked(cluster: Cluster, name: str, call: str) -> None:
    make, words = OUT[name]

    def body(comm: nx.Comm) -> None:
        x, out = make()
        before = sent(comm)
        more = {"root": comm.rank} if call == "reduce" else {}
        with pytest.raises(nx.UsageError, match=words):
            getattr(comm, call)(x, out=out, **more)
        assert sent(comm) == before

    cluster(2).run(body)
    cluster(2).run(lambda comm: comm.barrier())


def test_neighbours_do_not_overlap(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        x = np.arange(12.0)
        comm.all_reduce(x[:6], out=x[6:])
        assert x.tolist() == [0, 1, 2, 3, 4, 5, 0, 2, 4, 6, 8, 10]
        y = np.arange(6.0)
        comm.all_reduce(y[::-1], out=y)  # a copy of what lies backwards goes in
        assert y.tolist() == [10, 8, 6, 4, 2, 0]

    cluster(2).run(body)


# ------------------------------------------------------------------------------------------------- tensors, no copies
def test_tensors_are_lent_and_come_back(cluster: Cluster) -> None:
    def body(comm: nx.Comm) -> None:
        x = Lender(bytearray(np.arange(1_000.0).tobytes()), (10, 100), strides=(100, 1))
        out = Lender(bytearray(8_000 + 16), (10, 100), byte_offset=16)
        assert comm.all_reduce(x, out=out) is out
        assert (np.frombuffer(bytes(out.data[16:])) == 2 * np.arange(1_000)).all()
        assert bytes(out.data[:16]) == bytes(16)
        op = comm.nb.recv(x, 1 - comm.rank)
        assert x.lent == 1  # as long as C may write into it
        comm.send(out, 1 - comm.rank)
        op.wait()
        del op
        gc.collect()
        assert (x.lent, out.lent) == (0, 0)
        assert bytes(x.data) == bytes(out.data[16:])

    cluster(2).run(body)


def test_result_for_a_tensor_is_an_array_or_a_tensor(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of torch it is a tensor; here stands something else for torch, which is not needed to know that."""

    class Tensor(Lender):
        shape = (6,)
        dtype = "its bfloat16"

    def empty(shape: tuple[int, ...], dtype: str) -> Tensor:
        assert (shape, dtype) == ((6,), "its bfloat16")
        return Tensor(bytearray(12), shape, lender.BFLOAT, 16)

    expected = (np.arange(6) * 2).astype(ml_dtypes.bfloat16)

    def body(comm: nx.Comm) -> None:
        data = np.arange(6).astype(ml_dtypes.bfloat16).tobytes()
        y = comm.all_reduce(Lender(bytearray(data), (6,), lender.BFLOAT, 16))
        assert y.dtype == ml_dtypes.bfloat16
        assert same(y, expected)
        monkeypatch.setitem(__import__("sys").modules, "torch", SimpleNamespace(Tensor=Tensor, empty=empty))
        z = comm.all_reduce(Tensor(bytearray(data), (6,), lender.BFLOAT, 16))
        assert isinstance(z, Tensor)
        assert bytes(z.data) == expected.tobytes()

    cluster(2).run(body)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "bfloat16"])
def test_unaligned_memory_reduces_to_the_same(cluster: Cluster, dtype: str) -> None:
    """At every offset within a cache line, of both arrays."""
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)

    def body(comm: nx.Comm) -> None:
        expected = (np.arange(67) % 3 * 2 + 1).astype(kind)
        for offset in range(0, 64, 3):
            raw = np.zeros(1_400, np.uint8)
            x, out = (raw[at : at + expected.nbytes].view(kind) for at in (offset, 700 + (offset * 7 + 1) % 64))
            x[:] = (np.arange(67) % 3 + comm.rank).astype(kind)
            comm.all_reduce(x, out=out)
            assert same(out, expected)
            comm.all_reduce(x, out=x)
            assert same(x, expected)

    cluster(2).run(body)
