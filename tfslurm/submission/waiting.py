"""Points of sweeps that wait for room in the user's queue: any command that asks the clusters sends them."""

from __future__ import annotations

from tfslurm.workspace.session import Session


def send_waves(session: Session) -> bool:
    """Send what of sweeps waits for room, as far as there is some; whether something waits on."""
    if not session.tracker.sweeps.is_any_waiting():
        return False
    from tfslurm.submission.sweep_batches import send_waiting

    return send_waiting(session)
