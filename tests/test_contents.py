"""Two files by the values in them: those that TensorFlow, NumPy and h5py wrote, changed and hostile ones."""

from __future__ import annotations

import io
import json
import math
import random
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfslurm.record.comparison import contents
from tfslurm.record.comparison.contents import (
    archives,
    compare_contents,
    hdf5_file,
    hdf5_types,
    tensor_bundle,
    unit_of,
    why_not_compared,
)
from tfslurm.record.comparison.contents.findings import EXACT, Content, Tolerance
from tfslurm.record.comparison.contents.hdf5 import Reader
from tfslurm.record.comparison.contents.hdf5_file import Hdf5
from tfslurm.record.comparison.contents.tensorboard_events import events, masked
from tfslurm.record.comparison.contents.times import is_time

SAMPLES = Path(__file__).with_name("tensorflow_files.zip")
"""Of three runs by TensorFlow 2.16.1, Keras 3.0.5, NumPy 1.26 and h5py 3: `a` and `b` with the seed 7, `c` with 8."""
FILES = ("model.keras", "model.weights.h5", "kinds.h5", "p.npz", "pc.npz")
UNITS = (*FILES, "ckpt-1.*", "saved/variables/variables.*", "own/events.out.tfevents.*")


@cache
def samples() -> dict[str, bytes]:
    with zipfile.ZipFile(SAMPLES) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def of(run: str, unit: str) -> dict[str, bytes]:
    """The files of a unit in one of the runs."""
    mine = {name[2:]: content for name, content in samples().items() if name.startswith(f"{run}/")}
    return {path: content for path, content in mine.items() if unit_of(path, mine) == unit}


def single(name: str, a: bytes | str, b: bytes | str, tolerance: Tolerance = EXACT) -> Content:
    """Two files with such a name; the mirrored comparison gives the same answer."""
    one, other = (text.encode() if isinstance(text, str) else text for text in (a, b))
    found = compare_contents(name, {name: one}, {name: other}, tolerance)
    mirrored = compare_contents(name, {name: other}, {name: one}, tolerance)
    assert (found.answer, found.rule, found.max_abs, found.max_rel) == (
        mirrored.answer, mirrored.rule, mirrored.max_abs, mirrored.max_rel
    )  # fmt: skip
    return found


# -------------------------------------------------------------------------------------- what real programs have written


@pytest.mark.parametrize("unit", UNITS)
def test_equal_runs_have_equal_contents_and_another_seed_has_others(unit: str) -> None:
    a, b, c = (of(run, unit) for run in "abc")
    assert a and compare_contents(unit, a, b).answer == "same"
    other = compare_contents(unit, a, c)
    assert other.answer == "differs" and (other.max_abs or 0) > 0 and " / " in other.why, other
    assert compare_contents(unit, a, c, Tolerance(9.0)).answer == ("differs" if unit == "kinds.h5" else "within")
    assert compare_contents(unit, a, c, Tolerance(1e-9)).answer == "differs"


def test_hdf5_is_read_as_h5py_wrote_it() -> None:
    found = Reader(samples()["a/kinds.h5"]).all()
    assert {name: (each.kind, each.shape) for name, each in found.items() if "many/" not in name} == {
        "@v": ("text, 101", ()),
        "/": ("group", ()),
        "b": ("enumeration 10080000010000000000080046414c534500000054525545000000000001", (2,)),
        "be": ("float64", (2, 3)),
        "c": ("complex64", (2, 3)),
        "g": ("group", ()),
        "g@arr": ("float64", (3,)),
        "g/x": ("float32", (5, 3)),
        "half": ("float16", (2, 3)),
        "many": ("group", ()),
        "s": ("text, 101", (3,)),
    }
    packed = found["g/x"].open().read()
    assert struct.unpack("<15f", packed) == tuple(float(number + 7) for number in range(15))
    assert [found[f"many/{n:02d}"].open().read() for n in range(40)] == [struct.pack("<h", n) for n in range(40)]
    assert b"seed 7" in found["s"].open().read()


