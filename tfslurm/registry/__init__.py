"""Resolve a tag to a digest over HTTP, without a docker daemon.

The only user of requests, and of what `docker login` stored. wire speaks HTTP with one repository, documents reads
what it sends, trouble words what went wrong, resolve is the question itself, daemon is for an image in no registry.
"""

from tfslurm.registry.daemon import pin_local_image
from tfslurm.registry.resolve import resolve

__all__ = ["pin_local_image", "resolve"]
