"""From verdicts to sentences a person reads: the headline, its evidence, what it is worth, what to
do next.

Numbers come from the verdict and the curves, wording from `words.py`; nothing is decided here.
"""

import math

from headstart.report.report import Report, budget_for
from headstart.report.verdict import Verdict
from headstart.report.words import (
    about,
    count,
    gain,
    label_range,
    points,
    say,
    share,
    signed_interval,
)
from headstart.words import Lang

CHEAPER_FROM = 1.5  # a control this many times cheaper is called cheaper
MOST_SEEDS = 100  # that --seeds takes
RISING = 0.005  # gain of the last doubling of labels that is worth mentioning


def arm_title(report: Report, name: str, lang: Lang) -> str:
    """The title of an arm in one language."""
    arm = report.arm(name)
    return arm.title if lang == "en" else arm.title_zh


def headline(verdict: Verdict, lang: Lang) -> str:
    """The verdict in big words."""
    return say(f"big.{verdict.kind}{_open(verdict)}", lang, at=_at(verdict))


def evidence(report: Report, verdict: Verdict, lang: Lang) -> str:
    """The sentence under the headline: where, by how much, with which interval and at what
    price.
    """
    if not verdict.gaps:
        return say("say.nothing", lang)
    if verdict.kind == "cannot tell" and max(gap.seeds for gap in verdict.gaps) < 2:
        return say("say.one seed", lang)
    key = f"say.{verdict.kind}{_open(verdict)}"
    if verdict.kind == "pays" and len(verdict.gaps) == 1:
        key = "say.pays.one"
    if verdict.kind == "cannot tell" and any(
        gap.interval.low > verdict.margin for gap in verdict.gaps
    ):
        key = "say.cannot tell.upward"  # the verdict asks for more than one such interval
    return say(key, lang, **_values(report, verdict, lang))


def short(report: Report, verdict: Verdict, lang: Lang) -> str:
    """A second opinion in a few words."""
    if not verdict.gaps:
        return say("say.nothing", lang)
    return say(f"short.{verdict.kind}{_open(verdict)}", lang, **_values(report, verdict, lang))


def worth(verdict: Verdict, lang: Lang) -> str:
    """What pretraining was worth in labels; "" where that cannot be said."""
    if verdict.worth is None:
        return ""
    n, number = verdict.worth.labels, verdict.worth.equivalent
    last = verdict.gaps[-1].labels
    if math.isinf(number.estimate):
        return say("worth.more", lang, n=count(n), last=count(last), worth=about(last - n))
    return say(
        "worth",
        lang,
        n=count(n),
        equal=about(number.estimate),
        range=label_range(number.interval, lang, first=verdict.gaps[0].labels, last=last),
        level=share(verdict.level),
        worth=about(number.estimate - n),
    )


def need(verdict: Verdict, lang: Lang) -> str:
    """What would settle an open question; "" where nothing is open."""
    if verdict.need is None:
        return ""
    more = verdict.need.more
    if verdict.need.what == "seeds" and not verdict.need.difference:
        return say("need.seeds.first", lang)
    seeds = say("seed.one" if more == 1 else "seed.many", lang)
    size = points(verdict.need.difference)
    return say(f"need.{verdict.need.what}", lang, more=about(more), points=size, seeds=seeds)


def next_step(report: Report, lang: Lang) -> str:
    """The next useful step: which model to use, or what to run, in one to three sentences."""
    verdict = report.verdict
    if not verdict.gaps:
        return _again(report, lang)
    gap = verdict.gaps[-1]
    last = count(gap.labels)
    own, control = (arm_title(report, name, lang) for name in (gap.own, gap.control))
    use_own = say("next.use own", lang, own=own, last=last)
    use_control = say("next.use control", lang, control=control, last=last)
    parts = {
        "pays": [use_own],
        "pays from": [use_own],
        "pays below": [use_control, say("next.keep", lang, at=_at(verdict))],
        "does not pay": [use_control],
        "cannot tell": _open_question(report, lang, control),
    }[verdict.kind]
    if verdict.kind == "pays below" and _open(verdict):
        parts = [use_own if gap.mean > verdict.margin else use_control]
    if parts == [use_own] and "+" in gap.own:
        parts.append(say("next.part", lang))
    if verdict.kind == "does not pay" and report.public is None:
        parts.append(say("next.try public", lang))
    rising = _last_doubling(
        report, gap.own if verdict.kind in ("pays", "pays from") else gap.control
    )
    if verdict.kind != "cannot tell" and rising >= RISING:
        parts.append(say("next.rising", lang, points=points(rising)))
    return (" " if lang == "en" else "").join(parts)