def test_scalars_are_read_as_tensorflow_wrote_them() -> None:
    found = events(of("a", "own/events.out.tfevents.*"))
    assert {name: pytest.approx(value) for name, value in found.scalars.items()} == {
        ("acc", step): [7.5 + 0.1 * step] for step in range(3)
    }
    assert found.others.total() == 1  # the text
    assert masked(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_files_that_belong_together_are_one() -> None:
    paths = {name[2:] for name in samples() if name.startswith("a/")}
    assert {unit_of(path, paths) for path in paths} == {*UNITS, "saved/saved_model.pb"}
    assert why_not_compared("saved/saved_model.pb", paths) and why_not_compared("ckpt/checkpoint", paths)
    assert not why_not_compared("saved/variables/variables.*", paths) and not why_not_compared("own/x", paths)
    assert why_not_compared("saved/fingerprint.pb", paths) and not why_not_compared("own/fingerprint.pb", paths)
    assert not why_not_compared("saved/metrics.json", paths)  # of a program that exports beside its results
    assert unit_of("data.index", ["data.index"]) == "data.index"
    assert unit_of("x.data-00000-of-00001", ["x.data-00000-of-00001"]) == "x.data-00000-of-00001"


# ---------------------------------------------------------------------------------------------------------- any bytes


@pytest.mark.parametrize("unit", UNITS)
def test_a_damaged_file_is_refused_or_differs_and_nothing_else(unit: str) -> None:
    whole, chance = of("a", unit), random.Random(unit)
    path = max(whole, key=lambda each: (each.endswith((".index", ".h5")), each))
    content = whole[path]
    for cut in {0, 1, 7, 8, 40, len(content) // 2, *(chance.randrange(len(content)) for _ in range(40))}:
        assert compare_contents(unit, whole, {**whole, path: content[:cut]}).answer != "same", cut
    for _ in range(100):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 4, 40))):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        found = compare_contents(unit, whole, {**whole, path: bytes(damaged)}, Tolerance(1.0))
        assert (found.answer in ("same", "within", "differs", "unread") and found.why.isprintable()) or found.why


@pytest.mark.parametrize("unit", ["model.weights.h5", "kinds.h5", "ckpt-1.*", "saved/variables/variables.*"])
def test_a_changed_number_is_never_passed(unit: str) -> None:
    """Each byte of each array that is stored as it is."""
    whole = of("a", unit)
    path, content = max(whole.items(), key=lambda each: each[0].endswith((".h5", "-00001")))
    arrays = arrays_of(unit, whole)
    changed = 0
    for array in arrays:
        places = [found.start() for found in re.finditer(re.escape(array), content)] if len(array) >= 4 else []
        for at in [place + number for place in places if any(array) for number in range(len(array))]:
            damaged = bytearray(content)
            damaged[at] ^= 0x20
            answer = compare_contents(unit, whole, {**whole, path: bytes(damaged)}).answer
            assert answer in ("differs", "unread"), (unit, at)
            changed += 1
    assert changed > 10


def arrays_of(unit: str, files: Mapping[str, bytes]) -> list[bytes]:
    from tfslurm.record.comparison.contents.tensor_bundle import variables

    found = Reader(files[unit]).all() if unit.endswith(".h5") else variables(files)
    return [each.open().read() for each in found.values()]


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.keras", "a.npz", "a.npy", "a.h5", "a.hdf5", "a.tsv", "a.*",
                                  "events.out.tfevents.*"])  # fmt: skip
@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"\xff" * 100, b"[" * 10_000, b"PK\1\2" * 30_000, b"\x93NUMPY\1\0\xff\xff", b"\x89HDF\r\n\x1a\n" * 30,
     b'"' + b"x" * 200_000, b"\x08" * 1000, b"0" * 1000],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_such_file_is_not_the_same_as_another(name: str, content: bytes) -> None:
    assert single(name, content, b"{}").answer != "same"
    assert single(name, content, content + b"1").answer != "same"


# -------------------------------------------------------------------------------------------------------------- arrays


