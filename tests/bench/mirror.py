"""The TensorFlow image from the bed's registry to its mirror, beside `skopeo copy` of the same."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace

from tests.bench.measure import Row, turns
from tests.bench.processes import USER, VENV, prepare
from tests.bench.sweep import peak_mb
from tests.cluster import packages, registry
from tests.cluster.bed import CLUSTERS, MIRROR, REGISTRY
from tests.cluster.desk import Desk, a_desk
from tests.cluster.users import run_as

NAME, TAG = "tensorflow/tensorflow", "2.16.1-gpu"
IMAGE = f"{REGISTRY}/{NAME}:{TAG}"
OPEN = ("--src-tls-verify=false", "--dest-tls-verify=false")
SLOWEST = 1.25  # 0.8 of skopeo's speed
MOST_MB = 100.0


def rows(rounds: int) -> list[Row]:
    """Each time the target is a repository that is new, and neither knows what it pushed before."""
    prepare()
    packages.ensure({"skopeo": "/usr/bin/skopeo"})
    numbers = itertools.count()
    with a_desk() as made:
        desk = replace(made, program=VENV / "bin" / "tfslurm")
        for cluster in CLUSTERS:
            desk.describe(cluster, mirrors={})  # else the target is a mirror of the image, and has its layers
        targets: list[str] = []

        def new(name: str) -> str:
            targets.append(f"bench-{desk.token}/{name}-{next(numbers)}")
            return f"{MIRROR}/{targets[-1]}"

        def skopeo() -> int:
            words = ["skopeo", "copy", *OPEN, f"docker://{IMAGE}", f"docker://{new('skopeo')}/{NAME}:{TAG}"]
            own = {"XDG_RUNTIME_DIR": str(desk.folder)}  # else it looks for logins where alice may not
            return run_as(USER, words, "alpha", env={**desk.environment("alpha"), **own}, cwd=desk.folder).returncode

        def ours() -> int:
            return desk.tfslurm("image", "mirror", IMAGE, "--to", new("ours")).returncode

        found = turns(rounds, {"mirror": ours, "skopeo": skopeo}, before=lambda: forget(desk))
        forget(desk)
        used = peak_mb(desk, "image", "mirror", IMAGE, "--to", new("memory"))
        for target in targets:
            if digest := registry.tag_digest(MIRROR, f"{target}/{NAME}", TAG):
                registry.delete_manifest(MIRROR, f"{target}/{NAME}", digest)
    what = "`image mirror` of the TensorFlow image, 753 MiB"
    return [
        Row(what, found["mirror"], "`skopeo copy` of it", found["skopeo"], SLOWEST),
        Row("the same, its memory", used, "", 0.0, MOST_MB, "MB"),
    ]


def forget(desk: Desk) -> None:
    """Neither remembers which blobs are where."""
    for name in ("tfslurm/uploads", "containers"):
        shutil.rmtree(desk.folder / "data" / name, ignore_errors=True)
