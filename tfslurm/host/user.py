"""The user of this machine who runs the command."""

from __future__ import annotations

import os
import pwd


def user_name() -> str:
    """Who runs this command, as `id -un` says it: LOGNAME and USER are anybody's to set. Without a name the uid."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