def npy(kind: str, shape: str, content: bytes, *, fortran: bool = False, version: int = 1) -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    size = struct.pack("<H" if version == 1 else "<I", len(header) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + b"\n" + content


def floats(*numbers: float, kind: str = "<f8") -> bytes:
    code = {"f8": "d", "f4": "f", "f2": "e"}[kind[1:]]
    return npy(kind, f"({len(numbers)},)", struct.pack(f"{kind[0]}{len(numbers)}{code}", *numbers))


def npz(members: Mapping[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, packing)
    return held.getvalue()


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("a", "b", "answer", "max_abs", "max_rel"),
    [
        ([1.0, 2.0], [1.0, 2.0], "same", None, None),
        ([1.0, 2.0], [1.0, 4.0], "differs", 2.0, 0.5),
        ([0.0], [0.0], "same", None, None),
        ([0.0], [-0.0], "within", 0.0, 0.0),
        ([0.0], [1e-3], "within", 1e-3, 1.0),
        ([NAN], [NAN], "same", None, None),
        ([NAN], [-NAN], "same", None, None),
        ([NAN], [0.0], "differs", INF, INF),
        ([INF], [INF], "same", None, None),
        ([INF], [-INF], "differs", INF, INF),
        ([INF], [1.0], "differs", INF, INF),
        ([INF], [NAN], "differs", INF, INF),
        ([1e308], [-1e308], "differs", INF, INF),
        ([5e-324], [0.0], "within", 5e-324, 1.0),
        ([1.0, NAN, 3.0], [1.0, NAN, 3.0 + 2**-51], "within", 2**-51, 2**-51 / (3 + 2**-51)),
        ([1.0], [1.009], "within", pytest.approx(0.009), pytest.approx(0.009 / 1.009)),
        ([1.0], [1.011], "differs", pytest.approx(0.011), pytest.approx(0.011 / 1.011)),
    ],
)
def test_two_numbers_and_how_far_they_are_apart(
    a: list[float], b: list[float], answer: str, max_abs: float | None, max_rel: float | None
) -> None:
    found = single("a.npy", floats(*a), floats(*b), Tolerance(0.01))
    assert (found.answer, found.max_abs, found.max_rel) == (answer, max_abs, max_rel)
    assert single("a.npy", floats(*a), floats(*b)).answer == ("same" if answer == "same" else "differs")


def test_a_relative_tolerance_is_of_the_larger_number() -> None:
    assert single("a.npy", floats(100.0), floats(101.0), Tolerance(0, 0.01)).answer == "within"
    assert single("a.npy", floats(100.0), floats(101.1), Tolerance(0, 0.01)).answer == "differs"
    assert single("a.npy", floats(0.0), floats(1e-300), Tolerance(0, 0.5)).answer == "differs"


ONE = floats(1.0)
PICKLE = npy("|O", "(1,)", b"\x80\x04K\x01.")


@pytest.mark.parametrize(
    ("other", "answer", "why"),
    [
        (floats(1.0, kind=">f8"), "same", ""),
        (floats(1.0, kind="<f4"), "differs", "float64 / float32"),
        (floats(1.0, 1.0), "differs", "shape (1,) / (2,)"),
        (npy("<f8", "(1, 1)", struct.pack("<d", 1)), "differs", "shape (1,) / (1, 1)"),
        (npy("<f8", "()", struct.pack("<d", 1)), "differs", "shape (1,) / ()"),
        (npy("<i8", "(1,)", struct.pack("<q", 1)), "differs", "float64 / int64"),
        (npy("<f8", "(1,)", struct.pack("<d", 1), version=2), "same", ""),
        (npy("<f8", "(1,)", struct.pack("<d", 1), fortran=True), "same", ""),
        (npy("|S8", "(1,)", struct.pack("<d", 1)), "differs", "float64 / S8"),
        (PICKLE, "differs", "never unpickled"),
        (npy("<f16", "(1,)", bytes(16)), "differs", "elements of the type f16"),
        (npy("[('a', '<f8')]", "(1,)", bytes(8)), "differs", "a header that is not read"),
        (npy("<f8", "(1,)", b"\0" * 7), "differs", "fewer bytes than its shape says"),
        (npy("<f8", "(1,)", b"\0" * 9), "differs", "more bytes than its shape says"),
        (npy("<f8", "(99999999999999999999,)", b""), "differs", "beyond what is read"),
        (npy("<f8", "(-1,)", b""), "differs", "a header that is not read"),
        (b"\x93NUMPY\1\0\xff\xff{", "differs", "a header that is not read"),
    ],
)
def test_an_array_has_a_type_and_a_shape(other: bytes, answer: str, why: str) -> None:
    found = single("a.npy", ONE, other)
    assert found.answer == answer
    assert why in found.why or why in compare_contents("a.npy", {"": ONE}, {"": other}).why
    assert single("a.npz", npz({"x.npy": ONE}), npz({"x.npy": other})).answer == answer
    if answer == "differs":
        assert single("a.npy", ONE, other, Tolerance(1e9, 1e9)).answer in ("differs", "unread"), "no tolerance applies"


def test_columns_first_is_compared_with_columns_first_alone() -> None:
    numbers = struct.pack("<6d", *range(6))
    rows, columns = (npy("<f8", "(2, 3)", numbers, fortran=fortran) for fortran in (False, True))
    assert single("a.npz", npz({"a": columns}), npz({"a": columns}, zipfile.ZIP_DEFLATED)).answer == "same"
    assert single("a.npy", rows, columns, Tolerance(1e9)).answer == "unread"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("a", "b", "answer", "why"),
    [
        ({"x.npy": ONE}, {"x.npy": floats(2.0)}, "differs", "x: 1.0 / 2.0, by at most 1 (relative: 0.5)"),
        ({"x.npy": ONE, "y.npy": ONE}, {"y.npy": ONE, "x.npy": ONE}, "same", "the layout of the archive"),
        ({"x.npy": ONE}, {"x.npy": ONE, "y.npy": ONE}, "differs", "y: only in B"),
        ({"x.npy": ONE}, {"y.npy": ONE}, "differs", "x: only in A; y: only in B"),
        ({}, {"y.npy": ONE}, "differs", "only in B"),
        ({"x.npy": ONE}, {"x.npy": b"no array"}, "differs", "it is no array of NumPy"),
        ({"x.npy": PICKLE}, {"x.npy": PICKLE[:-1] + b","}, "differs", "never unpickled"),
        ({f"{n}.npy": ONE for n in range(10_001)}, {"0.npy": ONE}, "differs", "more than 10000 members"),
        ({"../../x.npy": ONE}, {"../../x.npy": ONE + b""}, "same", ""),
        ({"x.npy": floats(*[1.0] * 9000)}, {"x.npy": floats(*[1.0] * 8999, 2.0)}, "differs", "x: 1.0 / 2.0"),
        ({"x": ONE, "x.npy": ONE}, {"x": floats(2.0), "x.npy": ONE}, "differs", "two arrays of one name"),
    ],
    ids=range(11),
)
def test_archives_of_arrays(a: dict[str, bytes], b: dict[str, bytes], answer: str, why: str) -> None:
    found = single("a.npz", npz(a), npz(b, zipfile.ZIP_DEFLATED))
    assert found.answer == answer
    forward = compare_contents("a.npz", {"": npz(a)}, {"": npz(b, zipfile.ZIP_DEFLATED)})
    assert why in forward.why, forward.why


