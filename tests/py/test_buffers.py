"""Arrays as C gets them: no copy where none is needed; a UsageError that names the argument where C cannot use it."""

from __future__ import annotations

import array
import ctypes
import gc
import mmap
import sys
import weakref
from typing import Any

import numpy as np
import pytest

from pynexar._ffi import _api, buffer
from pynexar.errors import UsageError


class Lender:
    """Lends a numpy array by DLPack alone, as a tensor of another library does."""

    def __init__(self, x: np.ndarray[Any, Any], *, versioned: bool = True, device: int | None = None) -> None:
        self.x = x
        self.versioned = versioned
        self.device = device

    def __dlpack__(self, **arguments: Any) -> Any:
        if not self.versioned:
            if arguments:
                raise TypeError("unexpected keyword argument 'max_version'")
            return self.x.__dlpack__()
        return self.x.__dlpack__(**arguments)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def memory_of(view: buffer.View) -> bytes:
    return ctypes.string_at(view.address, view.nbytes)


DTYPES = [
    *("float16", "float32", "float64", "bool"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (7,), (2, 3, 4), (3, 0)])
def test_numpy_is_not_copied(dtype: str, shape: tuple[int, ...]) -> None:
    x = np.ones(shape, dtype)
    for view in (buffer.source(x, "x", "f"), buffer.target(x, "x", "f")):
        assert view.address == (x.ctypes.data if x.size else 0)
        assert (view.nbytes, view.count, view.shape) == (x.nbytes, x.size, x.shape)
        assert view.code == getattr(_api, "NEXAR_" + dtype.upper())


def test_c_longs_of_the_same_size_are_the_same() -> None:
    """numpy has two types of 64 bits that differ by name alone."""
    codes = {buffer.source(np.zeros(1, char), "x", "f").code for char in ("l", "q")}
    assert codes == {_api.NEXAR_INT64}


def test_bfloat16_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.arange(5).astype(ml_dtypes.bfloat16)
    for view in (buffer.source(x, "x", "f"), buffer.target(x, "x", "f")):
        assert view.code == _api.NEXAR_BFLOAT16
        assert view.address == x.ctypes.data
    assert buffer.like(x, buffer.source(x, "x", "f"), "f").dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    "x",
    [bytearray(b"abcdefgh"), memoryview(bytearray(b"abcdefgh")), array.array("f", [1, 2]), (ctypes.c_int16 * 4)(1, 2)],
    ids=lambda x: type(x).__name__,
)
def test_buffer_protocol_is_not_copied(x: Any) -> None:
    target = buffer.target(x, "out", "f")
    assert memory_of(buffer.source(x, "x", "f")) == memory_of(target) == bytes(memoryview(x))
    ctypes.memset(target.address, 0, target.nbytes)
    assert bytes(memoryview(x)) == bytes(8)


def test_buffer_protocol_tells_the_type() -> None:
    assert buffer.source(array.array("d", [1.0]), "x", "f").code == _api.NEXAR_FLOAT64
    assert buffer.source(b"abc", "x", "f").code == _api.NEXAR_UINT8
    assert buffer.source(np.float32(3), "x", "f").shape == ()


def test_memory_map_can_be_sent() -> None:
    with mmap.mmap(-1, 4096) as x:
        x[:4] = b"nexa"
        view = buffer.source(x, "x", "f")
        assert memory_of(view)[:4] == b"nexa"
        del view


@pytest.mark.parametrize("versioned", [True, False])
def test_dlpack_is_not_copied(versioned: bool) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    lender = Lender(x, versioned=versioned)
    for view in (buffer.source(lender, "x", "f"), buffer.target(lender, "x", "f")):
        assert view.address == x.ctypes.data
        assert (view.nbytes, view.count, view.shape, view.code) == (48, 12, (3, 4), _api.NEXAR_FLOAT32)
    assert buffer.source(Lender(x[1:]), "x", "f").address == x[1:].ctypes.data


