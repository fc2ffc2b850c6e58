"""The generated binding: the same as the headers say, to the byte; a library that does not fit is refused in words."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pynexar import _ffi
from pynexar._ffi import _api, lib

ROOT = Path(__file__).parents[2]
INCLUDE = ROOT / "libnexar/include"
GENERATOR = ROOT / "libnexar/tools/gen_ffi.py"
HEADERS = "\n".join(path.read_text() for path in sorted(INCLUDE.glob("nexar/*.h")))

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def load_generator() -> Any:
    pytest.importorskip("pycparser")
    spec = importlib.util.spec_from_file_location("gen_ffi", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def constants() -> dict[str, int]:
    return {name: value for name, value in vars(_api).items() if name.startswith("NEXAR_") and isinstance(value, int)}


def test_binding_is_what_the_headers_say() -> None:
    text = load_generator().generate(INCLUDE, "cc")
    assert text == (ROOT / "pynexar/_ffi/_api.py").read_text(), "run libnexar/tools/gen_ffi.py"


def test_loaded_binding_is_that_of_the_repository() -> None:
    assert _api.__file__ is not None
    assert Path(_api.__file__).read_text() == (ROOT / "pynexar/_ffi/_api.py").read_text(), "install the package again"


def test_layouts_and_values_are_those_of_the_compiler(tmp_path: Path) -> None:
    structs: list[Any] = list(_api.STRUCTS)
    lines = [f'printf("{name} %lld\\n", (long long){name});' for name in constants()]
    for struct in structs:
        lines.append(f'printf("{struct.__name__} %zu\\n", sizeof({struct.__name__}));')
        for field, *_ in struct._fields_:
            place = f"{struct.__name__}, {field}"
            lines.append(f'printf("{struct.__name__}.{field} %zu\\n", offsetof({place}));')
    source = tmp_path / "probe.c"
    source.write_text(
        "#include <nexar/nexar.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n"
        + "\n".join(lines)
        + "}\n"
    )
    subprocess.run(["cc", f"-I{INCLUDE}", str(source), "-o", str(tmp_path / "probe")], check=True)
    output = subprocess.run([str(tmp_path / "probe")], check=True, capture_output=True, text=True).stdout
    compiled = {name: int(value) for name, value in (line.split() for line in output.splitlines())}

    ours = dict(constants())
    for struct in structs:
        ours[struct.__name__] = ctypes.sizeof(struct)
        for field, *_ in struct._fields_:
            ours[f"{struct.__name__}.{field}"] = getattr(struct, field).offset
    assert ours == compiled


def test_every_function_of_the_headers_has_types() -> None:
    declared = set(re.findall(r"^NEXAR_API\b[^;]*?\b(nexar_\w+)\(", HEADERS, re.MULTILINE))
    assert {name for name, _, _ in _api.FUNCTIONS} == declared == set(_api.Library.__annotations__)
    for name, restype, argtypes in _api.FUNCTIONS:
        function: Any = getattr(lib, name)
        assert function.argtypes == argtypes, name
        assert function.restype is restype, name


def test_no_pointer_is_returned_as_an_int_of_32_bits() -> None:
    for name, restype, _ in _api.FUNCTIONS:
        pattern = rf"NEXAR_API ([\w ]+\*+|[\w ]+ )\*?{name}\("
        declaration = re.search(pattern, HEADERS)
        assert declaration is not None, name
        if "*" in declaration[0]:
            assert restype not in (ctypes.c_int, None), name
        if re.search(r"\b(size_t|uint64_t|int64_t) nexar_", declaration[0]):
            assert ctypes.sizeof(restype) == 8, name


def test_handles_cannot_be_confused() -> None:
    handles = [_api.nexar_op, _api.nexar_comm, _api.nexar_conn, _api.nexar_seed]
    functions: list[Any] = [lib.nexar_op_test, lib.nexar_comm_rank, lib.nexar_conn_rank, lib.nexar_seed_close]
    for handle in handles:
        assert issubclass(handle, ctypes.c_void_p)
        for function, own in zip(functions, handles):
            if handle is own:
                function(handle())  # NULL is legal
            else:
                with pytest.raises(ctypes.ArgumentError):
                    function(handle())


def test_numbers_that_do_not_fit_are_seen() -> None:
    """ctypes cuts them silently: the checks are in the package."""
    from pynexar._ffi.call import index
    from pynexar.errors import UsageError

    for wrong in (-1, 1 << 32, 1 << 64, True, 1.0, "1", None, float("nan")):
        with pytest.raises(UsageError, match="tag is"):
            index(wrong, "tag", "send", _api.NEXAR_ANY)


def test_status_codes_are_errno_free() -> None:
    """Every status has a name and a class; success is none of them."""
    from pynexar import errors

    statuses = dict(re.findall(r"XX\((\w+), (-?\d+),", HEADERS))
    assert len(statuses) == 20
    for name, value in statuses.items():
        code = int(value)
        assert (lib.nexar_status_name(code) or b"").decode() == name
        if code != 0 and name not in ("EAGAIN", "EINTR"):
            assert code in errors._CLASSES, name
            assert errors.class_of(code)("x", code=code).code_name == name


# ------------------------------------------------------------------------------------------------------------- loading
def import_with(library: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import pynexar; pynexar.init"]
    return subprocess.run(
        command,
        env={**os.environ, "NEXAR_LIBRARY": library, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def build_library(folder: Path, abi: int, struct_size: str) -> str:
    """A library with all the functions, of which two do something."""
    lines = ["#include <nexar/nexar.h>", "#include <string.h>"]
    lines.append(f"uint32_t nexar_abi_version(void) {{ return {abi}; }}")
    lines.append(f"size_t nexar_struct_size(const char *name) {{ return {struct_size}; }}")
    source = folder / "fake.c"
    others = [name for name, _, _ in _api.FUNCTIONS if name not in ("nexar_abi_version", "nexar_struct_size")]
    source.write_text("\n".join(lines) + "\n")
    stubs = folder / "stubs.c"
    stubs.write_text("\n".join(f"int {name}(void) {{ return 0; }}" for name in others) + "\n")
    path = folder / "libfake.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-I{INCLUDE}", str(source), str(stubs), "-o", str(path)], check=True, timeout=60
    )
    return str(path)


def test_library_of_another_abi_is_refused_in_words(tmp_path: Path) -> None:
    result = import_with(build_library(tmp_path, 99, "0"))
    assert result.returncode == 1
    assert "version 99 of the binary interface and this pynexar needs 1" in result.stderr
    assert result.stderr.rstrip().splitlines()[-1].startswith("ImportError: ")


def test_library_with_other_structs_is_refused_in_words(tmp_path: Path) -> None:
    result = import_with(build_library(tmp_path, 1, 'strcmp(name, "nexar_iov") == 0 ? 16 : 8'))
    assert result.returncode == 1
    assert re.search(r"the struct nexar_error has 8 bytes and this pynexar expects \d+", result.stderr)


@pytest.mark.parametrize(
    ("library", "words"),
    [
        ("/nonexistent/libnexar.so", "which is not a file"),
        (__file__, "cannot load libnexar"),
    ],
)
def test_library_that_is_none_is_refused_in_words(library: str, words: str) -> None:
    result = import_with(library)
    assert result.returncode == 1
    assert words in result.stderr


def test_library_without_our_functions_is_refused_in_words(tmp_path: Path) -> None:
    source = tmp_path / "empty.c"
    source.write_text("int nothing;\n")
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(tmp_path / "empty.so")], check=True, timeout=60)
    result = import_with(str(tmp_path / "empty.so"))
    assert "has no function nexar_abi_version: it is not the libnexar of this pynexar" in result.stderr


def test_package_without_a_library_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXAR_LIBRARY", raising=False)
    monkeypatch.setattr(_ffi, "_PACKAGE", str(tmp_path))
    monkeypatch.setattr(_ffi, "_installed", lambda: "")
    with pytest.raises(ImportError, match=r"pip install \."):
        _ffi.find()


def test_sources_find_the_installed_library(tmp_path: Path) -> None:
    """In the repository Python imports pynexar/ of the current folder, which has no library."""
    if not any((Path(folder) / "pynexar/lib").is_dir() for folder in sys.path):
        pytest.skip("pynexar is not installed")
    shutil.copytree(Path(__file__).parents[2] / "pynexar", tmp_path / "pynexar")
    program = "import pynexar, pynexar._ffi; print(pynexar.__file__); print(pynexar._ffi.find())"
    environment = {name: value for name, value in os.environ.items() if name != "NEXAR_LIBRARY"}
    said = subprocess.check_output([sys.executable, "-c", program], cwd=tmp_path, env=environment, text=True)
    sources, library = map(Path, said.splitlines())
    assert sources.is_relative_to(tmp_path)
    assert library.is_file()
    assert not library.is_relative_to(tmp_path)


# ----------------------------------------------------------------------------------------------------- the generator
PRELUDE = """
#include <stddef.h>
#include <stdint.h>
#define NEXAR_API
typedef struct nexar_x nexar_x;
typedef struct nexar_s { uint32_t size; } nexar_s;
"""


@pytest.mark.parametrize(
    ("declaration", "words"),
    [
        ("NEXAR_API int nexar_f(const char *format, ...);", "variable number of arguments"),
        ("NEXAR_API int nexar_f(nexar_s s);", "nexar_s by value"),
        ("NEXAR_API nexar_s nexar_f(void);", "nexar_s by value"),
        ("NEXAR_API int nexar_f(struct other *p);", "not in the subset"),
        ("NEXAR_API int nexar_f(long n);", "long by value"),
        ("NEXAR_API int nexar_f(nexar_x ***p);", "not in the subset"),
        ("NEXAR_API int nexar_f(char **p);", "a pointer to a pointer to char"),
        ("typedef union nexar_u { int32_t a; float b; } nexar_u;", "the type nexar_u"),
        ("typedef struct nexar_b { uint32_t a : 3; } nexar_b;", "the bit-field a"),
        ("typedef struct nexar_n { struct { uint32_t a; } b; } nexar_n;", "not in the subset"),
        ("typedef struct nexar_a { nexar_s s[2]; } nexar_a;", "an array of nexar_s"),
        ("typedef struct nexar_tag nexar_other;", "the type nexar_other"),
        ("extern int32_t nexar_variable;", "a declaration of this kind"),
        ("#define NEXAR_F(x) (x)", "takes arguments"),
        ('#define NEXAR_TEXT "text"', "no plain integer"),
        ("#define NEXAR_HALF 0.5", "no plain integer"),
    ],
)
def test_generator_refuses_what_it_does_not_know(tmp_path: Path, declaration: str, words: str) -> None:
    generator = load_generator()
    (tmp_path / "nexar").mkdir()
    (tmp_path / "nexar/nexar.h").write_text(f"{PRELUDE}{declaration}\n")
    with pytest.raises((generator.UnknownError, SystemExit), match=re.escape(words)):
        generator.generate(tmp_path, "cc")


def test_generator_knows_the_subset(tmp_path: Path) -> None:
    """What it writes for each thing that a header may have; also what no header has yet."""
    (tmp_path / "nexar").mkdir()
    (tmp_path / "nexar/nexar.h").write_text(
        PRELUDE
        + """
#define NEXAR_NEGATIVE (-3)
#define NEXAR_BIG UINT64_MAX
typedef enum nexar_e { NEXAR_A, NEXAR_B = 7, NEXAR_C } nexar_e;
typedef void (*nexar_fn)(void *arg, nexar_e e);
typedef struct nexar_t { uint32_t size; uint8_t key[4]; const char *name; nexar_fn fn; nexar_s *s; } nexar_t;
NEXAR_API void nexar_f(nexar_x *const *xs, nexar_fn fn, const nexar_t *t, uint64_t *out, char *text, double d);
"""
    )
    text = load_generator().generate(tmp_path, "cc")
    for line in (
        "NEXAR_NEGATIVE = -3",
        "NEXAR_BIG = 18446744073709551615",
        "NEXAR_C = 8",
        "nexar_fn = CFUNCTYPE(None, c_void_p, c_int)",
        '("key", c_uint8 * 4)',
        '("s", POINTER(nexar_s))',
        '("nexar_f", None, (POINTER(nexar_x), nexar_fn, POINTER(nexar_t), POINTER(c_uint64), c_char_p, c_double)),',
    ):
        assert line in text
