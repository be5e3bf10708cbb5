"""What a reader sees: sentences, page, file and terminal, in both languages, from one report."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from example_report import FACTS, example
from headstart.evaluate.statistics import Interval
from headstart.report import sentences, words
from headstart.report.cells import Cell, ScoreTable
from headstart.report.curves import LabelNumber
from headstart.report.render import (
    render_html,
    render_json,
    summary_sentences,
    terminal_summary,
    write_report,
)
from headstart.report.report import build_report
from headstart.report.verdict import Verdict
from headstart.words import LANGS
from planted_worlds import ARMS

KINDS = ("cross", "plus", "minus", "none")


class Page(HTMLParser):
    """Checks that elements nest and collects attributes, table headers and visible text."""

    VOID = frozenset({"meta", "br", "line", "path", "circle", "rect", "link", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.text = [], [], []
        self.headers, self.rows = 0, 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.headers += tag == "th"
        self.rows += tag == "tr"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_every_phrase_has_the_same_places_to_fill_in_both_languages():
    for key, (en, zh) in words.WORDS.items():
        places = [set(re.findall(r"{(\w+)}", text)) for text in (en, zh)]
        if key == "need.seeds":  # English has a plural, Chinese a measure word
            places[0].discard("seeds")
        assert places[0] == places[1], key


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lang", LANGS)
def test_the_page_is_well_formed_needs_no_network_and_holds_both_languages(kind, lang):
    html = render_html(example(kind), lang=lang)
    page = Page(html)
    loads = [
        (t, n, v) for t, n, v in page.attributes if n in {"src", "href", "srcset", "action", "data"}
    ]
    assert loads == []
    assert not re.search(r"https?:|url\(|@import|<link|<iframe|fetch\(|XMLHttp", html)
    assert f'data-lang="{lang}"' in html
    text = "".join(page.text)
    for both in LANGS:
        assert summary_sentences(example(kind), lang=both)["headline"] in text


def test_user_text_is_escaped_everywhere():
    html = render_html(example())
    assert "<type>" not in html
    assert "contract clauses &lt;type&gt;" in html
    assert "other &amp; rest" in html


def test_charts_and_tables_can_be_read_without_seeing_them():
    page = Page(render_html(example()))
    assert ("svg", "role", "img") in page.attributes
    labels = [
        value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"
    ]
    assert len(labels) == 2
    assert "50: +" in labels[1]  # the differences themselves are in the text alternative
    scopes = [value for tag, name, value in page.attributes if tag == "th" and name == "scope"]
    assert len(scopes) == page.headers
    assert page.rows == 1 + len(ARMS) + 1 + 140


def test_no_folder_of_this_machine_is_on_the_page_or_in_the_file(tmp_path):
    page, data = write_report(example(), tmp_path / "run")
    for path in (page, data):
        assert not re.search(r"/(home|tmp|root|work|Users)/", path.read_text(encoding="utf-8"))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["report.html", "report.json"]


def test_the_same_report_gives_the_same_bytes():
    assert render_html(example()) == render_html(example())
    assert render_json(example()) == render_json(example())
    assert render_html(example()) != render_html(example("plus"))


def test_the_json_has_the_verdict_the_cells_and_no_number_that_is_not_finite():
    body = json.loads(render_json(example("plus")), parse_constant=pytest.fail)
    assert body["verdict"]["kind"] == "pays"
    assert len(body["cells"]) == 140
    assert body["curves"]["own-lora"][0]["labels"] == 50
    assert body["sentences"]["zh"]["headline"] == "预训练值得"


def test_each_verdict_says_its_own_words():
    heads = {kind: summary_sentences(example(kind), lang="en")["headline"] for kind in KINDS}
    assert heads["plus"] == "Pretraining pays"
    assert heads["minus"] == "Pretraining does not pay here"
    assert heads["none"] == "Cannot tell yet"
    assert re.fullmatch(r"Pretraining pays below about \d{3} labels", heads["cross"])


def test_the_sentence_of_a_crossover_has_interval_loser_and_price():
    said = summary_sentences(example("cross"), lang="en")
    assert re.fullmatch(
        r"Pretraining pays below about \d+ labels \(90% interval \d+–[\d,]+\); with 3,200 labels "
        r"(LSA|TF-IDF) \+ linear is [\d.]+ points better "
        r"and [\d,]+ times cheaper \(pretraining counted\)\.",
        said["evidence"],
    )
    assert said["next"].startswith("Use “")


def test_numbers_of_labels_are_rounded_and_open_ends_are_said_in_words():
    assert [words.about(n) for n in (7, 48.2, 483, 1234, 96500)] == [
        "7",
        "48",
        "480",
        "1,200",
        "96,000",
    ]
    open_range = words.label_range(Interval(0.0, float("inf")), "en", first=50, last=3200)
    assert open_range == "fewer than 50 – more than 3,200"
    assert words.points(-0.0312, signed=True) == "−3.1"
    assert words.points(-0.0004, signed=True) == "+0.0"
    assert [words.duration(s, "en") for s in (0.0002, 0.25, 80, 840, 9000)] == [
        "< 0.01 s",
        "0.25 s",
        "80 s",
        "14 min",
        "2.5 h",
    ]


def test_an_open_crossover_promises_no_number_of_labels():
    report = example("cross")
    beyond = LabelNumber(float("inf"), Interval(900.0, float("inf")))
    verdict = replace(report.verdict, at=beyond)
    for lang in LANGS:
        assert "inf" not in sentences.headline(verdict, lang) + sentences.evidence(
            report, verdict, lang
        )
    assert sentences.headline(verdict, "en") == "Pretraining pays with few labels"


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_terminal_summary_fits_and_has_every_arm(kind, lang):
    console = Console(width=100, record=True, file=StringIO())
    console.print(terminal_summary(example(kind), lang=lang))
    text = console.export_text()
    for arm in ARMS:
        assert (arm.title if lang == "en" else arm.title_zh) in text
    assert summary_sentences(example(kind), lang=lang)["headline"] in text
    assert text.count("\n") < 40


def test_skipped_failed_and_torn_cells_are_shown_and_counted():
    cells = [
        *example().cells[:-1],
        Cell("scratch", 3200, 4, 0.0, 0.0, status="skipped", note="budget used up"),
    ]
    report = build_report(ScoreTable(cells, torn=1), ARMS, FACTS)
    text = "".join(Page(render_html(report)).text)
    assert "1 cells are missing" in text
    assert "skipped" in text
    assert "budget used up" in text
    assert "1 half-written cell" in text


@pytest.mark.parametrize("lang", LANGS)
def test_a_report_without_results_or_with_one_seed_still_renders(lang):
    empty = build_report(ScoreTable(), ARMS, FACTS)
    assert empty.verdict.kind == "cannot tell"
    Page(render_html(empty, lang=lang))
    Console(file=StringIO()).print(terminal_summary(empty, lang=lang))
    single = [cell for cell in example().cells if cell.seed == 0 and cell.labels == 50]
    report = build_report(ScoreTable(single), ARMS, FACTS)
    Page(render_html(report, lang=lang))
    json.loads(render_json(report))
    assert report.verdict.need is not None


def test_a_public_checkpoint_is_a_second_opinion_and_not_a_control():
    report = example("plus")
    public = replace(
        ARMS[0], name="public", kind="public", title="public, full", title_zh="公开，全量"
    )
    strong = [
        replace(cell, arm="public", score=min(1.0, cell.score + 0.2))
        for cell in report.cells
        if cell.arm == "own-full"
    ]
    with_public = build_report(ScoreTable([*report.cells, *strong]), [*ARMS, public], FACTS)
    assert with_public.verdict.kind == "pays"
    assert with_public.public is not None
    assert with_public.public.kind == "does not pay"
    assert isinstance(with_public.scratch, Verdict)
    assert np.isfinite(with_public.public.gaps[0].mean)
    assert "Against the public checkpoint" in render_html(with_public)


@pytest.mark.parametrize("lang", LANGS)
def test_one_seed_promises_no_difference_of_nothing(lang):
    single = build_report(ScoreTable([c for c in example().cells if c.seed == 0]), ARMS, FACTS)
    said = summary_sentences(single, lang=lang)
    assert (
        said["need"]
        == {
            "en": "Noise shows from two seeds on; five make a usable interval.",
            "zh": "两个随机种子起才能看出波动；五个可得到可用的区间。",
        }[lang]
    )
    assert "--seeds 2" in said["next"]


def test_seeds_that_one_side_did_not_finish_are_asked_to_be_finished_and_not_for_more():
    own = {arm.name for arm in ARMS if arm.kind == "own"}
    cells = [
        replace(cell, status="skipped", seconds=0.0) if cell.arm in own and cell.seed else cell
        for cell in example().cells
    ]
    said = summary_sentences(build_report(ScoreTable(cells), ARMS, FACTS), lang="en")
    assert said["evidence"] == (
        "Only one seed is finished on both sides, so nothing is known about the noise."
    )
    assert re.match(r"Run the report again with --budget \d+m: finished cells", said["next"])


def test_a_lead_at_the_most_labels_alone_is_not_said_to_be_worth_no_labels():
    last = [cell for cell in example("plus").cells if cell.labels == 3200]
    report = build_report(ScoreTable(last), ARMS, FACTS)
    assert report.verdict.kind == "pays"
    assert summary_sentences(report, lang="en")["worth"] == ""
    assert "was worth about" in summary_sentences(example("plus"), lang="en")["worth"]


def test_a_frozen_public_checkpoint_meets_the_frozen_own_model_and_not_the_best_one():
    made = example("plus")
    frozen = replace(ARMS[0], name="own-probe", title="Own, frozen")
    public = replace(frozen, name="public-probe", kind="public", title="Public, frozen")
    weak = [replace(cell, score=cell.score - 0.2) for cell in made.cells if cell.arm == "own-full"]
    cells = [
        *made.cells,
        *(replace(cell, arm="own-probe") for cell in weak),
        *(replace(cell, arm="public-probe", score=cell.score + 0.1) for cell in weak),
    ]
    found = build_report(ScoreTable(cells), [*ARMS, frozen, public], FACTS)
    assert found.verdict.kind == "pays"
    # all weights of the own model are 10 points better than the frozen public one
    assert {gap.own for gap in found.public.gaps} == {"own-probe"}
    assert found.public.kind == "does not pay"
    assert "Against the public checkpoint, by the same method" in render_html(found)


def test_of_several_public_checkpoints_the_best_is_met_and_each_has_a_row():
    made = example("plus")
    frozen = replace(ARMS[0], name="own-probe", title="Own, frozen")
    names = {"good": 0.1, "poor": -0.1}
    public = [
        replace(frozen, name=f"public-probe:{name}", kind="public", title=f"{name}, frozen")
        for name in names
    ]
    weak = [replace(cell, score=cell.score - 0.2) for cell in made.cells if cell.arm == "own-full"]
    cells = [*made.cells, *(replace(cell, arm="own-probe") for cell in weak)]
    for arm, more in zip(public, names.values(), strict=True):
        cells += [replace(cell, arm=arm.name, score=cell.score + more) for cell in weak]
    found = build_report(ScoreTable(cells), [*ARMS, frozen, *public], FACTS)
    assert {gap.own for gap in found.public.gaps} == {"own-probe"}
    assert {gap.control for gap in found.public.gaps} == {"public-probe:good"}
    page = render_html(found)
    assert "Against the best public checkpoint, by the same method" in page
    assert "good, frozen" in page
    assert "poor, frozen" in page


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("lang", LANGS)
def test_a_task_on_which_all_arms_score_alike_still_renders(value, lang):
    cells = [replace(cell, score=value) for cell in example().cells]
    for kept in (cells, [cell for cell in cells if cell.seed == 0 and cell.labels == 50]):
        report = build_report(ScoreTable(kept), ARMS, FACTS)
        page = Page(render_html(report, lang=lang))
        assert f"50: {100 * value:.1f}" in "".join(page.text)  # the dot of the curve
        Console(file=StringIO()).print(terminal_summary(report, lang=lang))


def test_features_beside_the_networks_are_not_promised_of_finetune():
    def renamed(arm):
        return replace(arm, name="own-probe+lsa") if arm.name == "own-lora" else arm

    cells = [
        replace(cell, arm="own-probe+lsa") if cell.arm == "own-lora" else cell
        for cell in example("plus").cells
    ]
    said = {
        name: summary_sentences(build_report(ScoreTable(found), arms, FACTS), lang="en")["next"]
        for name, found, arms in (
            ("both", cells, [renamed(arm) for arm in ARMS]),
            ("network", example("plus").cells, ARMS),
        )
    }
    part = "headstart finetune trains its network part; LSA beside it is for this report alone."
    assert part in said["both"]
    assert said["both"].startswith("Use “yours, LoRA” for your 3,200 labels.")
    assert part not in said["network"]


def test_an_open_question_does_not_call_intervals_above_zero_indistinct():
    made = example("plus")
    unsure = replace(made.verdict, kind="cannot tell", worth=None)
    assert min(gap.interval.low for gap in unsure.gaps) > unsure.margin
    said = sentences.evidence(made, unsure, "en")
    assert "points upward, but not surely enough for a verdict" in said
    wide = [replace(gap, interval=Interval(-0.1, 0.3)) for gap in unsure.gaps]
    said = sentences.evidence(made, replace(unsure, gaps=tuple(wide)), "en")
    assert "cannot be told from the smallest gain that counts, 0.5 points" in said
    assert "显示有提升" in sentences.evidence(made, unsure, "zh")


def test_why_a_cell_is_missing_is_said_in_both_languages():
    why = "needs about 40 s, but 30 s of the budget were left"
    made = example()
    made = replace(
        made, cells=(replace(made.cells[0], status="skipped", note=why), *made.cells[1:])
    )
    page = render_html(made)
    assert f'<span class="en" lang="en">{why}</span>' in page
    assert '<span class="zh" lang="zh-Hans">约需 40 秒，但预算只剩 30 秒</span>' in page


def test_the_page_turns_to_chinese_in_a_chinese_browser_only():
    script = render_html(example()).rpartition("<script>")[2]
    assert "if(root.dataset.lang!=='zh'&&/^zh/i.test(navigator.language))turn()" in script
    assert "addEventListener('click',turn)" in script
