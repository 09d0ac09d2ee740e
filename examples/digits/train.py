"""Train a small CNN on the UCI handwritten digits (1,797 images of 8x8, which scikit-learn carries).

Leaves in --out: metrics.json, the weights in model.weights.h5, TensorBoard logs in logs/, and a SavedModel in model/.
The first two hold no time: two runs with one seed, on machines that compute alike, write them byte for byte alike.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import keras
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def build(lr: float, width: int) -> keras.Model:
    """A CNN for 8x8 grey images and ten classes, compiled with Adam."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(width, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(2 * width, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(lr), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    """Train, measure on a held-out quarter, and write everything to --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    tf.config.experimental.enable_op_determinism()
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).reshape(-1, 8, 8, 1).astype("float32")
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)

    args.out.mkdir(parents=True, exist_ok=True)
    model = build(args.lr, args.width)
    board = keras.callbacks.TensorBoard(args.out / "logs")
    model.fit(train_x, train_y, batch_size=64, epochs=args.epochs, verbose=2, callbacks=[board])
    loss, accuracy = model.evaluate(test_x, test_y, verbose=0)
    model.save_weights(args.out / "model.weights.h5")
    model.export(args.out / "model")

    metrics = {
        "accuracy": round(float(accuracy), 4),
        "loss": round(float(loss), 4),
        "epochs": args.epochs,
        "lr": args.lr,
        "seed": args.seed,
    }
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    print(json.dumps(metrics))


if __name__ == "__main__":
    main()
