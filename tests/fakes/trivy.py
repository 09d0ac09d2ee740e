"""A stand-in for trivy, for what the real one cannot be made to do: it answers what was laid out, and notes its call.

The real one is in tests/cluster/test_scan.py. It refuses words that trivy 0.76 does not have.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path({here!r})
words = sys.argv[1:]
config = pathlib.Path(os.environ["DOCKER_CONFIG"]) / "config.json"
said = {{"argv": words, "env": dict(os.environ), "cwd": os.getcwd()}}
if config.exists():
    said |= {{"config": json.loads(config.read_text()), "mode": oct(config.stat().st_mode & 0o777)}}
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(said) + "\\n")
if words[0] == "version":
    print((here / "version").read_text())
    sys.exit()
known = ("image", "--no-progress", "--timeout", "1h", "--format", "json", "cyclonedx", "--output", "--scanners", "vuln",
         "--list-all-pkgs", "--skip-db-update", "--image-src", "remote", "--input")
form, output = words[words.index("--format") + 1], words[words.index("--output") + 1]
strange = [word for word in words[:-1] if word not in known and word != output]
if strange:
    sys.exit(f"2026-11-29T00:00:00Z\\tFATAL\\tFatal error\\tunknown flag: {{strange}}")
refusal = here / f"{{form}}-refusal"
if refusal.exists() and not (form == "json" and "--skip-db-update" in words):
    sys.stderr.write(refusal.read_text())
    sys.exit(1)
pathlib.Path(output).write_bytes((here / form).read_bytes())
"""
SBOM = {"bomFormat": "CycloneDX", "specVersion": "1.7"}
NO_DATABASE = (
    "2026-11-29T05:59:49Z\tINFO\t[vulndb] Downloading vulnerability DB...\n"
    "2026-11-29T05:59:49Z\tFATAL\tFatal error\trun error: init error: DB error: failed to download vulnerability DB: "
    'OCI repository error: 1 error occurred:\n\t* Get "https://mirror.gcr.io/v2/": dial tcp: no such host\n\n\n'
)
"As trivy 0.76.0 printed it, shorter in the middle."


@dataclass(frozen=True)
class FakeTrivy:
    """What the program answers, and its folder, which is the only one on PATH that has a trivy."""

    here: Path

    @classmethod
    def made(cls, folder: Path, patch: pytest.MonkeyPatch) -> FakeTrivy:
        """A new one, first on PATH."""
        (folder / "bin").mkdir(parents=True)
        program = folder / "bin" / "trivy"
        program.write_text(PROGRAM.format(python=sys.executable, here=str(folder)))
        program.chmod(0o755)
        patch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        made = cls(folder)
        made.says(SBOM, form="cyclonedx")
        made.knows("2026-11-28T06:00:00.123456789Z")
        return made

    def says(self, report: object, form: str = "json") -> None:
        """Its answer."""
        (self.here / form).write_text(report if isinstance(report, str) else json.dumps(report))

    def refuses(self, text: str, form: str = "json") -> None:
        """Its refusal."""
        (self.here / f"{form}-refusal").write_text(text)

    def knows(self, updated_at: str | None) -> None:
        """Its database; None: it has none."""
        database = {"VulnerabilityDB": {"Version": 2, "UpdatedAt": updated_at}} if updated_at else {}
        (self.here / "version").write_text(json.dumps({"Version": "0.76.0", **database}))

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Each call, in order."""
        file = self.here / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
