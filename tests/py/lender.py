"""A tensor library of its own: lends plain memory by DLPack, as torch and others do, and counts what comes back."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import (
    POINTER,
    PYFUNCTYPE,
    Structure,
    c_char_p,
    c_int32,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any

INT, UINT, FLOAT, BFLOAT, COMPLEX, BOOL = 0, 1, 2, 4, 5, 6
CPU, CUDA, CUDA_HOST = 1, 2, 3

_owners: set[Lender] = set()  # alive, since somebody has their memory
_Deleter = PYFUNCTYPE(None, c_void_p)


class _Tensor(Structure):
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


class _Managed(Structure):
    _fields_ = (("tensor", _Tensor), ("context", c_void_p), ("deleter", c_void_p))


class _Versioned(Structure):
    _fields_ = (
        ("major", c_uint32),
        ("minor", c_uint32),
        ("context", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("tensor", _Tensor),
    )


_new = ctypes.pythonapi.PyCapsule_New
_new.restype = ctypes.py_object
_new.argtypes = (c_void_p, c_char_p, c_void_p)


class Lender:
    """`data` as a tensor.  `lent` counts what is lent and has not come back."""

    def __init__(
        self,
        data: bytearray,
        shape: Sequence[int],
        code: int = FLOAT,
        bits: int = 64,
        *,
        lanes: int = 1,
        strides: Sequence[int] | None = None,
        byte_offset: int = 0,
        device: int = CPU,
        version: tuple[int, int] | None = (1, 0),
        read_only: bool = False,
    ) -> None:
        self.data = data
        self.lent = 0
        self._memory = (ctypes.c_char * len(data)).from_buffer(data)
        self._shape = (c_int64 * len(shape))(*shape)
        self._strides = None if strides is None else (c_int64 * len(shape))(*strides)
        self._tensor = _Tensor(
            data=ctypes.addressof(self._memory),
            device_type=device,
            ndim=len(shape),
            code=code,
            bits=bits,
            lanes=lanes,
            shape=self._shape,
            strides=self._strides,
            byte_offset=byte_offset,
        )
        self._device = device
        self._version = version
        self._read_only = read_only
        self._destructor = _Deleter(self._came_back)
        self._managed: list[Any] = []

    def _came_back(self, _: int | None) -> None:
        self.lent -= 1
        if self.lent == 0:
            _owners.discard(self)

    def __dlpack__(self, **arguments: Any) -> Any:
        managed: Any
        if self._version is None:
            if arguments:
                raise TypeError("__dlpack__() got an unexpected keyword argument")
            managed, name = _Managed(tensor=self._tensor), b"dltensor"
        else:
            managed, name = _Versioned(*self._version, flags=int(self._read_only)), b"dltensor_versioned"
            managed.tensor = self._tensor
        self._managed.append(managed)
        self.lent += 1
        _owners.add(self)
        return _new(ctypes.addressof(managed), name, ctypes.cast(self._destructor, c_void_p))

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self._device, 0)
