"""Reads what an object lends by DLPack: address, shape and type of a tensor, without a copy and without its library.

Only looks; the capsule, which is kept, returns the tensor to its owner when it is dropped.
"""

from __future__ import annotations

from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_int32,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
    cast,
    py_object,
    pythonapi,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HOST_DEVICES = {1, 3, 11}  # kDLCPU, kDLCUDAHost, kDLROCMHost
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex"}
_BOOL = 6
_READ_ONLY = 1


class _Tensor(Structure):
    data: int | None
    device_type: int
    device_id: int
    ndim: int
    code: int
    bits: int
    lanes: int
    shape: Any
    strides: Any
    byte_offset: int
    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


class _Versioned(Structure):
    flags: int
    tensor: _Tensor
    _fields_ = (
        ("major", c_uint32),
        ("minor", c_uint32),
        ("manager_ctx", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("tensor", _Tensor),
    )


_get_pointer = pythonapi.PyCapsule_GetPointer
_get_pointer.restype = c_void_p
_get_pointer.argtypes = (py_object, c_char_p)
_is_valid = pythonapi.PyCapsule_IsValid
_is_valid.restype = c_int32
_is_valid.argtypes = (py_object, c_char_p)


class Tensor:
    """What `x` lends.

    Raises:
        BufferError, RuntimeError, TypeError, ValueError: x does not lend it, as its library says.
    """

    def __init__(self, x: Any) -> None:
        try:
            self.capsule = x.__dlpack__(max_version=(1, 0))
        except TypeError:  # an exporter from before DLPack 1.0
            self.capsule = x.__dlpack__()
        self.read_only = False
        if _is_valid(self.capsule, b"dltensor_versioned"):
            address = _get_pointer(self.capsule, b"dltensor_versioned")
            versioned = cast(address, POINTER(_Versioned)).contents
            if versioned.major != 1:
                raise BufferError(f"it is of version {versioned.major}, not 1")
            self.read_only = bool(versioned.flags & _READ_ONLY)
            tensor = versioned.tensor
        else:
            tensor = cast(_get_pointer(self.capsule, b"dltensor"), POINTER(_Tensor)).contents
        self.device = tensor.device_type
        self.on_host = tensor.device_type in _HOST_DEVICES
        self.shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
        self.count = 1
        for extent in self.shape:
            self.count *= extent
        if tensor.lanes != 1 or tensor.bits % 8 != 0:
            self.dtype = f"{_KINDS.get(tensor.code, '?')}{tensor.bits}x{tensor.lanes}"
            raise BufferError(f"its elements are {self.dtype}")
        self.dtype = "bool" if tensor.code == _BOOL else f"{_KINDS.get(tensor.code, '?')}{tensor.bits}"
        self.nbytes = self.count * tensor.bits // 8
        self.address = (tensor.data or 0) + tensor.byte_offset
        self.contiguous = self._is_contiguous(tensor)

    def _is_contiguous(self, tensor: _Tensor) -> bool:
        if not tensor.strides or self.count == 0:  # no strides: in C order
            return True
        expected = 1
        for i in reversed(range(tensor.ndim)):
            if self.shape[i] != 1:
                if tensor.strides[i] != expected:
                    return False
                expected *= self.shape[i]
        return True
