"""Many services at once, on two nodes: each has its own port here, and opens to its own token alone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from .browser import Browser
from .desk import Desk
from .jupyter_image import REFERENCE, push
from .test_jupyter import is_open, opened

MANY = 6
"30 were run by hand."


def test_many_services_at_once_share_no_port_and_open_to_their_own_token_alone(desk: Desk) -> None:
    serve(desk, MANY)


def serve(desk: Desk, many: int) -> None:
    """So many notebooks, half of them on each of two nodes, are opened at once, and asked."""
    push()
    file = desk.experiment("many", ["true"], image=REFERENCE, resources={"memory": "200M"})
    words = [
        ("jupyter", str(file), "--cluster", "alpha", "--set", f"slurm.nodelist=alpha{1 + at % 2}") for at in range(many)
    ]
    begun = [opened(desk, *each, cluster="alpha") for each in words]
    with ThreadPoolExecutor(many) as pool, ExitStack() as stack:
        for each in begun:
            stack.push(each)
        services = list(pool.map(lambda each: each.__enter__(), begun))
        browsers = [each.browser for each in services]
        assert len({each.port for each in browsers}) == len({each.token for each in browsers}) == many
        listed = json.loads(desk.tfslurm("services", "--json").stdout)
        assert sorted(each["job"] for each in listed) == sorted(each.job for each in services)
        assert {each["node"] for each in listed} == {"alpha1", "alpha2"}
        for own, others in zip(browsers, [*browsers[1:], browsers[0]], strict=True):
            for token, status in ((own.token, 200), (others.token, 403), ("", 403)):
                assert Browser(own.port, token).ask("/api/kernels")[0] == status
        assert desk.tfslurm("cancel", *(each.job for each in services)).returncode == 0
        for each in services:
            code, said = each.ends()
            assert (code != 0, f"{each.job}: has ended (CANCELLED)" in said) == (True, True), said
        assert not any(map(is_open, browsers))
