"""The certificates that this shell's variables name; a value that cannot work is refused by its variable's name.

The first variable that is set counts, as for requests (REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE), else for OpenSSL and docker
(SSL_CERT_FILE and SSL_CERT_DIR, together). Each may name a file in PEM form or a folder of such files.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import InputError
from tfslurm.local_files import read_file
from tfslurm.registry.errors import WrongSetting

_MOST_FILES = 5000
_LARGEST = 16 * 2**20
_BLOCK = re.compile(rb"-----BEGIN ((?:TRUSTED |X509 )?CERTIFICATE)-----[A-Za-z0-9+/=\s]+-----END \1-----")


class Trusted(NamedTuple):
    """Certificates of authorities in PEM form, and the variables that named them; empty: those that certifi brings."""

    variables: str = ""
    pem: str = ""


def trusted() -> Trusted:
    """The certificates that this shell wants servers to be checked with.

    Raises:
        WrongSetting: what a variable names is not there, may not be read, or holds no certificate.
    """
    for group in (("REQUESTS_CA_BUNDLE",), ("CURL_CA_BUNDLE",), ("SSL_CERT_FILE", "SSL_CERT_DIR")):
        named = [name for name in group if os.environ.get(name)]
        if named:
            blocks = dict.fromkeys(block for name in named for block in _of_variable(name, os.environ[name]))
            return Trusted(" and ".join(named), "\n".join(blocks))
    return Trusted()


def _of_variable(name: str, value: str) -> list[str]:
    """The certificates that one variable names."""
    paths = value.split(":") if name == "SSL_CERT_DIR" else [value]
    why = ""
    found: list[str] = []
    for path in (Path(each) for each in paths if each):
        try:
            found += _of_folder(path) if path.is_dir() else _of_file(path)
        except OSError as error:
            why = why or f"{path} cannot be read ({error.strerror})"
        except InputError as error:
            why = why or f"{path} {error.problems[0].why}"
        except ValueError as error:
            why = why or f"{path} {error}"
    if not found:
        raise WrongSetting(f"{name}: {why or 'it names no file'}; correct it, or unset {name}")
    return found


def _of_file(path: Path) -> list[str]:
    """The certificates of a file. Raises ValueError: it is not there, holds none, or one that cannot be read."""
    if not os.path.lexists(path):
        raise ValueError("is not there")
    blocks = [match[0].decode("ascii") for match in _BLOCK.finditer(read_file(path, _LARGEST))]
    if not blocks:
        raise ValueError("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(blocks))
    except ssl.SSLError:
        raise ValueError("holds a certificate that cannot be read") from None
    return blocks


def _of_folder(folder: Path) -> list[str]:
    """The certificates of all files in a folder that hold any, whatever their names. ValueError: none does."""
    found = [block for path in _files(folder) for block in _blocks_or_none(path)]
    if not found:
        raise ValueError("is a folder in which no file holds a certificate")
    return found


def _files(folder: Path) -> Iterator[Path]:
    """The first files of a folder; links count, since the system's certificates are links."""
    for count, path in enumerate(sorted(folder.iterdir())):
        if count < _MOST_FILES and path.is_file():
            yield path


def _blocks_or_none(path: Path) -> list[str]:
    """The certificates of a file; none if it holds something else, such as a key."""
    try:
        return _of_file(path)
    except (ValueError, OSError, InputError):
        return []
