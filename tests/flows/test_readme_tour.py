"""The README's tour, walked on a running stack."""

from pathlib import Path

import pytest

from ops.devstack.stack import Stack
from tests.docs.papers import pages
from tests.docs.tour import settled, steps, walk

pytestmark = pytest.mark.stack

TOUR = steps(pages()["README.md"], "A tour in 60 seconds")


async def test_the_tour_shows_what_it_says(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / ".lockgate").symlink_to(stack.layout.state)
    scripts = [script.replace("http://127.0.0.1:8080", stack.gateway) for script, _ in TOUR]
    outputs = await walk(scripts, tmp_path)
    assert len(outputs) == 6
    assert [settled(output) for output in outputs] == [settled(shown) for _, shown in TOUR]
