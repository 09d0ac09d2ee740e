"""A saved model, and what it answers in the form of TensorFlow Serving's REST API. model_server.py asks it.

Needs Python 3.8 and later; TensorFlow and NumPy are given to it.
"""

# ruff: noqa: B905, UP006, UP031, UP035, UP045 - an image's Python may be as old as 3.8
import base64
import binascii
import json
import re
import shutil
import sys
import tempfile
import threading
import urllib.parse
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

DEFAULT = "serving_default"
"The signature that is used where a request names none."
MOST_NUMBERS = 2**24
"In an answer."
LONGEST = 1000
"Of a reason, in characters."
LINK = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,19})|/labels/(?P<label>[^/:]+))?"
    r"(?P<rest>/metadata|:[a-z]+)?"
)
TYPES = {"float16": "HALF", "float32": "FLOAT", "float64": "DOUBLE"}
"Names of TensorFlow in Python -> those of its files, where they are not the same in capitals."
TAKEN: Dict[str, Tuple[type, ...]] = {"f": (int, float), "i": (int,), "u": (int,), "b": (bool,), "O": (str, bytes)}
"Kinds of a tensor -> what of JSON is a value of it."


class Refused(Exception):
    """Why no model is served."""


class Wrong(Exception):
    """What is wrong with a request, and the status that says so."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Signature:
    """What of a model is called: names and specs of its inputs and outputs."""

    def __init__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], call: Callable[..., Any]) -> None:
        self.inputs, self.outputs, self.call = dict(inputs), dict(outputs), call


def load(tensorflow: Any, where: str) -> Tuple[Any, Dict[str, Signature]]:
    """The model, and its signatures by name."""
    try:
        if where.endswith(".keras"):
            with tempfile.TemporaryDirectory() as folder:  # Keras 3.0 opens it for writing too
                copy = shutil.copy(where, folder)
                model = tensorflow.keras.models.load_model(copy, compile=False)
            return model, {DEFAULT: of_keras(tensorflow, model)}
        model = tensorflow.saved_model.load(where)
        found = {
            name: Signature(each.structured_input_signature[1], each.structured_outputs, each)
            for name, each in model.signatures.items()
        }
    except Refused:
        raise
    except Exception as error:  # whatever this version of TensorFlow cannot read
        raise Refused("TensorFlow %s cannot load it: %s" % (tensorflow.__version__, short(error))) from None
    if not found:
        raise Refused("it has no signature; save it with `model.export(FOLDER)`")
    return model, found


def of_keras(tensorflow: Any, model: Any) -> Signature:
    """The one signature of a Keras model: its inputs by their names, its outputs by their places."""
    if not getattr(model, "inputs", None):
        raise Refused("its inputs are not known; save it with `model.export(FOLDER)`, or build it before it is saved")
    specs = {each.name.split(":")[0]: tensorflow.TensorSpec(each.shape, each.dtype) for each in model.inputs}

    def call(**given: Any) -> Dict[str, Any]:
        tensors = [given[name] for name in specs]
        said = tensorflow.nest.flatten(model(tensors if len(tensors) > 1 else tensors[0], training=False))
        return {"output_%d" % at: each for at, each in enumerate(said)}

    graph = tensorflow.function(call).get_concrete_function(**specs)
    return Signature(specs, graph.structured_outputs, graph)


class Model:
    """A loaded model: what is known of it, and what it predicts."""

    def __init__(
        self, served: Mapping[str, Any], loaded: Tuple[Any, Dict[str, Signature]], numpy: Any, tensorflow: Any
    ) -> None:
        self.served = served
        self.kept, self.signatures = loaded
        self.numpy, self.tensorflow = numpy, tensorflow
        self.one_at_a_time = threading.Lock()

    def answered(self, path: str, body: Optional[bytes]) -> Tuple[int, Any]:
        """The status and the JSON value that answer a request; ``body`` None: it is a GET."""
        try:
            return 200, self.asked(path, body)
        except Wrong as error:
            return error.status, {"error": str(error)}
        except MemoryError:
            return 503, {"error": "it takes more memory than there is; ask for fewer at once"}
        except Exception as error:  # whatever the model's own code raises
            return 500, {"error": short(error)}

    def asked(self, path: str, body: Optional[bytes]) -> Any:
        """What is asked of the model.

        Raises:
            Wrong: it is not to be had.
        """
        path = urllib.parse.unquote(path.partition("?")[0])
        name, version = self.served["name"], self.version
        if path == "/v1/models" and body is None:
            return {"models": [{"name": name, "version": version}]}
        link = LINK.fullmatch(path)
        if not link:
            raise Wrong("there is /v1/models/%s, its /metadata and its :predict" % name, 404)
        if link["name"] != name or link["version"] not in (None, version) or link["label"]:
            raise Wrong("there is the model %s, version %s, and no other" % (name, version), 404)
        rest = link["rest"] or ""
        if rest in (":classify", ":regress"):
            raise Wrong("%s takes tf.Example, which is not read here; use :predict" % rest, 501)
        if rest.startswith(":") and rest != ":predict":
            raise Wrong("there is no %s; use :predict" % rest, 404)
        if (rest == ":predict") != (body is not None):
            raise Wrong("use POST for :predict, and GET for the rest", 405)
        if body is not None:
            return self.predict(body)
        return self.metadata() if rest else self.status()

    @property
    def version(self) -> str:
        return str(self.served["version"])

    def status(self) -> Dict[str, Any]:
        """As TensorFlow Serving answers it."""
        state = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return {"model_version_status": [{"version": self.version, **state}]}

    def metadata(self) -> Dict[str, Any]:
        """As TensorFlow Serving answers it; ``tfslurm`` is what the model is."""
        signatures = {
            name: {
                "inputs": {key: described(key, spec) for key, spec in each.inputs.items()},
                "outputs": {key: described(key, spec) for key, spec in each.outputs.items()},
                "method_name": "tensorflow/serving/predict",
            }
            for name, each in self.signatures.items()
        }
        spec = {"name": self.served["name"], "signature_name": "", "version": self.version}
        told = {key: self.served[key] for key in ("run", "path", "sha256")}
        return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}, "tfslurm": told}

    def predict(self, body: bytes) -> Dict[str, Any]:
        """The answer to a request's body: `predictions` where it asks by rows, `outputs` where by columns."""
        with self.one_at_a_time:
            asked = parsed(body)
            name = asked.get("signature_name") or DEFAULT
            signature = self.signatures.get(name) if isinstance(name, str) else None
            if signature is None:
                raise Wrong("there is no signature %s; there is %s" % (shown(name), ", ".join(sorted(self.signatures))))
            is_rows = "instances" in asked
            given = (by_rows if is_rows else by_columns)(asked["instances" if is_rows else "inputs"], signature)
            arrays = {key: array(self.numpy, key, value, signature.inputs[key]) for key, value in given.items()}
            return answer(self.numpy, self.computed(signature, arrays), is_rows)

    def computed(self, signature: Signature, arrays: Mapping[str, Any]) -> Dict[str, Any]:
        """What the model says of the inputs."""
        tensorflow = self.tensorflow
        try:
            tensors = {key: tensorflow.constant(each, signature.inputs[key].dtype) for key, each in arrays.items()}
            return {key: each.numpy() for key, each in signature.call(**tensors).items()}
        except tensorflow.errors.ResourceExhaustedError:
            raise Wrong("it takes more memory than there is; ask for fewer at once", 503) from None
        except tensorflow.errors.OpError as error:
            raise Wrong(short(error)) from None


