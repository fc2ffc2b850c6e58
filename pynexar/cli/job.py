"""The ranks of this machine: started, listened to, and ended together."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import socket
import time

from pynexar import launched

from . import output, processes
from .output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pynexar.seed import Seed

_GRACE_AFTER_FAILURE = 3.0  # seconds that the others have to fail by themselves
_GRACE_AFTER_SIGNAL = 2.0
_GRACE_AFTER_TERM = 1.0
_SEED_POLL = 0.2
_KILL_POLL = 0.05
_TOLD = 8  # ranks that failed after the first one and are told of, each with a line


class CannotStartError(Exception):
    """There will be no job, for a reason that is the user's to know; no traceback of the launcher says more."""


class Rank:
    """One process of the job."""

    def __init__(self, local: int, name: str, environment: dict[str, str]) -> None:
        self.local = local  # its number on this machine
        self.name = name  # for people
        self.environment = environment
        self.pid = 0
        self.gate = -1  # it starts when it has read the join string from the other end
        self.status: int | None = None  # once it has ended
        self.ended_at = 0
        self.failed_at = 0  # when it said that it was failing; 0: it did not
        self.error = ""  # the exception's name
        self.ended_by_us = False
        self.streams: list[output.Stream] = []
        self.starts = 0

    def failing(self) -> tuple[bool, bool, int]:
        """Sorts those that failed by when: those that we ended come last, and before them those that have lost another.

        Ranks of one host see at once that a process is gone, and may have told us before we could know of its end.
        """
        return self.ended_by_us, self.error == "PeerLost", self.failed_at or self.ended_at

    def fate(self) -> str:
        """What became of it, in words."""
        words = processes.in_words(self.status or 0)
        return f"rank {self.name}: {words}{f' ({self.error})' if self.error else ''}"


