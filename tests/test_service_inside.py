"""The program that is a service in its container. The container is a stand-in: a folder."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.test_channels import INSIDE, TOKEN


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """service.py, with its files in a folder of the test's."""
    spec = importlib.util.spec_from_file_location("service_inside", INSIDE / "service.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("TOKEN", "READY", "NOTICE", "PUBLIC", "NODE_NETWORK"):
        monkeypatch.setattr(module, name, str(tmp_path / name))
    (tmp_path / "TOKEN").write_text(TOKEN)
    return module


def test_the_nodes_own_network_is_refused_and_one_that_nobody_names(service: ModuleType) -> None:
    own = subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True, check=True).stdout
    node = Path(service.NODE_NETWORK)
    for text in (None, "", own):
        if text is not None:
            node.write_text(text)
        with pytest.raises(service.Refused, match="every user of the node could reach it; write `network: none`"):
            service.refuse_network_of_node()
    node.write_text("net:[1]\n")
    service.refuse_network_of_node()


def test_a_server_that_never_answers_ends_as_one_that_nobody_uses(
    service: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    clock = SimpleNamespace(
        time=lambda: now[0], monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds)
    )
    monkeypatch.setattr(service, "time", clock)
    monkeypatch.setattr(service, "answered", lambda path: 0)
    assert service.attend(SimpleNamespace(poll=lambda: None), "jupyter", 60) == 1
    assert Path(service.NOTICE).read_text() == "it has not answered for 1 min: it ends now"
    assert 1060 <= now[0] < 1080