def _open_question(report: Report, lang: Lang, control: str) -> list[str]:
    lacks = report.verdict.need
    paired = max((gap.seeds for gap in report.verdict.gaps), default=0)
    missing = lacks is not None and not lacks.difference and paired < len(report.seeds)
    if lacks is None or lacks.what == "arms" or (lacks.what == "seeds" and missing):
        return [_again(report, lang)]
    if lacks.what == "test rows":
        return [say("next.test", lang, more=about(lacks.more))]
    if lacks.what == "labels":
        return [say("next.label", lang, more=about(lacks.more))]
    total = len(report.seeds) + lacks.more
    budget = budget_for(report, total)
    key = "next.seeds.longer" if budget else "next.seeds"
    parts = [say(key, lang, total=str(total), budget=budget)] if total <= MOST_SEEDS else []
    if lacks.more > 4 * max(len(report.seeds), 1) or not parts:
        parts.append(say("next.tiny", lang, control=control))
    return parts


def _again(report: Report, lang: Lang) -> str:
    budget = budget_for(report, len(report.seeds)) if report.unfinished() else ""
    return say("next.run.longer" if budget else "next.run", lang, budget=budget)


def _last_doubling(report: Report, arm: str) -> float:
    """Gain of an arm for a doubling of labels, over its last two label counts."""
    curve = report.curves.get(arm, ())
    if len(curve) < 2:
        return 0.0
    before, after = curve[-2:]
    return (after.mean - before.mean) / math.log2(after.labels / before.labels)


def _open(verdict: Verdict) -> str:
    """The ending .open where the label number of a verdict is beyond the counts measured."""
    if verdict.at is None or 0 < verdict.at.estimate < math.inf:
        return ""
    return ".open"


def _at(verdict: Verdict) -> str:
    return about(verdict.at.estimate) if verdict.at is not None else ""


def _values(report: Report, verdict: Verdict, lang: Lang) -> dict[str, str]:
    first, last = verdict.gaps[0], verdict.gaps[-1]
    values = {
        "first": count(first.labels),
        "last": count(last.labels),
        "by_first": gain(first.mean, first.interval, lang),
        "by_last": gain(last.mean, last.interval, lang),
        "margin": points(verdict.margin),
        "gain_first": signed_interval(first.mean, first.interval),
        "gain_last": signed_interval(last.mean, last.interval),
        "level": share(verdict.level),
        "at": _at(verdict),
        "range": "",
        "end": _end(report, verdict, lang, at_most=verdict.kind != "pays from"),
        "seeds": count(max(gap.seeds for gap in verdict.gaps)),
    }
    if verdict.at is not None:
        values["range"] = label_range(
            verdict.at.interval, lang, first=first.labels, last=last.labels
        )
    return values


def _end(report: Report, verdict: Verdict, lang: Lang, *, at_most: bool) -> str:
    """How own and control stand at the end where pretraining does not pay, and what that costs."""
    gap = verdict.gaps[-1 if at_most else 0]
    own, control = report.point(gap.own, gap.labels), report.point(gap.control, gap.labels)
    if gap.interval.high < verdict.margin and gap.mean < -verdict.margin:
        key = "end.better"
    else:
        key = "end.worse" if gap.mean > verdict.margin else "end.level"
    title = arm_title(report, gap.control, lang)
    text = say(key, lang, n=count(gap.labels), control=title, points=points(abs(gap.mean)))
    if own is None or control is None or key == "end.worse":
        return text + say("end.stop", lang)
    times = (own.seconds + report.facts.pretrain_seconds) / max(control.seconds, 0.01)
    if times < CHEAPER_FROM:
        return text + say("end.stop", lang)
    return text + say(
        "end.cheaper.once" if report.facts.pretrain_seconds else "end.cheaper",
        lang,
        times=about(times) if times >= 10 else f"{times:.1f}",
    )
