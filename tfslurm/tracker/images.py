"""The images of jobs: what was found inside them, by their digests, and which jobs used each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tfslurm.tracker.index import Tracker

KEPT = ("tensorflow", "cuda", "cudnn", "cuda_present", "cudnn_present")
"""Of a record's ``environment``."""
USES = (
    "SELECT digest, registry, repository, tag, archive, size, plans.cluster, plan_id, count(*) AS jobs, "
    "sum(final = 0) AS unfinished, max(submitted_at) AS newest_at, job_id FROM jobs JOIN (SELECT plan_id, cluster, "
    "json_extract(plan, '$.pin.digest') AS digest, json_extract(plan, '$.pin.registry') AS registry, "
    "json_extract(plan, '$.pin.repository') AS repository, json_extract(plan, '$.pin.tag') AS tag, "
    "json_extract(plan, '$.image_archive') AS archive, json_extract(plan, '$.pin.size_bytes') AS size "
    "FROM plans WHERE json_valid(plan)) AS plans USING (plan_id) "
    "GROUP BY digest, registry, repository, tag, archive, plans.cluster ORDER BY newest_at DESC, digest"
)
"SQLite takes the columns without a sum from the row of the newest job. Source: sqlite.org/lang_select.html, 2.5."


class ImageUse(NamedTuple):
    """The jobs on one cluster that were submitted with an image under one name.

    ``name``: registry/repository, with ``:tag`` where one was named. ``bytes``: as they travel; 0: not known.
    ``archive``: the sha256 of the archive that the image was loaded from; '': it was pulled. ``newest``: a job's key.
    """

    digest: str
    name: str
    bytes: int
    cluster: str
    archive: str
    jobs: int
    unfinished: int
    newest: str
    newest_at: str
    plan_id: str


def image_uses(tracker: Tracker) -> list[ImageUse]:
    """Which images the jobs of this tracker were submitted with; the one that was used last comes first."""
    found = []
    for row in tracker.rows(USES, ()):
        texts = [row[key] or "" for key in ("digest", "registry", "repository", "tag", "archive")]
        if not all(isinstance(text, str) for text in texts) or not texts[0]:
            continue  # a plan that cannot be read; whoever needs it says so
        digest, registry, repository, tag, archive = texts
        name = f"{registry}/{repository}{f':{tag}' if tag else ''}"
        size = row["size"] if isinstance(row["size"], int) else 0
        jobs = (row["jobs"], row["unfinished"], f"{row['cluster']}:{row['job_id']}", row["newest_at"], row["plan_id"])
        found.append(ImageUse(digest, name, size, row["cluster"], archive, *jobs))
    return found


def note_image(tracker: Tracker, digest: str, environment: Mapping[str, Any]) -> None:
    """Write down the libraries that a record has of an image, if it has any."""
    kept = {key: environment.get(key) for key in KEPT}
    if not (kept["cuda_present"] or kept["cudnn_present"]) or tracker.image(digest) == kept:
        return
    with tracker.change() as db:
        db.execute("INSERT OR REPLACE INTO images VALUES (?, ?)", (digest, json.dumps(kept)))
