"""The record of a sweep as a whole: what was asked, which Slurm jobs it became, and each point with its job."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.job_plan import JobPlan
from tfslurm.record.build import record_urn
from tfslurm.tracker import PlacedPoint, TrackedSweep, Tracker

SCHEMA = "tfslurm.sweep/1"


def sweep_record(sweep: TrackedSweep, tracker: Tracker) -> dict[str, Any]:
    """The record as plain values; ``record_id`` names the record of each point's last job, null: it was not sent."""
    points = tracker.sweeps.points(sweep.sweep_id)
    arrays = {job.plan_id: job.job_id.partition("_")[0] for job in tracker.sweeps.jobs(sweep.sweep_id)}
    plans = [each.plan for each in tracker.sweeps.plans(sweep.sweep_id)]
    waiting = [each.plan for each in tracker.sweeps.waiting(sweep_id=sweep.sweep_id)]
    return {
        "schema": SCHEMA,
        "sweep_id": sweep.sweep_id,
        "name": sweep.name,
        "submitted_at": sweep.planned_at,
        "sweep": dict(sweep.given) or None,
        "count": len(points),
        "states": dict(sorted(Counter(point.job.state if point.job else "NOT SENT" for point in points).items())),
        "jobs": [of_plan(plan, arrays[plan.plan_id]) for plan in plans if plan.plan_id in arrays],
        "waiting": [of_plan(plan, None) for plan in waiting],
        "points": [of_point(point) for point in points],
    }


def of_plan(plan: JobPlan, job_id: str | None) -> dict[str, Any]:
    """One array: what it ran, under which id."""
    code = asdict(plan.code) if plan.code else None
    return {
        "cluster": plan.cluster,
        "job_id": job_id,
        "plan_id": plan.plan_id,
        "plan_sha256": plan.plan_sha256,
        "planned_at": plan.planned_at,
        "points": plan.points.count if plan.points else None,
        "points_per_job": plan.points.points_per_job if plan.points else None,
        "points_sha256": plan.points.sha256 if plan.points else None,
        "spec_sha256": plan.spec_sha256,
        "image": {"reference": plan.pin.reference, "digest": plan.pin.digest, "digest_kind": plan.pin.digest_kind},
        "code": {key: code[key] for key in ("remote", "commit", "branch", "dirty", "tree")} if code else None,
    }


def of_point(point: PlacedPoint) -> dict[str, Any]:
    """One point with its last job."""
    job = point.job
    return {
        "point": point.entry.id,
        "parameters": read_json(point.entry.text),
        "cluster": job.cluster if job else None,
        "job_id": job.job_id if job else None,
        "state": job.state if job else None,
        "exit_code": job.status.get("exit_code") if job else None,
        "record_id": record_urn(job.cluster, job.job_id, job.plan_id) if job else None,
    }


def sweep_text(record: dict[str, Any]) -> str:
    """The record on one screen; its points are in the JSON."""
    states = ", ".join(f"{count} {state}" for state, count in record["states"].items())
    rows = [
        ("sweep", f"{record['sweep_id']}  {record['count']} points: {states}"),
        ("", f"submitted {record['submitted_at']}"),
        ("axes", json.dumps(record["sweep"], ensure_ascii=True) if record["sweep"] else "unknown"),
    ]
    for job in (*record["jobs"], *record["waiting"]):
        what = f"{job['cluster']}:{job['job_id']}" if job["job_id"] else f"waits for {job['cluster']}"
        code = f", code {job['code']['tree']}" if job["code"] else ""
        rows.append(("job", f"{what}  {job['points']} points, image {job['image']['digest']}{code}"))
    return "".join(f"{label:<13}{text}\n" for label, text in rows)
