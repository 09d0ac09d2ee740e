"""Ask a model that `tfslurm serve` serves for predictions. It needs nothing but Python.

python predict.py URL examples.json

URL is what `tfslurm serve` printed: it has the token in it. examples.json is what train_model.py left.
"""

from __future__ import annotations

import http.client
import json
import sys
import urllib.parse
from pathlib import Path


def predict(url: str, instances: list[object]) -> list[list[float]]:
    """What the model says of each instance: how likely each digit is."""
    parts = urllib.parse.urlsplit(url)
    (token,) = urllib.parse.parse_qs(parts.query)["token"]
    line = http.client.HTTPConnection(parts.netloc)
    body = json.dumps({"instances": instances})
    line.request("POST", f"{parts.path}:predict", body, {"Authorization": f"Bearer {token}"})
    answer = json.load(line.getresponse())
    if "error" in answer:
        sys.exit(f"predict.py: {answer['error']}")
    return list(answer["predictions"])


def main() -> None:
    """Compare what the server says with what train_model.py noted."""
    url, file = sys.argv[1:]
    try:
        noted = json.loads(Path(file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"predict.py: {file}: {error}; name the examples.json that train_model.py left")
    found = predict(url, noted["instances"])
    for label, said, before in zip(noted["labels"], found, noted["predictions"], strict=True):
        furthest = max(abs(a - b) for a, b in zip(said, before, strict=True))
        print(f"a {label} is taken for a {said.index(max(said))}; as it was in training, within {furthest:.0e}")


if __name__ == "__main__":
    main()
