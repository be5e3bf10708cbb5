"""Geometry of the two charts of the page: curves and differences in, coordinates for the template
out.

Drawn by hand rather than by a plotting library, so that text stays text in both languages, colours
follow the reader's dark mode, and the page stays small. Coordinates are SVG user units.
"""

import math
from dataclasses import dataclass

from headstart.report.report import Report
from headstart.report.words import count, points

WIDTH, HEIGHT, GAP_HEIGHT = 860.0, 400.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 190.0, 18.0, 46.0
LABEL_STEP = 19.0
STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, math.inf)  # between ticks


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, with its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One arm's curve. style: CSS class; strong: one of the two that the verdict compares."""

    arm: str
    style: str
    strong: bool
    path: str
    band: str
    dots: tuple[tuple[float, float, str], ...]
    label_x: float
    label_y: float
    end_y: float


@dataclass(frozen=True)
class Curves:
    """The learning-curve chart."""

    width: float
    height: float
    left: float
    right: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Bar:
    """The difference at one label count, with the ends of its interval.

    side: up (worth it), down (control better), or level (in between).
    """

    x: float
    y: float
    low: float
    high: float
    text: str
    side: str


@dataclass(frozen=True)
class Gaps:
    """The difference chart. crossing: x of the crossover with its interval, or None."""

    width: float
    height: float
    left: float
    right: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zero: float
    margin: float
    path: str
    bars: tuple[Bar, ...]
    crossing: tuple[float, float, float] | None


def arm_styles(report: Report) -> dict[str, str]:
    """CSS class of every arm: its kind, and its number within the kind (three shades, then
    again).
    """
    styles: dict[str, str] = {}
    seen: dict[str, int] = {}
    for arm in report.arms:
        number = seen.get(arm.kind, 0)
        styles[arm.name] = f"{arm.kind}-{number % 3}"
        seen[arm.kind] = number + 1
    return styles


def curve_chart(report: Report) -> Curves:
    """Lay out the learning curves of all arms that have a finished cell."""
    shown = {name: curve for name, curve in report.curves.items() if curve}
    values = [
        v
        for curve in shown.values()
        for p in curve
        for v in (p.mean, *_ends(p.interval.low, p.interval.high, p.mean))
    ]
    y_ticks, y = _scale(min(values, default=0.0), max(values, default=1.0), height=HEIGHT)
    x = _log_axis(report.label_counts)
    strong = (
        {report.verdict.gaps[-1].own, report.verdict.gaps[-1].control}
        if report.verdict.gaps
        else set()
    )
    styles = arm_styles(report)
    ends = {name: y(curve[-1].mean) for name, curve in shown.items()}
    label_y = _spread_labels(ends)
    lines = []
    for name, curve in shown.items():
        spots = [(x(p.labels), y(p.mean)) for p in curve]
        bounds = [_ends(p.interval.low, p.interval.high, p.mean) for p in curve]
        upper = [(x(p.labels), y(high)) for p, (_, high) in zip(curve, bounds, strict=True)]
        lower = [(x(p.labels), y(low)) for p, (low, _) in zip(curve, bounds, strict=True)]
        dots = tuple(
            (*spot, f"{count(p.labels)}: {points(p.mean)}")
            for spot, p in zip(spots, curve, strict=True)
        )
        lines.append(
            Line(
                arm=name,
                style=styles[name],
                strong=name in strong,
                path=_path(spots),
                band=_path(upper + lower[::-1]) + " Z",
                dots=dots,
                label_x=spots[-1][0] + 12,
                label_y=label_y[name],
                end_y=spots[-1][1],
            )
        )
    lines.sort(key=lambda line: line.strong)
    ticks = tuple(Tick(x(n), count(n)) for n in report.label_counts)
    return Curves(WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, ticks, y_ticks, tuple(lines))


