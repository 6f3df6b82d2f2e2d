from pathlib import Path

from tests.docs.papers import Page
from tests.docs.tour import settled, steps, walk


def test_a_step_is_a_script_and_what_it_shows() -> None:
    page = Page(
        "a.md", "## Tour\n```sh\nX=1\n```\nthen\n```sh\necho $X\n```\n```text\n1\n```\n## Other\n```sh\nno\n```\n"
    )
    assert steps(page, "Tour") == [("X=1\n", ""), ("echo $X\n", "1\n")]


async def test_steps_share_a_shell_and_keep_their_outputs_apart(tmp_path: Path) -> None:
    outputs = await walk(["X=1", "echo a; echo $X", "printf b"], tmp_path)
    assert [settled(output) for output in outputs] == ["", "a\n1", "b"]


def test_only_chance_is_settled() -> None:
    left = settled('{"jobId":"job_0abc","createdAt":"2026-11-23T05:20:00.123Z","status":"queued"}')
    assert left == '{"jobId":"job_…","createdAt":"…","status":"queued"}'
