"""The program ssh-keygen, which makes and verifies signatures: its only user. No secret is in any argv.

Source: ssh-keygen(1), -Y sign, find-principals, verify, check-novalidate (OpenSSH 8.2 and later), ALLOWED SIGNERS.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tfslurm.errors import Completed, HostError, NoProgram, TfslurmError, last_words
from tfslurm.host.local import LocalHost
from tfslurm.record.ssh_signature import NAMESPACE

AT_ONCE = 500
"Files that one ssh-keygen signs, so that it asks for a passphrase once."
INSTALL = "install OpenSSH 8.2 or newer, or put its folder on PATH"


def sign_files(key: Path, files: Sequence[Path]) -> None:
    """Sign files with a key: FILE.sig is written beside each. ssh-keygen may ask for a passphrase on the terminal.

    ``key`` is a private key, or a public one whose private key the agent holds.

    Raises:
        NoProgram: there is no ssh-keygen here that signs.
        TfslurmError: it did not sign.
    """
    shows = sys.stderr.isatty()  # where it asks for a touch of the key
    for at in range(0, len(files), AT_ONCE):
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key.absolute())]
        try:
            done = subprocess.run(  # not apart from the terminal: it asks there
                [*argv, *map(str, files[at : at + AT_ONCE])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if shows else subprocess.PIPE,
                check=False,
            )
        except OSError as error:
            raise NoProgram(f"ssh-keygen: {error.strerror}; {INSTALL}") from error
        said = (done.stderr or b"").decode("utf-8", "replace")
        refuse_old(said)
        if done.returncode:
            why = last_words(Completed((*argv,), done.returncode, "", said, ""))
            fix = "is the key in the agent (`ssh-add -L`)? Name another with --key"
            raise TfslurmError(f"{key}: ssh-keygen signed nothing: {why}; {fix}")


def checked(data: bytes, signature: Path) -> bool:
    """Whether a signature is over these bytes in our namespace, whosever key made it.

    Raises:
        NoProgram: there is no ssh-keygen here that verifies.
    """
    return asked("check-novalidate", signature, data=data).exit_code == 0


def principals(signature: Path, signers: Path) -> tuple[str, ...]:
    """The principals, or patterns of such, that a file of allowed signers has for the signature's key.

    Raises:
        NoProgram: as above.
    """
    done = asked("find-principals", signature, "-f", str(signers))
    lines = done.stdout.splitlines() if done.exit_code == 0 else []
    names = (name.strip() for line in lines for name in line.split(","))
    return tuple(dict.fromkeys(name for name in names if name.isprintable() and name.strip("!") == name != ""))


def stands_for(principal: str, data: bytes, signature: Path, signers: Path) -> bool:
    """Whether a principal of the file made the signature over these bytes, in our namespace and today.

    Raises:
        NoProgram: as above.
    """
    return asked("verify", signature, "-f", str(signers), "-I", principal, data=data).exit_code == 0


def asked(what: str, signature: Path, *words: str, data: bytes = b"") -> Completed:
    """The answer of one verification."""
    space = () if what == "find-principals" else ("-n", NAMESPACE)
    try:
        done = LocalHost().run(["ssh-keygen", "-Y", what, *space, "-s", str(signature), *words], input=data)
    except HostError as error:
        raise NoProgram(f"{str(error).splitlines()[0]}; {INSTALL}") from error
    refuse_old(done.stderr)
    return done


def refuse_old(said: str) -> None:
    """Refuse an ssh-keygen that does not know what it is asked for.

    Raises:
        NoProgram: it printed that.
    """
    if any(words in said for words in ("unknown option -- Y", "illegal option -- Y", "Unsupported operation for -Y")):
        raise NoProgram(f"ssh-keygen on this machine is too old for signatures; {INSTALL}")


def agent_keys() -> list[str]:
    """The public keys that the agent holds, as `ssh-add -L` prints them, certificates last; none without an agent."""
    try:
        done = LocalHost().run(["ssh-add", "-L"])
    except HostError:
        return []
    lines = done.stdout.splitlines() if done.exit_code == 0 else []
    return sorted((line for line in lines if line.count(" ")), key=lambda line: "-cert-v01@" in line.split(" ")[0])
