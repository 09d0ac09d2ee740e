"""The settings for one machine where this one has no ssh program to ask. Stops at what it does not understand.

Source: ssh_config(5). The first value of a keyword wins; a block whose Match is `final` is read in a second pass, in
which `Host` is compared with the address.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from tfslurm.host.match_exec import succeeds
from tfslurm.host.ssh_files import DEEPEST, OTHER_NAMES, SYSTEM, Line, included, lines_of
from tfslurm.host.ssh_tokens import Tokens, expanded, tokens_of

INSTALL = "install ssh, which tfslurm then asks for its settings, or remove the line"
SEVERAL = frozenset(("identityfile", "certificatefile", "sendenv"))
"Keywords of which every line counts."
WORDS = frozenset(("userknownhostsfile", "globalknownhostsfile", "setenv"))
"Keywords whose value is several words."
USED = frozenset(
    re.findall(
        r"\w+",
        """
        hostname port user identitiesonly identityagent hostkeyalias revokedhostkeys proxyjump proxycommand
        connecttimeout addressfamily bindaddress ciphers macs kexalgorithms hostkeyalgorithms pubkeyacceptedalgorithms
        requiredrsasize compression preferredauthentications pubkeyauthentication passwordauthentication
        kbdinteractiveauthentication tag gssapiauthentication hostbasedauthentication knownhostscommand
        verifyhostkeydns pkcs11provider securitykeyprovider ignoreunknown
        """,
    )
)
UNUSED = frozenset(
    re.findall(
        r"\w+",
        """
        addkeystoagent batchmode canonicaldomains canonicalizefallbacklocal canonicalizemaxdots
        canonicalizepermittedcnames casignaturealgorithms channeltimeout checkhostip clearallforwardings
        connectionattempts controlmaster controlpath controlpersist dynamicforward enableescapecommandline
        enablesshkeysign escapechar exitonforwardfailure fingerprinthash forkafterauthentication forwardagent
        forwardx11 forwardx11timeout forwardx11trusted gatewayports gssapiclientidentity gssapidelegatecredentials
        gssapikexalgorithms gssapikeyexchange gssapirenewalforcesrekey gssapiserveridentity gssapitrustdns
        hashknownhosts hostbasedacceptedalgorithms ipqos localcommand localforward loglevel logverbose
        nohostauthenticationforlocalhost numberofpasswordprompts obscurekeystroketiming permitlocalcommand
        permitremoteopen rekeylimit remotecommand remoteforward requesttty serveralivecountmax serveraliveinterval
        sessiontype stdinnull stricthostkeychecking streamlocalbindmask streamlocalbindunlink syslogfacility
        tcpkeepalive tunnel tunneldevice updatehostkeys usekeychain versionaddendum visualhostkey warnweakcrypto
        xauthlocation
        """,
    )
)
"Keywords that change neither which machine answers nor who is let in, or that tfslurm sets itself."


def read_settings(
    host: str, given: Mapping[str, str], home: Path, system: Path = SYSTEM
) -> Mapping[str, tuple[str, ...]]:
    """Return what the user's and the system's files say about a machine, by keyword; ``given`` stands in front.

    Raises:
        HostError: a line that counts for this machine is not understood; names it.
    """
    reader = _Reader(host, {key: [value] for key, value in given.items()}, home)
    for is_final in (False, True):
        if is_final and not reader.wants_final:
            break
        reader.is_final = is_final
        for file in (home / ".ssh" / "config", system):
            reader.read(file, file.parent, is_active=True, depth=0)
    reader.found.setdefault("hostname", [host])
    reader.found["hostname"] = [reader.address()]
    return {key: tuple(values) for key, values in reader.found.items()}


class _Reader:
    """What has been found so far, while the files are read."""

    def __init__(self, host: str, found: dict[str, list[str]], home: Path) -> None:
        self.host, self.found, self.home = host, found, home
        self.is_final = self.wants_final = False

    def address(self) -> str:
        """The machine's HostName as far as it is known; of its tokens only %h may stand there."""
        name = self.found.get("hostname", [self.host])[0]
        return expanded(name, {"h": self.host, "%": "%"}, "HostName") if "%" in name else name

    def read(self, file: Path, base: Path, *, is_active: bool, depth: int) -> None:
        """Take the settings of a file, and of those that it includes, which are in the block where that stands."""
        counts = is_active
        for line in lines_of(file, self.home):
            if not line.key and (not line.value or line.value.startswith("#")):
                continue
            if line.key == "host":
                counts = is_active and self._names(line.words)
            elif line.key == "match":
                counts = is_active and self._matches(line)
            elif line.key == "include":
                for each in included(line.words, base, self.home) if depth < DEEPEST else ():
                    self.read(each, base, is_active=counts, depth=depth + 1)
            elif counts:
                self._take(line)

    def _names(self, patterns: list[str]) -> bool:
        return _fits(self.address() if self.is_final else self.host, patterns)

    def _take(self, line: Line) -> None:
        key, words = OTHER_NAMES.get(line.key, line.key), line.words
        if key not in USED | SEVERAL | WORDS:
            self._refuse_or_skip(line, words)
        elif not words or not words[0]:
            raise line.wrong("has no value", "give it one, or remove the line")
        elif key in SEVERAL:
            new = words if key == "sendenv" else words[:1]
            self.found.setdefault(key, []).extend(word for word in new if word not in self.found[key])
        elif key == "proxycommand" and self.found.get("proxyjump", ["none"]) != ["none"]:
            pass  # whichever of the two came first
        elif key == "proxyjump" and "proxycommand" in self.found:
            pass
        else:
            self.found.setdefault(key, words if key in WORDS else words[:1])

    def _refuse_or_skip(self, line: Line, words: list[str]) -> None:
        """Pass over what needs no reader; everything else would be dropped in silence."""
        off = {"canonicalizehostname": "no", "proxyusefdpass": "no"}.get(line.key)
        if line.key in UNUSED or (off and words[:1] == [off]):
            return
        if line.key and _fits(line.key, self.found.get("ignoreunknown", [""])[0].split(",")):
            return
        raise line.wrong("is not understood without the ssh program", INSTALL)

    def _matches(self, line: Line) -> bool:
        words = line.words
        if not words:
            raise line.wrong("has no criterion", "write `Match all`, or remove the line")
        while words:
            criterion, has_value, value = words.pop(0).partition("=")
            is_wanted, name = not criterion.startswith("!"), criterion.lstrip("!").lower()
            if name not in ("all", "final", "canonical") and not has_value:
                if not words:
                    raise line.wrong(f"`{criterion}` has no value", "give it one")
                value = words.pop(0)
            if self._holds(line, name, value) is not is_wanted:
                self.wants_final = self.wants_final or any(word.lstrip("!").lower() == "final" for word in words)
                return False
        return True

    def _holds(self, line: Line, name: str, value: str) -> bool:
        """Whether one criterion of a Match is met; what cannot be judged is an error and never a yes."""
        if name == "all":
            return True
        if name in ("final", "canonical"):
            self.wants_final = self.wants_final or name == "final"
            return self.is_final
        local = pwd.getpwuid(os.getuid()).pw_name if name in ("user", "localuser") else ""
        texts = {
            "host": self.address(),
            "originalhost": self.host,
            "user": self.found.get("user", [local])[0],
            "localuser": local,
            "tagged": self.found.get("tag", [""])[0],
        }
        if name in texts:
            return _fits(texts[name], value.split(","))
        if name == "exec":
            return succeeds(expanded(value, self._tokens(), "Match exec"), line)
        raise line.wrong(f"`{name}` is not understood without the ssh program", INSTALL)

    def _tokens(self) -> Tokens:
        return tokens_of(self.host, {**self.found, "hostname": [self.address()]}, self.home)


def _fits(text: str, patterns: list[str]) -> bool:
    """Whether a name fits a list of patterns, of which a `!` excludes; brackets are letters here."""
    found = False
    for pattern in patterns:
        if fnmatchcase(text.lower(), pattern.lstrip("!").lower().replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            found = True
    return found