@pytest.mark.parametrize("dtype", DTYPES)
def test_dlpack_types(dtype: str) -> None:
    view = buffer.source(Lender(np.zeros((2, 0), dtype)), "x", "f")
    assert view.code == getattr(_api, "NEXAR_" + dtype.upper())
    assert (view.address, view.nbytes, view.count) == (0, 0, 0)


def test_dlpack_is_given_back() -> None:
    x = np.zeros(100)
    before = sys.getrefcount(x)
    view = buffer.source(Lender(x), "x", "f")
    assert sys.getrefcount(x) > before
    del view
    gc.collect()
    assert sys.getrefcount(x) == before


def test_dlpack_with_gaps_is_copied_in_and_refused_out() -> None:
    x = np.arange(10.0)[::2]
    view = buffer.source(Lender(x), "x", "f")
    assert memory_of(view) == x.tobytes()
    with pytest.raises(UsageError, match="f: out is not contiguous"):
        buffer.target(Lender(x), "out", "f")


def test_dlpack_read_only_is_refused_out() -> None:
    x = np.zeros(3)
    x.flags.writeable = False
    try:
        Lender(x).__dlpack__(max_version=(1, 0))
    except (BufferError, TypeError):
        pytest.skip("this numpy does not lend what is read-only")
    with pytest.raises(UsageError, match="f: out is read-only"):
        buffer.target(Lender(x), "out", "f")
    assert buffer.source(Lender(x), "x", "f").nbytes == 24


def test_dlpack_that_is_refused_says_why() -> None:
    class Stubborn:
        def __dlpack__(self, **_: Any) -> Any:
            raise BufferError("Can't export tensors that require gradient")

    with pytest.raises(UsageError, match=r"f: x cannot be lent by DLPack: .* require gradient"):
        buffer.source(Stubborn(), "x", "f")


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    view = buffer.source(x, "x", "f")
    assert (view.address, view.code, view.shape) == (x.data_ptr(), _api.NEXAR_BFLOAT16, (2, 3))
    assert buffer.like(x, view, "f").dtype is torch.bfloat16
    assert memory_of(buffer.source(x.t(), "x", "f")) == memory_of(buffer.source(x.t().contiguous(), "x", "f"))
    with pytest.raises(UsageError, match="gradient"):
        buffer.source(torch.ones(3, requires_grad=True), "x", "f")


@pytest.mark.parametrize(
    "x",
    [
        np.arange(20.0).reshape(4, 5)[:, ::2],
        np.arange(6.0).reshape(2, 3).T,
        np.arange(5.0)[::-1],
        np.broadcast_to(np.float64(3), (4,)),
        np.arange(4, dtype=">f8"),
        np.array(3, dtype=">i4"),
    ],
    ids=["columns", "transposed", "reversed", "broadcast", "big-endian", "big-endian 0-d"],
)
def test_input_that_c_cannot_read_is_copied(x: np.ndarray[Any, Any]) -> None:
    native = np.array(x.tolist(), dtype=x.dtype.newbyteorder("="))
    view = buffer.source(x, "x", "f")
    assert memory_of(view) == native.tobytes()
    assert (view.shape, view.code) == (x.shape, buffer.source(native, "x", "f").code)


def read_only() -> np.ndarray[Any, Any]:
    x = np.zeros(3)
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (read_only(), "out is read-only"),
        (b"abc", "out is read-only"),
        (memoryview(b"abc"), "out is read-only"),
        (np.float32(1), "out is read-only"),
        (np.zeros((4, 4))[:, 1], "out is not contiguous"),
        (np.zeros((4, 4)).T[:2], "out is not contiguous"),
        (memoryview(bytearray(8))[::2], "out is not contiguous"),
        (np.zeros(3, ">f4"), "out has dtype >f4"),
        ("text", "out is str; it must be a numpy array"),
        (3.5, "out is float; it must be a numpy array"),
        ([1.0, 2.0], "out is list; it must be a numpy array"),
        (None, "out is NoneType; it must be a numpy array"),
        (np.array([object()]), "out has dtype object"),
        (np.zeros(2, [("a", "O")]), "objects cannot be sent"),
    ],
)
def test_output_that_c_cannot_write_is_refused(x: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"f: .*{words}"):
        buffer.target(x, "out", "f")


