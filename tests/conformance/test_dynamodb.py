"""What the doors take for granted of DynamoDB, asked of whichever server runs: each rule is one the code leans on.

The embedded store is asked in every run of the tests, AWS's own local build by `make test-dynamodb-local`; the run's
first lines say which. What jobs and webhooks lean on is asked of the stand-in in memory as well, on which thousands of
their histories are played through (tests/jobs/memory).
"""

import asyncio
import secrets
from collections.abc import Awaitable
from typing import Any

import pytest
from boto3.dynamodb.conditions import Attr, ConditionBase
from botocore.exceptions import ClientError

from ops import bootstrap
from tenancy import tables
from tenancy.expressions import conditioned
from tests.conformance.partition import Partition, Place
from tests.conftest import Aws
from tests.jobs.memory.items import Items, MemoryDynamoDB

pytestmark = pytest.mark.stack

ABSENT = Attr("pk").not_exists()


@pytest.fixture
def own(aws: Aws) -> Partition:
    """Return a partition of the server's."""
    return Partition(aws.dynamodb, aws.table_prefix)


@pytest.fixture(params=["server", "memory"])
def either(request: pytest.FixtureRequest) -> Partition:
    """Return a partition of the server's and, in another run of the test, one in memory."""
    if request.param == "memory":
        return Partition(MemoryDynamoDB(Items()), "memory-")
    server: Partition = request.getfixturevalue("own")
    return server


async def refusal(call: Awaitable[object]) -> tuple[str, list[str]]:
    """Return the code of a refused call, and a transaction's reasons leg by leg."""
    with pytest.raises(ClientError) as refused:
        await call
    response: Any = refused.value.response
    return response["Error"]["Code"], [reason.get("Code", "None") for reason in response.get("CancellationReasons", [])]


FAILED = ("ConditionalCheckFailedException", list[str]())
INVALID = ("ValidationException", list[str]())


async def test_every_kind_of_value_comes_back_as_it_was_put(either: Partition) -> None:
    values: dict[str, object] = {
        "text": "ä𝄞\u0000\n",
        "empty": "",
        "number": 10**37 + 1,
        "negative": -7,
        "yes": True,
        "no": False,
        "list": ["a", 1, [], {"deep": None}],
        "object": {"a.b": {"c#d": []}},
    }
    await either.put("A", **values)
    assert await either.get("A") == {"pk": either.pk, "sk": "A", **values}


async def test_an_item_of_400_kb_is_kept_and_a_larger_one_refused(own: Partition) -> None:
    await own.put("A", text="x" * (400 * 1024 - 200))
    assert await refusal(own.put("B", text="x" * 400 * 1024)) == INVALID


async def test_of_many_who_put_one_new_item_at_once_one_does(either: Partition) -> None:
    puts = [either.put("A", ABSENT, winner=number) for number in range(30)]
    ends = await asyncio.gather(*puts, return_exceptions=True)
    [winner] = [number for number, end in enumerate(ends) if end is None]
    lost = {end.response["Error"]["Code"] for end in ends if isinstance(end, ClientError)}
    assert (lost, len(ends)) == ({FAILED[0]}, 30)
    assert await either.get("A") == {"pk": either.pk, "sk": "A", "winner": winner}


async def test_an_update_sets_removes_and_adds_and_returns_the_new_item_whole(either: Partition) -> None:
    await either.put("A", status="queued", gone="x", fence=4, kept=[1])
    changed = await either.update("A", Attr("fence").eq(4), add={"fence": 1, "new": 2}, status="running", gone=None)
    assert changed == {"pk": either.pk, "sk": "A", "status": "running", "fence": 5, "new": 2, "kept": [1]}
    assert await either.get("A") == changed


async def test_an_update_of_what_is_not_there_makes_nothing(either: Partition) -> None:
    assert await refusal(either.update("A", status="running")) == FAILED
    assert await either.get("A") is None


async def test_removing_what_an_item_does_not_have_changes_nothing(either: Partition) -> None:
    await either.put("A", kept=1)
    assert await either.update("A", gone=None) == {"pk": either.pk, "sk": "A", "kept": 1}