def test_archives_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_UNPACKED", 2**20)
    bomb = npz({"x.npy": npy("<f8", "(131072,)", bytes(2**20))}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 4096 and "holds more bytes than are read" in single("a.npz", bomb, npz({"x.npy": ONE})).why
    lying = bytearray(bomb)
    at = lying.index(b"PK\1\2")
    lying[at + 24 : at + 28] = struct.pack("<I", 100)  # of the unpacked size in the archive's list
    assert single("a.npz", bytes(lying), npz({"x.npy": ONE})).answer == "differs"
    twice = io.BytesIO()
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("x.npy", ONE)
        archive.writestr("x.npy", floats(2.0))
    assert "two of one name" in single("a.npz", twice.getvalue(), npz({"x.npy": ONE})).why


# ---------------------------------------------------------------------------------------------------------------- HDF5


def patched(name: str, change: Callable[[bytearray], None]) -> bytes:
    content = bytearray(samples()[f"a/{name}"])
    change(content)
    return bytes(content)


def poke(at: int, value: bytes) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content[at : at + len(value)] = value

    return change


def after(mark: bytes, offset: int, value: bytes) -> Callable[[bytearray], None]:
    return lambda content: poke(content.index(mark) + offset, value)(content)


ROOT = int.from_bytes(samples()["a/kinds.h5"][64:72], "little")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (poke(8, b"\2"), "the newer format"),
        (poke(13, b"\4"), "other sizes"),
        (poke(24, b"\1"), "within another file"),
        (poke(64, b"\xff" * 8), "cut off, or names a place beyond its end"),
        (poke(ROOT, b"\2"), "a header of the newer format"),
        (poke(ROOT + 2, b"\xff\xff"), "fewer messages than it says"),
        (after(b"TREE", 0, b"TREF"), "has no TREE"),
        (after(b"SNOD", 0, b"SNOE"), "has no SNOD"),
        (after(b"HEAP", 0, b"HEAQ"), "has no HEAP"),
        (after(b"GCOL", 0, b"GCOM"), "has no GCOL"),
        (after(b"TREE", 5, b"\1"), "it"),
    ],
)
def test_hdf5_that_is_not_read_is_refused(change: Callable[[bytearray], None], why: str) -> None:
    broken = patched("kinds.h5", change)
    found = single("a.h5", samples()["a/kinds.h5"], broken)
    assert found.answer == "differs" and "its bytes differ; its values are not compared: " in found.why
    assert why in found.why, found.why
    assert single("a.h5", samples()["a/kinds.h5"], broken, Tolerance(1e9)).answer == "unread"


def test_a_group_in_itself_ends() -> None:
    """The root's entry of a group leads to the root again."""
    content = bytearray(samples()["a/kinds.h5"])
    file = Hdf5(bytes(content))
    messages = {each.kind: each.body for each in file.messages(file.root)}
    group = next(each for each in file.members(*struct.unpack_from("<QQ", messages[0x11])) if each.name == "many")
    at = content.index(struct.pack("<Q", group.at))
    content[at : at + 8] = struct.pack("<Q", file.root)
    assert "groups deeper than 50" in single("a.h5", bytes(content), samples()["a/kinds.h5"]).why


