"""Plain values -> YAML text that ``read`` reads back equal."""

from __future__ import annotations

import re

import yaml

from tfslurm.document.scalars import scalar, trap

_PLAIN = re.compile(r"[A-Za-z0-9_./+@-]+([ :][A-Za-z0-9_./+@-]+)*")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def dump(value: object) -> str:
    """The value in block style, keys in the order given; texts that could be read as anything else are quoted.

    Raises:
        TypeError: the value holds something other than dict, list, tuple, str, int, float, bool and None.
    """
    try:
        return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30))
    except yaml.YAMLError as error:
        raise TypeError(f"cannot be written as YAML: {error}") from error


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # A plain text must stay one for every reader: not a number, a date or a switch, nor what this reader refuses.
    plain = _PLAIN.fullmatch(text) and not trap(text) and isinstance(scalar(text), str) and text[0] not in "-.@"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)
_Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)
