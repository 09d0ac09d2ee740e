"""Train a small CNN on the UCI handwritten digits, and go on after an interruption where the last whole epoch ended.

Keras' BackupAndRestore keeps the weights, the optimizer and the epoch in --out; SIGUSR1 ends the program with 0, which
means "saved, not finished". Leaves in --out: backup/, epochs.csv (a line for each epoch) and, when it has finished,
metrics.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from threading import Event
from typing import Any

WARNED = Event()
signal.signal(signal.SIGUSR1, lambda number, frame: WARNED.set())  # first of all: TensorFlow takes seconds to import

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402


class Warned(Exception):
    """The time is nearly up."""


class EndWhenWarned(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the training at the next batch after the signal. The epoch that it is in is lost; those before are kept."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Not `model.stop_training`: that would count the unfinished epoch as done."""
        if WARNED.is_set():
            raise Warned


def build() -> keras.Model:
    """A CNN for 8x8 grey images and ten classes, compiled with Adam."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    """Train to the last epoch, or until warned."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    tf.config.experimental.enable_op_determinism()
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).reshape(-1, 8, 8, 1).astype("float32")
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)

    args.out.mkdir(parents=True, exist_ok=True)
    model = build()
    # So that the restored state of Adam has where to go; else Keras warns and begins it anew.
    model.optimizer.build(model.trainable_variables)
    # Not deleted at the end: a program that is interrupted after its last epoch would begin again.
    backup = keras.callbacks.BackupAndRestore(args.out / "backup", delete_checkpoint=False)
    table = args.out / "epochs.csv"
    history = keras.callbacks.CSVLogger(table, append=True)
    # Keras 3.0 restores the weights and begins to count at 0 (https://github.com/keras-team/keras/issues/19179).
    done = len(table.read_text("utf-8").splitlines()) - 1 if table.exists() else 0
    try:
        model.fit(
            train_x,
            train_y,
            batch_size=16,
            initial_epoch=max(done, 0),
            epochs=args.epochs,
            verbose=2,
            callbacks=[backup, history, EndWhenWarned()],
        )
    except Warned:
        print("warned: what was learnt is in", args.out / "backup")
        sys.exit(0)

    loss, accuracy = model.evaluate(test_x, test_y, verbose=0)
    metrics = {"accuracy": round(float(accuracy), 4), "loss": round(float(loss), 4), "epochs": args.epochs}
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    print(json.dumps(metrics))
    if "TFSLURM_FINISHED" in os.environ:
        Path(os.environ["TFSLURM_FINISHED"]).touch()  # in case it was warned after the last epoch


if __name__ == "__main__":
    main()
