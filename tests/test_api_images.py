"""What `tfslurm image` does, from Python: with a stand-in for docker and one for the registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tfslurm
from tests.fakes.registry import Said, no_settings_of_this_machine, start_registry
from tests.test_image_build import Bench, bench
from tests.test_scan import HOLE, fresh, keep
from tfslurm.api.session import session_of
from tfslurm.errors import InputError, RegistryError
from tfslurm.image import read_lock

__all__ = ["bench", "no_settings_of_this_machine", "start_registry"]


@pytest.fixture(autouse=True)
def session_of_its_own() -> Iterator[None]:
    """The session of this process looks at the folders of this test."""
    session_of.cache_clear()
    yield
    session_of.cache_clear()


def test_an_image_is_built_looked_at_mirrored_and_its_scan_is_read(bench: Bench) -> None:
    file = bench.experiment()
    made = tfslurm.image_build(file)
    assert made.is_pinned and made.differs is None
    assert tfslurm.image_build(Path(file)).differs == ()
    seen = tfslurm.image_inspect(file)
    assert seen.digest == made.build.digest and [layer.command for layer in seen.layers][-1].startswith("COPY hello")
    assert tfslurm.image_inspect(made.reference).digest == seen.digest
    mirrored = tfslurm.image_mirror(file, f"{bench.registry.address}/copies")
    assert mirrored.digest == seen.digest and mirrored.target.startswith(f"{bench.registry.address}/copies/")
    keep(read_lock(bench.lock.read_text(), "lock").image, HOLE, updated_at=fresh())
    scan = tfslurm.image_scan(file)
    assert scan.report is not None and [each.id for each in scan.report.findings] == ["CVE-2026-1"]


def test_what_is_refused_is_the_same_error_as_of_the_command(bench: Bench) -> None:
    file = bench.experiment()
    bench.registry.guard = lambda asked: Said(403 if asked.method == "POST" else 200)
    with pytest.raises(RegistryError, match=r"a push: HTTP 403; .*; nothing was built"):
        tfslurm.image_build(file)
    with pytest.raises(InputError, match="last"):
        tfslurm.image_inspect("last")
    assert not list(bench.laptop.folder.glob("*.lock.yaml"))
