"""The examples of the pages: each runs, on two ranks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jobkit
import pynexar as nx
from pynexar import _ffi

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "libnexar/docs").glob("*.md"))


def examples(language: str) -> list[tuple[str, str]]:
    """Where each is, and its text, with the lines before it empty, so that a failure names its line."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S):
            line = text.count("\n", 0, match.start(1))
            found.append((f"{page.name}:{line + 1}", "\n" * line + match[1]))
    return found


def test_pages_have_examples() -> None:
    of = {place.split(":")[0] for place, _ in examples("python")}
    assert {"P2P.md", "PYTHON.md"} <= of


@pytest.mark.parametrize(("place", "code"), examples("python"), ids=lambda value: value if len(value) < 40 else "")
def test_python(place: str, code: str) -> None:
    with nx.local_cluster(2) as comms:
        comms.run(lambda comm: exec(compile(code, place, "exec"), {"comm": comm, "np": np, "nx": nx}))


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize(("place", "code"), examples("c"), ids=lambda value: value if len(value) < 40 else "")
def test_c(place: str, code: str, tmp_path: Path) -> None:
    library = _ffi.find()
    source, program = tmp_path / f"{place.partition('.')[0]}.c", tmp_path / "program"
    source.write_text(code)
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'libnexar/include'}", "-o", program]
    subprocess.run(["cc", *options, source, library, f"-Wl,-rpath,{os.path.dirname(library)}"], check=True)
    command = [sys.executable, "-m", "pynexar", "run", "-n", "2", "--", str(program)]
    environment = jobkit.clean_environment(PYTHONPATH=":".join(filter(None, sys.path)))
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
