"""Train a small classifier of handwritten digits, and save it in two forms for `tfslurm serve`.

Leaves in --out: digits/1, a SavedModel as TensorFlow Serving lays it out; digits.keras, the same model as one file; and
examples.json: ten images that it was not trained on, their digits, and what the model says of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import keras
from sklearn.datasets import load_digits


def main() -> None:
    """Train, save, and note what the model says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()

    keras.utils.set_random_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((64,), name="image"),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images[10:], labels[10:], batch_size=32, epochs=args.epochs, verbose=2)

    args.out.mkdir(parents=True, exist_ok=True)
    model.export(args.out / "digits" / "1")
    model.save(args.out / "digits.keras")
    noted = {
        "instances": images[:10].tolist(),
        "labels": labels[:10].tolist(),
        "predictions": model.predict(images[:10], verbose=0).tolist(),
    }
    (args.out / "examples.json").write_text(json.dumps(noted) + "\n", "utf-8")


if __name__ == "__main__":
    main()
