"""Several machines spoken to at once, each in a thread of its own; a tracker stays with the thread that opened it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar, cast

T = TypeVar("T")


def at_once(works: Sequence[Callable[[], T]]) -> list[Callable[[], T]]:
    """Begin all of the works; for each, in their order, what waits for its result, or raises its error.

    A single one needs no thread: it is done when its result is asked for.
    """
    return list(works) if len(works) == 1 else [in_background(work) for work in works]


def in_background(work: Callable[[], T]) -> Callable[[], T]:
    """Begin ``work`` in a thread; what comes out waits for its result, or raises its error.

    The thread does not outlive the command, as a pool's would: Ctrl-C must not wait for a machine that is silent.
    """
    ended: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def begin() -> None:
        try:
            ended.put((work(), None))
        except BaseException as error:
            ended.put((None, error))

    def result() -> T:
        value, error = ended.get()
        if error is not None:
            raise error
        return cast(T, value)

    Thread(target=begin, daemon=True).start()
    return result