def parsed(body: bytes) -> Dict[str, Any]:
    """The request as an object with one of `instances` and `inputs`."""
    try:
        asked = json.loads(body, parse_int=None if hasattr(sys, "set_int_max_str_digits") else bounded)
    except RecursionError:
        raise Wrong("the request is nested too deeply") from None
    except ValueError as error:
        raise Wrong("the request is no JSON: %s" % short(error)) from None
    if not isinstance(asked, dict) or ("instances" in asked) == ("inputs" in asked):
        raise Wrong("the request is no object with either `instances` or `inputs`")
    return asked


def bounded(text: str) -> int:
    """The integer; an older Python would take minutes to read one of a million digits."""
    if len(text) > 4300:
        raise ValueError("an integer has more than 4300 digits")
    return int(text)


def by_rows(rows: Any, signature: Signature) -> Dict[str, Any]:
    """Input -> its values, of a list with an item for each example."""
    if not isinstance(rows, list) or not rows:
        raise Wrong("`instances` is no list, or an empty one")
    if not is_named(rows[0]):
        return {only(signature): rows}
    for at, row in enumerate(rows):
        if not is_named(row):
            raise Wrong("instances[%d] is no object, and instances[0] is one" % at)
        same_names(row, signature, "instances[%d]" % at)
    return {name: [row[name] for row in rows] for name in signature.inputs}


def by_columns(columns: Any, signature: Signature) -> Dict[str, Any]:
    """Input -> its values, of an object, or of the values of the only input."""
    if not is_named(columns):
        return {only(signature): columns}
    same_names(columns, signature, "inputs")
    return dict(columns)


def is_named(value: Any) -> bool:
    """Whether it names inputs; bytes are an object too."""
    return isinstance(value, dict) and set(value) != {"b64"}


