"""Is a registry there? Asked without a login, so that the answer says nothing of what may be pulled."""

from __future__ import annotations

from tfslurm.registry.wire import Remote


def ping(name: str) -> str:
    """In words, what a registry (``127.0.0.1:5000``, ``docker.io``) answers to ``GET /v2/``.

    200 and 401 (it wants a token first, as Docker Hub does) are a registry; RegistryError for any other answer or none.
    Source: OCI distribution specification, "Determining Support" (end-1).
    """
    what = "GET /v2/"
    with Remote(name.partition("/")[0]) as remote:
        answer = remote.greet(what)
        if answer.status not in (200, 401):
            raise remote.refused(what, answer)
        return "answers" if answer.status == 200 else "answers, and wants a token first"
