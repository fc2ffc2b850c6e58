"""Arrays as C sees them: address, count and type of the elements, and what must stay alive meanwhile.

Takes numpy arrays, whatever has the buffer protocol or numpy's array interface, and whatever DLPack can lend that lies
in the host's memory (torch tensors).  Nothing is copied but an input that C cannot read as it lies: one with gaps or in
the other byte order.
"""

from __future__ import annotations

import math
import sys
from ctypes import addressof, c_char
from weakref import finalize

from pynexar import errors

from . import _api, dlpack
from .call import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

NO_CODE = -1

_NAMES = [
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int8",
    "int32",
    "int64",
    "uint8",
    "uint32",
    "uint64",
    "int16",
    "uint16",
    "bool",
]  # in C's order
_CODES: dict[str, int] = {name: getattr(_api, "NEXAR_" + name.upper()) for name in _NAMES}
_OPS = {
    name: getattr(_api, "NEXAR_" + name.upper()) for name in ["sum", "prod", "min", "max", "avg", "band", "bor", "bxor"]
}
_UFUNCS = {
    "add": "sum",
    "multiply": "prod",
    "minimum": "min",
    "maximum": "max",
    "bitwise_and": "band",
    "bitwise_or": "bor",
    "bitwise_xor": "bxor",
}
_codes: dict[Any, int] = {}  # numpy dtype: code; filled as they come


class View:
    """A piece of memory that C may use as long as `keep` is alive."""

    __slots__ = ("address", "code", "count", "dtype", "keep", "nbytes", "shape")

    def __init__(
        self, address: int, nbytes: int, count: int, code: int, shape: tuple[int, ...], dtype: Any, keep: Any
    ) -> None:
        self.address = address
        self.nbytes = nbytes
        self.count = count
        self.code = code  # nexar_dtype, or NO_CODE
        self.shape = shape
        self.dtype = dtype  # numpy's or DLPack's, to compare and to name
        self.keep = keep


def numpy_module() -> Any:
    """numpy, which is imported when the first array that needs it comes."""
    module = sys.modules.get("numpy")
    if module is None:
        import numpy as module
    return module


def reduce_op(op: Any, call: str) -> int:
    """nexar_reduce_op for a name, or for one of numpy's ufuncs.

    Raises:
        UsageError: neither.
    """
    name: Any = op if isinstance(op, str) else _UFUNCS.get(getattr(op, "__name__", ""))
    code = _OPS.get(name)
    if code is None:
        usage(f"op is {op!r}; it must be one of {', '.join(_OPS)}", call)
    return int(code)


def source(x: Any, name: str, call: str) -> View:
    """An array to read from; a copy of it where that is needed.

    Raises:
        UsageError: no array, or of a type without a fixed size.
    """
    np = sys.modules.get("numpy")
    if np is None or not isinstance(x, np.ndarray):
        if hasattr(x, "__dlpack__") and not _is_numpy_scalar(x):
            return _from_dlpack(x, name, call, writable=False)
        x = _from_buffer(x, name, call)
    _check_whole(x, name, call)
    if not x.flags.c_contiguous or not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="), order="C", copy=True)
    return _view(x, name, call)


def target(x: Any, name: str, call: str) -> View:
    """An array to write into.

    Raises:
        UsageError: no array, or one that C cannot write into as it lies.
    """
    np = sys.modules.get("numpy")
    if np is None or not isinstance(x, np.ndarray):
        if hasattr(x, "__dlpack__") and not _is_numpy_scalar(x):
            return _from_dlpack(x, name, call, writable=True)
        x = _from_buffer(x, name, call)
    _check_whole(x, name, call)
    flags = x.flags
    if not flags.writeable:
        usage(f"{name} is read-only", call)
    if not flags.c_contiguous:
        usage(f"{name} is not contiguous: its elements must follow each other in C order", call)
    if not x.dtype.isnative:
        usage(f"{name} has dtype {x.dtype}, which is not in this machine's byte order", call)
    return _view(x, name, call)


