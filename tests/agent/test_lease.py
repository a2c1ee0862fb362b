"""How long a message is ours."""

from collections.abc import Iterable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from agent.lease import MAX_HELD_S, Keeper, Lease
from agent.queue import Delivery


class Queue:
    """A queue that notes what it is asked; receipts in `refused` are no longer ours."""

    visibility_s = 60

    def __init__(self) -> None:
        self.extended: list[dict[str, int]] = []
        self.calls: list[Any] = []
        self.refused: set[str] = set()
        self.away = False

    def extend(self, deliveries: Iterable[tuple[Delivery, int]]) -> tuple[set[str], set[str]]:
        asked = {delivery.receipt: seconds for delivery, seconds in deliveries}
        if self.away:
            raise EndpointConnectionError(endpoint_url="sqs")
        self.extended.append(asked)
        return asked.keys() - self.refused, asked.keys() & self.refused

    def release(self, delivery: Delivery, delay_s: int) -> None:
        self.calls.append(("release", delivery.receipt, delay_s))

    def delete(self, delivery: Delivery) -> None:
        self.calls.append(("delete", delivery.receipt))


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def lost() -> list[Lease]:
    return []


@pytest.fixture
def keeper(queue: Queue, now: list[float], lost: list[Lease]) -> Keeper:
    return Keeper(queue, lost.append, clock=lambda: now[0])  # type: ignore[arg-type]


def delivery(receipt: str) -> Delivery:
    return Delivery(message_id=receipt, body="", receipt=receipt)


def test_all_held_messages_are_renewed_together(keeper: Keeper, queue: Queue, now: list[float]) -> None:
    one, two = keeper.hold(delivery("one")), keeper.hold(delivery("two"))
    for _ in range(5):
        now[0] += 50
        assert keeper.renew()
    assert queue.extended == [{"one": 60, "two": 60}] * 5
    assert not one.lost
    assert not two.lost


def test_released_and_deleted_messages_are_not_renewed(keeper: Keeper, queue: Queue) -> None:
    one, two = keeper.hold(delivery("one")), keeper.hold(delivery("two"))
    assert keeper.release(one, 7)
    keeper.delete(two)
    keeper.renew()
    assert queue.calls == [("release", "one", 7), ("delete", "two")]
    assert queue.extended == [{}]


def test_refused_renewal_means_that_the_message_is_lost(
    keeper: Keeper, queue: Queue, now: list[float], lost: list[Lease]
) -> None:
    lease, other = keeper.hold(delivery("one")), keeper.hold(delivery("two"))
    queue.refused = {"one"}
    assert keeper.renew()
    keeper.renew()
    assert lease.lost
    assert not other.lost
    assert lost == [lease], "told once"
    assert not keeper.release(lease)
    assert queue.calls == [], "it is no longer ours to release"


def test_unanswered_renewals_mean_the_same_when_the_visibility_is_over(
    keeper: Keeper, queue: Queue, now: list[float], lost: list[Lease]
) -> None:
    lease = keeper.hold(delivery("one"))
    queue.away = True
    now[0] += 59
    assert not keeper.renew()
    assert not lease.lost
    now[0] += 1
    keeper.renew()
    assert lost == [lease]
    queue.away = False
    keeper.renew()
    assert lease.lost, "another agent may have it: lost stays lost"


def test_no_message_is_held_longer_than_sqs_allows(
    keeper: Keeper, queue: Queue, now: list[float], lost: list[Lease]
) -> None:
    lease = keeper.hold(delivery("one"))
    start = now[0]
    while not lease.lost:
        now[0] += 20
        keeper.renew()
        assert now[0] - start <= MAX_HELD_S
    assert queue.extended[-2]["one"] < 60, "the last renewal reaches to the limit and no further"
    assert now[0] - start > MAX_HELD_S - 60


def test_one_job_is_claimed_by_one_message(keeper: Keeper) -> None:
    one, two = keeper.hold(delivery("one")), keeper.hold(delivery("two"))
    assert keeper.claim(one, "job")
    assert not keeper.claim(two, "job")
    keeper.delete(one)
    assert keeper.claim(two, "job")
