"""Two processes that watch each other, so that nothing of a job outlives its launcher.

    shell -- guard -- launcher -- rank 0 -- whatever it has started
                              \\-- rank 1

The process that the user started becomes the guard, which does next to nothing.  Its child is the launcher, which does
everything else.  Both adopt orphans.  If one of the two is killed, even by SIGKILL, the other ends all that is left.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from . import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

# What ends a job in good order.  The guard tells the launcher which it got, and whether the terminal sent it.
ENDING = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 6.0  # seconds that the launcher has to end the job in good order

_SI_KERNEL = 0x80  # sent by the terminal, to all of its foreground processes


def run(launch: Callable[[socket.socket], int], *, patient: bool = False) -> int:
    """Forks; calls `launch` in the child and returns its result in the parent, when nothing of the job is left.

    `launch` gets a socket from which it reads two bytes for each signal of ENDING: its number, and 1 if the terminal
    has sent it to all processes of this group.  End of file: the guard is gone.  `patient`: the job decides itself what
    the terminal's signals mean.
    """
    processes.adopt_orphans()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    watched = {signal.SIGCHLD, *ENDING}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ours.close()
            status = _be_launcher(guard, theirs, before, launch)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    theirs.close()
    try:
        return _be_guard(pid, ours, watched, patient)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _be_guard(launcher: int, control: socket.socket, watched: set[signal.Signals], patient: bool) -> int:
    deadline = float("inf")
    while True:
        info = signal.sigtimedwait(watched, min(3600.0, max(0.0, deadline - time.monotonic())))
        if info is not None and info.si_signo in ENDING:
            try:
                control.send(bytes([info.si_signo, info.si_code == _SI_KERNEL]), socket.MSG_NOSIGNAL)
            except OSError:  # it has just ended
                pass
            if info.si_code != _SI_KERNEL or not patient:
                deadline = min(deadline, time.monotonic() + PATIENCE)
        ended = processes.reap()
        if launcher in ended:
            processes.kill_all()
            return ended[launcher]
        if time.monotonic() >= deadline:
            print("nexar run: the launcher does not end the job; killing all of it", file=sys.stderr)
            processes.kill_all()
            return 128 + signal.SIGKILL


def _be_launcher(
    guard: int, control: socket.socket, mask: set[signal.Signals | int], launch: Callable[[socket.socket], int]
) -> int:
    processes.adopt_orphans()

    def nothing(_signum: int, _frame: object) -> None:
        pass

    def guard_is_gone(_signum: int, _frame: object) -> None:
        if os.getppid() != guard:  # now, whatever else is going on
            processes.kill_all()
            os._exit(128 + signal.SIGKILL)

    # These come through the guard.  A handler that does nothing: what is ignored would stay ignored in the ranks.
    for signum in ENDING:
        signal.signal(signum, nothing)
    signal.signal(signal.SIGUSR1, guard_is_gone)
    signal.signal(signal.SIGCHLD, nothing)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    processes.die_with_parent(guard, signal.SIGUSR1)
    return launch(control)
