"""Print TensorFlow's version and the GPUs that it sees; in a notebook: ``import devices``."""

import tensorflow as tf

print("TensorFlow", tf.__version__)
for device in tf.config.list_physical_devices("GPU"):
    print(device.name)