def only(signature: Signature) -> str:
    """The name of the one input."""
    if len(signature.inputs) != 1:
        raise Wrong("name the inputs: %s" % ", ".join(signature.inputs))
    return next(iter(signature.inputs))


def same_names(given: Mapping[str, Any], signature: Signature, where: str) -> None:
    if set(given) != set(signature.inputs):
        names = ", ".join(shown(name) for name in sorted(given)[:10])
        raise Wrong("%s: the inputs are %s, not %s" % (where, ", ".join(signature.inputs), names or "none"))


def array(numpy: Any, name: str, value: Any, spec: Any) -> Any:
    """The values of an input as an array of its type and shape."""
    dtype = numpy.dtype(spec.dtype.as_numpy_dtype)
    kind = "f" if spec.dtype.is_floating else dtype.kind
    if kind not in TAKEN:
        raise Wrong("%s: its type %s has no form in JSON" % (name, spec.dtype.name))
    try:
        found = numpy.array(value, dtype=object)
        if kind == "O":
            texts = [as_bytes(name, each) for each in found.ravel().tolist()]
            found = numpy.array([*texts, None], dtype=object)[:-1].reshape(found.shape)
        values = found.ravel().tolist()
        for odd in set(map(type, values)) - set(TAKEN[kind]):
            what = (
                "lists of several lengths, or nested too deeply" if odd is list else "a value of type %s" % odd.__name__
            )
            raise Wrong("%s: is %s: it holds %s" % (name, spec.dtype.name, what))
        if kind in "iu" and values:
            limits = numpy.iinfo(dtype)
            if min(values) < limits.min or max(values) > limits.max:
                raise Wrong("%s: is %s: a number is too large for it" % (name, spec.dtype.name))
        with numpy.errstate(over="ignore"):
            found = (
                found if kind == "O" else found.astype("float64").astype(dtype) if kind == "f" else found.astype(dtype)
            )
    except (ValueError, OverflowError, TypeError) as error:
        raise Wrong("%s: %s" % (name, short(error))) from None
    if not spec.shape.is_compatible_with(found.shape):
        raise Wrong("%s: its shape is %s, and must be %s" % (name, list(found.shape), spec.shape))
    return found


def as_bytes(name: str, value: Any) -> Any:
    """The bytes of a text, or of what is written as base64; anything else as it is."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"].encode(), validate=True)
        except binascii.Error as error:
            raise Wrong("%s: is no base64: %s" % (name, error)) from None
    return value


def answer(numpy: Any, outputs: Mapping[str, Any], is_rows: bool) -> Dict[str, Any]:
    """The outputs as JSON values; a single one has no name."""
    if sum(each.size for each in outputs.values()) > MOST_NUMBERS:
        raise Wrong("the answer has more than %d numbers; ask for fewer at once" % MOST_NUMBERS)
    if is_rows and len({each.shape[:1] for each in outputs.values()} | {()}) != 2:
        raise Wrong("the outputs are not one for each instance; ask with `inputs`")
    values = {name: plain(numpy, name, each) for name, each in outputs.items()}
    if len(values) == 1:
        return {"predictions" if is_rows else "outputs": next(iter(values.values()))}
    if not is_rows:
        return {"outputs": values}
    return {"predictions": [dict(zip(values, row)) for row in zip(*values.values())]}


def plain(numpy: Any, name: str, value: Any) -> Any:
    """The JSON value of an output; numbers that are none are `NaN` and `Infinity`, as TensorFlow Serving has them."""
    found = numpy.asarray(value)
    if found.dtype.kind in "OS":
        texts = numpy.empty(found.shape, dtype=object)
        texts.ravel()[:] = [as_text(name, each) for each in found.ravel().tolist()]
        return texts.tolist()
    if found.dtype.kind == "c":
        raise Wrong("%s: complex numbers have no form in JSON" % name)
    return (found if found.dtype.kind in "fiub" else found.astype("float32")).tolist()


def as_text(name: str, value: bytes) -> Any:
    if not name.endswith("_bytes"):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(value).decode()}


def described(name: str, spec: Any) -> Dict[str, Any]:
    """An input or output in the form of TensorFlow's files."""
    is_unknown = spec.shape.rank is None
    sizes = [] if is_unknown else [-1 if size is None else size for size in spec.shape.as_list()]
    shape = {"dim": [{"size": str(size), "name": ""} for size in sizes], "unknown_rank": is_unknown}
    return {"dtype": "DT_" + TYPES.get(spec.dtype.name, spec.dtype.name.upper()), "tensor_shape": shape, "name": name}


def short(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:LONGEST] or type(error).__name__


def shown(value: Any) -> str:
    return repr(value)[:100]
