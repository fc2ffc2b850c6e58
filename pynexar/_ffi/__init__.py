"""Finds libnexar, checks that it is the one which this package was made for, and gives its functions their types.

`lib` is loaded when this module is imported; a library that is missing or does not fit is an ImportError with a reason.
"""

from __future__ import annotations

import os
import sys
from ctypes import CDLL, sizeof

from . import _api

__all__ = ["find", "lib", "load"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _installed() -> str:
    """Folder of the library that pip installed; empty if there is none."""
    folders = (os.path.join(folder, "pynexar", "lib") for folder in sys.path)
    return next((folder for folder in folders if os.path.isfile(os.path.join(folder, "libnexar.so.0"))), "")


def find() -> str:
    """Path of the library: NEXAR_LIBRARY, else the one in this package's folder, else the installed package's: in the
    repository Python finds the sources before the package, since it looks in the current folder first.

    Raises:
        ImportError: there is none.
    """
    override = os.environ.get("NEXAR_LIBRARY")
    if override:
        if not os.path.isfile(override):
            raise ImportError(f"NEXAR_LIBRARY is {override!r}, which is not a file")
        return os.path.abspath(override)
    folder = os.path.join(_PACKAGE, "lib")
    path = os.path.join(folder, "libnexar.so.0")
    if not os.path.isfile(path):
        path = os.path.join(_installed(), "libnexar.so.0")
    if not os.path.isfile(path):
        raise ImportError(
            f"pynexar was not built: there is no libnexar.so.0 in {folder}; run 'pip install .' in the repository, "
            "or set NEXAR_LIBRARY to the path of a library that cmake built"
        )
    return path


def load(path: str) -> _api.Library:
    """Loads a library and checks that it fits.

    Raises:
        ImportError: it cannot be loaded, or it is another version's.
    """
    try:
        cdll = CDLL(path)
    except OSError as error:
        raise ImportError(f"cannot load libnexar: {error}") from None
    library = _api.Library()
    try:
        for name, restype, argtypes in _api.FUNCTIONS:
            function = getattr(cdll, name)
            function.restype = restype
            function.argtypes = argtypes
            setattr(library, name, function)
    except AttributeError:
        raise ImportError(f"{path} has no function {name}: it is not the libnexar of this pynexar") from None
    _check(library, path)
    return library


def _check(library: _api.Library, path: str) -> None:
    version = library.nexar_abi_version()
    if version != _api.NEXAR_ABI_VERSION:
        raise ImportError(
            f"{path} has version {version} of the binary interface and this pynexar needs {_api.NEXAR_ABI_VERSION}: "
            "library and package must come from the same build"
        )
    for struct in _api.STRUCTS:
        size = library.nexar_struct_size(struct.__name__.encode())
        if size != sizeof(struct):
            raise ImportError(
                f"in {path} the struct {struct.__name__} has {size} bytes and this pynexar expects {sizeof(struct)}: "
                "library and package must come from the same build"
            )


lib = load(find())
