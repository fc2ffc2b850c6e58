"""C and C++ programs against the installed package: built with what `nexar info` prints, started by `nexar run`."""

import pathlib
import shlex
import shutil
import subprocess

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "libnexar/examples"
RANKS = 4


def output(*command: object) -> str:
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("compiler", "standard", "source", "elements"),
    [("cc", "c11", "all_reduce.c", 65537), ("c++", "c++17", "all_reduce.cpp", 10007)],
)
def test_example_runs_on_four_ranks(tmp_path, compiler, standard, source, elements):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    flags = shlex.split(output("nexar", "info", "--cflags", "--libs"))
    program = tmp_path / "program"
    output(compiler, f"-std={standard}", "-Wall", "-Wextra", "-Werror", EXAMPLES / source, *flags, "-o", program)
    said = output("nexar", "run", "-n", RANKS, "--", program)
    for rank in range(RANKS):
        assert f"rank {rank} of {RANKS}: {elements} elements, 0 wrong" in said
