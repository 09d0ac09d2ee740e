"""Train a small network on the UCI handwritten digits over all tasks of the job, one worker each.

Who the workers are stands in TF_CONFIG. Each leaves the sha256 of its final weights in --out; equal hashes say that the
gradients were summed over all of them at every step.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path

import tensorflow as tf
from sklearn.datasets import load_digits


def build() -> tf.keras.Model:
    """A network for 8x8 grey images and ten classes, compiled with SGD."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Input((64,)),
            tf.keras.layers.Dense(32, activation="relu"),
            tf.keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(tf.keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    """Train on this worker's share, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    # First of all: it connects the workers, which TensorFlow allows only before its first operation.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    workers, rank = strategy.cluster_resolver.cluster_spec().num_tasks("worker"), strategy.cluster_resolver.task_id
    tf.keras.utils.set_random_seed(args.seed)
    tf.config.experimental.enable_op_determinism()
    images, labels = load_digits(return_X_y=True)
    data = tf.data.Dataset.from_tensor_slices(((images / 16.0).astype("float32"), labels))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    data = data.shuffle(len(labels), seed=args.seed).repeat().batch(64 * workers).with_options(options)

    with strategy.scope():
        model = build()
    history = model.fit(data, epochs=args.epochs, steps_per_epoch=len(labels) // (64 * workers), verbose=2)

    weights = hashlib.sha256(b"".join(array.tobytes() for array in model.get_weights())).hexdigest()
    (args.out / f"weights-{rank}.sha256").write_text(f"{weights}\n", "utf-8")
    metrics = {
        "workers": workers,
        "addresses": json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"],
        "accuracy": round(float(history.history["accuracy"][-1]), 4),
        "epochs": args.epochs,
        "seed": args.seed,
    }
    if rank == 0:
        (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    print(json.dumps({**metrics, "rank": rank, "weights": weights}))


if __name__ == "__main__":
    main()
