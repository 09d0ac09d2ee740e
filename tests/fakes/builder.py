"""A stand-in for docker, where there is none: it builds COPY and ENV alone, and saves as docker 20.10 does.

What it is asked stands in $FAKE_DOCKER/asked; $FAKE_DOCKER/base holds config.json and the tars of the base's layers.
As docker it gives every file the time of the build, and refuses what it does not know.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

PROGRAM = """#!/bin/sh
# What is quickly answered, without a Python that starts.
case "$1" in
build | save) exec {python} -I -S {file} "$@" ;;
esac
printf '%s\\n' "$*" >>"$FAKE_DOCKER/asked"
case "$1" in
version) echo 99.1 ;;
image | ps | rm | pull) ;;
*) exit 1 ;;
esac
"""


def main(words: list[str], home: Path) -> int:
    with (home / "asked").open("a") as asked:
        asked.write(" ".join(words) + "\n")
    if words[0] == "build":
        return build(words, home)
    save(Path(words[words.index("--output") + 1]), home)
    return 0


def build(words: list[str], home: Path) -> int:
    folder = Path(words[-1])
    made: dict[str, Any] = {"files": {}, "steps": [], "env": []}
    for number, line in enumerate(Path(words[words.index("--file") + 1]).read_text().splitlines(), 1):
        word, _, rest = line.partition(" ")
        if word == "COPY":
            source, target = rest.split()
            found = folder / source
            files = [found] if found.is_file() else [each for each in found.rglob("*") if each.is_file()]
            for each in files:
                inside = target.lstrip("/") + ("" if found.is_file() else f"/{each.relative_to(found)}")
                made["files"][inside] = each.read_text()
            made["steps"].append(f"COPY {rest}")
        elif word == "ENV":
            made["env"].append(rest)
        elif word == "RUN":
            print(f"Step {number}: {line}\nThe command returned a non-zero code: 3", file=sys.stderr)
            return 3
    (home / "made.json").write_text(json.dumps(made))
    return 0


def save(target: Path, home: Path) -> None:
    made = json.loads((home / "made.json").read_text())
    config = json.loads((home / "base" / "config.json").read_text())
    layers = [path.read_bytes() for path in sorted((home / "base").glob("*.tar"))]
    if (home / "extra").exists():  # what differs from day to day
        made["files"]["opt/extra"] = "1"
    own = io.BytesIO()
    with tarfile.open(fileobj=own, mode="w") as tar:
        for name, text in made["files"].items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(text), int(time.time()), "builder"
            tar.addfile(info, io.BytesIO(text.encode()))
    layers.append(own.getvalue())
    config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(layers[-1]).hexdigest()}")
    config["history"].append({"created_by": "; ".join(made["steps"]), "created": f"{time.time()}", "comment": "x"})
    config["config"]["Env"] = [*config["config"].get("Env", []), *made["env"]]
    config |= {"container": os.urandom(8).hex(), "docker_version": "99.1"}
    files = {f"{number}/layer.tar": body for number, body in enumerate(layers)}
    files["config.json"] = json.dumps(config).encode()
    listed = [{"Config": "config.json", "RepoTags": ["x:1"], "Layers": list(files)[:-1]}]
    files["manifest.json"] = json.dumps(listed).encode()
    with tarfile.open(target, "w") as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(os.environ["FAKE_DOCKER"])))
