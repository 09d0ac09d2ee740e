"""Does an image hold the CUDA and cuDNN that its TensorFlow was built with? Pure.

TensorFlow loads libcudart and libcudnn by their major version, and stops with an error of cuDNN where that is older
than the one that it was built with. Sources: tensorflow/tensorflow#81344, #88348, #94593.
"""

from __future__ import annotations

import re

NUMBERS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})*")


def lacking(cuda: str | None, cuda_present: str | None, cudnn: str | None, cudnn_present: str | None) -> str:
    """``CUDA 12.5.1 and cuDNN 9, and the image holds CUDA 12.3.101 and cuDNN 8.9.6``; '' where they are known to suit,
    or not known.

    The first of each pair is what TensorFlow was built with. Of CUDA the first two numbers count: the third of a
    library is not the toolkit's.
    """
    pairs = (("CUDA", cuda, cuda_present), ("cuDNN", cudnn, cudnn_present))
    known = [(name, built, here) for name, built, here in pairs if built and here]
    if not any(is_older(here, built) for _, built, here in known):
        return ""
    built = " and ".join(f"{name} {version}" for name, version, _ in known)
    return f"{built}, and the image holds {' and '.join(f'{name} {version}' for name, _, version in known)}"


def is_older(here: str, built: str) -> bool:
    """Whether a library is older than the one that was built with, or of another major version."""
    if not NUMBERS.fullmatch(here) or not NUMBERS.fullmatch(built):
        return False
    wanted = [int(part) for part in built.split(".")][:2]
    have = [int(part) for part in here.split(".")][: len(wanted)]
    return have[0] != wanted[0] or have < wanted
