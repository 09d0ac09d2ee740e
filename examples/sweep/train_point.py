"""Train one point of the sweep: a dense network of some depth on the UCI handwritten digits.

Leaves in --out: metrics.json, the weights in model.weights.h5, and TensorBoard logs in logs/ with the point's
parameters, for the HParams tab.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import keras
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tensorboard.plugins.hparams import api as hparams


def build(lr: float, depth: int) -> keras.Model:
    """So many dense layers for 8x8 grey images and ten classes, compiled with Adam."""
    layers = [keras.layers.Dense(32, activation="relu") for _ in range(depth)]
    model = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.Adam(lr), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    """Train, measure on a held-out quarter, and write everything to --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    tf.config.experimental.enable_op_determinism()
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images / 16.0, labels, random_state=0, stratify=labels)

    model = build(args.lr, args.depth)
    logs = args.out / "logs"
    board = keras.callbacks.TensorBoard(logs)
    model.fit(train_x, train_y, batch_size=64, epochs=args.epochs, verbose=2, callbacks=[board])
    loss, accuracy = model.evaluate(test_x, test_y, verbose=0)

    model.save_weights(args.out / "model.weights.h5")
    point = json.loads(os.environ.get("TFSLURM_PARAMS", "{}"))
    with tf.summary.create_file_writer(str(logs)).as_default():
        hparams.hparams(point)
        tf.summary.scalar("accuracy", accuracy, step=args.epochs)
    metrics = {"accuracy": round(float(accuracy), 4), "loss": round(float(loss), 4), "epochs": args.epochs}
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    print(json.dumps(metrics))


if __name__ == "__main__":
    main()
