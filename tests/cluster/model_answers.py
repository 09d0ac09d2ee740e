"""A program for a container with TensorFlow: saves models, loads them as a service does, and says what they answer.

Standard input is a JSON list of pairs of a model's name and the text of a request; out comes a list of the answers.
"""

import importlib.util
import json
import sys
import tempfile
from typing import Any

import keras
import numpy
import tensorflow as tf


class Odd(tf.Module):  # type: ignore[misc]
    """Signatures with other inputs and outputs than those of a small network."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 3], tf.int32)])  # type: ignore[untyped-decorator]
    def two(self, tag: Any, signal: Any) -> Any:
        """Two inputs, and outputs of every kind."""
        kinds = {"raw_bytes": tag, "text": tf.strings.join([tag, "!"]), "total": tf.reduce_sum(signal, 1)}
        return {**kinds, "half": tf.cast(signal, tf.bfloat16) / 2, "ok": signal > 0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])  # type: ignore[untyped-decorator]
    def log(self, x: Any) -> Any:
        """A number that is none, and an error of TensorFlow's own."""
        with tf.control_dependencies([tf.debugging.assert_less(x, 1.0)]):
            return {"y": tf.math.log(x)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])  # type: ignore[untyped-decorator]
    def zeros(self, n: Any) -> Any:
        """As many numbers as somebody asks for."""
        return {"y": tf.zeros([n])}


def main() -> None:
    """Answer what comes in."""
    spec = importlib.util.spec_from_file_location("served_model", sys.argv[1])
    assert spec and spec.loader
    served_model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(served_model)
    folder = tempfile.mkdtemp()
    odd = Odd()
    signatures = {"serving_default": odd.two, "log": odd.log, "zeros": odd.zeros}
    tf.saved_model.save(odd, f"{folder}/odd", signatures=signatures)
    joined = keras.Model(
        inputs := [keras.Input((2,), name="a"), keras.Input((1,), name="b")], keras.layers.Concatenate()(inputs)
    )
    joined.save(f"{folder}/joined.keras")
    models = {}
    for name in ("odd", "joined.keras"):
        served = {"name": "m", "version": 1, "run": "alpha:1", "path": name, "sha256": "0" * 64}
        models[name] = served_model.Model(served, served_model.load(tf, f"{folder}/{name}"), numpy, tf)
    asked = json.load(sys.stdin)
    print(json.dumps([models[name].answered("/v1/models/m:predict", text.encode()) for name, text in asked]))


main()
