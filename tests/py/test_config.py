"""Config: every setting of the library has a field, and a value that cannot be is found before anything happens."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

import pynexar as nx
from pynexar import config
from pynexar._ffi import _api


def test_every_setting_has_a_field() -> None:
    fields = {field.name for field in dataclasses.fields(nx.Config)} - {"recovery"}  # which is Python's alone
    assert {row.name for row in config.settings() if row.name} == fields
    assert {config.field_of(name) for name in fields} == {
        name for name, *_ in _api.nexar_config._fields_ if name not in ("size", "reserved", "reserved_2")
    }
    for name in fields:
        assert config.name_of(config.field_of(name)) == name


def test_units_fit_types() -> None:
    """Times are seconds and floats, everything else is text or an int."""
    types = {field.name: str(field.type) for field in dataclasses.fields(nx.Config)}
    for row in config.settings():
        assert row.variable.startswith("NEXAR_")
        assert row.help
        if row.name:
            wanted = {"seconds": "float", "text": "str", "flag": "bool"}.get(row.unit, "int")
            assert wanted in types[row.name], row.name


def test_every_field_is_documented() -> None:
    for field in dataclasses.fields(nx.Config):
        assert f"\n        {field.name}: " in (nx.Config.__doc__ or "")


def test_nothing_set_is_all_zero() -> None:
    c = nx.Config().to_c()
    assert c.size > 0
    assert not any(getattr(c, name) for name, *_ in _api.nexar_config._fields_ if name != "size")


@pytest.mark.parametrize(
    ("field", "value", "name", "expected"),
    [
        ("rank", 0, "rank_plus_one", 1),
        ("local_rank", np.int32(3), "local_rank_plus_one", 4),
        ("world_size", 8, "world_size", 8),
        ("timeout", 1.5, "timeout_ns", 1_500_000_000),
        ("timeout", 30, "timeout_ns", 30_000_000_000),
        ("timeout", math.inf, "timeout_ns", _api.NEXAR_FOREVER),
        ("timeout", np.float32(0.25), "timeout_ns", 250_000_000),
        ("linger", 0, "linger_ns", 1),  # 0 in C is the default
        ("join", "nexar://x", "join", b"nexar://x"),
        ("interface", "^lo,docker", "interface_", b"^lo,docker"),
        ("transports", "quic", "transports", b"quic"),
        ("transports", ["quic"], "transports", b"quic"),
        ("lane_bytes", 1 << 40, "lane_bytes", 1 << 40),
    ],
)
def test_values(field: str, value: Any, name: str, expected: Any) -> None:
    c = nx.Config(**{field: value}).to_c()
    assert getattr(c, name) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rank", -1),
        ("rank", 1 << 32),
        ("rank", 1.0),
        ("rank", True),
        ("world_size", "4"),
        ("timeout", -1),
        ("timeout", "30"),
        ("timeout", math.nan),
        ("timeout", True),
        ("join", b"nexar://"),
        ("join", 7),
        ("bind", "a\0b"),
        ("lane_bytes", -1),
        ("lane_bytes", 1 << 64),
        ("transports", 3),
    ],
)
def test_wrong_values_are_named(field: str, value: Any) -> None:
    with pytest.raises(nx.UsageError, match=rf"config\.{field} is"):
        nx.Config(**{field: value}).to_c()


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(TypeError, match="timeot"):
        nx.Config(timeot=3)  # type: ignore[call-arg]


def test_secrets_are_not_shown() -> None:
    text = repr(nx.Config(join="nexar://h:1?token=abc&ca=sha256:00", secret="0123456789abcdef"))
    assert "abc" not in text
    assert "0123" not in text
    assert "timeout" in text


def test_init_wants_a_config() -> None:
    with pytest.raises(nx.UsageError, match="config is"):
        nx.init(config={"timeout": 3})  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "seconds"), [(None, 600.0), ("90", 90.0), ("250ms", 0.25), ("never", math.inf)])
def test_default_timeout(monkeypatch: pytest.MonkeyPatch, value: str | None, seconds: float) -> None:
    if value is None:
        monkeypatch.delenv("NEXAR_TIMEOUT", raising=False)
    else:
        monkeypatch.setenv("NEXAR_TIMEOUT", value)
    assert config.default_timeout() == seconds


def test_environment_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    found, wrong = config.environment()
    assert wrong is None
    assert found["launcher"] == "none"
    monkeypatch.setenv("NEXAR_HEARTBEAT", "soon")
    found, wrong = config.environment()
    assert isinstance(wrong, nx.ConfigError)
    assert "NEXAR_HEARTBEAT" in str(wrong)
    assert found["launcher"] == "none"
