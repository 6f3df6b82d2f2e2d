"""A run's result as a table for people: medians, spread, and ratios to the naive proxy in the same run."""

from collections.abc import Iterator

from tests.bench.rounds import BASELINE, Extent, Figure, Result

_ERRORS = 3


def table(result: Result, extent: Extent) -> str:
    """Return the result as text."""
    return "\n".join(_lines(result, extent)) + "\n"


def _lines(result: Result, extent: Extent) -> Iterator[str]:
    yield f"{extent.rounds} rounds of {extent.seconds:g} s; median (least to most); x = ratio to {BASELINE}"
    streams = f"{extent.streams} streams of {extent.events_per_s:g} events/s"
    yield f"each at {extent.requests_per_s:g} requests/s, then {streams}"
    yield f"load average {result.load_before:.1f} before, {result.load_after:.1f} after: ratios hold, figures are noisy"
    for name, by_target in result.figures.items():
        yield ""
        yield name
        baseline = by_target[BASELINE].median
        for target, figure in by_target.items():
            yield f"  {target:<20}{_figure(figure):<32}{_ratio(figure.median, baseline)}"
    yield ""
    yield "errors: " + ", ".join(f"{target} {len(errors)}" for target, errors in result.errors.items())
    for target, errors in result.errors.items():
        for error in errors[:_ERRORS]:
            yield f"{target} answered: {error!r}"
    for name in result.missing:
        yield f"{name}: not on PATH, not measured"


def _figure(figure: Figure) -> str:
    return f"{_number(figure.median):>8}  ({_number(figure.least)} to {_number(figure.most)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _ratio(value: float, baseline: float) -> str:
    return f"x {value / baseline:.2f}" if baseline > 0 else ""
