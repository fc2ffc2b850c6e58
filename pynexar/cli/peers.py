"""Libraries that nexar bench can run on the same work, and how the ranks of each are started.

A peer is a library with its settings.  From Python it is run by `python -m pynexar.cli.face`, from C by a program
face-LIBRARY, which the build makes where the library is installed (bench/c/faces, bench/peers).
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    Work = Sequence[tuple[str, Sequence[int]]]  # cases with their sizes
    Result = dict[str, Any]
    Processes = list[tuple[list[str], dict[str, str]]]  # command lines, with what is set for them

PATIENCE = 600.0  # seconds that a job may take
LAST = 10.0  # seconds that the others have when one process has failed


class CannotRunError(Exception):
    """It is not installed, or its job failed; says which and why."""


@dataclass(frozen=True)
class Runner:
    """A library with its settings."""

    name: str
    library: str  # nexar, openmpi, mpich, gloo, ssl, nexar-0-2
    environment: Mapping[str, str] = field(default_factory=dict)
    own_memory: bool = False  # in memory that the library gives
    hosts: int = 1  # that the ranks say they are on, so many on each; nexar alone

    def missing(self, face: str) -> str | None:
        """Why it cannot be run here; None if it can."""
        try:
            with self._job(2, face, [("barrier", [0])], 0.1):
                return None
        except CannotRunError as error:
            return str(error)

    def run(self, ranks: int, face: str, work: Work, seconds: float) -> list[Result]:
        """A job: one result for each case and size that the library can do."""
        with self._job(ranks, face, work, seconds) as processes:
            out = _outputs([(argv, {**os.environ, **self.environment, **more}) for argv, more in processes], self.name)
        return [{**result, "library": self.name} for result in parse(out)]

    @contextlib.contextmanager
    def _job(self, ranks: int, face: str, work: Work, seconds: float) -> Iterator[Processes]:
        """The processes to start, with what they need in their environment."""
        program = self._from_python(seconds) if face == "python" else self._from_c(seconds)
        program += [f"{name}:{','.join(map(str, sizes))}" for name, sizes in work]
        if self.hosts > 1:
            program = _on_hosts(program, ranks, self.hosts)
        start = {"nexar": _nexar, "openmpi": _openmpi, "mpich": _mpich, "gloo": _gloo}.get(self.library, _by_itself)
        with start(ranks, program) as processes:
            yield processes

    def _from_python(self, seconds: float) -> list[str]:
        library, needs = _PYTHON.get(self.library, ("", None))
        if not library:
            raise CannotRunError(f"{self.name} can be measured from C alone")
        if self.own_memory:
            library += "-alloc"
        if needs is not None and importlib.util.find_spec(needs) is None:
            raise CannotRunError(f"{self.name} needs {needs}, which {sys.executable} does not have")
        return [sys.executable, "-m", "pynexar.cli.face", library, str(seconds)]

    def _from_c(self, seconds: float) -> list[str]:
        if self.library == "gloo":
            raise CannotRunError("gloo can be measured from Python alone")
        own = ["--alloc"] if self.own_memory else []
        return [find_program(f"face-{self.library}"), "--json", "--seconds", str(seconds), *own]


_PYTHON: dict[str, tuple[str, str | None]] = {
    "nexar": ("nexar", None),
    "openmpi": ("mpi", "mpi4py"),
    "mpich": ("mpi", "mpi4py"),
    "gloo": ("gloo", "torch"),
}

_OPENMPI_TCP = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "tcp,self", "OMPI_MCA_btl_tcp_if_include": "lo"}
_MPICH_TCP = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "lo", "MPIR_CVAR_NOLOCAL": "1"}

PEERS: dict[str, Runner] = {
    peer.name: peer
    for peer in (
        Runner("openmpi", "openmpi"),
        Runner("openmpi-nocma", "openmpi", {"OMPI_MCA_btl_vader_single_copy_mechanism": "none"}),
        Runner("openmpi-tcp", "openmpi", _OPENMPI_TCP),
        Runner("mpich", "mpich"),
        Runner("mpich-tcp", "mpich", _MPICH_TCP),
        Runner("gloo", "gloo"),
        Runner("ssl", "ssl"),
        Runner("nexar-0.2", "nexar-0-2"),
        Runner("nexar-0.2-plain", "nexar-0-2", {"NEXAR_ENCRYPT_BULK_TRANSPORT": "false"}),
        Runner("nexar-0.2-quic", "nexar-0-2", {"NEXAR_ENABLE_TCP_BULK_SIDECAR": "false"}),
    )
}
GROUPS = {"mpi": ("openmpi", "openmpi-nocma", "mpich"), "mpi-tcp": ("openmpi-tcp", "mpich-tcp")}


def named(text: str) -> list[Runner]:
    """Peers by their names, with commas between; a group stands for its members."""
    names = [name for word in text.split(",") for name in GROUPS.get(word, (word,))]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        known = ", ".join([*GROUPS, *PEERS])
        raise ValueError(f"there is no peer {', '.join(unknown)}; there are {known}")
    return [PEERS[name] for name in dict.fromkeys(names)]


def find_program(name: str) -> str:
    """Beside the library of a build folder, else where programs are looked for."""
    from pynexar._ffi import find

    folder = os.path.join(os.path.dirname(os.path.realpath(find())), "bench")
    found = shutil.which(name, path=os.pathsep.join([folder, os.environ.get("PATH", "")]))
    if found is None:
        raise CannotRunError(f"there is no program {name} in {folder}, nor in PATH")
    return found


def _on_hosts(program: list[str], ranks: int, hosts: int) -> list[str]:
    claim = f'NEXAR_GROUP="host $((NEXAR_RANK * {hosts} / {ranks}))" exec "$@"'
    return ["/bin/sh", "-c", claim, "sh", *program]


@contextlib.contextmanager
def _nexar(ranks: int, program: list[str]) -> Iterator[Processes]:
    yield [([sys.executable, "-m", "pynexar", "run", "-n", str(ranks), "--", *program], {})]


@contextlib.contextmanager
def _openmpi(ranks: int, program: list[str]) -> Iterator[Processes]:
    """More ranks than cores give theirs away while they wait, as Open MPI advises."""
    mpirun = _first("Open MPI", "mpirun.openmpi", "mpirun")
    more = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "MPI4PY_MPIABI": "openmpi"}
    if ranks > len(os.sched_getaffinity(0)):
        more["OMPI_MCA_mpi_yield_when_idle"] = "1"
    yield [([mpirun, "-n", str(ranks), "--oversubscribe", "--bind-to", "none", *program], more)]


@contextlib.contextmanager
def _mpich(ranks: int, program: list[str]) -> Iterator[Processes]:
    mpiexec = _first("MPICH", "mpiexec.mpich", "mpiexec.hydra")
    more = {"MPI4PY_MPIABI": "mpich"}
    with tempfile.TemporaryDirectory() as folder:  # mpi4py looks for libmpi.so.12, distributions have libmpich.so.12
        found = [path for place in _LIBRARIES for path in glob.glob(f"{place}/libmpich.so.12")]
        if found and program[0] == sys.executable:
            os.symlink(found[0], os.path.join(folder, "libmpi.so.12"))
            more["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("LD_LIBRARY_PATH")]))
        yield [([mpiexec, "-n", str(ranks), *program], more)]


_LIBRARIES = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/lib64/mpich/lib", "/usr/local/lib")


@contextlib.contextmanager
def _gloo(ranks: int, program: list[str]) -> Iterator[Processes]:
    common = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    common.update(GLOO_SOCKET_IFNAME="lo", TORCH_CPP_LOG_LEVEL="ERROR")
    yield [(program, {**common, "RANK": str(rank)}) for rank in range(ranks)]


@contextlib.contextmanager
def _by_itself(ranks: int, program: list[str]) -> Iterator[Processes]:
    """Processes that learn from variables who they are; one is enough for face-ssl, which makes the other."""
    if program[0].endswith("face-ssl"):
        yield [(program, {})]
        return
    common = {"FACE_SIZE": str(ranks), "FACE_SEED": f"127.0.0.1:{_free_port()}"}
    yield [(program, {**common, "FACE_RANK": str(rank)}) for rank in range(ranks)]


def _first(what: str, *names: str) -> str:
    """The first program that is there, and that says it is the one."""
    for name in names:
        path = shutil.which(name)
        if path is not None:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            if what in said.stdout or (what == "MPICH" and "HYDRA" in said.stdout):
                return path
    raise CannotRunError(f"{what} is not installed: there is no {' or '.join(names)}")


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port


def _outputs(processes: Sequence[tuple[list[str], Mapping[str, str]]], name: str) -> str:
    """Standard output of the first process; all have ended when it returns."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in processes]
        errors = stack.enter_context(tempfile.TemporaryFile("w+"))
        started: list[subprocess.Popen[str]] = []
        try:
            for (argv, environment), out in zip(processes, files):
                files_of_it: Any = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": errors}
                started.append(
                    subprocess.Popen(argv, env=dict(environment), text=True, start_new_session=True, **files_of_it)
                )
            _wait(started)
        finally:
            for process in started:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        for file in (files[0], errors):
            file.seek(0)
        said = files[0].read()
        failed = [process.returncode for process in started if process.returncode != 0]
        if failed and not any(result["wrong"] for result in parse(said)):
            raise CannotRunError(f"{name} ended with status {failed[0]}:\n{said}{errors.read()[-2000:]}".rstrip())
        return said


def _wait(started: Sequence[subprocess.Popen[str]]) -> None:
    """Until all have ended; when one has failed, the others have little time left."""
    end = time.monotonic() + PATIENCE
    while any(process.poll() is None for process in started) and time.monotonic() < end:
        if any(process.poll() for process in started):
            end = min(end, time.monotonic() + LAST)
        time.sleep(0.02)


def parse(text: str) -> list[Result]:
    """The JSON objects, one a line; a rank's number may stand before."""
    return [json.loads(line[line.index("{") :]) for line in text.splitlines() if "{" in line]