SPACE, BYTES, TEXTS = (
    b"\1\1" + bytes(6) + struct.pack("<Q", 40),
    b"\x10\0\0\0\1\0\0\0\0\0\x08\0",
    b"\x19\1\0\0\x10\0\0\0",
)
HUGE = b"\1\1" + bytes(6) + struct.pack("<Q", 2**40)
FIRST = 96
"Where the blocks of a made file begin."


def hdf5(messages: list[tuple[int, bytes]], blocks: bytes = b"") -> bytes:
    """A file whose only object has these messages."""
    body = b"".join(struct.pack("<HHB3x", kind, len(text), 0) + text for kind, text in messages)
    start = bytearray(FIRST)
    poke(0, b"\x89HDF\r\n\x1a\n")(start)
    poke(13, b"\x08\x08")(start)
    poke(64, struct.pack("<Q", FIRST + len(blocks)))(start)
    return bytes(start) + blocks + struct.pack("<BBHII4x", 1, 0, len(messages), 1, len(body)) + body


def tree(level: int, child: int, count: int = 100) -> bytes:
    """A node of the tree of a group, all of whose entries lead to one place."""
    return struct.pack("<4sBBH16x", b"TREE", 0, level, count) + struct.pack("<QQ", 0, child) * count


def wide() -> bytes:
    """Nodes that lead to one node a hundred times each: a hundred times a hundred times nothing."""
    heap = struct.pack("<4s4xQQQ", b"HEAP", 0, 0, FIRST)
    last = FIRST + len(heap)
    middle = last + len(tree(0, 0, 0))
    top = middle + len(tree(1, last))
    blocks = heap + tree(0, 0, 0) + tree(1, last) + tree(2, middle)
    return hdf5([(0x11, struct.pack("<QQ", top, FIRST))], blocks)


def same_text() -> bytes:
    """Forty texts that are one text."""
    heap = struct.pack("<4s4xQ", b"GCOL", 16 + 16 + 4096) + struct.pack("<HH4xQ", 1, 1, 4096) + bytes(4096)
    elements = struct.pack("<IQI", 4096, FIRST, 1) * 40
    return hdf5([(1, SPACE), (3, TEXTS), (8, struct.pack("<BBH", 3, 0, len(elements)) + elements)], heap)


def chunked(chunk: int, space: bytes) -> bytes:
    """A dataset in chunks of so many bytes, with none."""
    return hdf5([(1, space), (3, BYTES), (8, struct.pack("<BBBQII", 3, 2, 2, FIRST, chunk, 1))], tree(0, 0, 0))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (wide(), "more than 2000 parts"),
        (same_text(), "more than 131072 bytes in chunks and texts"),
        (chunked(8, HUGE), "a dataset in it, or a chunk of one, has more than 65536 bytes"),
        (chunked(2**20, SPACE), "a dataset in it, or a chunk of one, has more than 65536 bytes"),
        (hdf5([(1, SPACE), (1, HUGE), (3, BYTES), (8, bytes(4))]), "says twice what it is"),
    ],
    ids=["wide", "texts", "dataset", "chunk", "twice"],
)
def test_a_small_file_cannot_ask_for_all_time_or_memory(
    content: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_file, "MOST_PARTS", 2000)
    for module in (hdf5_file, hdf5_types):
        monkeypatch.setattr(module, "MOST_UNPACKED", 2**16)
    with pytest.raises(ValueError, match=why):
        Reader(content).all()


def test_a_made_file_is_read() -> None:
    """So that the one above is refused for what it says."""
    found = Reader(hdf5([(1, SPACE), (3, BYTES), (8, struct.pack("<BBH", 3, 0, 40) + bytes(40))])).all()
    assert [(each.kind, each.shape) for each in found.values()] == [("uint8", (40,))]


# --------------------------------------------------------------------------------------------------------------- Keras


def keras(
    saved: str = "2026-11-28@10:00:00", weights: bytes = b"weights", memory: int = 140012, **config: object
) -> bytes:
    """A `.keras` as Keras 3 writes it."""
    policy = {"class_name": "DTypePolicy", "shared_object_id": memory}
    layers = [{"name": name, "dtype": policy} for name in ("conv", "dense")]
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.5", "date_saved": saved}))
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "layers": layers, **config}))
        archive.writestr(zipfile.ZipInfo("model.weights.h5", (2026, 11, 28, 10, int(saved[-5:-3]), 0)), weights)
    return held.getvalue()


