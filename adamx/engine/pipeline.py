"""Pipeline: chunks computed several at a time by threads, and handed on one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Lock

from adamx.engine.chunk import Chunk
from adamx.engine.results import Results


def in_order(
    work: Callable[[Chunk], Iterator[Results]],
    chunks: Iterable[Chunk],
    at_once: int,
    tick: Callable[[int], None] | None = None,
) -> Iterator[Results]:
    """The results of `work` for all chunks, in order; while one is handed on, the next ones are computed.

    Whoever stops listening, as Ctrl-C does, stops the others after their present launch.

    Args:
        tick: told now and then how many updates (runs x steps) are done in chunks that were not handed on yet.
    """
    stop, lock, done = Event(), Lock(), dict[int, int]()

    def followed(number: int, chunk: Chunk) -> Chunk:
        def report(updates: int) -> None:
            if stop.is_set():
                raise CancelledError
            if tick:
                with lock:
                    done[number] = min(updates, len(chunk) * chunk.steps)
                    tick(sum(done.values()))

        return replace(chunk, tick=report)

    given = (followed(number, chunk) for number, chunk in enumerate(chunks))
    for number, results in enumerate(_map(work, given, at_once, stop)):
        for part in results:  # they may be computed just now: a part's ticks no longer count once it is finished
            done.pop(number, None)
            yield part


def _map(
    work: Callable[[Chunk], Iterator[Results]], chunks: Iterable[Chunk], at_once: int, stop: Event
) -> Iterator[Iterable[Results]]:
    if at_once == 1:
        yield from map(work, chunks)
        return
    waiting = deque[Future[list[Results]]]()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(lambda chunk: list(work(chunk)), chunk))
                if len(waiting) > at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            stop.set()
            for future in waiting:
                future.cancel()
