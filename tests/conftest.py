"""For all tests of Python, those of tests/py and those of tests/jobs."""

from __future__ import annotations

import os
import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Who is started in the background by a shell ignores Ctrl-C, and so would the programs that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "full: takes long; runs with tests/run.sh --full, or NX_TEST_FULL=1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("NX_TEST_FULL"):
        skip = pytest.mark.skip(reason="takes long; tests/run.sh --full runs it")
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(skip)