@pytest.mark.parametrize(
    ("other", "answer", "why"),
    [
        (keras("2026-11-28@10:07:00", memory=99), "same", "the time at which it was saved"),
        (keras(weights=b"other"), "differs", "model.weights.h5: its bytes differ"),
        (keras(units=3), "differs", "config.json: differs"),
        (keras(duration=3), "differs", "config.json: differs"),
        (keras(loss="<function f at 0x7f01a2b3c4d5>"), "differs", "config.json: differs"),
        (npz({"metadata.json": b"{}"}), "differs", "config.json: only in A"),
        (b"no archive", "unread", "it is no archive that can be read"),
        (npz({"config.json": b'{"a": NaN'}), "unread", "cannot be compared"),
        (npz({str(number): b"" for number in range(10_001)}), "unread", "more than 10000 members"),
        (keras()[:-30], "unread", "no archive"),
        (npz({"config.json": b" " * (8 * 2**20 + 1)}, zipfile.ZIP_DEFLATED), "unread", "more than 8388608 bytes"),
    ],
    ids=range(11),
)
def test_a_model_is_its_members_without_the_time(other: bytes, answer: str, why: str) -> None:
    assert single("m.keras", keras(), other).answer == answer
    found = compare_contents("m.keras", {"": keras()}, {"": other})
    assert why in found.why, found.why


def test_a_place_in_memory_is_no_part_of_a_model() -> None:
    one, other = (keras(loss=f"<function f at 0x{place}>") for place in ("7f01a2b3c4d5", "7f01a2b3c4d6"))
    assert single("m.keras", one, other).answer == "same"


def test_layers_that_share_an_object_are_not_layers_that_do_not() -> None:
    one, other = ([{"shared_object_id": number} for number in numbers] for numbers in ((7, 7), (7, 8)))
    assert single("m.keras", keras(layers=one), keras(layers=other)).answer == "differs"


def test_weights_in_a_model_are_compared_by_their_arrays() -> None:
    one, other = (keras(weights=samples()[f"{run}/model.weights.h5"]) for run in "ac")
    found = single("m.keras", one, other, Tolerance(9.0))
    assert found.answer == "within" and found.max_abs and "model.weights.h5: " in found.why
    assert single("m.keras", one, other).answer == "differs"
    moved = keras(weights=samples()["a/model.weights.h5"] + b"\0")
    assert "though its arrays are equal" in single("m.keras", one, moved).why


# ------------------------------------------------------------------------------------------------------ JSON and tables


@pytest.mark.parametrize(
    ("a", "b", "answer", "why"),
    [
        ('{"a": 1, "seconds": 1.5}', '{"seconds": 2.5, "a": 1}', "same", "seconds"),
        ('{"a": [{"saved_at": 1}]}', '{"a": [{"saved_at": 2}]}', "same", "saved_at"),
        ('{"a": {"trainTime": 1}}', '{"a": {"trainTime": 2}}', "same", "a.trainTime"),
        ('{"a": 1}', '{"a":1}', "same", "the layout of its text"),
        ('{"a": 1, "date": "x"}', '{"a": 1}', "same", "date"),
        ('{"loss": NaN}', '{"loss": NaN }', "same", "the layout of its text"),
        ('{"loss": NaN}', '{"loss": 1}', "differs", 'loss: "NaN" / 1'),
        ('{"a": 1, "seconds": 1}', '{"a": 3, "seconds": 1}', "differs", "a: 1 / 3, by at most 2 (relative: 0.667)"),
        ('{"a": 1}', '{"a": true}', "differs", "a: 1 / true"),
        ('{"a": 1}', '{"a": 1.0}', "differs", "a: 1 / 1.0"),
        ('{"a": [1, 2]}', '{"a": [1]}', "differs", "a: 2 / 1 elements"),
        ('{"a": [1, 2]}', '{"a": [2, 1]}', "differs", "2 of 2 values differ"),
        ('{"a": 1}', '{"b": 1}', "differs", "a: only in A; b: only in B"),
        ('{"a": null}', '{"a": 0}', "differs", "a: null / 0"),
        ('{"a": 0.0}', '{"a": -0.0}', "differs", "a: 0.0 / -0.0"),
        ('{"time_steps": 1}', '{"time_steps": 2}', "differs", "time_steps: 1 / 2"),
        ('{"a": 1e308}', '{"a": -1e308}', "differs", "by at most inf"),
        (f'{{"a": {"9" * 300}}}', '{"a": 1}', "differs", "a: "),
        (f'{{"a": {"9" * 300}}}', '{"a": 0.5}', "differs", "a: "),
        ("{", "{}", "unread", "cannot be compared"),
        ("[" * 10_000, "[]", "unread", "cannot be compared"),
        ('{"a": 1, "a": 2}', "{}", "unread", "the key 'a' twice"),
    ],
    ids=range(22),
)
def test_json_is_its_values_without_the_time(a: str, b: str, answer: str, why: str) -> None:
    assert single("metrics.json", a, b).answer == answer
    found = compare_contents("metrics.json", {"": a.encode()}, {"": b.encode()})
    assert why in found.why, found.why


