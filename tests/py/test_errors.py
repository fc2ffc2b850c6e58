"""The tree of errors: what api users catch, what they find in them, and that they cross processes."""

from __future__ import annotations

import pickle

import pytest

import pynexar as nx
from pynexar import errors
from pynexar._ffi import _api


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        ("EINVAL", nx.UsageError),
        ("ENOMEM", nx.ResourceError),
        ("ETIMEDOUT", nx.Timeout),
        ("ECANCELLED", nx.Cancelled),
        ("ECLOSED", nx.Closed),
        ("EPEER", nx.PeerLost),
        ("EMISMATCH", nx.Mismatch),
        ("EMSGSIZE", nx.UsageError),
        ("EAUTH", nx.AuthError),
        ("EPROTO", nx.NexarError),
        ("ECONFIG", nx.ConfigError),
        ("ENOTSUP", nx.UsageError),
        ("EDEADLK", nx.UsageError),
        ("EFORK", nx.UsageError),
        ("ESYSTEM", nx.NexarError),
    ],
)
def test_class_of_each_status(status: str, cls: type[nx.NexarError]) -> None:
    code = getattr(_api, "NEXAR_" + status)
    assert errors.class_of(code) is cls
    assert cls("text", code=code).code_name == status


def test_classes_are_also_the_builtin_ones() -> None:
    assert issubclass(nx.Timeout, TimeoutError)
    assert issubclass(nx.UsageError, ValueError)
    for name in errors.__all__:
        assert issubclass(getattr(nx, name), nx.NexarError)
        assert getattr(nx, name).__doc__


def test_fields() -> None:
    error = nx.PeerLost("all_reduce: rank 2 is gone", op="all_reduce", comm=1, seq=7, peer=2, elapsed=1.5, hint="go on")
    assert str(error) == "all_reduce: rank 2 is gone; go on"
    assert (error.rank, error.peer, error.op, error.comm, error.seq, error.elapsed) == (2, 2, "all_reduce", 1, 7, 1.5)
    assert (error.code, error.code_name) == (_api.NEXAR_EPEER, "EPEER")
    plain = nx.Timeout("late")
    assert (plain.peer, plain.comm, plain.seq, plain.op, plain.hint, str(plain)) == (None, None, None, "", "", "late")


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_can_be_pickled(name: str) -> None:
    error = getattr(nx, name)("what happened", op="recv", comm=1, seq=2, peer=3, elapsed=0.5, hint="what to do")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error) == "what happened; what to do"
    assert copy.__dict__ == error.__dict__
