"""C and C++ programs against the installed package: built with what `nexar info` prints, started by `nexar run`."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import jobkit
from jobkit import Start

EXAMPLES = Path(__file__).resolve().parents[2] / "libnexar/examples"
RANKS = 4
COMPILERS = {"c": ("cc", "-std=c11"), "cpp": ("c++", "-std=c++17")}
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")

# The same text in both languages.
PROGRAM = r"""
#include <nexar/nexar.h>
#include <stdio.h>
#include <string.h>

#define CHECK(call)                                                                          \
    do {                                                                                     \
        nexar_status st_ = (call);                                                           \
        if (st_ != NEXAR_OK) {                                                               \
            fprintf(stderr, "%s: %s\n", nexar_status_name(st_), nexar_last_error());         \
            return 1;                                                                        \
        }                                                                                    \
    } while (0)

int main(int argc, char **argv)
{
    nexar_comm *comm;
    nexar_status st = nexar_init(NULL, &comm);
    if (st != NEXAR_OK) {
        fprintf(stderr, "%s: %s\n", nexar_status_name(st), nexar_last_error());
        return 1;
    }
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);

    if (argc > 1 && strcmp(argv[1], "die") == 0) {
        CHECK(nexar_barrier(comm, NULL, NULL));
        if (rank != 2)
            CHECK(nexar_send(comm, NULL, 0, 2, 0, NULL, NULL));
        for (uint32_t other = 0; rank == 2 && other < size; other++)
            if (other != 2) /* has left the barrier, too */
                CHECK(nexar_recv(comm, NULL, 0, other, 0, NULL, NULL));
        if (rank == 2)
            return 77;
        CHECK(nexar_barrier(comm, NULL, NULL));
        return 0;
    }

    float x[3] = {1, 2, (float)rank};
    st = nexar_all_reduce(comm, x, x, 3, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL); /* last NULL: block */
    if (st != NEXAR_OK)
        return 1;

    char buf[16];
    uint32_t dest = (rank + 1) % size, src = (rank + size - 1) % size, tag = 5;
    size_t nbytes = (size_t)snprintf(buf, sizeof(buf), "from %u", (unsigned)rank) + 1;
    CHECK(nexar_send(comm, buf, nbytes, dest, tag, NULL, NULL));
    nexar_recv_info info; /* source, tag, nbytes; NULL if not wanted */
    CHECK(nexar_recv(comm, buf, sizeof(buf), src, tag, &info, NULL));
    CHECK(nexar_send(comm, &rank, sizeof(rank), rank, 6, NULL, NULL)); /* to itself */
    CHECK(nexar_recv(comm, &rank, sizeof(rank), NEXAR_ANY, 6, NULL, NULL));

    printf("%s rank %u of %u: %g %g %g, %s, %u %u %u\n", nexar_status_name(st), (unsigned)rank, (unsigned)size,
           (double)x[0], (double)x[1], (double)x[2], buf, (unsigned)info.source, (unsigned)info.tag,
           (unsigned)info.nbytes);
    nexar_comm_close(comm);
    return 0;
}
"""


def build(source: Path, program: Path, language: str, *options: str) -> Path:
    """As the README says."""
    compiler, standard = COMPILERS[language]
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    info = jobkit.nexar("info", "--cflags", "--libs")
    flags = subprocess.run(info, check=True, capture_output=True, text=True, env=jobkit.clean_environment()).stdout
    command = [compiler, standard, *STRICT, *options, str(source), *shlex.split(flags), "-o", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return program


@pytest.mark.parametrize(("language", "elements"), [("c", 65537), ("cpp", 10007)])
def test_example(start: Start, tmp_path: Path, language: str, elements: int) -> None:
    program = build(EXAMPLES / f"all_reduce.{language}", tmp_path / "program", language)
    for n in (RANKS, 1):
        process = start(*jobkit.nexar("run", "-n", str(n), "--", "./program"))
        assert process.wait() == 0, process.stderr
        for rank in range(n):
            assert f"rank {rank} of {n}: {elements} elements, 0 wrong" in process.stdout
    alone = start(str(program))
    assert alone.wait() == 0, alone.stderr
    assert alone.stdout == f"rank 0 of 1: {elements} elements, 0 wrong\n"


@pytest.fixture(params=COMPILERS)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    source = tmp_path / f"program.{request.param}"
    source.write_text(PROGRAM)
    return str(build(source, tmp_path / "program", request.param))


def test_program(start: Start, program: str) -> None:
    process = start(*jobkit.nexar("run", "-n", str(RANKS), "--", program))
    assert process.wait() == 0, process.stderr
    assert process.lines() == {
        str(rank): [f"OK rank {rank} of {RANKS}: 4 8 6, from {(rank - 1) % RANKS}, {(rank - 1) % RANKS} 5 7"]
        for rank in range(RANKS)
    }


def test_program_with_ranks_in_python(start: Start, program: str, tmp_path: Path) -> None:
    """One job of both."""
    (tmp_path / "rank.py").write_text(
        "import numpy as np, pynexar as nx\n"
        "with nx.init() as comm:\n"
        "    x = comm.all_reduce(np.array([1, 2, comm.rank], np.float32))\n"
        "    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size\n"
        "    comm.send(f'from {comm.rank}\\0'.encode(), right, tag=5)\n"
        "    out = bytearray(16)\n"
        "    got = comm.recv(out, left, tag=5)\n"
        "    text = bytes(out[:got.nbytes - 1]).decode()\n"
        "    print(f'OK rank {comm.rank} of {comm.size}: {x[0]:g} {x[1]:g} {x[2]:g}, {text},', *got)\n"
    )
    choose = f'case $NEXAR_RANK in 1) exec {program} ;; *) exec "$0" rank.py ;; esac'
    python = jobkit.nexar()[0]
    process = start(*jobkit.nexar("run", "-n", "3", "--", "sh", "-c", choose, python))
    assert process.wait() == 0, process.stderr
    assert process.lines() == {
        str(rank): [f"OK rank {rank} of 3: 3 6 3, from {(rank - 1) % 3}, {(rank - 1) % 3} 5 7"] for rank in range(3)
    }


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("language", COMPILERS)
def test_every_collective_between_languages(start: Start, tmp_path: Path, language: str, n: int) -> None:
    """Even ranks in Python, odd ones in C or C++."""
    here = Path(__file__).parent
    program = build(here / "mixed.c", tmp_path / "mixed", language, *(["-x", "c++"] if language == "cpp" else []))
    choose = f'case $NEXAR_RANK in 1 | 3) exec {program} ;; *) exec "$0" {here / "mixed.py"} ;; esac'
    process = start(*jobkit.nexar("run", "-n", str(n), "--", "sh", "-c", choose, jobkit.nexar()[0]))
    assert process.wait() == 0, process.stderr
    languages = ["Python", "C"]
    assert process.lines() == {str(rank): [f"{languages[rank % 2]}: all as it must be"] for rank in range(n)}


def test_rank_that_leaves_without_a_word(start: Start, program: str) -> None:
    """It neither closes its communicator nor fails loudly; the others name it, and the launcher has its exit status."""
    process = start(*jobkit.nexar("run", "-n", str(RANKS), "--", program, "die"))
    assert process.wait(20) == 77
    assert "nexar run: rank 2: exit status 77, the first to fail" in process.stderr
    for rank in (0, 1, 3):
        assert f"[{rank}] EPEER: barrier #2: rank 2 (" in process.stderr
