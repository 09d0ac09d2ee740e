"""A table by pandas, which the image does not hold."""

import argparse
import json
import random
from pathlib import Path

import pandas as pd


def main() -> None:
    """Draw numbers for three groups, and leave their means in --out: means.csv and metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    draw = random.Random(given.seed)  # noqa: S311 - these numbers protect nothing
    table = pd.DataFrame({"group": list("abc") * 100, "value": [draw.gauss(0, 1) for _ in range(300)]})
    means = table.groupby("group")["value"].mean()
    means.to_csv(given.out / "means.csv")
    (given.out / "metrics.json").write_text(json.dumps({"mean": means.mean()}))
    print(f"pandas {pd.__version__} from {pd.__file__}")
    print(means)


if __name__ == "__main__":
    main()
