"""Every word that a report shows, in English and Chinese: change the wording here only.

A value in braces is filled in by `say`. Numbers are formatted by the functions below, so that both
languages print them alike.
"""

# ruff: noqa: E501  (a sentence stays on one line, so that it can be read and searched)

import math

from headstart.evaluate.statistics import Interval
from headstart.words import Lang, worded

WORDS: dict[str, tuple[str, str]] = {
    # verdicts: big words
    "big.pays": ("Pretraining pays", "预训练值得"),
    "big.pays below": (
        "Pretraining pays below about {at} labels",
        "标注少于约 {at} 条时，预训练值得",
    ),
    "big.pays below.open": ("Pretraining pays with few labels", "标注较少时，预训练值得"),
    "big.pays from": (
        "Pretraining pays from about {at} labels on",
        "标注达到约 {at} 条起，预训练值得",
    ),
    "big.pays from.open": ("Pretraining pays with many labels", "标注较多时，预训练值得"),
    "big.does not pay": ("Pretraining does not pay here", "在此任务上预训练不值得"),
    "big.cannot tell": ("Cannot tell yet", "目前还不能判断"),
    # verdicts: sentences
    "say.pays": (
        "From {first} to {last} labels your pretrained model beats the best control: by {by_first} with {first} labels and by {by_last} with {last} ({level} intervals).",
        "从 {first} 条到 {last} 条标注，您的预训练模型都胜过最好的对照：{first} 条时高 {by_first}，{last} 条时高 {by_last}（{level} 区间）。",
    ),
    "say.pays.one": (
        "With {first} labels your pretrained model beats the best control by {by_first} ({level} interval).",
        "用 {first} 条标注时，您的预训练模型比最好的对照高 {by_first}（{level} 区间）。",
    ),
    "say.pays below": (
        "Pretraining pays below about {at} labels ({level} interval {range}); {end}",
        "标注少于约 {at} 条时预训练值得（{level} 区间 {range}）；{end}",
    ),
    "say.pays below.open": (
        "Pretraining pays with {first} labels: by {by_first} ({level} interval). Up to {last} labels no crossing is certain (interval {range}); {end}",
        "用 {first} 条标注时预训练值得：高 {by_first}（{level} 区间）。到 {last} 条为止，尚不能确定是否被追上（区间 {range}）；{end}",
    ),
    "say.pays from": (
        "Pretraining pays from about {at} labels on ({level} interval {range}); {end}",
        "标注达到约 {at} 条起预训练值得（{level} 区间 {range}）；{end}",
    ),
    "say.pays from.open": (
        "Pretraining pays with {last} labels: by {by_last} ({level} interval). With fewer it is not certain; {end}",
        "用 {last} 条标注时预训练值得：高 {by_last}（{level} 区间）。更少时尚不确定；{end}",
    ),
    "say.does not pay": (
        "At no label count from {first} to {last} does your pretrained model clearly beat the best control; {end}",
        "从 {first} 条到 {last} 条标注，您的预训练模型都没有明显胜过最好的对照；{end}",
    ),
    "say.cannot tell": (
        "With {seeds} seeds the difference to the best control ({gain_first} points with {first} labels, {gain_last} with {last}) cannot be told from the smallest gain that counts, {margin} points.",
        "用 {seeds} 个随机种子，与最好的对照之差（{first} 条时 {gain_first}，{last} 条时 {gain_last} 个百分点）还无法与值得计较的最小提升（{margin} 个百分点）区分开。",
    ),
    "say.cannot tell.upward": (
        "With {seeds} seeds the difference to the best control ({gain_first} points with {first} labels, {gain_last} with {last}) points upward, but not surely enough for a verdict: among so few seeds and several label counts, an interval above zero turns up by chance too.",
        "用 {seeds} 个随机种子，与最好的对照之差（{first} 条时 {gain_first}，{last} 条时 {gain_last} 个百分点）显示有提升，但还不足以下结论：随机种子很少而标注条数有几种时，偶然也会出现高于零的区间。",
    ),
    "say.nothing": (
        "There are no finished scores of both a pretrained model and a control to compare.",
        "预训练模型与对照还没有都完成的得分可供比较。",
    ),
    "say.one seed": (
        "Only one seed is finished on both sides, so nothing is known about the noise.",
        "两边都完成的随机种子只有一个，无从知道波动有多大。",
    ),
    "end.level": ("with {n} labels {control} is as good", "用 {n} 条标注时，“{control}”同样好"),
    "end.better": (
        "with {n} labels {control} is {points} points better",
        "用 {n} 条标注时，“{control}”高 {points} 个百分点",
    ),
    "end.worse": (
        "with {n} labels it leads {control} by only {points} points",
        "用 {n} 条标注时，它只比“{control}”高 {points} 个百分点",
    ),
    "end.cheaper": (" and {times} times cheaper.", "，而且开销只有 1/{times}。"),
    "end.cheaper.once": (
        " and {times} times cheaper (pretraining counted).",
        "，而且开销只有 1/{times}（计入预训练）。",
    ),
    "end.stop": (".", "。"),
    # needs, worth, second opinions
    "need.seeds": (
        "About {more} more {seeds} would resolve a difference of {points} points (80% power).",
        "再加约 {more} 个随机种子，可以分辨 {points} 个百分点的差异（功效 80%）。",
    ),
    "need.seeds.first": (
        "Noise shows from two seeds on; five make a usable interval.",
        "两个随机种子起才能看出波动；五个可得到可用的区间。",
    ),
    "need.test rows": (
        "About {more} more test rows would resolve a difference of {points} points (80% power); more seeds would not.",
        "再加约 {more} 条测试数据，可以分辨 {points} 个百分点的差异（功效 80%）；增加随机种子则无济于事。",
    ),
    "need.labels": (
        "Nothing has learned the task yet: about {more} more labels are the first thing to add.",
        "目前还没有任何方法学会该任务：首先应再标注约 {more} 条。",
    ),
    "need.arms": (
        "Let the report finish at least one pretrained arm and one control.",
        "请让报告至少完成一个预训练方案和一个对照方案。",
    ),
    "worth": (
        "With {n} labels it scores like the best control with about {equal} ({level} interval {range}): pretraining was worth about {worth} labels.",
        "用 {n} 条标注的得分，相当于最好的对照用约 {equal} 条（{level} 区间 {range}）：预训练相当于约 {worth} 条标注。",
    ),
    "worth.more": (
        "With {n} labels it scores higher than the best control with all {last}: pretraining was worth more than {worth} labels.",
        "用 {n} 条标注的得分，高于最好的对照用全部 {last} 条：预训练相当于 {worth} 条以上标注。",
    ),
    "opinion.scratch": ("Against the from-scratch twin", "与从零训练的同款模型相比"),
    "opinion.public": (
        "Against the public checkpoint, by the same method",
        "与公开的预训练模型以相同方法相比",
    ),
    "opinion.publics": (
        "Against the best public checkpoint, by the same method",
        "与最好的公开预训练模型以相同方法相比",
    ),
    "short.pays": ("pays: by {by_last} with {last} labels", "值得：{last} 条标注时高 {by_last}"),
    "short.pays below": (
        "pays below about {at} labels ({range})",
        "标注少于约 {at} 条时值得（{range}）",
    ),
    "short.pays below.open": (
        "pays with few labels: by {by_first} with {first}",
        "标注较少时值得：{first} 条时高 {by_first}",
    ),
    "short.pays from": (
        "pays from about {at} labels on ({range})",
        "标注达到约 {at} 条起值得（{range}）",
    ),
    "short.pays from.open": (
        "pays with many labels: by {by_last} with {last}",
        "标注较多时值得：{last} 条时高 {by_last}",
    ),
    "short.does not pay": (
        "does not pay: {gain_last} with {last} labels",
        "不值得：{last} 条标注时差值为 {gain_last}",
    ),
    "short.cannot tell": (
        "cannot tell: {gain_last} with {last} labels",
        "不能判断：{last} 条标注时差值为 {gain_last}",
    ),
    # next step
    "next.title": ("The next useful step", "下一步最有用的做法"),
    "next.use own": ("Use “{own}” for your {last} labels.", "您有 {last} 条标注，请使用“{own}”。"),
    "next.part": (
        "headstart finetune trains its network part; LSA beside it is for this report alone.",
        "headstart finetune 只训练其中的网络部分；旁边的 LSA 仅用于本报告。",
    ),
    "next.use control": (
        "Use “{control}” for your {last} labels.",
        "您有 {last} 条标注，请使用“{control}”。",
    ),
    "next.keep": (
        "Keep the pretrained model for tasks with fewer than about {at} labels.",
        "预训练模型可留给标注少于约 {at} 条的任务。",
    ),
    "next.try public": (
        "Before giving up on pretraining, compare a public checkpoint: add --public FOLDER.",
        "放弃预训练之前，可与公开的预训练模型比较：加上 --public 文件夹。",
    ),
    "next.rising": (
        "The curve still rises: the last doubling of labels gained {points} points, so more labels will help.",
        "曲线仍在上升：标注最近一次翻倍提高了 {points} 个百分点，继续标注会有帮助。",
    ),
    "next.seeds": (
        "Run it again with --seeds {total}; finished cells are kept.",
        "用 --seeds {total} 再运行一次；已完成的结果会保留。",
    ),
    "next.seeds.longer": (
        "Run it again with --seeds {total} --budget {budget}; finished cells are kept, and the time used so far counts.",
        "用 --seeds {total} --budget {budget} 再运行一次；已完成的结果会保留，已用的时间计算在内。",
    ),
    "next.tiny": (
        "So many runs are seldom worth it: until it is resolved, “{control}” does without pretraining.",
        "运行这么多次很少值得：在分辨出来之前，可用“{control}”，它无需预训练。",
    ),
    "next.test": (
        "Put about {more} more rows into the test file.",
        "请在测试文件中再加约 {more} 条数据。",
    ),
    "next.label": ("Label about {more} more rows.", "请再标注约 {more} 条。"),
    "next.run": (
        "Run the report again: finished cells are kept.",
        "请再次运行报告：已完成的结果会保留。",
    ),
    "next.run.longer": (
        "Run the report again with --budget {budget}: finished cells are kept, and the time used so far counts.",
        "请用 --budget {budget} 再次运行报告：已完成的结果会保留，已用的时间计算在内。",
    ),
    # headings and table words
    "title": ("Did pretraining pay?", "预训练值得吗？"),
    "kicker": ("headstart report", "headstart 报告"),
    "evidence": (
        "{metric} on {rows} test rows · {seeds} paired seeds · {counts} label counts",
        "{metric} · {rows} 条测试数据 · {seeds} 个配对的随机种子 · {counts} 个标注量",
    ),
    "evidence.images": (
        "{metric} on {rows} test images · {seeds} paired seeds · {counts} label counts",
        "{metric} · {rows} 张测试图像 · {seeds} 个配对的随机种子 · {counts} 个标注量",
    ),
    "curves": ("Learning curves", "学习曲线"),
    "curves.note": (
        "Mean over seeds; bands are {level} intervals over seeds, for these test rows. Both axes start where the data do.",
        "随机种子的均值；色带为针对这些测试数据、各随机种子间的 {level} 区间。两个坐标轴均从数据的起点开始。",
    ),
    "gap": ("Best pretrained model minus best control", "最好的预训练模型减去最好的对照"),
    "gap.note": (
        "Points, with {level} intervals. Being the best of several noisy arms flatters; that expected flattery is taken off on both sides, so a gap can be smaller than the curves suggest.",
        "百分点，附 {level} 区间。从多个有波动的方案中取最好者会偏高；两边都已扣除这一预期偏差，因此差值可能小于曲线所示。",
    ),
    "gap.margin": ("smallest gain that counts: {points}", "值得计较的最小提升：{points}"),
    "gap.better": ("pretraining better", "预训练更好"),
    "gap.worse": ("control better", "对照更好"),
    "axis.labels": ("labelled rows (log scale)", "标注条数（对数刻度）"),
    "axis.labels.images": ("labelled images (log scale)", "标注图像张数（对数刻度）"),
    "table": ("Every arm at every label count", "各方案在各标注量下的得分"),
    "table.note": (
        "{metric} × 100, mean ± half of the {level} interval over seeds. Bold: best of the column.",
        "{metric} × 100，均值 ± 各随机种子间 {level} 区间的一半。粗体：该列最高。",
    ),
    "table.arm": ("arm", "方案"),
    "table.labels": ("{n} labels", "{n} 条"),
    "table.cost": ("cost a cell", "每格开销"),
    "table.once": (
        "Once, for all own arms: pretraining, {time}.",
        "所有自有方案共用的一次性开销：预训练 {time}。",
    ),
    "kind.own": ("yours, pretrained", "自有预训练"),
    "kind.control": ("control", "对照"),
    "kind.scratch": ("from-scratch twin", "从零训练"),
    "kind.public": ("public checkpoint", "公开模型"),
    "gaptable.own": ("best of yours", "自有最佳"),
    "gaptable.control": ("best control", "最佳对照"),
    "gaptable.gap": ("difference", "差值"),
    "leaks": ("Leak check", "泄漏检查"),
    "leaks.none": (
        "No corpus document was found in the test file.",
        "语料中没有发现与测试文件重合的文档。",
    ),
    "leaks.some": (
        "{total} corpus documents overlap with test rows ({exact} exact, {near} near duplicates); {removed} were removed before pretraining.",
        "语料中有 {total} 篇文档与测试数据重合（完全相同 {exact}，近似重复 {near}）；预训练前已移除 {removed} 篇。",
    ),
    "leaks.train": (
        "{n} training rows are also test rows and were left out of training.",
        "有 {n} 条训练数据同时是测试数据，已不用于训练。",
    ),
    "leaks.some.given": (
        "{total} corpus documents overlap with test rows ({exact} exact, {near} near duplicates); the network was pretrained before this report and may have learnt them.",
        "语料中有 {total} 篇文档与测试数据重合（完全相同 {exact}，近似重复 {near}）；网络在本报告之前已完成预训练，可能学过它们。",
    ),
    "leaks.none.images": (
        "No corpus image was found among the test images.",
        "语料中没有发现与测试图像重合的图像。",
    ),
    "leaks.some.images": (
        "{total} corpus images are also test images ({exact} exact copies, {near} that look the same, mirrored ones included); {removed} were removed before pretraining.",
        "语料中有 {total} 张图像与测试图像重合（完全相同 {exact}，外观相同 {near}，含镜像）；预训练前已移除 {removed} 张。",
    ),
    "leaks.some.given.images": (
        "{total} corpus images are also test images ({exact} exact copies, {near} that look the same, mirrored ones included); the network was pretrained before this report and may have learnt them.",
        "语料中有 {total} 张图像与测试图像重合（完全相同 {exact}，外观相同 {near}，含镜像）；网络在本报告之前已完成预训练，可能学过它们。",
    ),
    "leaks.train.images": (
        "{n} training images are also test images and were left out of training.",
        "有 {n} 张训练图像同时是测试图像，已不用于训练。",
    ),
    "leaks.unchecked": (
        "No corpus was given, so whether the network was pretrained on test rows was not checked.",
        "没有给出语料，因此未检查网络预训练时是否见过测试数据。",
    ),
    "data": ("Data", "数据"),
    "data.read": (
        "{read} rows read from {source}: {train} used, {quarantined} quarantined, {rejected} rejected",
        "从 {source} 读取 {read} 行：使用 {train}，搁置 {quarantined}，拒绝 {rejected}",
    ),
    "data.test": ("{n} test rows, opened once", "测试数据 {n} 条，只打开一次"),
    "data.corpus": (
        "{n} unlabelled documents, {tokens} tokens",
        "未标注文档 {n} 篇，{tokens} 个词元",
    ),
    "data.no corpus": (
        "No unlabelled documents: TF-IDF and LSA know the labelled texts alone. Give --corpus, so that they have what the network was pretrained on.",
        "没有未标注文档：TF-IDF 与 LSA 只见过标注文本。请用 --corpus 给出网络预训练所用的语料。",
    ),
    "data.read.images": (
        "{read} images read from {source}: {train} used, {quarantined} quarantined, {rejected} rejected",
        "从 {source} 读取 {read} 张图像：使用 {train}，搁置 {quarantined}，拒绝 {rejected}",
    ),
    "data.test.images": ("{n} test images, opened once", "测试图像 {n} 张，只打开一次"),
    "data.corpus.images": ("{n} unlabelled images", "未标注图像 {n} 张"),
    "data.classes": ("classes", "类别"),
    "repeat": ("Repeat it", "如何重复"),
    "repeat.all": ("The whole report:", "整份报告："),
    "repeat.cell": ("One cell (replace the words in capitals):", "单独一格（替换大写的词）："),
    "repeat.seeds": (
        "Seeds {seeds}. With one seed, every arm sees the same labelled rows, and fewer labels are a part of more.",
        "随机种子 {seeds}。同一随机种子下各方案使用相同的标注数据，较少的标注包含在较多的之中。",
    ),
    "repeat.seeds.images": (
        "Seeds {seeds}. With one seed, every arm sees the same labelled images, and fewer labels are a part of more.",
        "随机种子 {seeds}。同一随机种子下各方案使用相同的标注图像，较少的标注包含在较多的之中。",
    ),
    "repeat.cells": ("All {n} cells", "全部 {n} 格结果"),
    "cell.seed": ("seed", "随机种子"),
    "cell.score": ("score", "得分"),
    "cell.status": ("status", "状态"),
    "status.done": ("done", "完成"),
    "status.skipped": ("skipped", "跳过"),
    "status.failed": ("failed", "失败"),
    "unfinished": (
        "{n} cells are missing (skipped or failed); each is listed below with its reason.",
        "有 {n} 格结果缺失（跳过或失败）；原因见下文列表。",
    ),
    "torn": (
        "{n} half-written cell was found and computed again.",
        "发现 {n} 格未写完的结果，已重新计算。",
    ),
    "environment": ("Environment", "运行环境"),
    "budget": ("{spent} of a budget of {budget} used", "预算 {budget}，已用 {spent}"),
    "method": ("How the verdict is reached", "结论如何得出"),
    "method.text": (
        "The best of your pretrained arms is compared with the best control on the same labelled rows, seed by seed. To say that pretraining pays, the advantage must exceed {points} points beyond what noise would produce in one of twenty reports, over all label counts together. Intervals use Student's t with variances pooled over arms; {test}",
        "在相同的标注数据上，逐个随机种子比较自有方案中的最好者与最好的对照。只有当优势超过 {points} 个百分点，且超出的部分大于二十份报告中仅一份会由随机波动造成的程度（所有标注量合并计算），才判定预训练值得。区间采用 t 分布，方差在各方案间合并；{test}",
    ),
    "method.test": (
        "the sampling noise of the test rows is included.",
        "已包含测试数据的抽样误差。",
    ),
    "method.notest": (
        "they hold for this test file: its own sampling noise is not included.",
        "区间针对此测试文件，不含测试数据本身的抽样误差。",
    ),
    "footer": (
        "Made by headstart. This page needs no network.",
        "由 headstart 生成。本页无需联网。",
    ),
    "language": ("中文", "English"),
    "metric.accuracy": ("accuracy", "准确率"),
    "metric.macro-F1": ("macro-F1", "宏平均 F1"),
    "metric.micro-F1": ("micro-F1", "微平均 F1"),
    "gain": ("{points} points {bounds}", "{points} 个百分点 {bounds}"),
    "colon": (": ", "："),
    "seconds": ("{n} s", "{n} 秒"),
    "minutes": ("{n} min", "{n} 分钟"),
    "hours": ("{n} h", "{n} 小时"),
    "seed.one": ("seed", "个随机种子"),
    "seed.many": ("seeds", "个随机种子"),
    "fewer": ("fewer than {n}", "不足 {n}"),
    "more": ("more than {n}", "{n} 以上"),
    "alt.curves": (
        "Line chart of {metric} over the number of labels, one line an arm. The table further down has every value.",
        "折线图：各方案的 {metric} 随标注条数的变化。下方表格列出全部数值。",
    ),
    "alt.gap": (
        "Chart of the difference between the best pretrained model and the best control, with intervals: {values}.",
        "差值图：最好的预训练模型减去最好的对照，附区间：{values}。",
    ),
}


