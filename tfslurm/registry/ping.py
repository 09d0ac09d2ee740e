"""Is a registry there, and does it take a push? Asked without anything that stays there."""

from __future__ import annotations

from tfslurm.registry.push import Target
from tfslurm.registry.wire import Patience, Remote


def ping(name: str) -> str:
    """In words, what a registry (``127.0.0.1:5000``, ``docker.io``) answers to ``GET /v2/`` without a login.

    200 and 401 (it wants a token first, as Docker Hub does) are a registry; RegistryError for any other answer or none.
    Source: OCI distribution specification, "Determining Support" (end-1).
    """
    what = "GET /v2/"
    with Remote(name.partition("/")[0]) as remote:
        answer = remote.greet(what)
        if answer.status not in (200, 401):
            raise remote.refused(what, answer)
        return "answers" if answer.status == 200 else "answers, and wants a token first"


def takes_a_push(name: str, engine: str = "docker") -> None:
    """Nothing, if a push to ``registry/repository`` would be taken, with the login that ``engine`` stored.

    Raises:
        RegistryError: it is refused, and why; or no answer came.
    """
    with Target(name, engine, Patience()) as target:
        target.ask_to_push(by_token=True)