@pytest.mark.parametrize("x", ["text", 3.5, [1.0], None, np.array([object()])], ids=repr)
def test_input_that_is_no_array_is_refused(x: Any) -> None:
    with pytest.raises(UsageError, match="f: x "):
        buffer.source(x, "x", "f")


def test_type_that_the_library_does_not_know() -> None:
    view = buffer.source(np.zeros(3, np.complex64), "x", "f")
    assert (view.code, view.nbytes) == (buffer.NO_CODE, 24)  # its bytes can be sent
    with pytest.raises(UsageError, match="x has dtype complex64; it must be one of float32"):
        buffer.known(view, "x", "f")
    with pytest.raises(UsageError, match="datetime64"):
        buffer.known(buffer.source(np.zeros(3, "M8[s]"), "x", "f"), "x", "f")


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (np.zeros(3), np.zeros(4), r"out has shape \(4,\) and x \(3,\)"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "shape"),
        (np.zeros(()), np.zeros((1,)), "shape"),
        (np.zeros(3), np.zeros(3, np.float32), "out has dtype float32 and x float64"),
        (np.zeros(3, np.int32), np.zeros(3, np.uint32), "dtype"),
        (np.zeros(3, np.complex64), np.zeros(3, "M8[s]"), "dtype"),
    ],
)
def test_arrays_that_must_be_the_same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], words: str) -> None:
    views = [buffer.source(x, "x", "f") for x in (a, b)]
    with pytest.raises(UsageError, match=words):
        buffer.same(views[0], views[1], "x", "out", "f")
    buffer.same(views[0], views[0], "x", "out", "f")


def test_the_same_type_of_two_libraries_is_the_same() -> None:
    x = np.zeros((2, 2), np.float32)
    buffer.same(buffer.source(x, "x", "f"), buffer.source(Lender(x), "out", "f"), "x", "out", "f")


@pytest.mark.parametrize("op", ["sum", "prod", "min", "max", "avg", "band", "bor", "bxor"])
def test_names_of_operators(op: str) -> None:
    assert buffer.reduce_op(op, "f") == getattr(_api, "NEXAR_" + op.upper())


def test_ufuncs_as_operators() -> None:
    for ufunc, op in ((np.add, "sum"), (np.multiply, "prod"), (np.minimum, "min"), (np.maximum, "max")):
        assert buffer.reduce_op(ufunc, "f") == buffer.reduce_op(op, "f")
    assert buffer.reduce_op(np.bitwise_xor, "f") == _api.NEXAR_BXOR


@pytest.mark.parametrize("op", ["SUM", "mean", "", None, 0, np.subtract, sum, print])
def test_what_is_no_operator(op: Any) -> None:
    with pytest.raises(UsageError, match=r"op is .*; it must be one of sum, prod, min, max"):
        buffer.reduce_op(op, "f")


def test_a_view_keeps_its_memory_alive() -> None:
    x = np.arange(1000.0)
    died = weakref.ref(x)
    view = buffer.source(x, "x", "f")
    del x
    gc.collect()
    assert died() is not None
    assert memory_of(view) == np.arange(1000.0).tobytes()
    del view
    gc.collect()
    assert died() is None


def test_a_bytearray_cannot_shrink_while_c_has_it() -> None:
    x = bytearray(100)
    view = buffer.target(x, "out", "f")
    with pytest.raises(BufferError):
        x.clear()
    del view
    gc.collect()
    x.clear()