class Job:
    """Runs `argv` once for each rank.

    Args:
        raw: the one rank has the launcher's own terminal, and its process group
        log_dir: where each rank's output goes, too; None: nowhere
        keep_going: a rank that fails does not end the others
        elastic: others may join the job after it has formed
        restarts: how often a rank that has failed is started again, all of them together
        open_seed: what to call when the ranks exist: a seed to serve, or None, and the join string for the ranks
    """

    def __init__(
        self,
        argv: list[str],
        ranks: list[Rank],
        *,
        raw: bool,
        prefix: bool,
        log_dir: str | None,
        keep_going: bool,
        elastic: bool = False,
        restarts: int = 0,
        open_seed: Callable[[], tuple[Seed | None, str]],
    ) -> None:
        self.argv = argv
        self.ranks = ranks
        self.raw = raw
        self.prefix = prefix
        self.log_dir = log_dir
        self.keep_going = keep_going
        self.elastic = elastic
        self.restarts = restarts
        self.open_seed = open_seed
        self.at_end: list[Callable[[], object]] = []
        self._seed: Seed | None = None
        self._formed = False
        self._join = ""  # of an elastic job, as it is now
        self._began = time.monotonic_ns()
        self._stage = self._running
        self._stage_ends = float("inf")
        self._interrupted = 0  # by this signal
        self._seed_failed = False
        self._selector = selectors.DefaultSelector()
        self._ends = processes.Ends()

    def run(self, control: socket.socket) -> int:
        """Runs the job to its end and returns the exit status for the launcher; see guard.run for `control`."""
        self._watch(control, lambda: self._read_control(control))
        wake, wakes = socket.socketpair()
        for end in (wake, wakes):
            end.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        self._watch(wake, lambda: wake.recv(4096))
        try:
            self._spawn_all()
            self._open_gates()
            self._until(lambda: all(rank.status is not None for rank in self.ranks))
            self._end_leftovers()
            return self._report()
        except BrokenPipeError:  # nobody reads what the ranks say
            return 128 + signal.SIGPIPE
        except CannotStartError as error:
            say(str(error))
            return 1
        finally:
            processes.kill_all()
            if self._seed is not None:
                self._give_up_seed()
            for call in self.at_end:
                call()

    # --------------------------------------------------------------------------------------------------- starting
    def _spawn_all(self) -> None:
        words, word = os.pipe()
        for rank in self.ranks:
            try:
                self._spawn(rank, word)
            except OSError as error:  # limits of files or processes; see `ulimit -a`
                for waiting in self.ranks[: rank.local]:  # so that there are descriptors to end the others with
                    os.close(waiting.gate)
                raise CannotStartError(f"cannot start rank {rank.name}: {error.strerror}") from error
        self._word = word
        if not self.restarts:
            os.close(word)
        self._words = words
        self._watch(words, self._read_words)

    def _spawn(self, rank: Rank, word: int) -> None:
        gate, rank.gate = os.pipe()
        pipes = [] if self.raw else [os.pipe(), os.pipe()]
        launcher = os.getpid()
        rank.pid = os.fork()
        if rank.pid == 0:
            self._be_rank(rank, launcher, gate, [end for _, end in pipes], word)
        os.close(gate)
        self._ends.add(rank.pid)
        if self.raw:
            return
        try:
            os.setpgid(rank.pid, rank.pid)
        except OSError:  # it has done so itself, and is further
            pass
        log = None
        if self.log_dir is not None:
            path = os.path.join(self.log_dir, f"rank-{rank.name}.log")
            log = open(path, "ab") if rank.starts else open(path, "wb")  # noqa: SIM115
        for (ours, theirs), to in zip(pipes, (1, 2)):
            os.close(theirs)
            stream = output.Stream(ours, to, rank.name if self.prefix else "", rank.local, log)
            rank.streams.append(stream)
            self._watch(ours, lambda stream=stream: self._pump(stream))  # type: ignore[misc]

    def _be_rank(self, rank: Rank, launcher: int, gate: int, outputs: list[int], word: int) -> None:
        """In the child: waits for the join string, and becomes the program."""
        status = 126
        try:
            if not self.raw:
                os.setpgid(0, 0)
            processes.die_with_parent(launcher, signal.SIGKILL)
            os.close(rank.gate)
            with open(gate, encoding="utf-8") as file:
                line = file.readline()  # not to the end: ranks that were started later have the other end, too
            if not line.endswith("\n"):  # the launcher has given up
                os._exit(status)
            if line != "\n":
                rank.environment["NEXAR_JOIN"] = line[:-1]
            if outputs:
                if rank.local != 0 or os.isatty(0):  # its group is not the terminal's: reading would stop it
                    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(outputs[0], 1)
                os.dup2(outputs[1], 2)
            os.set_inheritable(word, True)
            rank.environment[launched.VARIABLE] = launched.variable_for(word)
            for signum in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and exec would keep ignored
                signal.signal(signum, signal.SIG_DFL)
            os.execvpe(self.argv[0], self.argv, rank.environment)
        except OSError as error:
            status = 127 if error.errno == errno.ENOENT else 126
            os.write(2, f"nexar run: cannot start {self.argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(status)

    def _open_gates(self) -> None:
        self._seed, self._join = self.open_seed()
        for rank in self.ranks:
            self._open_gate(rank)

    def _open_gate(self, rank: Rank) -> None:
        try:
            output.write(rank.gate, f"{self._join}\n".encode())
        except BrokenPipeError:  # it was killed already
            pass
        os.close(rank.gate)

    def _restart(self, rank: Rank) -> None:
        """Starts a rank that has failed again: as one that is new to the job that the others go on with."""
        self.restarts -= 1
        rank.starts += 1
        say(f"{rank.fate()}; it is started again, {self.restarts} restarts are left")
        rank.status, rank.ended_at, rank.failed_at, rank.error = None, 0, 0, ""
        try:
            self._spawn(rank, self._word)
        except OSError as error:
            rank.status = 126
            say(f"cannot start rank {rank.name} again: {error.strerror}")
            self._enter(self._terminate, _GRACE_AFTER_FAILURE)
            return
        self._open_gate(rank)

    # --------------------------------------------------------------------------------------------------- listening
    def _watch(self, file: Any, call: Callable[[], Any]) -> None:
        self._selector.register(file, selectors.EVENT_READ, call)

    def _pump(self, stream: output.Stream) -> None:
        if not stream.pump():
            self._forget(stream.fd)

    def _forget(self, fd: int) -> None:
        self._selector.unregister(fd)
        os.close(fd)

    def _until(self, over: Callable[[], bool]) -> None:
        """Serves everybody until `over`."""
        while True:
            self._reap()
            if over():
                return
            now = time.monotonic()
            if now >= self._stage_ends:
                self._stage()
            pause = self._stage_ends - now
            if self._seed is not None:
                self._poll_seed()
                pause = min(pause, _SEED_POLL)
            for key, _ in self._selector.select(max(0.0, min(pause, 3600.0))):
                key.data()

    def _reap(self) -> None:
        for pid in self._ends.take():
            for rank in self.ranks:
                if rank.pid == pid:
                    rank.ended_at = time.monotonic_ns()
        for pid, status in processes.reap().items():
            for rank in self.ranks:
                if rank.pid == pid:
                    rank.status = status
                    rank.ended_at = rank.ended_at or time.monotonic_ns()
                    if status != 0 and self._stage == self._running:
                        self._failed(rank)

    def _failed(self, rank: Rank) -> None:
        if self.restarts and self._seed is not None:
            self._poll_seed()  # it may have failed right after the job had formed
        if self.restarts and (self._formed or self._seed is None) and not self._seed_failed:
            self._restart(rank)
        elif not self.keep_going:
            self._enter(self._terminate, _GRACE_AFTER_FAILURE)

    def _read_words(self) -> None:
        """What ranks say of themselves; see launched.py."""
        lines = os.read(self._words, 1 << 16).decode("utf-8", "replace").splitlines()
        if not lines:
            self._forget(self._words)
        for line in lines:
            try:
                local, at, error = line.split(" ")
                rank = self.ranks[int(local)]
                if at == "join":
                    self._moved(error)
                else:
                    rank.failed_at, rank.error = int(at), error
            except (ValueError, IndexError):  # not from a rank of ours
                continue

    def _moved(self, join: str) -> None:
        """The elastic job has formed anew: its join string is another, for whom it is to reach first."""
        from pynexar.errors import NexarError

        self._join = join
        if self._seed is not None and self._formed:
            try:
                self._seed.point_to(join)
            except NexarError as error:
                say(str(error))

    def _poll_seed(self) -> None:
        from pynexar.errors import NexarError

        assert self._seed is not None
        if self._formed:  # of an elastic job: it stays, for those who join later
            return
        try:
            if not self._seed.poll():
                return
            self._formed = True
            if self.elastic:
                return
        except NexarError as error:
            say(str(error))
            self._seed_failed = True
            if self._stage == self._running:
                self._enter(self._terminate, _GRACE_AFTER_FAILURE)
        self._seed.close()
        self._seed = None

    def _give_up_seed(self) -> None:
        """Nobody joins any more, perhaps because the program is none of nexar's: not worth the library's warning."""
        from pynexar._ffi import _api, lib

        lib.nexar_log_set_level(_api.NEXAR_LOG_ERROR)
        if self._seed is not None:
            self._seed.close()

    # ------------------------------------------------------------------------------------------------------ ending
    # Stages: running, then waiting for the ranks to end by themselves, then SIGTERM, then SIGKILL.
    def _enter(self, stage: Callable[[], None], after: float) -> None:
        self._stage = stage
        self._stage_ends = time.monotonic() + after

    def _running(self) -> None:
        """No stage follows by itself."""

    def _terminate(self) -> None:
        self._send(signal.SIGTERM)
        self._enter(self._kill, _GRACE_AFTER_TERM)

    def _kill(self) -> None:
        self._send(signal.SIGKILL)
        processes.send(processes.descendants(os.getpid()), signal.SIGKILL)
        self._enter(self._kill, _KILL_POLL)

    def _send(self, signum: int) -> None:
        """To the ranks, and what is in their groups."""
        alive = [rank for rank in self.ranks if rank.status is None]
        for rank in alive:
            rank.ended_by_us = True
        pids = [rank.pid for rank in alive if rank.pid]
        if self.raw:
            processes.send(pids, signum)
        else:
            processes.send_groups(pids, signum)

    def _read_control(self, control: socket.socket) -> None:
        message = control.recv(2)
        if not message:  # the guard is gone
            processes.kill_all()
            os._exit(128 + signal.SIGKILL)
        signum, by_terminal = message
        if self.raw and by_terminal:  # the rank has got it, too, and decides what it means
            return
        if self._interrupted:
            self._kill()
            return
        self._interrupted = signum
        say(f"got {signal.Signals(signum).name}, ending the job")
        self._send(signum)
        self._enter(self._kill if signum == signal.SIGTERM else self._terminate, _GRACE_AFTER_SIGNAL)

    def _end_leftovers(self) -> None:
        """Ends what the ranks have started and left behind, and passes on the last words of all."""
        left = processes.descendants(os.getpid())
        if left and self._stage != self._kill:
            processes.send(left, signal.SIGTERM)
            self._enter(self._kill, _GRACE_AFTER_TERM)
        self._until(lambda: not processes.descendants(os.getpid()))
        while True:  # until nobody has anything left to say
            ready = self._selector.select(0)
            for key, _ in ready:
                key.data()
            if not ready:
                return

    def _report(self) -> int:
        """Says who failed, first of all who failed first; the exit status."""
        failed = sorted((rank for rank in self.ranks if rank.status), key=Rank.failing)
        if self._interrupted:
            return 128 + self._interrupted
        if not failed:
            return 1 if self._seed_failed else 0
        first = failed[0]
        assert first.status is not None
        if self.raw:
            if first.status > 128:
                say(first.fate())
            return first.status
        seconds = (first.failing()[-1] - self._began) / 1e9
        lines = [f"{first.fate()}, the first to fail, after {seconds:.1f} s"]
        if first.streams:
            lines += ["    " + line for line in first.streams[1].tail()]
        for rank in failed[1 : 1 + _TOLD]:
            lines.append(f"then {rank.fate()}{', sent by nexar run' if rank.ended_by_us else ''}")
        if len(failed) > 1 + _TOLD:
            lines.append(f"then {len(failed) - 1 - _TOLD} more")
        say("\n".join(lines))
        return 0 if self.keep_going and any(rank.status == 0 for rank in self.ranks) else first.status
