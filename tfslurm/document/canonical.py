"""JSON values -> the one byte form that is hashed: RFC 8785, by the library of that name. Pure."""

from __future__ import annotations

from tfslurm.errors import RecordError

MOST = 2**53 - 1  # the largest whole number that every JSON reader holds exactly. Source: RFC 7493, 2.2


def canonical(value: object, what: str) -> bytes:
    """The bytes of a value of dict, list, tuple, str, int, float, bool and None; ``what`` names it in an error.

    Raises:
        RecordError: not such a value, a number that JSON does not carry, or a text that is not valid Unicode.
    """
    import rfc8785

    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{what}: cannot be hashed: {error}") from error
