"""Resolve a tag to a digest over HTTP, without a docker daemon.

The only user of requests, and of what `docker login` and `podman login` stored. wire is the door to one repository:
transport speaks HTTP, by the proxies and certificates that the shell names; challenges reads how a registry wants a
login, scopes gets one for what is wanted, credentials and realms say which login goes where. documents reads what
comes, errors words what went wrong, resolve is the question itself, daemon is for an image in no registry. push is a
repository that is written to, uploads the way of one blob there.
"""

from tfslurm.registry.daemon import pin_local_image
from tfslurm.registry.resolve import resolve

__all__ = ["pin_local_image", "resolve"]