def gap_chart(report: Report) -> Gaps | None:
    """Lay out the differences of the main verdict; None if there are none."""
    gaps, verdict = report.verdict.gaps, report.verdict
    if not gaps:
        return None
    bounds = [_ends(gap.interval.low, gap.interval.high, gap.mean) for gap in gaps]
    values = [v for pair in bounds for v in pair] + [0.0, verdict.margin, -0.01]
    y_ticks, y = _scale(min(values), max(values), height=GAP_HEIGHT, signed=True)
    x = _log_axis(report.label_counts)
    bars = tuple(
        Bar(
            x(gap.labels),
            y(gap.mean),
            y(low),
            y(high),
            points(gap.mean, signed=True),
            _side(gap.mean, verdict.margin),
        )
        for gap, (low, high) in zip(gaps, bounds, strict=True)
    )
    crossing = None
    if verdict.at is not None and 0 < verdict.at.estimate < math.inf:
        first, last = gaps[0].labels, gaps[-1].labels
        low = x(max(verdict.at.interval.low, first))
        crossing = (x(verdict.at.estimate), low, x(min(verdict.at.interval.high, last)))
    ticks = tuple(Tick(x(n), count(n)) for n in report.label_counts)
    path = _path([(bar.x, bar.y) for bar in bars])
    return Gaps(
        WIDTH, GAP_HEIGHT, LEFT, WIDTH - RIGHT, GAP_HEIGHT - BOTTOM,
        ticks, y_ticks, y(0.0), y(verdict.margin), path, bars, crossing,
    )  # fmt: skip


def _side(mean: float, margin: float) -> str:
    if mean > margin:
        return "up"
    return "down" if mean < -margin else "level"


class _Scale:
    """A straight-line map from values to coordinates."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.start = low, start
        self.slope = (end - start) / (high - low)

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) * self.slope, 1)


class _LogScale(_Scale):
    def __call__(self, value: float) -> float:
        return super().__call__(math.log(value))


def _log_axis(label_counts: tuple[int, ...]) -> _LogScale:
    low, high = math.log(label_counts[0]), math.log(label_counts[-1])
    if low == high:
        low, high = low - 1, high + 1
    pad = 0.04 * (high - low)
    return _LogScale(low - pad, high + pad, LEFT, WIDTH - RIGHT)


def _scale(
    low: float, high: float, *, height: float, signed: bool = False
) -> tuple[tuple[Tick, ...], _Scale]:
    """Three to seven round ticks over the values, and the scale from values to y."""
    span = max(high - low, 0.01)
    step = next(size for size in STEPS if span / size <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    first -= first == last  # all values alike, and on a tick
    scale = _Scale(first * step, last * step, height - BOTTOM, TOP)
    digits = 1 if step < 0.01 else 0
    sign = "+" if signed else ""
    values = [k * step for k in range(first, last + 1)]
    texts = [f"{100 * v:{sign if v else ''}.{digits}f}".replace("-", "−") for v in values]
    return tuple(Tick(scale(v), text) for v, text in zip(values, texts, strict=True)), scale


def _ends(low: float, high: float, mean: float) -> tuple[float, float]:
    """The ends of an interval, drawn no farther than 30 points from the mean.

    One cell alone has an endless interval, which would tell nothing: it is drawn as its dot.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return mean, mean
    return max(low, mean - 0.3), min(high, mean + 0.3)


def _spread_labels(ends: dict[str, float]) -> dict[str, float]:
    """Heights of the direct labels: near their lines, a line of text apart, inside the chart."""
    names = sorted(ends, key=lambda name: ends[name])
    places = [ends[name] for name in names]
    for _ in range(100):  # push overlapping neighbours apart until none overlap
        for k in range(1, len(places)):
            overlap = LABEL_STEP - (places[k] - places[k - 1])
            if overlap > 0:
                places[k - 1] -= overlap / 2
                places[k] += overlap / 2
        low = max(0.0, TOP - min(places, default=TOP))
        high = max(0.0, max(places, default=0.0) - (HEIGHT - BOTTOM))
        places = [place + low - high for place in places]
    return {name: round(place + 4, 1) for name, place in zip(names, places, strict=True)}


def _path(spots: list[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:g} {y:g}" for x, y in spots)