@pytest.mark.parametrize(
    ("a", "b", "answer", "why"),
    [
        ("epoch,loss\n0,1.5\n", "epoch,loss\r\n0,1.5\r\n", "same", "the layout of its text"),
        ("epoch,loss\n0,1.5\n", 'epoch,"loss"\n0,1.5', "same", "the layout of its text"),
        ("loss,seconds\n1,2\n", "loss,seconds\n1,3\n", "same", "seconds"),
        ("seconds,loss\n1,2\n", "seconds,loss\n1,3\n", "differs", "loss, row 2: 2.0 / 3.0, by at most 1"),
        ("loss;train_time\n1;2\n", "loss;train_time\n1;3\n", "same", "train_time"),
        ("loss\ttime\n1\t2\n", "loss\ttime\n1\t3\n", "same", "time"),
        ("1,2\n3,4\n", "1,2\n3,5\n", "differs", "column 2, row 2: 4.0 / 5.0"),
        ("a,b\n1,2\n", "a,b\n1,2\n3,4\n", "differs", "B has more than 2"),
        ("a,b\n1,2\n", "b,a\n1,2\n", "differs", "a, row 1: 'a' / 'b'"),
        ("loss,time\n1,2\n", "loss,seconds\n1,2\n", "differs", "time, row 1"),
        ("a,b\n1,2\n", "a,b\n1\n", "differs", "row 2: 2 / 1 cells"),
        ("a\nnan\n", "a\nNaN\n", "differs", "a, row 2: 'nan' / 'NaN'"),
        ("a\n1.0\n", "a\n1.00\n", "differs", "a, row 2: '1.0' / '1.00'"),
        ("a\ninf\n", "a\n1\n", "differs", "by at most inf"),
        ('a, top;time\n1,2\n', 'a, top;time\n1,3\n', "differs", "2.0 / 3.0"),
        ('a\n"open\n', "a\n", "unread", "it is no table"),
        ("a\n\0\n", "a\n", "unread", "a byte in it is 0"),
        ("a\n" + "x" * 200_000 + "\n", "a\n", "unread", "it is no table"),
    ],
    ids=range(18),
)  # fmt: skip
def test_a_table_is_its_cells_without_the_columns_of_times(a: str, b: str, answer: str, why: str) -> None:
    assert single("log.csv", a, b).answer == answer
    found = compare_contents("log.csv", {"": a.encode()}, {"": b.encode()})
    assert why in found.why, found.why


@pytest.mark.parametrize(
    "key", ["time", "seconds", "train_seconds", "trainTime", "timestamp", "saved_at", "time_ms", "saved_date",
            "images_per_second", "seconds_per_epoch", "wall_clock", "Elapsed"],
)  # fmt: skip
def test_a_key_that_names_a_time_is_left_out(key: str) -> None:
    assert is_time(key)


@pytest.mark.parametrize(
    "key",
    [
        "accuracy",
        "time_steps",
        "loss_s",
        "at",
        "look_at",
        "",
        "sometimes2x",
        "update",
        "candidate",
        "epochs",
        "second",
        "layer_second",
        "loss_over_time",
        "accuracyVsTime",
    ],
)
def test_a_key_that_could_be_a_result_stays(key: str) -> None:
    assert not is_time(key)


# --------------------------------------------------------------------------------------------------------- checkpoints


def varint(value: int) -> bytes:
    """A whole number as LevelDB writes it."""
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A block of a table."""
    written = (varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return b"".join(written) + struct.pack("<II", 0, 1)


def index(entries: list[tuple[bytes, bytes]], times: int = 1) -> bytes:
    """The index of a checkpoint whose only block of variables is named so often."""
    data = block(entries)
    names = block([(b"k", varint(0) + varint(len(data)))] * times)
    before = data + bytes(5) + names + bytes(5)
    handles = varint(0) + varint(0) + varint(len(data) + 5) + varint(len(names))
    return before + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (index([(b"v", b""), (b"v", b"")]), "has a variable twice"),
        (index([(b"v" * 99, b"")], 50), "lie in one another"),
        (index([(b"v", b"")]), r"it has no \.data-00000-of-00000"),
    ],
    ids=["twice", "overlap", "whole"],
)
def test_an_index_of_variables_names_each_once(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tensor_bundle.variables({"ckpt-1.index": content})


# --------------------------------------------------------------------------------------------------------- TensorBoard


def field(number: int, value: bytes | int | float) -> bytes:
    """A field of a message, whose number is below 16."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    assert len(value) < 16384
    return bytes([number << 3 | 2, len(value) & 0x7F | 0x80, len(value) >> 7]) + value


