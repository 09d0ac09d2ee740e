from __future__ import annotations

import pytest

from tfslurm.document.sizes import size_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (2**20 - 60, "1023.9 KiB"),
        (789_900_000, "753.3 MiB"),
        (2**30, "1.0 GiB"),
        (3 * 2**40, "3.0 TiB"),
        (5000 * 2**40, "4.9 PiB"),
        (5000 * 2**50, "5000.0 PiB"),
    ],
)
def test_a_size_has_the_unit_that_a_reader_would_take(count: int, text: str) -> None:
    assert size_text(count) == text