def lies(x: Any, name: str, call: str) -> None:
    """Raises:
    UsageError: source() would have to copy it.
    """
    if isinstance(x, (list, tuple)):
        usage(f"{name} is a list; a call that is prepared takes one array", call)
    np = sys.modules.get("numpy")
    if np is not None and isinstance(x, np.ndarray):
        fine = x.flags.c_contiguous and x.dtype.isnative
    else:
        view = source(x, name, call)
        fine = view.nbytes == 0 or view.address == source(x, name, call).address
    if not fine:
        usage(
            f"{name} is not contiguous or not in this machine's byte order; a call that is prepared reads it anew", call
        )


def pieces(view: Callable[[Any, str, str], View], x: Any, name: str, call: str) -> list[View]:
    """An array, or each of a list of them, by source() or target().

    Raises:
        UsageError: as those.
    """
    if not isinstance(x, (list, tuple)):
        return [view(x, name, call)]
    return [view(part, f"{name}[{i}]", call) for i, part in enumerate(x)]


def apart(x: View, y: View, x_name: str, y_name: str, call: str) -> None:
    """Raises:
    UsageError: they share memory.
    """
    if x.address < y.address + y.nbytes and y.address < x.address + x.nbytes and x.nbytes and y.nbytes:
        usage(f"{x_name} and {y_name} overlap; they must be apart", call)


def like(x: Any, view: View, call: str, shape: tuple[int, ...] | None = None) -> Any:
    """A new array of the dtype of `x`, and of its shape or another: a tensor for a torch tensor, else numpy's."""
    shape = view.shape if shape is None else shape
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return torch.empty(shape, dtype=x.dtype)
    np = numpy_module()
    if isinstance(view.dtype, np.dtype):
        return np.empty(shape, view.dtype)
    if view.code == _api.NEXAR_BFLOAT16:
        return np.empty(shape, _bfloat16(call))
    return np.empty(shape, view.dtype)


def named(name: str, shape: tuple[int, ...], call: str) -> Any:
    """A new numpy array of a type that name_of() named."""
    return numpy_module().empty(shape, _bfloat16(call) if name == "bfloat16" else name)


def lent(shape: Any, dtype: Any, call: str, allocate: Callable[[int], int], free: Callable[[int], None]) -> Any:
    """A new numpy array in memory that C allocates, by its number of bytes, and that is freed with the last view of it.

    Raises:
        UsageError: as Comm.alloc(); and what `allocate` raises.
    """
    np = numpy_module()
    try:
        kind = np.dtype(_bfloat16(call) if dtype == "bfloat16" else dtype)
        count = math.prod(shape if isinstance(shape, tuple) else (shape := tuple(np.atleast_1d(shape).tolist())))
    except TypeError as error:
        usage(f"shape {shape!r} or dtype {dtype!r} is none: {error}", call)
    if kind.hasobject or kind.itemsize == 0 or not isinstance(count, int) or min(shape, default=0) < 0:
        usage(f"there is no array of shape {shape!r} and dtype {dtype!r} whose elements have a fixed size", call)
    if count == 0:
        return np.zeros(shape, kind)
    nbytes = count * kind.itemsize
    if nbytes > sys.maxsize:
        raise errors.ResourceError(f"{call}: {count} elements of {kind} are more than memory can hold", op=call)
    address = allocate(nbytes)
    memory = (c_char * nbytes).from_address(address)
    finalize(memory, free, address).atexit = False  # views of it may live as long as the process
    return np.frombuffer(memory, kind, count).reshape(shape)


def name_of(code: int) -> str:
    """What a nexar_dtype is called."""
    return next(name for name in _NAMES if _CODES[name] == code)


def same(x: View, y: View, x_name: str, y_name: str, call: str) -> None:
    """Raises:
    UsageError: shape or dtype differ.
    """
    if x.shape != y.shape:
        usage(f"{y_name} has shape {y.shape} and {x_name} {x.shape}; they must be the same", call)
    if x.code != y.code or (x.code == NO_CODE and str(x.dtype) != str(y.dtype)):
        usage(f"{y_name} has dtype {y.dtype} and {x_name} {x.dtype}; they must be the same", call)


