"""For all tests of Python, those of tests/py and those of tests/jobs."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: takes long; runs with tests/run.sh --full, or NX_TEST_FULL=1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("NX_TEST_FULL"):
        skip = pytest.mark.skip(reason="takes long; tests/run.sh --full runs it")
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(skip)