async def test_counts_added_at_once_add_up(either: Partition) -> None:
    await either.put("A")
    await asyncio.gather(*(either.update("A", add={"count": 1}) for _ in range(40)))
    assert await either.get("A") == {"pk": either.pk, "sk": "A", "count": 40}


async def test_of_many_who_claim_one_lease_at_once_one_has_it(either: Partition) -> None:
    await either.put("A", fence=0)
    free = Attr("lease_until_at").not_exists() & Attr("fence").eq(0)
    claims = [either.update("A", free, add={"fence": 1}, lease_until_at=f"at {number}") for number in range(20)]
    ends = await asyncio.gather(*claims, return_exceptions=True)
    [held] = [end for end in ends if not isinstance(end, BaseException)]
    assert await either.get("A") == held


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Attr("at").lt("2026-03-01T12:00:01Z"), True),
        (Attr("at").lt("2026-03-01T12:00:00Z"), False),
        (Attr("other").lt("2026-03-01T12:00:01Z"), False),
        (Attr("other").not_exists() | Attr("at").eq("no"), True),
        (Attr("status").is_in(["queued", "running"]) & Attr("fence").eq(3), True),
        (Attr("status").is_in(["queued"]), False),
        (Attr("fence").lt(10), True),
        (Attr("fence").eq("3"), False),
        (Attr("fence").exists() & Attr("other").exists(), False),
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else "",
)
async def test_conditions_compare_texts_as_texts_and_what_is_missing_to_nothing(
    either: Partition, condition: ConditionBase, *, holds: bool
) -> None:
    await either.put("A", at="2026-03-01T12:00:00Z", status="running", fence=3)
    if holds:
        assert (await either.update("A", condition, changed=True))["changed"] is True
    else:
        assert await refusal(either.update("A", condition, changed=True)) == FAILED


async def test_a_delete_is_done_under_its_condition_and_again_for_nothing(either: Partition) -> None:
    await either.put("A", fence=1)
    delete = either.leg_delete("A")["Delete"]
    assert await refusal(either.db.delete_item(**delete, **conditioned(Attr("fence").eq(2)))) == FAILED
    for _ in range(2):
        await either.db.delete_item(**delete)
    assert await either.get("A") is None


@pytest.mark.parametrize("forward", [True, False])
async def test_a_list_is_in_order_and_page_by_page_without_gap_or_double(either: Partition, *, forward: bool) -> None:
    names = ["JOB#1", "JOB#10", "JOB#2", "JOB#a", "JOB#ä"]
    for name in (*reversed(names), "INV#9", "JOBS", "KOB#1"):
        await either.put(name)
    found: list[str] = []
    last: Place | None = None
    while True:
        page, last = await either.page("JOB#", limit=2, forward=forward, consistent=True, after=last)
        assert len(page) <= 2
        found += page
        if last is None:
            break
        assert last == either.key(page[-1])
    assert found == (names if forward else names[::-1])


async def test_a_list_goes_on_after_a_key_that_no_item_has(either: Partition) -> None:
    for name in ("E#1", "E#2", "E#4"):
        await either.put(name)
    assert await either.page("E#", after=either.key("E#0")) == (["E#1", "E#2", "E#4"], None)
    assert await either.page("E#", after=either.key("E#3")) == (["E#4"], None)
    assert await either.page("E#", after=either.key("E#3"), forward=False) == (["E#2", "E#1"], None)


async def test_a_page_ends_at_a_megabyte_and_says_where(own: Partition) -> None:
    for number in range(6):
        await own.put(f"BIG#{number}", text="x" * 300_000)
    first, last = await own.page("BIG#", limit=10)
    assert last == own.key(first[-1])
    rest, end = await own.page("BIG#", limit=10, after=last)
    assert (first + rest, end) == ([f"BIG#{number}" for number in range(6)], None)


