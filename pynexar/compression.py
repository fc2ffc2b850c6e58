"""What travels in place of float32 elements: `compression=` of all_reduce.  Every rank gives an equal one."""

from __future__ import annotations

import math
import weakref
from ctypes import sizeof

from ._ffi import _api
from ._ffi.buffer import numpy_module
from ._ffi.call import index, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._ffi.buffer import View

__all__ = ["BFloat16", "Compression", "Float8", "Int8", "RandomK", "TopK"]


class Compression:
    """How an all_reduce of float32 by "sum" or "avg" sends fewer bytes."""

    _kind: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # ------------------------------------------------------------------------------------------- inside the package
    def begin(self, x: View, call: str) -> tuple[_api.nexar_compression, Any]:
        """For a call with this vector: what C gets, and what must stay alive until it is done.

        Raises:
            UsageError: it does not fit this vector, or is in use.
        """
        if x.code != _api.NEXAR_FLOAT32:
            usage(f"x has dtype {x.dtype}; sum and avg of float32 can be compressed, nothing else", call)
        size = sizeof(_api.nexar_compression)
        return _api.nexar_compression(size=size, kind=self._kind, **self._parameters(x.count)), None

    def _parameters(self, count: int) -> dict[str, int]:  # noqa: ARG002
        return {}

    def started(self) -> None:
        """The call has begun."""

    def refused(self) -> None:
        """The call has not begun."""


class BFloat16(Compression):
    """2 bytes an element: the range of float32, 8 bits of precision."""

    _kind = _api.NEXAR_COMPRESS_BFLOAT16


class _Scaled(Compression):
    def __init__(self, block: int = 256) -> None:
        block = index(block, "block", type(self).__name__, 1 << 32)
        if block == 0 or block % 4 != 0:
            usage(f"block is {block}; it must be a multiple of 4", type(self).__name__)
        self.block = block

    def __repr__(self) -> str:
        return f"{type(self).__name__}(block={self.block})"

    def _parameters(self, count: int) -> dict[str, int]:  # noqa: ARG002
        return {"block": self.block}


class Float8(_Scaled):
    """A byte an element, e4m3: 4 bits of precision for each, however small beside the greatest one of its block.

    Args:
        block: elements that share a scale, which is 4 bytes; a multiple of 4
    """

    _kind = _api.NEXAR_COMPRESS_FLOAT8


class Int8(_Scaled):
    """A byte an element: steps of 1/127 of the greatest magnitude of its block.

    Args:
        block: elements that share a scale, which is 4 bytes; a multiple of 4
    """

    _kind = _api.NEXAR_COMPRESS_INT8


class _InUse:
    """Alive until C is done with a residual."""

    def __init__(self, residual: Any) -> None:
        self.residual = residual


class _Sparse(Compression):
    def __init__(self, ratio: float, feedback: bool = True) -> None:
        name = type(self).__name__
        if isinstance(ratio, bool) or not hasattr(ratio, "__float__") or not 0 < float(ratio) <= 1:
            usage(f"ratio is {ratio!r}; it must be a number above 0, at most 1", name)
        self.ratio = float(ratio)
        self.feedback = bool(feedback)
        self._residual: Any = None
        self._fresh = True  # the last call was its first one
        self._in_use: weakref.ref[_InUse] | None = None

    @property
    def residual(self) -> Any:
        """What was left behind so far: a float32 array of the tensor's shape, or None before the first call.

        It can be set, to go on from a checkpoint; a copy is made.  Unless a call ends well, it stays as it was.
        """
        return self._residual

    @residual.setter
    def residual(self, value: Any) -> None:
        self._check_free("residual")
        self._residual = None if value is None else numpy_module().array(value, "f4", order="C")

    def reset(self) -> None:
        """Forgets what was left behind, and the shape: the next call begins anew."""
        self._check_free("reset")
        self._residual = None

    def _check_free(self, call: str) -> None:
        if self._in_use is not None and self._in_use() is not None:
            usage(f"{self!r} is in use by an operation that nobody has waited for yet", call)

    def _parameters(self, count: int) -> dict[str, int]:
        return {"k": min(count, max(1, math.ceil(round(self.ratio * count, 6))))}

    def begin(self, x: View, call: str) -> tuple[_api.nexar_compression, Any]:
        self._check_free(call)
        struct, _ = super().begin(x, call)
        self._fresh = self._residual is None
        if not self.feedback:
            return struct, None
        if self._fresh:
            self._residual = numpy_module().zeros(x.shape, "f4")
        elif self._residual.shape != x.shape:
            usage(
                f"x has shape {x.shape}, and what {self!r} has left behind {self._residual.shape}: "
                "make one for each tensor, or reset() it",
                call,
            )
        struct.residual = self._residual.ctypes.data if x.count else None
        in_use = _InUse(self._residual)
        self._in_use = weakref.ref(in_use)
        return struct, in_use

    def refused(self) -> None:
        self._in_use = None
        if self._fresh:
            self._residual = None


class TopK(_Sparse):
    """The elements of the greatest magnitude of each rank, with their indices: 8 bytes for each.

    With feedback what is not sent is kept, and added to the vector of the next call: an object belongs to one tensor,
    and can have one operation at a time.

    Args:
        ratio: which part of the elements a rank sends, above 0, at most 1; at least one element
        feedback: False: what is not sent is lost
    """

    _kind = _api.NEXAR_COMPRESS_TOP_K

    def __repr__(self) -> str:
        return f"TopK({self.ratio:g}{'' if self.feedback else ', feedback=False'})"


class RandomK(_Sparse):
    """Elements that chance chooses, the same on all ranks, so that they need no indices: 4 bytes for each.

    The vector is cut into as many stretches as there are elements to send, and one of each is sent.  With feedback as
    TopK.  Nothing is scaled: without feedback the sum is of those elements alone.

    Args:
        ratio: which part of the elements is sent, above 0, at most 1; at least one element
        seed: 0 to 2^64 - 1, the same on all ranks
        feedback: False: what is not sent is lost

    Attributes:
        step: the number of calls so far, by which elements are chosen; the same on all ranks
    """

    _kind = _api.NEXAR_COMPRESS_RANDOM_K

    def __init__(self, ratio: float, seed: int = 0, feedback: bool = True) -> None:
        super().__init__(ratio, feedback)
        self.seed = index(seed, "seed", "RandomK", 1 << 64)
        self.step = 0

    def __repr__(self) -> str:
        return f"RandomK({self.ratio:g}, seed={self.seed}{'' if self.feedback else ', feedback=False'})"

    def reset(self) -> None:
        """Forgets what was left behind, the shape, and the number of calls."""
        super().reset()
        self.step = 0

    def _parameters(self, count: int) -> dict[str, int]:
        step = index(self.step, "step", "RandomK", 1 << 64)
        return {**super()._parameters(count), "seed": self.seed, "step": step}

    def started(self) -> None:
        self.step += 1
