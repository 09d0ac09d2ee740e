"""tfslurm image: each of its commands in a module of its own, imported when it is called."""

from __future__ import annotations

import click

from tfslurm.cli import LazyGroup, Table

COMMANDS: Table = {
    "list": ("tfslurm.cli.image.list:list_command", "List the images of your jobs, and where each is known to be."),
    "inspect": ("tfslurm.cli.image.inspect:inspect", "Show what a registry tells of an image, without a pull."),
    "diff": ("tfslurm.cli.image.diff:diff", "Compare two images: layers, settings and packages."),
    "scan": ("tfslurm.cli.image.scan:scan", "Show the vulnerabilities that are known of an image, by trivy."),
    "build": ("tfslurm.cli.image.build:build", "Build an experiment's own image, push it and pin it."),
    "save": ("tfslurm.cli.image.save:save", "Save an image as an OCI archive, so that it outlives its registry."),
    "pull": ("tfslurm.cli.image.pull:pull", "Have an experiment's image on the nodes before its jobs begin."),
    "mirror": ("tfslurm.cli.image.mirror:mirror", "Copy an image by its digest into another registry."),
}
"In the order of a user's work."
ELSEWHERE = {
    "ls": "list",
    "show": "inspect",
    "info": "inspect",
    "compare": "diff",
    "export": "save",
    "archive": "save",
    "prepull": "pull",
    "copy": "mirror",
    "push": "mirror",
    **dict.fromkeys(("cve", "cves", "sbom", "trivy", "vulnerabilities"), "scan"),
}


@click.group(cls=LazyGroup, table=COMMANDS, elsewhere=ELSEWHERE)
def image() -> None:
    """Look at the images of your experiments; build, scan, keep, pull and mirror them."""
