"""What the tests of the command line share: the bed, and a desk of alice's to type commands at."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from . import site
from .bed import BED_JSON
from .desk import Desk, a_desk


@pytest.fixture(scope="session")
def bed() -> None:
    """The test bed is up. Tests that need it fail where it never was, or where the user is not root."""
    if os.geteuid() != 0 or not BED_JSON.exists():
        pytest.fail("needs the test bed: `make cluster`, as root")
    amiss = [f"{name} {state}" for name, state in site.status().items() if state.startswith("NOT")]
    assert not amiss, f"the test bed is not up ({', '.join(amiss)}): python3 -m tests.cluster up"


@pytest.fixture
def desk(bed: None) -> Iterator[Desk]:
    """A fresh desk for one test: no jobs, no tracker, the cluster files of the bed."""
    with a_desk() as made:
        yield made


@pytest.fixture(scope="module")
def shared(bed: None) -> Iterator[Desk]:
    """A desk for the tests of one file that look at the same jobs."""
    with a_desk() as made:
        yield made
