"""The drill's judge finds what is not accounted for."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.failover.drill import Account, Fault
from tests.failover.load import Noted
from tests.flows.test_region_failover import ECHO, PHOENIX


def account() -> Account:
    """Return one in which everything is accounted for."""
    noted = Noted(turns=1, completed=1, invocations={"inv_1", "inv_2"}, jobs={"job_1": PHOENIX, "job_2": ECHO})
    jobs = Counter({(PHOENIX, "succeeded", ""): 1, (ECHO, "failed", "region_failover"): 1})
    return Account(noted, Fault.SILENT.causes, jobs=jobs, lines=Counter(["inv_1", "inv_2", "job_1", "job_2"]))


def test_nothing_is_wrong_where_everything_is_accounted_for() -> None:
    assert list(account().wrong()) == []


def _lost(wrong: Account) -> None:
    wrong.lost = {"job_2"}
    del wrong.lines["job_2"]


def _not_completed(wrong: Account) -> None:
    wrong.noted.turns = 2


def _other_cause(wrong: Account) -> None:
    wrong.jobs[ECHO, "failed", "job_lost"] = 1


def _not_begun_anew(wrong: Account) -> None:
    wrong.jobs[PHOENIX, "failed", "region_failover"] = 1


def _no_line(wrong: Account) -> None:
    del wrong.lines["inv_2"]


def _odd_line(wrong: Account) -> None:
    wrong.lines["inv_3"] = 1


def _two_lines(wrong: Account) -> None:
    wrong.lines["job_1"] = 2


@pytest.mark.parametrize(
    ("breaks", "found"),
    [
        (_lost, "1 jobs never ended: job_2"),
        (_not_completed, "1 turns never completed"),
        (_other_cause, "a job of echo-agent ended failed job_lost"),
        (_not_begun_anew, "a job that may be begun anew failed of region_failover"),
        (_no_line, "the ledger lacks inv_2"),
        (_odd_line, "the ledger has lines of what nobody was told of: inv_3"),
        (_two_lines, "the ledger has two lines of job_1"),
    ],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_what_does_not_add_up_is_found(breaks: Callable[[Account], None], found: str) -> None:
    wrong = account()
    breaks(wrong)
    assert list(wrong.wrong()) == [found]
