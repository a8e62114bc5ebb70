"""Restore the order in which one publisher sent the messages of several topics.

DDS does not order messages across topics: a speaker correction may arrive before the preceding
utterance or after the following one. The publisher numbers both together; here a message that is
early waits for the missing ones, which count as lost after `patience`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

Item = TypeVar("Item")

WAITING = 256  # maximum number of waiting items; beyond it, the oldest is passed on


@dataclass(frozen=True, slots=True)
class Order(Generic[Item]):
    """State. Numbers are those of the publisher, times in ns on a monotonic clock.

    next: next number; 0: nothing was received, and 1 is expected.
    waiting: (number, arrival time, item), by number.
    lost: how many numbers were given up and have not arrived since.
    missing: the latest of them.
    """

    next: int = 0
    waiting: tuple[tuple[int, int, Item], ...] = ()
    lost: int = 0
    missing: tuple[int, ...] = ()


def step(order: Order[Item], number: int, item: Item, now: int) -> tuple[Order[Item], list[Item]]:
    """Add an item; return the items that can be passed on.

    Unnumbered items (0) and items that were given up are passed on at once. A number that was
    received before belongs to a restarted or a second publisher: all waiting items are passed on
    first, then its numbers are followed.
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
    """Advance time to `now`: pass on items that have waited for `patience` (ns)."""
    overdue = [number for number, arrived, _ in order.waiting if now - arrived >= patience]
    return _handed_on(order, max(overdue, default=order.next))


def _handed_on(order: Order[Item], until: int) -> tuple[Order[Item], list[Item]]:
    """Return the items in order after missing numbers before `until` are given up."""
    items: list[Item] = []
    waiting = list(order.waiting)
    missing = order.missing
    while waiting and (waiting[0][0] == max(1, order.next) or waiting[0][0] <= until):
        number, _, item = waiting.pop(0)
        if order.next:  # messages sent before the subscription are not lost
            missing += tuple(range(max(order.next, number - WAITING), number))
            order = replace(order, lost=order.lost + number - order.next)
        order = replace(order, next=number + 1)
        items.append(item)
    return replace(order, waiting=tuple(waiting), missing=missing[-WAITING:]), items


def _first(waiting: tuple[int, int, Item]) -> int:
    return waiting[0]


class Resequencer(Generic[Item]):
    """`step` and `advance` with a state. Not thread-safe.

    Args:
        patience: ns that an item waits for a missing one.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._order: Order[Item] = Order()

    @property
    def lost(self) -> int:
        """The number of messages that were given up."""
        return self._order.lost

    @property
    def waits(self) -> bool:
        """Whether items are waiting."""
        return bool(self._order.waiting)

    def feed(self, number: int, item: Item, now: int) -> list[Item]:
        """See `step`."""
        self._order, items = step(self._order, number, item, now)
        return items

    def advance(self, now: int) -> list[Item]:
        """See `advance`."""
        self._order, items = advance(self._order, now, self._patience)
        return items