def fits(view: View, shape: tuple[int, ...], x: View, name: str, call: str) -> None:
    """Raises:
    UsageError: not of this shape, or of another dtype than x.
    """
    if view.shape != shape:
        usage(f"{name} has shape {view.shape}; it must be {shape}", call)
    if view.code != x.code or (view.code == NO_CODE and str(view.dtype) != str(x.dtype)):
        usage(f"{name} has dtype {view.dtype} and x {x.dtype}; they must be the same", call)


def known(view: View, name: str, call: str) -> int:
    """nexar_dtype of an array whose elements the library must understand.

    Raises:
        UsageError: it has another type.
    """
    if view.code == NO_CODE:
        usage(f"{name} has dtype {view.dtype}; it must be one of {', '.join(_NAMES)}", call)
    return view.code


def _is_numpy_scalar(x: Any) -> bool:
    np = sys.modules.get("numpy")
    return np is not None and isinstance(x, np.generic)


def _bfloat16(call: str) -> Any:
    try:
        import ml_dtypes
    except ImportError:
        usage("numpy has no bfloat16 of its own: install ml_dtypes, or give out=", call)
    return ml_dtypes.bfloat16


def _from_buffer(x: Any, name: str, call: str) -> Any:
    lent: Any = x
    if _is_numpy_scalar(x) or not (hasattr(x, "__array_interface__") or hasattr(x, "__array_struct__")):
        try:
            lent = memoryview(x)
        except TypeError:
            usage(
                f"{name} is {type(x).__name__}; it must be a numpy array, or have the buffer protocol or DLPack "
                "(numpy.asarray makes an array of it)",
                call,
            )
    try:
        return numpy_module().asarray(lent)
    except (TypeError, ValueError) as error:
        usage(f"{name} is {type(x).__name__}, whose elements numpy does not understand: {error}", call)


def _check_whole(x: Any, name: str, call: str) -> None:
    """An array that is more than its elements."""
    if hasattr(x, "mask") and isinstance(x, numpy_module().ma.MaskedArray):
        usage(f"{name} is a masked array, whose mask would be lost: give {name}.filled(...) or {name}.data", call)


def _view(x: Any, name: str, call: str) -> View:
    dtype = x.dtype
    code = _codes.get(dtype)
    if code is None:
        if dtype.hasobject:
            usage(f"{name} has dtype {dtype}: objects cannot be sent as they lie", call)
        code = _codes[dtype] = _CODES.get(dtype.name, NO_CODE)
    nbytes = x.nbytes
    if nbytes == 0:
        return View(0, 0, x.size, code, x.shape, dtype, None)
    if x.flags.writeable:
        try:
            keep = c_char.from_buffer(x)
            return View(addressof(keep), nbytes, x.size, code, x.shape, dtype, keep)
        except (ValueError, BufferError):  # a dtype that the buffer protocol cannot name, such as bfloat16
            pass
    return View(x.ctypes.data, nbytes, x.size, code, x.shape, dtype, x)


def _from_dlpack(x: Any, name: str, call: str, *, writable: bool) -> View:
    try:
        lent = dlpack.Tensor(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        usage(f"{name} cannot be lent by DLPack: {error}", call)
    if not lent.on_host:
        usage(f"{name} lies on a device (DLPack's type {lent.device}); copy it to the host first", call)
    if writable and lent.read_only:
        usage(f"{name} is read-only", call)
    if not lent.contiguous:
        if writable:
            usage(f"{name} is not contiguous: its elements must follow each other in C order", call)
        if not hasattr(x, "contiguous"):
            return source(numpy_module().from_dlpack(x), name, call)
        return _from_dlpack(x.contiguous(), name, call, writable=False)
    code = _CODES.get(lent.dtype, NO_CODE)
    return View(lent.address if lent.nbytes else 0, lent.nbytes, lent.count, code, lent.shape, lent.dtype, lent)
