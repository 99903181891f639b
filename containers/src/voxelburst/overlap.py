"""Work done ahead in threads: what decodes and compresses releases Python's lock."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    pool: Executor, work: Callable[[T], R], items: Iterable[T], ahead: int, alone: Callable[[R], bool]
) -> Iterator[R]:
    """The results of ``work`` in the items' order, up to ``ahead`` of them begun before they are asked for.

    Args:
        items: read as work on them begins, one more than what is taken.
        alone: a result beside which no other may be made, as it is large: the next is begun when it is done.
    """
    remaining = iter(items)
    begun: deque[Future[R]] = deque()

    def begin(count: int) -> None:
        begun.extend(pool.submit(work, item) for item in itertools.islice(remaining, count))

    begin(1)
    while begun:
        result = begun.popleft().result()
        if not alone(result):
            begin(ahead - len(begun))
        yield result
        del result
        if not begun:
            begin(1)
