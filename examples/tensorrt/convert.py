"""Convert a SavedModel with TF-TRT for the GPU of this node, and note how far its answers are from the original's.

NOT RUN by the tests of tfslurm: they have no GPU. Written after TensorFlow's documentation of `TrtGraphConverterV2`.
Leaves in --out: digits, the converted SavedModel, and compared.json. An engine is for one kind of GPU and one TensorRT.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.compiler.tensorrt import trt_convert as trt

BATCH = 8


def main() -> None:
    """Convert, build the engines, save, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("/model"))
    parser.add_argument("--precision", choices=["FP32", "FP16"], default="FP16")
    parser.add_argument("--out", type=Path, default=Path("out"))
    args = parser.parse_args()

    original = tf.saved_model.load(str(args.model)).signatures["serving_default"]
    (spec,) = original.structured_input_signature[1].values()
    shape = [BATCH, *spec.shape.as_list()[1:]]
    sample = tf.constant(np.random.default_rng(0).random(shape, dtype="float32"))

    def inputs() -> Iterator[tuple[Any, ...]]:
        yield (sample,)

    converter = trt.TrtGraphConverterV2(
        input_saved_model_dir=str(args.model), precision_mode=getattr(trt.TrtPrecisionMode, args.precision)
    )
    converter.convert()
    converter.build(input_fn=inputs)
    converter.save(str(args.out / "digits"))

    converted = tf.saved_model.load(str(args.out / "digits")).signatures["serving_default"]
    name = next(iter(original.structured_input_signature[1]))
    before, after = (signature(**{name: sample}) for signature in (original, converted))
    furthest = max(float(np.abs(before[key].numpy() - after[key].numpy()).max()) for key in before)
    compared = {"precision": args.precision, "largest_difference": furthest, "tensorflow": tf.__version__}
    (args.out / "compared.json").write_text(json.dumps(compared, indent=2) + "\n", "utf-8")
    print(json.dumps(compared))


if __name__ == "__main__":
    main()
