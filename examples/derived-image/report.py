"""A tool that is part of the image: says what it runs in."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path


def main() -> None:
    """Write report.json into the outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    report = {"title": os.environ.get("REPORT_TITLE"), "python": platform.python_version()}
    (out / "report.json").write_text(json.dumps(report) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
