"""Each file of tests/broken, typed as a user types it: every mistake is told with its line, its key and its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fakes.laptop import Laptop

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
EXPECTED = re.compile(r"# expect: (?P<line>\d+) (?P<key>\S+) \| (?P<words>.+)")


@pytest.mark.parametrize("path", BROKEN, ids=[path.stem for path in BROKEN])
def test_a_broken_file_is_told_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    text = path.read_text("utf-8")
    expected = [(int(found["line"]), found["key"], found["words"]) for found in EXPECTED.finditer(text)]
    assert expected
    is_cluster = "cluster" in path.stem
    file = laptop.folder / ("config/tfslurm/clusters" if is_cluster else "") / path.name
    file.write_text(text, "utf-8")
    name = laptop.experiment() if is_cluster else str(file)
    assert laptop.type("plan", name, "--cluster", path.stem if is_cluster else "alpha") == 2
    said = capsys.readouterr()
    told = said.err.splitlines()
    assert (said.out, "Traceback" in said.err, len(told)) == ("", False, len(expected))
    for line, key, words in expected:
        head = f"error: {file}:{line}: " if line else f"error: {file}: "
        if key != "-":
            head += f"{key}: "
        assert [each for each in told if each.startswith(head) and words in each], (head, words, told)