async def test_an_index_holds_the_items_that_have_its_keys_in_its_own_order(either: Partition) -> None:
    index, partition = tables.SWEEP_INDEX, f"SWEEP#{secrets.token_hex(8)}"
    for name, at in (("A", "3"), ("B", "1"), ("C", "2")):
        await either.put(name, sweep_pk=partition, sweep_sk=at)
    await either.put("D", sweep_pk=partition)
    await either.put("E")
    assert await either.indexed(index, partition) == (["B", "C", "A"], None)
    await either.update("B", sweep_pk=None, sweep_sk=None)
    await either.update("E", sweep_pk=partition, sweep_sk="4")
    assert await either.indexed(index, partition, forward=False) == (["E", "A", "C"], None)
    first, last = await either.indexed(index, partition, limit=1)
    assert (first, last) == (
        ["C"],
        either.key("C") | either.item("", sweep_pk=partition, sweep_sk="2") | either.key("C"),
    )
    assert (await either.indexed(index, partition, after=last))[0] == ["A", "E"]


async def test_items_of_one_time_stand_side_by_side_in_an_index(either: Partition) -> None:
    index, partition = tables.SWEEP_INDEX, f"SWEEP#{secrets.token_hex(8)}"
    for name in "ABC":
        await either.put(name, sweep_pk=partition, sweep_sk="1")
    found: list[str] = []
    last: Place | None = None
    while True:
        page, last = await either.indexed(index, partition, limit=1, after=last)
        found += page
        if last is None:
            break
    assert sorted(found) == ["A", "B", "C"]


async def test_an_index_is_not_read_consistently_and_its_keys_are_texts(own: Partition) -> None:
    assert await refusal(own.indexed(tables.SWEEP_INDEX, "SWEEP#0", consistent=True)) == INVALID
    assert await refusal(own.put("A", sweep_pk="SWEEP#0", sweep_sk=1)) == INVALID
    assert await refusal(own.put("A", sweep_pk="", sweep_sk="1")) == INVALID


async def test_a_batch_puts_25_and_no_more_and_nothing_twice(own: Partition) -> None:
    def batch(*sorts: str) -> Awaitable[dict[str, Any]]:
        requests = {own.table: [{"PutRequest": {"Item": own.item(sort)}} for sort in sorts]}
        answer: Awaitable[dict[str, Any]] = own.db.batch_write_item(RequestItems=requests)
        return answer

    sorts = [f"{number:02}" for number in range(26)]
    assert (await batch(*sorts[:25]))["UnprocessedItems"] == {}
    assert (await own.page())[0] == sorts[:25]
    assert await refusal(batch(*sorts)) == INVALID
    assert await refusal(batch("A", "A")) == INVALID


async def test_a_transaction_does_all_or_nothing_and_says_which_leg_failed(either: Partition) -> None:
    await either.put("A", count=1)
    await either.put("B")
    fails = either.leg_check("A", Attr("count").eq(7))
    legs = [either.leg_put("C"), either.leg_add("B", "count"), either.leg_delete("A"), either.leg_check("D", ABSENT)]
    refused = await refusal(either.transact(either.leg_put("E", ABSENT), fails, either.leg_add("B", "count")))
    assert refused == ("TransactionCanceledException", ["None", "ConditionalCheckFailed", "None"])
    assert await either.page() == (["A", "B"], None)
    await either.transact(*legs)
    assert await either.page() == (["B", "C"], None)
    assert await either.get("B") == {"pk": either.pk, "sk": "B", "count": 1}


async def test_a_transaction_has_100_legs_at_most_and_one_for_each_item(either: Partition) -> None:
    await either.transact(*(either.leg_put(f"{number:03}") for number in range(100)))
    assert len((await either.page())[0]) == 100
    assert (await refusal(either.transact(*(either.leg_put(f"N{number}") for number in range(101)))))[0] == INVALID[0]
    assert (await refusal(either.transact(either.leg_put("N"), either.leg_delete("N"))))[0] == INVALID[0]


