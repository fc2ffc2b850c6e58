"""What collectives must give, by numpy: elements that depend on rank and index, reductions in the order of ranks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = (*FLOATS, *INTEGERS, "bool")
UFUNCS: dict[str, Any] = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}
BITWISE: dict[str, Any] = {"band": np.bitwise_and, "bor": np.bitwise_or, "bxor": np.bitwise_xor}
TRUTHS: dict[str, Any] = {
    "prod": np.logical_and,
    "min": np.logical_and,
    "band": np.logical_and,
    "max": np.logical_or,
    "bor": np.logical_or,
    "bxor": np.logical_xor,
}


def numpy_type(dtype: str) -> Any:
    if dtype != "bfloat16":
        return np.dtype(dtype)
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)


def ops_of(dtype: str) -> dict[str, Any]:
    """Every operator that a type has, by its ufunc; avg is a sum that average() finishes."""
    if dtype == "bool":
        return TRUTHS
    return UFUNCS | {"avg": np.add} | (BITWISE if dtype in INTEGERS else {})


def average(total: Array, n: int, dtype: str) -> Array:
    if dtype in INTEGERS:  # without the fraction
        return np.array([abs(int(x)) // n * (-1 if x < 0 else 1) for x in total.flat], dtype).reshape(total.shape)
    wide = np.float64 if dtype == "float64" else np.float32
    result: Array = (total.astype(wide) / wide(n)).astype(numpy_type(dtype))
    return result


@lru_cache(64)
def elements(rank: int, shape: tuple[int, ...], dtype: str) -> Array:
    """Different for each rank and index; sums of floats must be rounded, those of small integers wrap.  Not to be
    written to.
    """
    index = np.arange(int(np.prod(shape)), dtype=np.int64)
    mixed = (index * 2_654_435_761 + (rank + 1) * 40_503 + (index >> 3) * 97) % 251
    if dtype in FLOATS:
        return ((mixed - 120) / 37).astype(numpy_type(dtype)).reshape(shape)
    if dtype == "bool":
        return (mixed % 3 != 0).reshape(shape)
    return mixed.astype(dtype).reshape(shape)


@lru_cache(64)  # ranks that are threads need the same
def reduction(ranks: int, shape: tuple[int, ...], op: str, dtype: str) -> Array:
    """Of elements() of so many ranks, in their order, rounded at each step as the type does."""
    result = elements(0, shape, dtype)
    with np.errstate(all="ignore"):  # wrapping, overflow and NaN are meant
        for rank in range(1, ranks):
            result = ops_of(dtype)[op](result, elements(rank, shape, dtype))
        return average(result, ranks, dtype) if op == "avg" else result


def identity(op: str, dtype: str) -> Any:
    """The value that changes nothing."""
    kind = numpy_type(dtype)
    if dtype == "bool":
        return op in ("prod", "min", "band")
    if op in ("sum", "bor", "bxor"):
        return 0
    if op == "prod":
        return 1
    if op == "band":
        return -1 if dtype.startswith("int") else np.iinfo(kind).max
    sign = 1 if op == "min" else -1
    if dtype in FLOATS:
        return sign * np.inf
    return np.iinfo(kind).max if op == "min" else np.iinfo(kind).min


def equal(got: Array, expected: Array, what: str) -> None:
    """The same type, shape and bits, but that one NaN is like another."""
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape), what
    if got.dtype.kind == "V":  # bfloat16: numpy's test knows NaN in its own types alone
        got, expected = got.astype("f4"), expected.astype("f4")
    np.testing.assert_array_equal(got, expected, what, strict=True)
