"""Messages of several topics in the order in which their one publisher sent them.

Two topics have no common order: a correction of a speaker may overtake the utterance before it, or
come after the one that follows. The publisher counts both together; here what comes too early waits
for what is missing, and after `patience` it is taken to be lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

Item = TypeVar("Item")

WAITING = 256  # items at most; the oldest go first


@dataclass(frozen=True, slots=True)
class Order(Generic[Item]):
    """State. Numbers are the publisher's, times ns on a monotonic clock.

    next: number that is due; 0: nothing was received yet, and 1 would be.
    waiting: (number, when it came, item), by number.
    lost: how many numbers were given up and have not come since.
    missing: the latest of them.
    """

    next: int = 0
    waiting: tuple[tuple[int, int, Item], ...] = ()
    lost: int = 0
    missing: tuple[int, ...] = ()


def step(order: Order[Item], number: int, item: Item, now: int) -> tuple[Order[Item], list[Item]]:
    """An item came; what can be handed on.

    Number 0 is not counted and waits for nothing, nor does one that was given up. A number that
    came before is of a publisher that restarted or of a second one: everything that waits goes
    first, and its count is the one that is followed.
    """
    if number <= 0:
        return order, [item]
    if number in order.missing:
        missing = tuple(other for other in order.missing if other != number)
        return replace(order, lost=order.lost - 1, missing=missing), [item]
    is_known = any(number == other for other, _, _ in order.waiting)
    if order.next and (number < order.next or is_known):
        items = [waiting for _, _, waiting in order.waiting]
        return Order(number + 1, lost=order.lost), [*items, item]
    order = replace(order, waiting=tuple(sorted((*order.waiting, (number, now, item)), key=_first)))
    given_up = order.waiting[0][0] if len(order.waiting) > WAITING else order.next
    return _handed_on(order, given_up)


def advance(order: Order[Item], now: int, patience: int) -> tuple[Order[Item], list[Item]]:
    """Time has come to `now`: what has waited for `patience` (ns) waits no longer."""
    overdue = [number for number, came, _ in order.waiting if now - came >= patience]
    return _handed_on(order, max(overdue, default=order.next))


def _handed_on(order: Order[Item], until: int) -> tuple[Order[Item], list[Item]]:
    """What is in order, when everything before number `until` that is missing is given up."""
    items: list[Item] = []
    waiting = list(order.waiting)
    missing = order.missing
    while waiting and (waiting[0][0] == max(1, order.next) or waiting[0][0] <= until):
        number, _, item = waiting.pop(0)
        if order.next:  # what was sent before anybody listened is not lost
            missing += tuple(range(max(order.next, number - WAITING), number))
            order = replace(order, lost=order.lost + number - order.next)
        order = replace(order, next=number + 1)
        items.append(item)
    return replace(order, waiting=tuple(waiting), missing=missing[-WAITING:]), items


def _first(waiting: tuple[int, int, Item]) -> int:
    return waiting[0]


class Resequencer(Generic[Item]):
    """The same with its state. Not thread-safe.

    Args:
        patience: ns that an item waits for one that is missing.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._order: Order[Item] = Order()

    @property
    def lost(self) -> int:
        """How many were given up."""
        return self._order.lost

    @property
    def waits(self) -> bool:
        """Is anything kept?"""
        return bool(self._order.waiting)

    def feed(self, number: int, item: Item, now: int) -> list[Item]:
        """See `step`."""
        self._order, items = step(self._order, number, item, now)
        return items

    def advance(self, now: int) -> list[Item]:
        """See `advance`."""
        self._order, items = advance(self._order, now, self._patience)
        return items
