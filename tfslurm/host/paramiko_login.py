"""Who lets us in: the keys that may open a login node, the questions that it may ask. Uses paramiko."""

from __future__ import annotations

from collections.abc import Sequence

import paramiko

from tfslurm.document.tree import printable
from tfslurm.errors import HostError
from tfslurm.host.hops import WAYS_IN, Hop
from tfslurm.host.paramiko_keys import offer_keys
from tfslurm.host.terminal import ALONE, ask, has_terminal, tell


def authenticate(name: str, hop: Hop, transport: paramiko.Transport) -> None:
    """Log in: keys first, then what the machine asks, which only a terminal can answer.

    Raises:
        HostError: nothing opened the machine; says what was tried.
    """
    tried: list[str] = []
    try:
        transport.auth_none(hop.user)
        return
    except paramiko.BadAuthenticationType as refusal:
        allowed: Sequence[str] = refusal.allowed_types
    if "publickey" in allowed and hop.allows("publickey"):
        allowed = offer_keys(hop, transport, allowed, tried)
    if not transport.is_authenticated() and "keyboard-interactive" in allowed and hop.allows("keyboard-interactive"):
        allowed = _with_answers(name, hop, transport, allowed, tried)
    if not transport.is_authenticated() and "password" in allowed and hop.allows("password") and has_terminal():
        _with_password(name, hop, transport, tried)
    if not transport.is_active():
        after = "; ".join(tried) or "the first word"
        why = f"the line was closed during the login, after {after}; try again"
        if len(tried) > 1:
            why = f"{why}, or name one key: `IdentityFile` and `IdentitiesOnly yes` in ~/.ssh/config"
        raise HostError(f"{name}: {hop}: {why}", transient=True)
    if not transport.is_authenticated():
        raise _not_let_in(name, hop, allowed, tried)


def _not_let_in(name: str, hop: Hop, allowed: Sequence[str], tried: Sequence[str]) -> HostError:
    """The error that says what was tried, and what could be."""
    why = f"not let in: tried {'; '.join(tried) or 'nothing, for there is no key'}; it accepts"
    why = f"{why} {', '.join(allowed) or 'nothing'}"
    fix = f"check the user name, load a key (ssh-add), or try: {hop.ssh()}"
    keywords = {key: word for way in allowed for key, word in WAYS_IN.get(way, {}).items()}
    more = hop.unused(keywords)
    return HostError(f"{name}: {hop}: {why}; {fix}{more}")


def _with_answers(
    name: str, hop: Hop, transport: paramiko.Transport, allowed: Sequence[str], tried: list[str]
) -> Sequence[str]:
    """Let the machine ask (a password, a one-time code); without a terminal only what has no question succeeds."""
    unanswered: list[str] = []

    def answer(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        if prompts and not has_terminal():
            asked = prompts[0][0].strip()
            unanswered.append(f"it asks {asked!r}, and there is no terminal to answer")
            return [""] * len(prompts)
        if prompts:
            tell(f"{name}: {hop}: {title}\n{instructions}")
        # the machine chose the words, which could be those of another question: they stand behind its name, on one line
        return [ask(f"({hop}) {printable(prompt.strip())} ", echo=echo) for prompt, echo in prompts]

    try:
        with ALONE:  # to the verdict: of a code that two machines share, only then is it known as used
            return transport.auth_interactive(hop.user, answer)
    except paramiko.BadAuthenticationType as refusal:
        return refusal.allowed_types
    except paramiko.AuthenticationException:
        tried.append(f"keyboard-interactive ({'; '.join(unanswered) or 'the answer was not accepted'})")
    return allowed


def _with_password(name: str, hop: Hop, transport: paramiko.Transport, tried: list[str]) -> None:
    try:
        with ALONE:
            password = ask(f"{name}: {hop}'s password: ", echo=False)
            transport.auth_password(hop.user, password, fallback=False)
    except paramiko.AuthenticationException:
        tried.append("a password")
