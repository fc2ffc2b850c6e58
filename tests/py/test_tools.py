"""The checks of libnexar/tools: each passes what is right and finds what is wrong."""

import pathlib
import shutil
import subprocess
import sys

import pytest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "libnexar/tools"
HEADER = (
    "#include <stdint.h>\n/** Counts.\n *  @returns a number.  @threads any */\nNEXAR_API uint32_t nexar_count(void);\n"
)


def check(name: str, *arguments: object) -> "tuple[bool, str]":
    command = [sys.executable, str(TOOLS / f"check_{name}.py"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode in (0, 1), result.stderr
    return result.returncode == 0, result.stdout


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("base/list.c", '#include "base/list.h"\n#include "nexar/base.h"\n', None),
        ("quic/lib.c", "#include <msquic.h>\n", None),
        ("cluster/join_io.c", '#include "net/peer.h"\n', None),
        ("base/list.c", '#include "base/list.h"\n#include "net/peer.h"\n', "may not include"),
        ("wire/codec.c", '#include "math/reduce.h"\n', "may not include"),
        ("cluster/join.c", '#include "net/peer.h"\n', "may not include"),
        ("base/list.c", '#include <string.h>\n#include "base/list.h"\n', "first include"),
        ("base/list.c", '#include "list.h"\n', "not a path from src/"),
        ("net/peer.c", '#include "net/peer.h"\n#include <msquic.h>\n', "for quic alone"),
        ("net/peer.c", '#include "net/peer.h"\n#include <openssl/evp.h>\n', "for identity bulk/tcp_tls alone"),
        ("stuff/x.c", "", "in no layer"),
    ],
)
def test_layers(tmp_path, file, text, fault):
    for header in ("base/list.h", "net/peer.h", "math/reduce.h"):
        write(tmp_path / header, "")
    write(tmp_path / file, text)
    passed, said = check("layers", "--src", tmp_path)
    assert passed == (fault is None)
    assert (fault or "0 faults") in said


def c_function(lines: int) -> str:
    return "static int f(int a,\n             int b)\n{\n" + "    a++;\n" * (lines - 1) + "    return a + b;\n}\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (c_function(80), None),
        (c_function(81), "a function of 81 lines"),
        ("/* " + "x" * 114 + " */\n", None),
        ("/* " + "x" * 115 + " */\n", "121 columns"),
        ("int x;\n" * 500, None),
        ("int x;\n" * 501, "501 lines"),
    ],
)
def test_size(tmp_path, text, fault):
    write(tmp_path / "CMakeLists.txt", "")
    write(tmp_path / "libnexar/src/base/a.c", text)
    passed, said = check("size", "--root", tmp_path)
    assert passed == (fault is None)
    assert (fault or "0 faults") in said


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("the work loop, root/tree and a/tmp/file\n", None),
        ("cd /wo" + "rk/main\n", "machine"),
        ("see /ro" + "ot/.cache\n", "machine"),
        ("from cra" + "tes.io\n", "registry"),
    ],
)
def test_text(tmp_path, text, fault):
    write(tmp_path / "README.md", text)
    passed, said = check("text", "--root", tmp_path)
    assert passed == (fault is None)
    assert (fault or "0 faults") in said


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("#define NEXAR_API\n" + HEADER, None),
        ("#define NEXAR_API\n" + HEADER.replace("@threads any", ""), "nexar_count says nothing of @threads"),
        (
            "#define NEXAR_API\n" + HEADER + "NEXAR_API void nexar_reset(void);\n",
            "nexar_reset says nothing of @returns",
        ),
        (HEADER, "as c11"),  # does not define NEXAR_API itself
        (
            "#define NEXAR_API\n#define X(a) (a)\nstatic inline int f(void)\n{\n    int new = 1;\n    return new;\n}\n",
            "as c++17",
        ),
    ],
)
def test_headers(tmp_path, text, fault):
    if fault == "as c++17" and not shutil.which("c++"):
        pytest.skip("no C++ compiler")
    write(tmp_path / "nexar/count.h", text)
    passed, said = check("headers", "--include", tmp_path)
    assert passed == (fault is None)
    assert (fault or "0 faults") in said


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize(
    ("source", "link", "fault"),
    [
        ("", [], None),
        ("__attribute__((weak)) int nexar_count(void);", [], "declared in a header, but not exported"),
        ("int nexar_more(void) { return 1; }", [], "exported, but declared in no header"),
        (
            "#include <math.h>\ndouble f(double x) { return nexar_count() * sin(x); }",
            ["-Wl,--no-as-needed", "-lm"],
            "needs libm",
        ),
        ("", ["-Wl,-rpath,/opt/lib"], "looks for libraries in /opt/lib"),
        ("", ["-Wl,-soname,libnexar.so.7"], "SONAME"),
    ],
)
def test_exports(tmp_path, source, link, fault):
    counts = "int nexar_count(void);\nint nexar_count(void) { return 1; }\n"
    write(tmp_path / "nexar/count.h", "NEXAR_API int nexar_count(void);\n")
    script = write(tmp_path / "x.map", "NEXAR_0 { global: nexar_*; local: *; };\n")
    program = write(tmp_path / "x.c", source if "not exported" in (fault or "") else counts + source)
    library = tmp_path / "libnexar.so"
    subprocess.run(
        [
            "cc",
            "-shared",
            "-fPIC",
            f"-Wl,--version-script={script}",
            "-Wl,-soname,libnexar.so.0",
            program,
            "-o",
            library,
            *link,
        ],
        check=True,
    )
    passed, said = check("exports", "--library", library, "--include", tmp_path, "--map", script)
    assert passed == (fault is None)
    assert (fault or "0 faults") in said
