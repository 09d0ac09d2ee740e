"""Everything that is asked of a site, in one command: what its configuration, partitions and accounting allow. Pure.

ask-all.sh prints, for each question, the answer, then between two group separators its exit code and stderr.
Source: scontrol(1), sinfo(1), sacctmgr(1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from tfslurm.errors import LONGEST_WORDS, SlurmParseError
from tfslurm.slurm.limits import SubmitLimit, limits_argv, parse_limits, parse_qos_limits, qos_limits_argv
from tfslurm.slurm.site import (
    Account,
    Partition,
    SlurmConfig,
    accounts_argv,
    config_argv,
    parse_accounts,
    parse_config,
    parse_partitions,
    parse_preemption,
    partitions_argv,
    preemption_argv,
)
from tfslurm.slurm.values import FIELD, GROUP

QUESTIONS = 6
T = TypeVar("T")
NOT_ASKED = "not asked"
NO_ACCOUNTING = "no accounting to ask"


@dataclass(frozen=True, slots=True)
class SiteProfile:
    """A site's settings for its users; None where it did not say, and then ``why`` says why under the field's name."""

    config: SlurmConfig | None = None
    partitions: tuple[Partition, ...] | None = None
    accounts: tuple[Account, ...] | None = None
    limits: tuple[SubmitLimit, ...] | None = None
    qos_limits: Mapping[str, int] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    preemption: Mapping[str, str] = field(default_factory=dict)  # partition -> mode; '' is the default partition
    asked_at: str = ""  # RFC 3339 in UTC
    age_s: int = 0  # how long ago that was; 0: just now

    @property
    def max_array_size(self) -> int | None:
        """One more than the largest index of an array task."""
        return self.config.max_array_size if self.config else None

    def max_submit_jobs(self, account: str = "", partition: str = "", qos: str = "") -> int | None:
        """The most jobs that the user may have at once, each task of an array being one; None: no limit is known.

        Without an account the user's default one counts; a limit that others of the account share counts too. Without
        a QOS one counts only where the user has no choice.
        """
        account = account or next((entry.account for entry in self.accounts or () if entry.is_default), "")
        found = [
            number
            for limit in self.limits or ()
            if limit.account == account and limit.partition in ("", partition)
            for number in (limit.own, limit.group)
            if number is not None
        ]
        open_to = {name for entry in self.accounts or () if entry.account == account for name in entry.qos}
        named = {qos} if qos else open_to if len(open_to) == 1 else set()
        return min([*found, *(self.qos_limits[name] for name in named if name in self.qos_limits)], default=None)


@dataclass(frozen=True, slots=True)
class Said:
    """The output of a command; ``why``: the reason why there is none, '' if it ended well."""

    text: str
    why: str = ""


def profile_words(user: str) -> tuple[str, ...]:
    """The questions as ask-all.sh takes them: before each the number of its words."""
    asked = (
        config_argv(),
        partitions_argv(),
        preemption_argv(),
        accounts_argv(user),
        limits_argv(user),
        qos_limits_argv(),
    )
    return tuple(word for argv in asked for word in (str(len(argv)), *argv))


def parse_profile(text: str, asked_at: str) -> SiteProfile:
    """The profile in what was printed.

    Raises:
        SlurmParseError: the script did not come to its end.
    """
    answers = answers_in(text)
    why: dict[str, str] = {}
    config = understood("config", answers[0], parse_config, why)
    partitions = understood("partitions", answers[1], parse_partitions, why) if config else None
    modes = understood("preemption", answers[2], parse_preemption, why) if config else None
    known = SiteProfile(config, partitions, why=why, preemption=modes or {}, asked_at=asked_at)
    if config is None or not config.has_accounting:
        why["accounts"] = why["limits"] = NO_ACCOUNTING if config else NOT_ASKED
        return known
    name = config.cluster_name
    accounts = understood("accounts", answers[3], lambda rows: parse_accounts(rows, name), why)
    limits = understood("limits", answers[4], lambda rows: parse_limits(rows, name), why)
    qos: Mapping[str, int] = understood("qos", answers[5], parse_qos_limits, why) or {}
    return SiteProfile(config, partitions, accounts, limits, qos, why, known.preemption, asked_at)


def answers_in(text: str) -> list[Said]:
    """The answers between their marks.

    Raises:
        SlurmParseError: they are not as many as there are questions.
    """
    words = text.split(GROUP, 2 * QUESTIONS + 1)
    if len(words) != 2 * QUESTIONS + 1:
        raise SlurmParseError("the site's profile", text)
    found = []
    for answer, ending in zip(words[::2], words[1::2], strict=False):
        code, _, stderr = ending.partition(FIELD)
        said = " ".join((stderr or answer)[:LONGEST_WORDS].split())[:300] or "it said nothing"
        found.append(Said(answer, "" if code == "0" else f"exit {code}: {said}"))
    return found


def understood(name: str, said: Said, parse: Callable[[str], T], why: dict[str, str]) -> T | None:
    """The answer as a value; None and a line in ``why`` where there is none."""
    if not said.why:
        try:
            return parse(said.text)
        except SlurmParseError as error:
            why[name] = " ".join(str(error).split())[:300]
            return None
    why[name] = said.why
    return None