def event(step: int, tag: str, value: bytes, wall: float = 1.0) -> bytes:
    body = b"\x09" + struct.pack("<d", wall) + field(2, step) + field(5, field(1, field(1, tag.encode()) + value))
    length = struct.pack("<Q", len(body))
    return length + struct.pack("<I", masked(length)) + body + b"\0\0\0\0"


def tensor(number: float) -> bytes:
    return field(8, field(1, 1) + field(2, b"") + field(4, struct.pack("<f", number)))


S = event(0, "loss", field(2, 0.5))


@pytest.mark.parametrize(
    ("other", "answer", "why"),
    [
        (event(0, "loss", field(2, 0.5), wall=2.0), "same", "times; 1 scalars are the same"),
        (event(0, "loss", tensor(0.5)), "same", "times"),
        (event(0, "loss", field(2, 0.25)), "differs", "loss at step 0: 0.5 / 0.25, by at most 0.25"),
        (event(0, "loss", field(2, NAN)), "differs", "0.5 / nan"),
        (event(1, "loss", field(2, 0.5)), "differs", "loss at step 0: only in A; loss at step 1: only in B"),
        (event(0, "accuracy", field(2, 0.5)), "differs", "accuracy at step 0: only in B"),
        (S + S, "differs", "1 / 2 values"),
        (S + event(0, "epoch_steps_per_second", field(2, 9.0)), "same", "times"),
        (S + event(0, "image", field(4, b"png")), "unread", "of its histograms, texts and pictures 1 differ"),
        (S[:-5], "unread", "cut off"),
        (b"\xff" * 40, "unread", "it is no event file"),
        (event(0, "train/seconds", field(2, 0.5)), "differs", "only in A"),
        (S + event(0, "x", field(8, field(1, 1) + field(4, b"123"))), "unread", "pictures 1 differ"),
    ],
    ids=range(13),
)
def test_events_are_their_scalars(other: bytes, answer: str, why: str) -> None:
    unit = "logs/events.out.tfevents.*"
    found = compare_contents(unit, {"logs/1": S}, {"logs/2": other})
    assert found.answer == answer and why in found.why, found
    assert compare_contents(unit, {"logs/1": other}, {"logs/2": S}).answer == answer


def test_events_without_a_scalar_say_nothing() -> None:
    picture = event(0, "image", field(4, b"png"))
    assert compare_contents("events.out.tfevents.*", {"": picture}, {"": picture}).why.endswith("it has no scalar")


# ---------------------------------------------------------------------------------------------------------- properties


def written(name: str, numbers: list[float]) -> bytes:
    """Numbers in a file of this format."""
    if name == "a.npy":
        return floats(*numbers, kind="<f4")
    if name == "a.npz":
        return npz({"x.npy": floats(*numbers, kind="<f4")})
    if name == "a.json":
        return json.dumps({"x": numbers}).encode()
    if name == "a.csv":
        return "\n".join(["loss", *map(repr, numbers)]).encode()
    return b"".join(event(step, "loss", field(2, each)) for step, each in enumerate(numbers))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=12), st.data(),
    st.sampled_from(["a.npy", "a.npz", "a.json", "a.csv", "events.out.tfevents.*"]),
)  # fmt: skip
def test_a_changed_value_is_never_the_same(values: list[float], data: st.DataObject, name: str) -> None:
    at = data.draw(st.integers(0, len(values) - 1))
    new = data.draw(st.floats(width=32).filter(lambda each: struct.pack("<f", each) != struct.pack("<f", values[at])))
    changed = [*values[:at], new, *values[at + 1 :]]
    one, other = written(name, values), written(name, changed)
    both_nan = math.isnan(new) and math.isnan(values[at])
    assert single(name, one, one).answer == "same"
    found = single(name, one, other)
    assert found.answer == ("same" if both_nan else "differs"), found
    tolerant = single(name, one, other, Tolerance(data.draw(st.floats(0, 10))))
    off = abs(new - values[at])
    if not both_nan and not math.isfinite(off):
        assert tolerant.answer == "differs"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(JSON, JSON)
def test_two_values_of_json_are_the_same_where_they_are_equal(a: object, b: object) -> None:
    assert single("a.json", json.dumps(a), json.dumps(a, indent=1)).answer == "same"
    if json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True):
        assert single("a.json", json.dumps(a), json.dumps(b)).answer == "differs"


def test_every_format_of_the_table_is_tested_here() -> None:
    text = Path(__file__).read_text("utf-8")
    assert all(f'a{end}"' in text or f"m{end}" in text for kind in contents.FORMATS for end in kind.ends)
