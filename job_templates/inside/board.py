"""TensorBoard in the container of a service, behind a door that asks for the service's token: it has none of its own.

    board.py RUN...

RUN is a JSON list of a name and the values of the run's parameters; the outputs of the first are mounted at /runs/0.
TensorBoard gets a folder of links to what they hold, in the container's own memory: nothing is written to the runs. The
parameters' values for its HParams page are beside the links.

The door is door.py. Needs nothing but Python 3.6 and later, and TensorBoard. Ends where TensorBoard ends.
"""

# ruff: noqa: UP006, UP031, UP035, PTH102, PTH104, PTH114, PTH118, PTH123, PTH211 - an image's Python may be as old as 3.6
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any, Dict, List, Sequence

STATE = "/dev/shm/tfslurm-service"  # noqa: S108 - the container's own
RUNS = "/runs"
LOOK_S = 2.0
RELOAD_S = 5
MOST_LINKS = 1000
"Of one run."
MOST_ENTRIES = 100000
"Of one folder of a run, with what is below it."
MOST_SEEN = 20_000
"Files and folders in which one of events is looked for."
NONE = "no run had written a file of events when TensorBoard began; it shows them as they come"


def main(words: Sequence[str]) -> int:
    runs = [json.loads(word) for word in words]
    front, logs = beside("door"), os.path.join(STATE, "logs")
    os.mkdir(logs, 0o700)
    for name, values in runs:
        os.mkdir(os.path.join(logs, name))
        note_parameters(os.path.join(logs, name), name, values)
    left = {}  # type: Dict[str, str]
    link(logs, runs, left)
    door = front.Door((front.HOST, front.PORT), front.Handler)
    door.token, door.used = read(os.path.join(STATE, "token")), os.path.join(STATE, "used")
    where = ["--host", front.HOST, "--port", str(front.BEHIND), "--logdir", logs, "--reload_interval", str(RELOAD_S)]
    own = dict(os.environ, TMPDIR=STATE)  # what it writes there is of no use afterwards
    board = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *where], env=own)
    signal.signal(signal.SIGTERM, lambda *_: board.terminate())
    threading.Thread(target=door.serve_forever, daemon=True).start()
    if not has_events(len(runs)):
        notice(NONE)
    while True:
        try:
            code = board.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            link(logs, runs, left)
        else:
            return code if code >= 0 else 128 - code


def link(logs: str, runs: Sequence[List[Any]], left: Dict[str, str], outputs: str = RUNS) -> None:
    """Link what the runs have by now: folders, and files of events.

    TensorBoard follows every link, and has no end in the container's own /proc. So what leads out of a run as it is
    first seen is left out, and that is said once. In ``left`` is what was left out, and why.
    """
    for at, (name, _) in enumerate(runs):
        run = os.path.realpath(os.path.join(outputs, str(at)))
        try:
            found = sorted(os.scandir(run), key=lambda each: each.name)[:MOST_LINKS]
        except OSError:
            continue
        for each in found:
            place = os.path.join(logs, name, each.name)
            if os.path.lexists(place) or each.path in left or not (each.is_dir() or "tfevents" in each.name):
                continue
            why = leads_out(each.path, run)
            if why:
                left[each.path] = why
                print("tfslurm: tensorboard: %s: %r is not shown: %s" % (name, each.name, why), file=sys.stderr)
            else:
                os.symlink(each.path, place)


def leads_out(path: str, run: str) -> str:
    """Why TensorBoard is not to be led to what a run has; '' where it may be. It walks as TensorBoard does."""
    if not is_within(path, run):
        return "it leads out of the run"
    count = 0
    for folder, folders, files in os.walk(path, followlinks=True):
        count += len(folders) + len(files)
        if count > MOST_ENTRIES:
            return "it holds more than %d files, or links that lead in circles" % MOST_ENTRIES
        for name in folders + [name for name in files if "tfevents" in name]:
            inner = os.path.join(folder, name)
            if os.path.islink(inner) and not is_within(inner, run):
                return "%r in it leads out of the run" % os.path.relpath(inner, path)
    return ""


def is_within(path: str, run: str) -> bool:
    real = os.path.realpath(path)
    return real == run or real.startswith(run + os.sep)


def has_events(runs: int, outputs: str = RUNS) -> bool:
    """Whether a run has a file of events; True also where there is too much to look at, or a link to elsewhere."""
    seen = 0
    for at in range(runs):
        for folder, folders, files in os.walk(os.path.join(outputs, str(at))):
            seen += 1 + len(folders) + len(files)
            is_elsewhere = any(os.path.islink(os.path.join(folder, name)) for name in folders)
            if seen > MOST_SEEN or is_elsewhere or any("tfevents" in name for name in files):
                return True
    return False


def notice(text: str) -> None:
    """Say something to whoever is connected, as service.py does."""
    place = os.path.join(STATE, "notice")
    with open(os.open(place + ".board", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.rename(place + ".board", place)


def note_parameters(folder: str, name: str, values: Dict[str, Any]) -> None:
    """Write down the values for the page HParams, with TensorBoard's own code; without them the rest is there."""
    if not values:
        return
    try:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.plugins.hparams import summary_v2
        from tensorboard.summary.writer.record_writer import RecordWriter

        noted = summary_v2.hparams_pb(values, trial_id=name)
        event = event_pb2.Event(wall_time=0, step=0, summary=noted)
        with open(os.path.join(folder, "events.out.tfevents.0.tfslurm"), "wb") as file:
            RecordWriter(file).write(event_pb2.Event(wall_time=0, file_version="brain.Event:2").SerializeToString())
            RecordWriter(file).write(event.SerializeToString())
    except Exception as error:  # whatever this version of TensorBoard lacks
        print("tfslurm: tensorboard: %s: no parameters for HParams: %s" % (name, error), file=sys.stderr)


def beside(name: str) -> Any:
    """The module that lies beside this file, under a name like its own."""
    path = "%s%s.py" % (__file__[: -len("board.py")], name)
    spec = importlib.util.spec_from_file_location(name, path)
    if not (spec and spec.loader):
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
