"""A job whose ranks come and go: checkpoints that let others join, leaving, and handing the state over."""

from __future__ import annotations

from ctypes import create_string_buffer
from typing import Any, TypeVar

from . import errors, launched
from ._ffi import _api, lib
from ._ffi.call import check, options, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .comm import Comm

_SLICE_NS = 200_000_000  # of a wait, between two looks for signals
_JOIN_STRING_MAX = 4096

State = TypeVar("State", bound="dict[str, Any]")


class Elastic:
    """The calls of a communicator of an elastic job (nexar.init(elastic=True), `nexar run --nnodes 1:4`)."""

    rank: int
    pointer: Callable[[str], Any]
    broadcast: Callable[..., Any]
    broadcast_object: Callable[..., Any]

    def elastic_checkpoint(self, *, timeout: float | None = None) -> Comm:
        """Lets those join who wait, and those leave who call leave() instead; a collective of all members.

        Returns this communicator if nobody comes or goes, which costs an all_gather of some bytes.  Else another one:
        the ranks that stay keep their order and come first, those who are new follow.  This one, and those that were
        made from it, are closed then.  See hand_over() for what the new ranks need to know.

        With fewer than Config.min_world ranks it waits for others; with Config.max_world nobody joins.

        Raises:
            PeerLost: a member was lost; shrink(), and call it again.
            Timeout: a rank has not called it, or too few have joined.
            UsageError: the job is not elastic; the communicator does not have all members.
            QuorumLost, Closed, ResourceError.
        """
        comm: Any = self
        made = _checkpoint(comm, False, timeout)
        if made is comm:
            return made  # type: ignore[no-any-return]
        from .groups import close_with_all

        close_with_all(comm)
        tell_launcher(made)
        return made  # type: ignore[no-any-return]

    def leave(self, *, timeout: float | None = None) -> None:
        """Leaves the job: takes the place of elastic_checkpoint() on this rank.  The communicator is closed then.

        Raises:
            NexarError: as elastic_checkpoint().
        """
        comm: Any = self
        _checkpoint(comm, True, timeout)
        from .groups import close_with_all

        close_with_all(comm)

    def hand_over(self, state: State, *, timeout: float | None = None) -> State:
        """Rank 0's state, for all ranks; a collective.  After a checkpoint rank 0 is one that was there before.

        Args:
            state: numpy arrays and anything that can be pickled, by name.  Only rank 0's counts; arrays of other ranks
                that have the same name, shape and type are filled, for others there are new ones.

        Returns:
            a dict with rank 0's names; on rank 0 `state` itself

        Raises:
            UsageError: `state` is no dict.
            NexarError: as broadcast().
        """
        import numpy

        if not isinstance(state, dict):
            usage(f"state is {state!r}; it must be a dict", "hand_over")
        rest = {name: value for name, value in state.items() if not isinstance(value, numpy.ndarray)}
        arrays = {name: value for name, value in state.items() if isinstance(value, numpy.ndarray)}
        shapes = [(name, value.shape, value.dtype.str) for name, value in arrays.items()]
        rest, shapes = self.broadcast_object((rest, shapes), 0, timeout=timeout)
        result: Any = state if self.rank == 0 else dict(rest)
        for name, shape, dtype in shapes:
            array: Any = arrays.get(name)
            fits = array is not None and array.shape == shape and array.dtype.str == dtype
            fits = fits and array.flags.c_contiguous and array.flags.writeable
            if not fits and self.rank == 0:
                array = numpy.ascontiguousarray(array)
            elif not fits:
                array = numpy.empty(shape, dtype)
            # As bytes: any type of fixed size will do.
            self.broadcast(array.reshape(-1).view(numpy.uint8), 0, timeout=timeout)
            if self.rank != 0:
                result[name] = array
        return result  # type: ignore[no-any-return]

    @property
    def join_string(self) -> str:
        """What others need to join this job, as it is now; a secret.

        Raises:
            UsageError: the job is not elastic, or its ranks share a secret instead.
        """
        text = create_string_buffer(_JOIN_STRING_MAX)
        lock: Any = self.lock  # type: ignore[attr-defined]  # of Handle
        with lock:
            check(lib.nexar_comm_join_string(self.pointer("join_string"), text, len(text)))
        return text.value.decode()


def _checkpoint(comm: Comm, leave: bool, timeout: float | None) -> Any:
    """The communicator afterwards; `comm` itself if nothing has changed."""
    from .comm import Comm

    opts = options(timeout, "elastic_checkpoint")
    elastic, made, new = _api.nexar_elastic(), _api.nexar_comm(), Comm.__new__(Comm)
    mark = object()
    try:
        pointer = comm.begin_long_call("elastic_checkpoint", mark)
        check(lib.nexar_elastic_start(pointer, int(leave), opts, elastic))
        while True:
            status = lib.nexar_elastic_wait(elastic, _SLICE_NS, made)
            if status not in (_api.NEXAR_EAGAIN, _api.NEXAR_EINTR):
                break
            if comm.closed:
                raise errors.Closed(f"elastic_checkpoint: {comm} was closed", op="elastic_checkpoint")
        check(status)
        if made.value is None or made.value == pointer.value:
            made.value = None
            return comm
        Comm.__init__(new, made, comm._timeout)
        return new
    except BaseException:  # Ctrl-C at any point
        if made.value is not None and made.value != pointer.value:
            new.give_up(made, lib.nexar_comm_close)
        raise
    finally:
        lib.nexar_elastic_close(elastic)
        comm.end_long_call(mark)


def tell_launcher(comm: Any) -> None:
    """So that it can send others to where the job is now."""
    if launched.listens():
        try:
            launched.tell_join(comm.join_string)
        except errors.UsageError:  # not elastic; or by secret: whoever joins knows where
            pass
