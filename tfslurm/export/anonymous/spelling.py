"""A name -> the bytes by which a file may spell it, as one regular expression. Pure.

Covered: upper and lower case; UTF-8, composed or not; the escapes of JSON, Python, URLs, HTML and TeX; a name within
``camelCase`` and ``snake_case``; for a path, its separators escaped or not. ``encoded`` adds base64 and hexadecimal.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote

WORDS = """
" a account accuracy action activity adam address admin agent all alpha amd an anaconda and annotations anonymous
any api app application apps archive arm array at audio author aws backup bash bastion batch batches beta bin boot
branch build builder bundle byproducts cache cached centos ceph check checkpoint cite class cloud cluster code
collection com commit common compute conda config conforms container context cooling core cpu create creative cuda
dask data dataset datasets date day days debian debug default definition delta dependencies description details
dev devel develop device digest division docker domain dropout email encoding end engine entity env epoch epochs
epsilon error etc example exp experiment export false fat file files final first folder for form format framework
free ftp full gamma gateway general generated git gpu gpus graph group gw has hdfs head hidden high highmem home
host hostname hub id identifier image images in index info input instrument int intel interactive invalid
invocation job jobs jump keras kernel lambda large last latest layer lib lib64 licence license linear linux list
local localdomain localhost location log login login01 login02 login1 login2 logs long loss low mail main mamba
master max mean media medium mem member memory mentions metadata min mirror mirrors mnt model models module mu
name net network new nfs no nobody node nodes none normal null number numpy nvidia object of off ok old omega on
one open opt option org organization out output outputs owner pandas parallel param parameters part partition path
person phi pi place plan point points predicate preempt property prov provenance proxy published publisher pull
push pytest python python3 qos queue rand random ray read readme record registry regular release repository
reproducing reservation resolved result rho rocky role root run runs sbin scale scipy scratch script seed serial
server set share shared short sigma sign signature site size slurm small software somebody source spark spec src
srv ssh standard start state statement static status step storage sub subject submitter sum sums sweep sys system
table tag target task tasks tau temp tensor tensorflow test tests text tf tfslurm the theta time tmp train
training true two type ubuntu unknown unlimited uri used user username users usr utils value values var version
video vm volume vpn warnings web weights with worker workers workspace write www x86 y zero zeta
"""
ORDINARY = frozenset(WORDS.split())
"Words that programs, paths, logs and our own exports hold for their own sake: in place of one no name would do."
GPU_MODEL = re.compile(r"(?:[abhklmptv][0-9]{1,4}[a-z]?|[gr]tx[a-z0-9]*|mi[0-9]{2,3}[a-z]?|gh?[0-9]{3})", re.IGNORECASE)
SHORTEST = 3
LONG = 8  # letters: by chance no longer word has the name in it

LEFT = (
    rb"(?:(?<![A-Za-z])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[abfnrtv])|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\x[0-9A-Fa-f]{2})"
    rb"|(?<=[\[;0-9]m))"
)
"No letter before it but one of an escape's: of a URL, of JSON or Python, of a terminal's colours."
SLASH = rb"(?:/|\\/|%2[Ff])"
PLACE = (
    rb"((?i:account|author|branch|cluster(?:_?name)?|domain|group|host(?:name)?|login|node(?:list|name)?|owner|partition"
    rb"|project|qos|reservation|user(?:name)?|logname)s?(?:\\?[\"'])?[ \t]{0,3}[=:\0\t][ \t]{0,3}(?:\\?[\"'])?"
    rb"|(?i:account|partition|qos|reservation|user) |tfslurm-|@)"
)
"What stands before a name, and says that it is one."


def is_ordinary(name: str) -> bool:
    """Whether a word may be in any file without being this name: too short, or a word of the trade."""
    is_short = len(name) < SHORTEST and name.isascii()
    return is_short or name.isdigit() or name.casefold() in ORDINARY or bool(GPU_MODEL.fullmatch(name))


def spellings(name: str) -> list[bytes]:
    """The ways to write a name, most of which are one for most names; the longest first."""
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")} | {name}
    if not name.isascii():
        forms |= {each(form) for form in [*forms] for each in (str.lower, str.upper, str.title)}
    written: set[bytes] = set()
    for form in forms:
        raw = form.encode("utf-8", "surrogatepass")
        escaped = ascii(form)[1:-1]
        tex = re.sub(r"([_%&#$])", r"\\\1", form)
        texts = [json.dumps(form)[1:-1], json.dumps(form, ensure_ascii=False)[1:-1], escaped, html.escape(form), tex]
        written |= {raw, quote(raw, safe="").encode(), quote(raw, safe="/").encode(), quote(raw, safe="/:@").encode()}
        written |= {each.encode("utf-8", "surrogatepass") for each in texts}
        if not form.isascii():
            written.add(form.encode("latin-1", "ignore") if len(form.encode("latin-1", "ignore")) == len(form) else raw)
    return sorted(written, key=lambda each: (-len(each), each))


def any_of(name: str) -> bytes:
    """A pattern of every spelling."""
    return b"(?:" + b"|".join(re.escape(each) for each in spellings(name)) + b")"


def whole(name: str) -> bytes:
    """The pattern of a name that no word can be by chance: an address, several words, a hash."""
    last = rb"(?![A-Za-z0-9])" if name[-1].isalnum() else b""
    first = rb"(?<![A-Za-z0-9])" if name[0].isalnum() and "/" not in name else b""
    return first + b"(?i:" + any_of(name) + b")" + last


def path(name: str) -> bytes:
    """The pattern of a path, as a whole or in front of what lies below it."""
    parts = (any_of(part) for part in name.strip("/").split("/"))
    return SLASH + SLASH.join(parts) + rb"(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"


def word(name: str) -> bytes:
    """The pattern of a name: anywhere if it is long or has a digit, else as a word of its own or of a camelCase."""
    first = rb"(?<![0-9])" if name[0].isdigit() else b""
    last = rb"(?![0-9])" if name[-1].isdigit() else b""
    if len(name) >= LONG or not name.isascii() or (len(name) >= SHORTEST + 2 and not name.isalpha()):
        return first + b"(?i:" + any_of(name) + b")" + last
    alone = b"(?:" + LEFT + first + b"(?i:" + any_of(name) + rb")(?![A-Za-z])" + last
    lower, upper = re.escape(name.lower().encode()), re.escape(name.capitalize().encode())
    camel = rb"(?<![A-Z])" + upper + rb"(?![a-z])|" + rb"(?<![A-Za-z])" + lower + rb"(?=[A-Z])"
    return beginning(name) + alone + b"|" + camel + b")"


def beginning(name: str) -> bytes:
    """That a name may begin here: tried first, because it fails quickly at most places."""
    firsts = {each[:1] for form in spellings(name) for each in (form, form.lower(), form.upper())}
    return b"(?=[" + b"".join(re.escape(each) for each in sorted(firsts)) + b"])"


def in_place(name: str) -> bytes:
    """The pattern of an ordinary word where what stands before it says that it is a name. It has a group of its own."""
    return PLACE + b"(" + any_of(name) + rb")(?![A-Za-z0-9]|-+[0-9])"


def before_a_job(cluster: str) -> bytes:
    """The pattern of a cluster in front of a job's id: ``alpha:1234``; with the same two groups."""
    return rb"((?<![A-Za-z0-9_-]))(" + any_of(cluster) + rb")(?=:[0-9])"


def encoded(name: str) -> Iterator[bytes]:
    """What of a name is in its base64, at each of the three places that it can begin at, and in its hexadecimal."""
    forms = (name, name.lower(), name.upper(), name.capitalize())
    for raw in {form.encode("utf-8", "surrogatepass") for form in forms}:
        for before, cut in ((0, 0), (1, 2), (2, 3)):
            whole_bits = (before + len(raw)) * 8 // 6
            digits = b64encode(bytes(before) + raw)[cut:whole_bits]
            if len(digits) >= LONG - 2:
                yield digits
                yield digits.replace(b"+", b"-").replace(b"/", b"_")
        if len(raw) > SHORTEST:
            yield raw.hex().encode()
            yield raw.hex().upper().encode()
