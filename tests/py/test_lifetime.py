"""The package in a process: importing, forking, ending, sharing it with other libraries."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import jobkit


def python(script: str, *options: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(script)],
        env=jobkit.clean_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def said(script: str, *options: str, **environment: str) -> str:
    """What a script prints; it must end well and complain of nothing."""
    result = python(script, "-W", "error", *options, **environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


# ------------------------------------------------------------------------------------------------------------ importing
def test_import_is_quick(tmp_path: Path) -> None:
    """Below 30 ms beyond numpy, with all that the first call needs; the best of some tries, since others run beside.

    Compiled, as it is where it was installed: the first try does that.
    """
    script = """
        import time, numpy, sys
        before = time.perf_counter()
        import pynexar as nx
        nx.init, nx.Config, nx.Op
        print(time.perf_counter() - before)
    """
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert min(float(said(script, **compiled)) for _ in range(7)) < 0.030


def test_numpy_is_imported_by_the_first_array_alone() -> None:
    script = """
        import sys
        import pynexar as nx
        with nx.init() as comm:
            comm.barrier()
            assert "numpy" not in sys.modules
            assert "asyncio" not in sys.modules
            comm.send(b"x", 0)
            assert "numpy" in sys.modules
    """
    said(script)


def test_a_rank_loads_little() -> None:
    """Every rank of every job waits for what its first call loads, beyond what numpy has loaded."""
    script = """
        import sys
        import pynexar as nx
        with nx.init() as comm:
            comm.barrier()
        print(*{"pynexar.config", "dataclasses", "json", "asyncio", "logging", "importlib.metadata"} & set(sys.modules))
    """
    assert said(script) == "\n"


def test_the_launcher_loads_little() -> None:
    """All ranks wait for it."""
    script = """
        import sys
        from pynexar.cli import guard, job, run
        with run.make_seed("127.0.0.1:0", 1) as seed:
            run.parse(["-n", "2", "--", "true"])
        print(*{"numpy", "dataclasses", "typing", "json", "asyncio", "logging", "subprocess", "tempfile",
                "multiprocessing", "importlib.metadata", "pynexar.config", "pynexar.comm"} & set(sys.modules))
    """
    assert said(script, NEXAR_LOG="error") == "\n"


def test_authorities_of_the_system_are_not_read(tmp_path: Path) -> None:
    """They are many, and each of the three QUIC configurations of a rank would read them all."""
    maps = "import pathlib, pynexar._ffi; print('libmsquic' in pathlib.Path('/proc/self/maps').read_text())"
    if said(maps) != "False\n":
        pytest.skip("the MsQuic of the system reads them")
    authorities = tmp_path / "authorities"
    os.mkfifo(authorities)  # who opens it waits without end
    script = """
        import pynexar as nx
        with nx.local_cluster(2) as comms:
            comms.run(lambda comm: comm.barrier())
    """
    said(script, SSL_CERT_FILE=str(authorities))


def test_every_public_name_can_be_loaded() -> None:
    script = """
        import pynexar
        for name in pynexar.__all__:
            assert getattr(pynexar, name) is not None, name
        assert set(pynexar.__all__) <= set(dir(pynexar))
        from pynexar import *
        assert launch.__name__ == "launch" and callable(launch) and callable(init)
        try:
            pynexar.no_such_name
        except AttributeError as error:
            print(error)
    """
    assert said(script) == "module 'pynexar' has no attribute 'no_such_name'\n"


@pytest.mark.parametrize("order", ["before", "after"])
def test_other_users_of_openssl_in_the_process(order: str) -> None:
    """The library has an OpenSSL of its own inside: neither sees the other's symbols."""
    script = f"""
        def other():
            import hashlib, ssl, threading, socket
            digest = hashlib.sha256(b"abc").hexdigest()
            assert digest.startswith("ba7816bf8f01cfea414140de5dae2223"), digest
            client, server = ssl.MemoryBIO(), ssl.MemoryBIO()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            hello = context.wrap_bio(server, client, server_hostname="localhost")
            try:
                hello.do_handshake()
            except ssl.SSLWantReadError:
                pass
            assert len(client.read()) > 100
            return ssl.OPENSSL_VERSION

        if "{order}" == "before":
            other()
        import pynexar as nx
        import numpy as np
        with nx.local_cluster(2) as comms:
            assert comms.run(lambda comm: float(comm.all_reduce(np.ones(1))[0])) == [2.0, 2.0]
            other()
    """
    said(script)