async def test_a_transaction_repeated_under_its_token_is_done_once(own: Partition) -> None:
    await own.put("A")
    for _ in range(2):
        await own.transact(own.leg_add("A", "count"), token=own.pk)
    assert await own.get("A") == {"pk": own.pk, "sk": "A", "count": 1}
    refused = await refusal(own.transact(own.leg_add("A", "other"), token=own.pk))
    assert refused == ("IdempotentParameterMismatchException", [])


async def test_of_transactions_at_once_those_that_are_done_are_done_whole(either: Partition) -> None:
    await either.put("A", count=0)
    await either.put("B", count=0)
    turns = [either.transact(either.leg_add("A", "count"), either.leg_add("B", "count")) for _ in range(15)]
    ends = await asyncio.gather(*turns, return_exceptions=True)
    reasons = {
        reason.get("Code")
        for end in ends
        if isinstance(end, ClientError)
        for reason in end.response.get("CancellationReasons", [])
    }
    assert reasons <= {"None", "TransactionConflict"}
    done = ends.count(None)
    assert done > 0
    assert [(await either.get(name) or {})["count"] for name in "AB"] == [done, done]


async def test_of_transactions_at_once_for_the_last_place_one_has_it(either: Partition) -> None:
    await either.put("GATE", running=0)
    room = Attr("running").lt(1)
    turns = [
        either.transact(either.leg_add("GATE", "running", room), either.leg_put(f"J{number}")) for number in range(15)
    ]
    ends = await asyncio.gather(*turns, return_exceptions=True)
    assert ends.count(None) == 1
    [winner] = [number for number, end in enumerate(ends) if end is None]
    assert await either.page() == (["GATE", f"J{winner}"], None)


async def test_a_key_is_whole_and_not_empty(own: Partition) -> None:
    assert await refusal(own.put("")) == INVALID
    assert await refusal(own.db.get_item(TableName=own.table, Key={"pk": {"S": own.pk}})) == INVALID


async def test_a_table_that_is_not_there_is_told_from_an_item_that_is_not(own: Partition) -> None:
    assert await refusal(own.db.get_item(TableName="no-such", Key=own.key("A"))) == ("ResourceNotFoundException", [])
    assert await own.get("A") is None


async def test_an_index_added_to_a_table_is_filled_with_what_it_holds(aws: Aws) -> None:
    prefix, db = f"t{secrets.token_hex(4)}-", aws.dynamodb
    name, wanted = prefix + tables.JOBS.name, tables.SWEEP_INDEX
    await db.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    await db.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    item = {"pk": "TENANT#a", "sk": "A", wanted.partition_key: "SWEEP#0", wanted.sort_key: "1"}
    await db.put_item(TableName=name, Item={key: {"S": value} for key, value in item.items()})
    await bootstrap._ensure_table(db, prefix, tables.JOBS)
    own = Partition(aws.dynamodb, aws.table_prefix)
    own.table = name
    async with asyncio.timeout(60):
        while await _indexes(aws, name) != {"sweep": "ACTIVE", "dead-letters": "ACTIVE"}:
            await asyncio.sleep(0.1)
    assert await own.indexed(wanted, "SWEEP#0") == (["A"], None)


async def _indexes(aws: Aws, table: str) -> dict[str, str]:
    described = await aws.dynamodb.describe_table(TableName=table)
    found = described["Table"].get("GlobalSecondaryIndexes", [])
    return {index["IndexName"]: index["IndexStatus"] for index in found}


async def test_making_tables_again_changes_nothing_and_what_expires_says_so(fresh_aws: Aws) -> None:
    own = Partition(fresh_aws.dynamodb, fresh_aws.table_prefix)
    await own.put("A")
    await bootstrap.ensure_tables(fresh_aws.dynamodb, fresh_aws.table_prefix)
    assert await own.get("A") == {"pk": own.pk, "sk": "A"}
    told = (await fresh_aws.dynamodb.describe_time_to_live(TableName=own.table))["TimeToLiveDescription"]
    assert (told["TimeToLiveStatus"], told["AttributeName"]) == ("ENABLED", tables.TTL_ATTRIBUTE)
