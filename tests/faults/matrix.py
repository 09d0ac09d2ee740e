"""Many cases at once where they do not disturb each other, the others one after another."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.cluster.bed import CLUSTERS
from tests.cluster.desk import a_desk
from tests.cluster.install import install
from tests.faults import ends, killed, restarted, told
from tests.faults.case import Case
from tests.faults.engine import Engine
from tests.faults.job import submit
from tests.faults.judge import Row, judge

CASES: tuple[Case, ...] = (*ends.CASES, *told.CASES, *killed.CASES, *restarted.CASES)
AT_ONCE = 4  # more would only wait for the processors, and Slurm with them
Task = tuple[Case, str, str]  # a case, a cluster, a node


def full(clusters: Sequence[str], engine: Engine) -> list[Task]:
    """Every case on every cluster, where it applies; the nodes of a cluster take turns."""
    return [
        (case, name, CLUSTERS[name].nodes[number % len(CLUSTERS[name].nodes)])
        for name in clusters
        for number, case in enumerate(CASES)
        if (engine.name, name) not in case.never
    ]


def quick(clusters: Sequence[str], engine: Engine) -> list[Task]:
    """The cases of the short form, each on one of the clusters."""
    short = [case for case in CASES if case.quick]
    names = [clusters[number % len(clusters)] for number in range(len(short))]
    return [
        (case, name, CLUSTERS[name].nodes[-1])
        for case, name in zip(short, names, strict=True)
        if (engine.name, name) not in case.never
    ]


def run(tasks: Iterable[Task], engine: Engine, tell: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """A row for each case, in the order of the cases; ``tell`` gets each as soon as it is known."""
    listed = list(tasks)
    install()  # once, before several want it at the same time
    engine.ask("info")  # podman keeps the user's namespace with a process, which should not be a job's that is killed

    def one(task: Task) -> Row:
        row = strike(*task, engine)
        tell(row)
        return row

    with ThreadPoolExecutor(AT_ONCE) as pool:
        together = pool.map(one, [task for task in listed if not task[0].alone])
        rows = list(together)
    rows += [one(task) for task in listed if task[0].alone]
    order = {(case.name, cluster): place for place, (case, cluster, _) in enumerate(listed)}
    return sorted(rows, key=lambda row: order[row.fault, row.cluster])


def strike(case: Case, cluster: str, node: str, engine: Engine) -> Row:
    """One case from its beginning to its end; nothing of it is left."""
    with a_desk() as desk:
        try:
            job = submit(desk, engine, cluster, node, case.script, case.slurm, case.keys)
            case.strike(job)
            return judge(case, job)
        except Exception as error:  # the row says it; the others go on
            traceback.print_exc()
            files = desk.root(cluster).glob("runs/*/*/**/events.tsv")
            print("".join(path.read_text(errors="replace") for path in files), file=sys.stderr)
            return Row(case.name, cluster, engine.name, None, (repr(error)[:300],))