def say(key: str, lang: Lang, **values: str) -> str:
    """The words of a key in one language, with its values filled in."""
    return worded(WORDS, key, lang, values)


def of(reads: str, key: str) -> str:
    """The key whose words speak of images, where images were read and it has any."""
    own = f"{key}.images"
    return own if reads == "images" and own in WORDS else key


def metric_name(metric: str, lang: Lang) -> str:
    """The name of a metric; those without a translation stay as they are."""
    return say(f"metric.{metric}", lang) if f"metric.{metric}" in WORDS else metric


def count(number: float) -> str:
    """A whole number with thousands separators: 12,345."""
    return f"{round(number):,}"


def about(number: float) -> str:
    """A label number to two significant digits: 480, 1,200."""
    if number < 10 or not math.isfinite(number):
        return str(number if not math.isfinite(number) else round(number))
    step = 10 ** (math.floor(math.log10(number)) - 1)
    return count(round(number / step) * step)


def points(fraction: float, *, signed: bool = False) -> str:
    """A score or difference as points: 0.0312 is 3.1; signed ones carry + or a minus sign."""
    value = round(100 * fraction, 1) + 0.0
    text = f"{value:+.1f}" if signed else f"{value:.1f}"
    return text.replace("-", "−")


def signed_interval(mean: float, interval: Interval) -> str:
    """A difference with its interval: +3.1 [+1.0, +5.2]."""
    if not math.isfinite(interval.low):
        return points(mean, signed=True)
    return f"{points(mean, signed=True)} [{points(interval.low, signed=True)}, {points(interval.high, signed=True)}]"