# ------------------------------------------------------------------------------------------------------------ forking
def test_use_after_fork_raises() -> None:
    script = """
        import os, sys
        import numpy as np, pynexar as nx

        comms = nx.local_cluster(2)
        comm, op = comms[0], comms[0].nb.recv(bytearray(1), 1)
        seed = nx.Seed("127.0.0.1:0", 2)
        pid = os.fork()
        if pid == 0:
            calls = [lambda: comm.all_reduce(np.zeros(1)), comm.barrier, lambda: comm.send(b"x", 1), comm.stats,
                     lambda: comm.recv(bytearray(1), 1), lambda: comm.probe(1), lambda: comm.peer(1), op.wait,
                     op.cancel, lambda: op.done, lambda: seed.join_string, seed.wait, nx.init,
                     lambda: nx.local_cluster(2)]
            for number, call in enumerate(calls):
                try:
                    call()
                except nx.UsageError as error:
                    assert "fork" in str(error), error
                else:
                    os._exit(number + 1)
            repr(comm), repr(op), repr(comms)
            comm.close()  # nothing of it is ours
            comms.close()
            del op
            sys.exit(0)  # as a child ends that knows nothing of all this
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        comms[1].send(b"x", 0)
        assert op.wait(timeout=30).nbytes == 1
        assert comms.run(lambda comm: float(comm.all_reduce(np.ones(1))[0])) == [2.0, 2.0]
        comms.close()
        seed.close()
        print("well")
    """
    assert python(script).stdout == "well\n"


def test_multiprocessing_by_fork_beside_a_job() -> None:
    """What a data loader does: workers that never touch nexar, and end as usual."""
    script = """
        import multiprocessing
        import numpy as np, pynexar as nx

        with nx.local_cluster(2) as comms:
            with multiprocessing.get_context("fork").Pool(2) as pool:
                assert pool.map(abs, range(-50, 0)) == list(range(50, 0, -1))
            assert comms.run(lambda comm: float(comm.all_reduce(np.ones(1))[0])) == [2.0, 2.0]
        print("well")
    """
    result = python(script)
    assert result.stdout == "well\n", result.stderr


def test_job_in_a_child_when_the_parent_has_none() -> None:
    script = """
        import os
        import pynexar as nx
        nx.Config  # loaded, but nothing is running
        pid = os.fork()
        if pid == 0:
            with nx.init() as comm:
                comm.barrier()
                assert comm.size == 1
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """
    said(script)


# ------------------------------------------------------------------------------------------------------------ ending
def test_process_that_closes_nothing_ends_well() -> None:
    script = """
        import numpy as np, pynexar as nx
        comms = nx.local_cluster(3)
        ops = [comm.nb.recv(np.zeros(10), 0) for comm in comms]
        comms[1].nb.send(np.zeros(1_000_000), 2)
        seed = nx.Seed("127.0.0.1:0", 2)
        print("end")
    """
    began = time.monotonic()
    assert said(script, NEXAR_LOG="error") == "end\n"
    assert time.monotonic() - began < 20


def test_process_that_ends_by_an_exception_tells_it() -> None:
    script = """
        import pynexar as nx
        comm = nx.init()
        raise LookupError("mine")
    """
    result = python(script)
    assert result.returncode == 1
    assert result.stderr.rstrip().endswith("LookupError: mine")


def test_threads_that_wait_do_not_keep_a_process_alive() -> None:
    """Daemon threads blocked in C, when the interpreter ends."""
    script = """
        import threading
        import pynexar as nx
        comms = nx.local_cluster(2)
        ready = threading.Barrier(3)

        def wait(comm):
            ready.wait()
            try:
                comm.recv(bytearray(1), 1 - comm.rank)
            except nx.Closed:
                pass

        for comm in comms:
            threading.Thread(target=wait, args=(comm,), daemon=True).start()
        ready.wait()
        print("end")
    """
    result = python(script)
    assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr


def test_one_rank_after_another_in_one_process() -> None:
    script = """
        import os, time
        import pynexar as nx
        def descriptors():
            return len(os.listdir("/proc/self/fd"))
        for n in (1, 2, 1, 3, 2):
            with nx.local_cluster(n) as comms:
                assert comms.run(lambda comm: comm.barrier()) == [None] * n
        before = descriptors()
        for _ in range(5):
            with nx.local_cluster(2) as comms:
                comms.run(lambda comm: comm.barrier())
            with nx.init() as comm:
                comm.barrier()
        deadline = time.monotonic() + 30
        while descriptors() > before + 2 and time.monotonic() < deadline:  # sockets are closed by the engine, later
            time.sleep(0.01)
        assert descriptors() <= before + 2, (before, descriptors())
    """
    said(script)


def test_dead_locks_of_the_interpreter_are_none(tmp_path: object) -> None:
    """C threads never take Python's lock: a job that is at work while the interpreter ends, many times."""
    del tmp_path
    script = """
        import threading
        import numpy as np, pynexar as nx
        comms = nx.local_cluster(2)

        def work(comm):
            x = np.ones(1000)
            try:
                while True:
                    comm.all_reduce(x)
            except nx.NexarError:
                pass

        for comm in comms:
            threading.Thread(target=work, args=(comm,), daemon=True).start()
        while comms[0].stats()["ops"]["all_reduce"] < 20:
            pass
    """
    for _ in range(5):
        assert python(script).returncode == 0


def test_environment_of_the_tests_is_clean() -> None:
    """Else these tests would join the job in which they run."""
    assert not [name for name in jobkit.clean_environment() if name in ("RANK", "NEXAR_RANK", "SLURM_PROCID")]
    assert os.environ.get("NEXAR_RANK") is None
