"""The secrets that an experiment names, out of the environment of this command; they go to the run folder alone."""

from __future__ import annotations

import os

from tfslurm.errors import refuse


def read_secrets(names: tuple[str, ...]) -> dict[str, str]:
    """The values of the named secrets from the environment of this command.

    Raises:
        InputError: one is not set, or is empty.
    """
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        named = ", ".join(missing)
        raise refuse(
            f"secrets: {named}", "not set in this shell", f"export {missing[0]}=… first, or drop it from `secrets`"
        )
    return {name: os.environ[name] for name in names}
