"""The benchmark of jobs itself, too short to mean anything: it must not rot."""

import pytest

from tests.bench import jobfloor
from tests.bench.jobfloor import Order
from tests.bench.jobs import told
from tests.webhooks.receivers import receiving

pytestmark = pytest.mark.stack


async def test_a_short_run_takes_every_figure(redis_url: str) -> None:
    async with receiving() as receiver:
        order = Order(what="ticks", redis_url=redis_url, many=4, poll_s=0.1, seconds=0.5, receiver_port=receiver.port)
        figures = [await measure(order) for measure in (jobfloor.ticks, jobfloor.deliveries, jobfloor.first_attempts)]
        ticks, sent, first = figures
        assert len({got.headers["webhook-id"] for got in receiver.got}) == 2 * order.many
    assert ticks.done >= order.many
    assert (sent.done, first.done, len(first.sampled_s)) == (order.many, order.many, order.many)
    assert min(first.sampled_s) >= 0
    text = told(order.many, order.poll_s, (ticks, ticks, (ticks, ticks), sent, first), 1.0)
    assert text.count("ticks/s") == 3
    assert text.count("p99") == 3