def gain(mean: float, interval: Interval, lang: Lang) -> str:
    """An advantage with its interval, without signs where all are positive: 3.1 points [1.0,
    5.2].
    """
    signed = interval.low < 0
    bounds = f"[{points(interval.low, signed=signed)}, {points(interval.high, signed=signed)}]"
    return say("gain", lang, points=points(mean, signed=signed), bounds=bounds)


def label_range(interval: Interval, lang: Lang, *, first: int, last: int) -> str:
    """An interval of label numbers; open ends are said in words."""
    low = say("fewer", lang, n=count(first)) if interval.low <= 0 else about(interval.low)
    high = say("more", lang, n=count(last)) if math.isinf(interval.high) else about(interval.high)
    plain = interval.low > 0 and math.isfinite(interval.high)
    return f"{low}–{high}" if plain else f"{low} – {high}"


def share(level: float) -> str:
    """A confidence level: 90%."""
    return f"{round(100 * level)}%"


def duration(seconds: float, lang: Lang) -> str:
    """A time with its unit: < 0.01 s, 0.3 s, 4 s, 12 min, 3.5 h."""
    if seconds < 0.01:
        return say("seconds", lang, n="< 0.01")
    if seconds < 90:
        return say("seconds", lang, n=f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}")
    if seconds < 5400:
        return say("minutes", lang, n=f"{seconds / 60:.0f}")
    return say("hours", lang, n=f"{seconds / 3600:.1f}")
