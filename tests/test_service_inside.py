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


@pytest.mark.parametrize("idle_after_s", [2, 60])
def test_a_server_that_never_answers_ends_as_one_that_nobody_uses(
    service: ModuleType, monkeypatch: pytest.MonkeyPatch, idle_after_s: int
) -> None:
    now = [1000.0]
    clock = SimpleNamespace(
        time=lambda: now[0], monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds)
    )
    monkeypatch.setattr(service, "time", clock)
    monkeypatch.setattr(service, "answered", lambda path: 0)
    assert service.attend(SimpleNamespace(poll=lambda: None), "jupyter", idle_after_s) == 1
    assert Path(service.NOTICE).read_text() == "it has not answered for 1 min: it ends now"
    assert 1060 <= now[0] < 1080


def test_tensorboard_has_begun_when_what_is_behind_the_door_answers(
    service: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for status, has_begun in ((0, False), (502, False), (200, True), (404, True)):
        monkeypatch.setattr(service, "answered", lambda path, token, found=status: found if token == TOKEN else 403)
        assert service.has_begun("tensorboard") == has_begun, status
    for status, has_begun in ((0, False), (403, True)):
        monkeypatch.setattr(service, "answered", lambda path, found=status: found)
        assert service.has_begun("jupyter") == has_begun, status


def test_tensorboard_is_used_when_the_door_let_somebody_in(
    service: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "STATE", str(tmp_path))
    assert service.last_used("tensorboard") == 0.0
    (tmp_path / "used").touch()
    assert service.last_used("tensorboard") == (tmp_path / "used").stat().st_mtime


def test_an_image_without_tensorboard_is_told_what_to_do(service: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(service.Refused, match=r"`packages: \[tensorboard\]` in exp.yaml gives it to the next run"):
        service.tensorboard(["x"])
    monkeypatch.setattr(service.importlib.util, "find_spec", lambda name: name)
    assert service.tensorboard(["x"])[1:] == ["/run/tfslurm-board.py", "x"]
