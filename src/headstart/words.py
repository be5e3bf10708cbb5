"""Every sentence the command line says to a person, in English and Chinese, in one place.

`say(key, ...)` gives a `Phrase`: an ordinary English string that still knows its key and values, so
that the command line can turn it into the reader's language. `worded` is the one look-up, which the
report's page uses too, with a list of its own.

Errors, problems of data and other remarks arise as plain English strings; `in_language` finds their
Chinese in `messages`. Below an error that ends the program its English original is shown too, to be
searched for and reported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = ("en", "zh")
Words: TypeAlias = Mapping[str, tuple[str, str]]  # by key: a sentence in each of LANGS

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

WORDS: dict[str, tuple[str, str]] = {
    # plan
    "plan_title": ("Plan", "计划"),
    "plan_rows": (
        "{accepted:,} texts read from {files:,} files "
        "({set_aside:,} set aside, {rejected:,} rejected)",
        "从 {files:,} 个文件读取 {accepted:,} 条文本"
        "（搁置 {set_aside:,} 条，拒绝 {rejected:,} 条）",
    ),
    "plan_rows_images": (
        "about {accepted:,} images in {files:,} folders and tables (of the first ones "
        "{set_aside:,} set aside, {rejected:,} rejected)",
        "{files:,} 个文件夹和表格中约有 {accepted:,} 张图像"
        "（其中最前面的搁置 {set_aside:,} 张，拒绝 {rejected:,} 张）",
    ),
    "plan_steps_images": (
        "about {steps:,} steps of {tokens:,} images, {epochs:.1f} passes over the corpus",
        "约 {steps:,} 步，每步 {tokens:,} 张图像，遍历语料 {epochs:.1f} 遍",
    ),
    "plan_time_images": (
        "about {time} at {speed:,.0f} images/s on {machine}",
        "约 {time}，{machine} 上每秒 {speed:,.0f} 张图像",
    ),
    "plan_measured_images": (
        "measured here: {count} gradients of {tokens:,.0f} images, {gradient:.3f} s each, and an "
        "update of the weights, {update:.3f} s",
        "在本机测得：{count} 次梯度计算（每次 {tokens:,.0f} 张图像，{gradient:.3f} 秒）"
        "和一次权重更新（{update:.3f} 秒）",
    ),
    "plan_labels": (
        "{rows:,} labelled examples, text column '{text}', label column '{label}', {classes}",
        "{rows:,} 条标注样本，文本列“{text}”，标签列“{label}”，{classes}",
    ),
    "plan_model": (
        "model {family}-{size}: {layers} layers x {hidden}, {parameters:.1f} M parameters, "
        "vocabulary {vocabulary:,}",
        "模型 {family}-{size}：{layers} 层 x {hidden}，{parameters:.1f} M 参数，"
        "词表 {vocabulary:,}",
    ),
    "plan_stage": (
        "stage {number} of 2: {objective}, budget {budget}",
        "第 {number} 阶段（共 2 个）：{objective}，预算 {budget}",
    ),
    "plan_steps": (
        "about {steps:,} steps of {tokens:,} tokens, {epochs:.1f} passes over the corpus",
        "约 {steps:,} 步，每步 {tokens:,} 个词元，遍历语料 {epochs:.1f} 遍",
    ),
    "plan_time": (
        "about {time} at {speed:,.0f} tokens/s on {machine}",
        "约 {time}，{machine} 上每秒 {speed:,.0f} 个词元",
    ),
    "plan_measured": (
        "measured here: {count} gradients of {tokens:,.0f} tokens, {gradient:.3f} s each, and an "
        "update of the weights, {update:.3f} s",
        "在本机测得：{count} 次梯度计算（每次 {tokens:,.0f} 个词元，{gradient:.3f} 秒）"
        "和一次权重更新（{update:.3f} 秒）",
    ),
    "plan_memory": (
        "about {need:.1f} GiB of memory ({have:.1f} GiB free), {disk:.2f} GiB on disk",
        "约需内存 {need:.1f} GiB（可用 {have:.1f} GiB），磁盘 {disk:.2f} GiB",
    ),
    "too_few_labels": (
        "{count} labels are more than the {rows:,} there are: left out of the curve",
        "要求 {count} 条标注，但只有 {rows:,} 条：曲线中没有该点",
    ),
    "test_split": (
        "no test file: {rows:,} of the labelled rows are held out for testing",
        "没有测试文件：从标注样本中留出 {rows:,} 条用于测试",
    ),
    "controls_without_corpus": (
        "no corpus: TF-IDF and LSA know the labelled texts alone; give what {start} was pretrained "
        "on with --corpus, or they are at a disadvantage",
        "没有语料：TF-IDF 与 LSA 只见过标注文本；请用 --corpus 给出 {start} 预训练所用的语料，"
        "否则它们处于劣势",
    ),
    "split_repeats": (
        "{rows:,} labelled rows repeat one that is held out: left out of training",
        "有 {rows:,} 条标注样本与留出的样本重复：不参与训练",
    ),
    "files_more": (
        "... and {more:,} more ways of reading files",
        "……另有 {more:,} 种读法",
    ),
    "corpus_read": (
        "corpus: {documents:,} documents in {files:,} files "
        "({set_aside:,} set aside, {rejected:,} rejected)",
        "语料：{files:,} 个文件中的 {documents:,} 篇文档"
        "（搁置 {set_aside:,} 条，拒绝 {rejected:,} 条）",
    ),
    "data_are_images": ("these are images", "数据是图像"),
    "reads_images": (
        "{table}: column '{image}' has images and '{text}' has text; the images are read (--text "
        "{text} reads the text)",
        "{table}：列“{image}”是图像，列“{text}”是文本；读取图像（加 --text {text} 则读取文本）",
    ),
    "reads_text": (
        "{table}: column '{image}' has images and '{text}' has text; the text is read (--set "
        "images.column={image} reads the images)",
        "{table}：列“{image}”是图像，列“{text}”是文本；读取文本"
        "（加 --set images.column={image} 则读取图像）",
    ),
    "texts_of_folder": (
        "{folder} is a folder: {count:,} texts of its files are answered for",
        "{folder} 是文件夹：对其文件中的 {count:,} 条文本作答",
    ),
    "bytes_left_aside": (
        "{table}: the bytes in {columns} are not read (--set images.column=COLUMN reads images)",
        "{table}：不读取 {columns} 中的字节（加 --set images.column=列名 则读取图像）",
    ),
    "plan_image_labels": (
        "{rows:,} labelled images, {classes}",
        "{rows:,} 张标注图像，{classes}",
    ),
    "images_read": (
        "images: {images:,}, brought to {size} x {size} pixels "
        "({set_aside:,} set aside, {rejected:,} rejected)",
        "图像：{images:,} 张，缩放为 {size} x {size} 像素"
        "（搁置 {set_aside:,} 张，拒绝 {rejected:,} 张）",
    ),
    "codes_learnt": (
        "code book: {codes:,} codes learnt from patches of these images, kept in {path}",
        "码本：从这些图像的图块学得 {codes:,} 个码，保存在 {path}",
    ),
    "plan_image_model": (
        "model {family}-{size}: {layers} layers x {hidden}, {parameters:.1f} M parameters, "
        "images of {side} x {side} pixels in patches of {patch} x {patch}",
        "模型 {family}-{size}：{layers} 层 x {hidden}，{parameters:.1f} M 参数，"
        "图像 {side} x {side} 像素，图块 {patch} x {patch}",
    ),
    "data_are_pairs": ("these are images with captions", "数据是带说明的图像"),
    "pairs_read": (
        "pairs: {images:,} images with {captions:,} captions, brought to {size} x {size} pixels "
        "({set_aside:,} set aside, {rejected:,} rejected)",
        "图文对：{images:,} 张图像，{captions:,} 条说明，缩放为 {size} x {size} 像素"
        "（搁置 {set_aside:,} 张，拒绝 {rejected:,} 张）",
    ),
    "pairs_split": (
        "{held:,} images are held out to measure retrieval on; {left_out:,} more that look like "
        "one of them are left out, {learn:,} are learnt from",
        "留出 {held:,} 张图像用于衡量检索；另有 {left_out:,} 张与其相似的被排除，"
        "用 {learn:,} 张训练",
    ),
    "plan_pair_model": (
        "model {family}-{size}: two towers of {layers} layers x {hidden}, {parameters:.1f} M "
        "parameters, images of {side} x {side} pixels in patches of {patch} x {patch}, vocabulary "
        "{vocabulary:,}",
        "模型 {family}-{size}：两个塔各 {layers} 层 x {hidden}，{parameters:.1f} M 参数，"
        "图像 {side} x {side} 像素，图块 {patch} x {patch}，词表 {vocabulary:,}",
    ),
    "plan_towers": (
        "model {family}: texts {layers} layers x {hidden}, images {image_layers} layers x "
        "{image_hidden}, {parameters:.1f} M parameters, images of {side} x {side} pixels in "
        "patches of {patch}, vocabulary {vocabulary:,}",
        "模型 {family}：文本塔 {layers} 层 x {hidden}，图像塔 {image_layers} 层 x {image_hidden}，"
        "{parameters:.1f} M 参数，图像 {side} x {side} 像素，图块 {patch}，词表 {vocabulary:,}",
    ),
    "tower_loaded_texts": (
        "tower of texts: that of {start} ({family}, {layers} layers x {hidden})",
        "文本塔：取自 {start}（{family}，{layers} 层 x {hidden}）",
    ),
    "tower_loaded_images": (
        "tower of images: that of {start} ({family}, {layers} layers x {hidden})",
        "图像塔：取自 {start}（{family}，{layers} 层 x {hidden}）",
    ),
    "tower_fresh_texts": (
        "tower of texts: fresh, {layers} layers x {hidden}",
        "文本塔：随机初始化，{layers} 层 x {hidden}",
    ),
    "tower_fresh_images": (
        "tower of images: fresh, {layers} layers x {hidden}",
        "图像塔：随机初始化，{layers} 层 x {hidden}",
    ),
    "tower_resized": (
        "the tower of images was pretrained on {was} x {was} pixels; its positions are "
        "interpolated to {now} x {now}",
        "图像塔是在 {was} x {was} 像素上预训练的；其位置表插值为 {now} x {now}",
    ),
    "projections_fresh": (
        "the projections of both towers to vectors of {shared} numbers are fresh",
        "两个塔到 {shared} 维向量的投影层是随机初始化的",
    ),
    "pooler_fresh_texts": (
        "texts are read at their first token through a dense layer that is fresh too",
        "文本在首个词元处经一个同样随机初始化的全连接层读出",
    ),
    "pooler_fresh_images": (
        "images are read at their class token through a dense layer that is fresh too",
        "图像在类别词元处经一个同样随机初始化的全连接层读出",
    ),
    "pooler_loaded_texts": (
        "texts are read at their first token through the dense layer that comes with their tower",
        "文本在首个词元处经文本塔自带的全连接层读出",
    ),
    "pooler_loaded_images": (
        "images are read at their class token through the dense layer that comes with their tower",
        "图像在类别词元处经图像塔自带的全连接层读出",
    ),
    "plan_pairs": (
        "{batch:,} pairs a step, loss {loss}, activations of {chunk:,} pairs at once",
        "每步 {batch:,} 对，损失 {loss}，同时保留 {chunk:,} 对的激活",
    ),
    "tokenizer_fit": (
        "tokens: {tokens:,} from a vocabulary of {size:,}; {fertility:.2f} a word, "
        "{unknown:.2f} % unknown, {long:.0f} % of the texts longer than one window",
        "词元：{tokens:,} 个，词表 {size:,}；每词 {fertility:.2f} 个，"
        "未知 {unknown:.2f} %，{long:.0f} % 的文本超过一个窗口",
    ),
    "captions_cut": (
        "{count:,} of {rows:,} texts are longer than the model's {most:,} tokens and are read "
        "up to there (the longest has {longest:,})",
        "{rows:,} 条文本中有 {count:,} 条超过模型的 {most:,} 个词元，只读到该处"
        "（最长的有 {longest:,} 个）",
    ),
    "plan_objective": ("predicts {objective}", "预训练目标 {objective}"),
    "plan_start": (
        "from {start}: {family}, {layers} layers x {hidden}, {parameters:.1f} M parameters",
        "起点 {start}：{family}，{layers} 层 x {hidden}，{parameters:.1f} M 参数",
    ),
    "plan_method": (
        "method {method}, up to {seeds} seeds",
        "方法 {method}，最多 {seeds} 个随机种子",
    ),
    "goes_on": ("going on with the run in {folder}", "继续 {folder} 中的运行"),
    "begun_otherwise": (
        "the unfinished run in {folder} was begun with other {what}: it is begun anew",
        "{folder} 中未完成的运行开始时的{what!t}不同：重新开始",
    ),
    "cell_given_up": (
        "{arm}, {labels:,} labels, seed {seed}: given up, it {why}",
        "{arm}，{labels:,} 条标注，随机种子 {seed}：放弃（{why!t}）",
    ),
    "cells_anew": (
        "the cells in {folder} were made with other {what}: all are made anew, the old ones are "
        "kept as {kept}",
        "{folder} 中的结果所用的{what!t}不同：全部重新计算，旧结果保存为 {kept}",
    ),
    "self_training": (
        "self-training: {records:,} texts without labels, {left_out:,} left out that leak",
        "自训练：{records:,} 条未标注文本，因泄漏排除 {left_out:,} 条",
    ),
    "self_training_images": (
        "self-training: {records:,} images without labels, {left_out:,} left out that leak",
        "自训练：{records:,} 张未标注图像，因泄漏排除 {left_out:,} 张",
    ),
    "method_chosen": (
        "method {method} chosen on labelled rows held out of training (tried: {tried})",
        "在留出的标注样本上选定方法 {method}（尝试过：{tried}）",
    ),
    "sources_cut": (
        "{count:,} of {rows:,} texts are longer than {most:,} tokens and are read up to there (the "
        "longest has {longest:,}: {source}, line {line}); data.max_length says how far",
        "{rows:,} 条文本中有 {count:,} 条超过 {most:,} 个词元，只读到该处"
        "（最长的有 {longest:,} 个：{source} 第 {line} 行）；由 data.max_length 决定",
    ),
    "targets_cut": (
        "{count:,} of {rows:,} texts to be written are longer than {most:,} tokens and are learnt "
        "up to there, without an end (the longest has {longest:,}: {source}, line {line}); "
        "data.target_length says how far",
        "{rows:,} 条目标文本中有 {count:,} 条超过 {most:,} 个词元，只学到该处，不学结尾"
        "（最长的有 {longest:,} 个：{source} 第 {line} 行）；由 data.target_length 决定",
    ),
    "measured_sources_cut": (
        "measured: {count:,} of {rows:,} texts are longer than {most:,} tokens and are read up to "
        "there, as in training (the longest has {longest:,}: {source}, line {line})",
        "评测：{rows:,} 条文本中有 {count:,} 条超过 {most:,} 个词元，与训练时一样只读到该处"
        "（最长的有 {longest:,} 个：{source} 第 {line} 行）",
    ),
    "measured_targets_cut": (
        "measured: {count:,} of {rows:,} texts to be written are longer than {most:,} tokens, and "
        "their loss is taken up to there (the longest has {longest:,}: {source}, line {line})",
        "评测：{rows:,} 条目标文本中有 {count:,} 条超过 {most:,} 个词元，损失只计到该处"
        "（最长的有 {longest:,} 个：{source} 第 {line} 行）",
    ),
    "inputs_cut": (
        "{count:,} of {rows:,} texts are longer than {most:,} tokens and are read up to there, as "
        "in training (the longest has {longest:,}: text {number})",
        "{rows:,} 条文本中有 {count:,} 条超过 {most:,} 个词元，与训练时一样只读到该处"
        "（最长的有 {longest:,} 个：第 {number} 条）",
    ),
    "texts_respelled": (
        "{share} % of the texts to be written cannot be spelled by this tokenizer ('{wanted}' "
        "becomes '{spelled}'): pretrain with data.tokenizer=bpe and data.lowercase=false",
        "该分词器无法原样写出 {share} % 的目标文本（“{wanted}”会变成“{spelled}”）："
        "请以 data.tokenizer=bpe、data.lowercase=false 预训练",
    ),
    "compare_first": (
        "{first} is better: the 95% interval over {rows:,} rows excludes no difference",
        "{first} 更好：{rows:,} 行上的 95% 区间不含零",
    ),
    "compare_second": (
        "{second} is better: the 95% interval over {rows:,} rows excludes no difference",
        "{second} 更好：{rows:,} 行上的 95% 区间不含零",
    ),
    "compare_alike": (
        "no difference between {first} and {second} can be told from {rows:,} rows",
        "根据 {rows:,} 行无法区分 {first} 与 {second}",
    ),
    "stage": (
        "stage {number} of 2: {objective}, budget {budget}, in {out}",
        "第 {number} 阶段（共 2 个）：{objective}，预算 {budget}，位于 {out}",
    ),
    "plan_budget": ("budget {budget}", "预算 {budget}"),
    "plan_out": ("results go to {out}", "结果写入 {out}"),
    "plan_short": (
        "the corpus is seen {epochs:.0f} times: a smaller budget may do as well",
        "语料将被遍历 {epochs:.0f} 遍：更小的预算或许就够了",
    ),
    "plan_few": (
        "less than one pass over the corpus fits the budget: a larger budget would help",
        "预算不足以遍历语料一遍：更大的预算会有帮助",
    ),
    # progress
    "stage_read": ("reading", "读取"),
    "stage_tokenize": ("tokenizing", "分词"),
    "stage_calibrate": ("timing steps", "测速"),
    "stage_codes": ("learning the code book", "学习码本"),
    "stage_decode": ("decoding images", "解码图像"),
    "stage_baseline": ("fitting the baseline", "拟合基线"),
    "stage_pretrain": ("pretraining", "预训练"),
    "stage_finetune": ("fine-tuning", "微调"),
    "stage_features": ("computing features", "计算特征"),
    "stage_arms": ("comparing arms", "比较各方案"),
    "stage_evaluate": ("evaluating", "评估"),
    "stage_predict": ("predicting", "预测"),
    "stage_check": ("checking", "检查"),
    "stage_save": ("saving", "保存"),
    "left": ("{time} left", "剩余 {time}"),
    "step_tokens": (
        "loss {loss:.3f}  {rate:,.0f} tokens/s",
        "损失 {loss:.3f}  每秒 {rate:,.0f} 个词元",
    ),
    "step_images": (
        "loss {loss:.3f}  {rate:,.0f} images/s",
        "损失 {loss:.3f}  每秒 {rate:,.0f} 张图像",
    ),
    "step_pairs": (
        "loss {loss:.3f}  {rate:,.0f} pairs/s",
        "损失 {loss:.3f}  每秒 {rate:,.0f} 个图文对",
    ),
    "step_loss": ("loss {loss:.3f}", "损失 {loss:.3f}"),
    "cell_now": (
        "{arm}, {labels:,} labels, seed {seed}",
        "{arm}，{labels:,} 条标注，随机种子 {seed}",
    ),
    # results
    "run_folder": ("run", "运行目录"),
    "model_folder": ("model", "模型"),
    "report_page": ("report", "报告"),
    "steps": ("steps", "步数"),
    "tokens": ("tokens", "词元"),
    "seconds": ("time", "用时"),
    "loss": ("loss", "损失"),
    "held_out_loss": ("held-out loss", "留出损失"),
    "pairs_measured": ("images / captions", "图像 / 说明"),
    "image_to_text": ("image to caption", "由图找文"),
    "text_to_image": ("caption to image", "由文找图"),
    "colours_to_text": ("colours + TF-IDF: image to caption", "颜色 + TF-IDF：由图找文"),
    "text_to_colours": ("colours + TF-IDF: caption to image", "颜色 + TF-IDF：由文找图"),
    "by_chance": ("chance", "随机"),
    "leaked_images": ("images like ones of the run", "与该运行所用图像相似"),
    "majority_share": ("largest class", "最大类别占比"),
    "method": ("method", "方法"),
    "metric": ("metric", "指标"),
    "score": ("score", "得分"),
    "interval": ("95% interval", "95% 区间"),
    "rows": ("rows", "行数"),
    "per_class": ("per class", "各类别"),
    "token_loss": ("loss per token", "每词元损失"),
    "exact_match": ("exact match", "完全一致"),
    "first_sentence": ("control: first sentence", "对照：首句"),
    "first_words": ("control: first words", "对照：开头几个词"),
    "most_frequent": ("control: most frequent text", "对照：最常见的文本"),
    "difference": ("difference", "差值"),
    "verdict": ("verdict", "结论"),
    "next_command": ("next: {command}", "下一步：{command}"),
    "yes": ("yes", "是"),
    "no": ("no", "否"),
    # generate
    "unknown_generation": (
        "{source}: not known here and left aside: {keys}",
        "{source}：以下设置此处不支持，已忽略：{keys}",
    ),
    "prompts_cut": (
        "{count:,} of the prompts are longer than the model can read: their beginning (of what an "
        "encoder reads, the end) was left out",
        "{count:,} 条提示词超出模型可读长度：已略去其开头（编码器读取的则略去结尾）",
    ),
    "prompts_cut_behind": (
        "{count:,} of the prompts are longer than what this model learnt to read: their end was "
        "left out",
        "{count:,} 条提示词超出该模型训练时的可读长度：已略去其结尾",
    ),
    "generated": (
        "{tokens:,} tokens in {seconds:.1f} s ({speed:,.0f} tokens/s)",
        "{seconds:.1f} 秒生成 {tokens:,} 个词元（每秒 {speed:,.0f} 个）",
    ),
    # check
    "check_clean": ("no problems in {rows:,} rows", "{rows:,} 行中没有发现问题"),
    "check_counts": (
        "{rows:,} rows: {accepted:,} accepted, {quarantined:,} set aside, {rejected:,} rejected",
        "共 {rows:,} 行：接受 {accepted:,}，搁置 {quarantined:,}，拒绝 {rejected:,}",
    ),
    "check_duplicates": (
        "{count:,} of the accepted repeat an earlier one",
        "其中 {count:,} 行与前面的行重复",
    ),
    "problems_more": (
        "... and {more:,} more; headstart check shows them",
        "……另有 {more:,} 处；headstart check 会列出",
    ),
    "check_sources_long": (
        "{source}: {count:,} of {rows:,} texts in '{column}' have more than {most:,} words (the "
        "longest {longest:,}: line {line}); data.max_length, {most:,} tokens by default, says how "
        "far they are read",
        "{source}：“{column}”列 {rows:,} 条文本中有 {count:,} 条超过 {most:,} 个词"
        "（最长的有 {longest:,} 个：第 {line} 行）；读到何处由 data.max_length 决定，"
        "默认 {most:,} 个词元",
    ),
    "check_targets_long": (
        "{source}: {count:,} of {rows:,} texts to be written in '{column}' have more than {most:,} "
        "words (the longest {longest:,}: line {line}); data.target_length, {most:,} tokens by "
        "default, says how far they are learnt",
        "{source}：“{column}”列 {rows:,} 条目标文本中有 {count:,} 条超过 {most:,} 个词"
        "（最长的有 {longest:,} 个：第 {line} 行）；学到何处由 data.target_length 决定，"
        "默认 {most:,} 个词元",
    ),
    "check_more_problems": (
        "... and {more:,} more (--json lists all): {kinds}",
        "……另有 {more:,} 处（--json 列出全部）：{kinds}",
    ),
    "check_more": (
        "... and {more:,} more (--json lists all)",
        "……另有 {more:,} 处（--json 列出全部）",
    ),
    # doctor
    "doctor_good": ("ready", "可以使用"),
    "doctor_bad": ("{count} things need attention", "有 {count} 项需要处理"),
    "finding": ("{found}  {mark} {advice}", "{found!t}  {mark} {advice!t}"),
    "processor": ("processor", "处理器"),
    "threads": ("threads", "线程"),
    "memory": ("memory", "内存"),
    "disk": ("disk", "磁盘"),
    "gpu": ("gpu", "GPU"),
    "fp32 products": ("fp32 products", "fp32 矩阵乘法"),
    "bf16 products": ("bf16 products", "bf16 矩阵乘法"),
    # the card of a model folder
    "card_facts": (
        "Layers: {layers}; hidden size: {hidden}; attention heads: {heads}; {reads}; parameters "
        "without output heads: {parameters:,}. Output heads: {outputs}.",
        "由 headstart 制作：{layers} 层，隐藏维度 {hidden}，{heads} 个注意力头，"
        "{reads}，不计输出头共 {parameters:,} 个参数。输出头：{outputs}。",
    ),
    "card_paper": ("Architecture: {paper}.", "架构：{paper}。"),
    "card_no_heads": ("none", "无"),
    "card_texts": (
        "vocabulary {vocabulary}, up to {most} tokens",
        "词表 {vocabulary}，最多 {most} 个词元",
    ),
    "card_images": (
        "images of {size} x {size} pixels in patches of {patch} x {patch}",
        "图像 {size} x {size} 像素，图块 {patch} x {patch}",
    ),
    "card_both": ("{texts}, beside {images}", "文本（{texts}）与图像（{images}）"),
    "card_pretrained": (
        "Pretrained from {start} by predicting {objective}.",
        "从 {start} 开始预训练，预训练目标为 {objective}。",
    ),
    "card_pretrained_images": (
        "Pretrained on images from {start} by {objective}.",
        "从 {start} 开始在图像上预训练，预训练目标为 {objective}。",
    ),
    "card_pretrained_pairs": (
        "Pretrained from {start} by bringing images and their captions together ({loss}).",
        "从 {start} 开始预训练，使图像与其说明相互靠近（{loss}）。",
    ),
    "card_finetuned_texts": (
        "Fine-tuned from {start} by {method} on {rows} labelled texts.",
        "从 {start} 出发，以 {method} 方法在 {rows} 条标注文本上微调。",
    ),
    "card_finetuned_images": (
        "Fine-tuned from {start} by {method} on {rows} labelled images.",
        "从 {start} 出发，以 {method} 方法在 {rows} 张标注图像上微调。",
    ),
    "card_mean": (
        "The scores stand on the mean of all tokens. Stock ViT classifiers look at the class "
        "token, so the last block of this folder is one that takes that mean. It computes in fp32 "
        "and bf16; fp16 cannot hold its numbers.",
        "得分取自所有词元的均值。通用的 ViT 分类器只看类别词元，"
        "因此本文件夹的最后一个块用于求该均值。它可用 fp32 和 bf16 计算；其数值超出 fp16 的范围。",
    ),
    "card_linear": (
        "The scores come from a linear map of the mean of the last hidden states, which the stock "
        "classifier of this family cannot express. It lies beside the body: "
        "`SentenceTransformer(folder).encode(text)` gives the raw scores, `headstart predict` the "
        "answers.",
        "得分来自对最后一层隐藏状态均值的线性映射，该家族的通用分类器无法表达它，因此它存放在主体之外："
        "`SentenceTransformer(folder).encode(text)` 给出原始得分，`headstart predict` 给出答案。",
    ),
    # endings
    "interrupted": (
        "Interrupted. The same command goes on where it stopped: {command}",
        "已中断。运行同一命令即可从中断处继续：{command}",
    ),
    "our_fault": (
        "this is a fault of headstart, not yours: {error}. "
        "HEADSTART_DEBUG=1 before the command shows where; please report it.",
        "这是 headstart 的缺陷，不是您的问题：{error}。"
        "在命令前加 HEADSTART_DEBUG=1 可查看位置；请反馈给我们。",
    ),
}


def worded(words: Words, key: str, lang: Lang, values: Mapping[str, object]) -> str:
    """The sentence of a key in one language, its values filled in.

    A value marked by `!t` in the Chinese is a message, and said in Chinese. Raises KeyError for an
    unknown key or a missing value.
    """
    template = words[key][LANGS.index(lang)]
    if "!t}" not in template:
        return template.format_map(values)
    from headstart.messages import filled  # only what is Chinese needs it

    return filled(template, values)


class Phrase(str):
    """An English sentence that can also be said in another language."""

    __slots__ = ("key", "values")
    key: str
    values: Mapping[str, object]

    def __new__(cls, key: str, values: Mapping[str, object]) -> Phrase:
        """The sentence `key` with `values` filled in."""
        phrase = super().__new__(cls, worded(WORDS, key, "en", values))
        phrase.key = key
        phrase.values = values
        return phrase


class Verbatim(str):
    """The user's own text, such as what a model wrote: shown as it is in any language."""

    __slots__ = ()


def say(key: str, **values: object) -> Phrase:
    """The phrase with its values filled in. Raises KeyError for an unknown key or value."""
    return Phrase(key, values)


def in_language(text: str, lang: Lang) -> str:
    """The phrase or message in the language asked for; other text as it is. Fit for a terminal."""
    said = text
    if isinstance(text, Phrase):
        said = worded(WORDS, text.key, lang, text.values)
    elif lang == "zh" and not isinstance(text, Verbatim):
        from headstart.messages import in_chinese  # only what is Chinese needs it

        said = in_chinese(text) or text
    return visible(said)


def visible(text: str) -> str:
    """The text as a terminal may have it, whatever a file name or a label holds.

    Control characters but line breaks and tabs, characters that turn the direction of writing, and
    halves of surrogate pairs are escaped.
    """
    return _INVISIBLE.sub(lambda match: escaped(match[0]), text)


def escaped(letter: str) -> str:
    """One character by its number."""
    number = ord(letter)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def language_of(environment: Mapping[str, str] | None = None) -> Lang:
    """The language of LC_ALL, LC_MESSAGES or LANG, in that order; English if it is not Chinese."""
    environment = os.environ if environment is None else environment
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(name, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
