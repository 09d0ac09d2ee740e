"""The next wave of sweeps that wait for room in the user's queue, sent by whatever command looks at the clusters."""

from __future__ import annotations

from functools import partial

from tfslurm.cli.console import say, tracer
from tfslurm.errors import TfslurmError
from tfslurm.host import open_host
from tfslurm.submission.submit import read_secrets
from tfslurm.submission.sweep_batches import send_wave
from tfslurm.tracker import Tracker
from tfslurm.workspace.connections import known_from


def send_waiting(tracker: Tracker, verbose: int) -> bool:
    """Send what waits of every sweep whose ids were told, as far as there is room; whether something waits on.

    A failure is one line on stderr; the next command tries again.
    """
    waits = False
    for sweep in tracker.sweeps.all():
        texts = {each.plan.cluster: each.cluster_text for each in tracker.sweeps.waiting(sweep_id=sweep.sweep_id)}
        for name, text in texts.items() if sweep.told else ():
            try:
                known = known_from(name, text)
                with open_host(known.cluster, trace=tracer(verbose)) as host:
                    told = partial(tell, sweep.sweep_id)
                    wave = send_wave(sweep, known, tracker, host, code=None, secrets=read_secrets, told=told)
            except TfslurmError as error:
                say(f"error: {sweep.sweep_id}: what waits was not sent: {str(error).splitlines()[0]}")
                continue
            waits = waits or bool(wave.left)
    return waits


def tell(sweep_id: str, job: str) -> None:
    """Say that a job is in the queue."""
    say(f"{sweep_id}: sent {job}")
