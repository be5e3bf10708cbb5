"""The strict reader of settings files: what it refuses, where, and with which words."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import InputError
from headstart.strict_yaml import MAX_BYTES, parse_yaml, read_yaml

TEXT = st.text(
    st.characters(codec="ascii", min_codepoint=32, exclude_characters="\x7f"), max_size=12
)
TREE = st.dictionaries(
    TEXT,
    st.recursive(TEXT | st.none(), lambda t: st.lists(t) | st.dictionaries(TEXT, t), max_leaves=8),
    min_size=1,
)


def refusal(data: bytes) -> str:
    with pytest.raises(InputError) as refused:
        parse_yaml(data, source="run.yaml")
    return str(refused.value)


@given(TREE)
def test_text_that_yaml_writes_comes_back_unchanged(tree):
    written = yaml.safe_dump(tree, allow_unicode=True).encode()
    assert parse_yaml(written, source="run.yaml").tree == tree


def test_scalars_stay_text_and_know_their_lines():
    document = parse_yaml(b"lr: 1e-4\nmore:\n  a: no\n  b: [3.10, 0123]\n  c: ~\n", source="x")
    assert document.tree == {"lr": "1e-4", "more": {"a": "no", "b": ["3.10", "0123"], "c": None}}
    assert document.lines == {
        ("lr",): 1,
        ("more",): 2,
        ("more", "a"): 3,
        ("more", "b"): 4,
        ("more", "b", 0): 4,
        ("more", "b", 1): 4,
        ("more", "c"): 5,
    }


def test_a_quoted_null_is_text():
    assert parse_yaml(b"a: 'null'\nb: null\n", source="x").tree == {"a": "null", "b": None}


def test_an_empty_file_is_empty_settings():
    assert parse_yaml(b"# nothing\n", source="x").tree == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "lr: 1\nseed: 2\nlr: 3\n",
            "run.yaml, line 3, column 1: 'lr' is given twice, on lines 1 and 3. Keep one.",
        ),
        (
            "a: &x 1\nb: *x\n",
            "run.yaml, line 1, column 4: the anchor '&x': write values out.",
        ),
        ("b: *x\n", "run.yaml, line 1, column 4: the alias '*x': write the value out."),
        (
            "a: !!python/object:os.system {}\n",
            "run.yaml, line 1, column 4: the tag 'tag:yaml.org,2002:python/object:os.system': "
            "values carry no tags. Delete it.",
        ),
        (
            "model:\n\tsize: mini\n",
            "run.yaml, line 2, column 1: a tab (U+0009) in the indentation. Use spaces.",
        ),
        (
            "l\u200br: 1\n",
            "run.yaml, line 1, column 1: the name 'l\\u200br' holds a zero-width space (U+200B). "
            "Retype it.",
        ),
        (
            "name: “mlm”\n",
            "run.yaml, line 1, column 7: the value '“mlm”' holds a curly quote (U+201C). "
            "Retype it with plain characters.",
        ),
        (
            "seed： 3\n",
            "run.yaml, line 1, column 1: settings are 'name: value' lines, met 'seed： 3'. "
            "It holds a full-width colon (U+FF1A): use a plain colon.",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "run.yaml, line 2, column 1: a second document starts with '---'. Keep one a file.",
        ),
        (
            "a: [1\n",
            "run.yaml, line 2, column 1: not valid YAML: expected ',' or ']', but got "
            "'<stream end>'. Check the indentation, the colon after each name, and the quotes.",
        ),
        (
            "a: \x07\n",
            "run.yaml, line 1: the control character U+0007 cannot stand in settings. Delete it.",
        ),
        ("? [a]\n: 1\n", "run.yaml, line 1, column 3: a list or mapping cannot be a name."),
        ("a: " + "[" * 40 + "\n", "run.yaml, line 1, column 15: nested deeper than 12 levels."),
    ],
)
def test_surprises_are_refused_with_line_and_fix(text, message):
    assert refusal(text.encode()) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"\xef\xbb\xbfseed: 1\n",
            "run.yaml, line 1, column 1: a byte order mark (U+FEFF). Save the file as UTF-8 "
            "without it.",
        ),
        (
            "seed: 1\n".encode("utf-16"),
            "run.yaml, line 1: this is UTF-16 or UTF-32. Save it as plain UTF-8.",
        ),
        (
            "seed: 1\n".encode("utf-16-le"),
            "run.yaml, line 1: this is UTF-16 or UTF-32. Save it as plain UTF-8.",
        ),
        (
            "seed: 1\nout: é\n".encode("latin-1"),
            "run.yaml, line 2: byte 0xe9 is not UTF-8. Save it as plain UTF-8.",
        ),
    ],
)
def test_other_encodings_are_named(data, message):
    assert refusal(data) == message


def test_an_alias_bomb_is_refused_at_its_first_anchor():
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert refusal("\n".join(lines).encode()) == (
        "run.yaml, line 1, column 5: the anchor '&a0': write values out."
    )


def test_a_data_file_given_as_settings_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(InputError) as refused:
        read_yaml(path)
    assert str(refused.value) == (
        f"{path}: 1,000,001 bytes is too large for settings (at most 1,000,000). "
        "Is this a data file? Data goes on the command line, settings after --config."
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError) as refused:
        read_yaml(tmp_path / "no.yaml")
    assert str(refused.value) == (
        f"{tmp_path / 'no.yaml'}: cannot read the settings file: No such file or directory."
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_never_a_traceback(data):
    try:
        parse_yaml(data, source="run.yaml")
    except InputError as refused:
        assert str(refused).startswith("run.yaml, line ")  # noqa: PT017 - either ending is right
