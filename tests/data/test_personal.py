"""What has a form of its own is found; what only looks like it is not."""

import random

import pytest

from headstart.data.check import check_data
from headstart.data.personal import personal_data

HOLD = [
    ("write to jane.doe+lists@mail.example.co.uk, please", {"e-mail"}),
    ("邮箱zhang_wei@qq.com请联系", {"e-mail"}),
    ("call +49 30 1234567 or +1 (212) 555-0100", {"phone"}),
    ("call (212) 555-0100 now", {"phone"}),
    ("1-800-555-0199 is free", {"phone"}),
    ("手机13800138000，晚上打", {"phone"}),
    ("座机010-62770000", {"phone"}),
    ("paid with 4111 1111 1111 1111 yesterday", {"card"}),
    ("amex 378282246310005", {"card"}),
    ("身份证号11010519491231002X。", {"identity"}),
    ("ssn 123-45-6789", {"identity"}),
    ("AKIAIOSFODNN7EXAMPLE in a script", {"key"}),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", {"key"}),
    ("from 8.8.4.44 and 2001:4860:4860::8888", {"address"}),
    ("ann@b.org, 212-555-0100", {"e-mail", "phone"}),
]
HOLD_NOTHING = [
    "",
    "meet @ noon, follow @someone, or a@b",
    "see 2.3.1.4 of the manual, version v10.20.30.40",
    "at home 192.168.0.10, 127.0.0.1 and 10.0.0.1 are private",
    "4111 1111 1111 1112 has a wrong check digit",
    "0000 0000 0000 0000",
    "110105194912310021 has a wrong check digit",
    "110105199913310020 was born in month 13",
    "3.14159265358979323846, 1700000000, 20251231235959",
    "12:30:45 to 13:00:00, ratio 3:2, std::vector",
    "isbn 978-3-16-148410-0, 000-12-3456",
    "task-force of risk-averse people",
]


@pytest.mark.parametrize(("text", "kinds"), HOLD)
def test_personal_data_are_found_by_their_form(text: str, kinds: set[str]):
    assert personal_data(text) == kinds


@pytest.mark.parametrize("text", HOLD_NOTHING)
def test_what_only_looks_like_it_is_not(text: str):
    assert personal_data(text) == frozenset()


def test_planted_data_are_found_in_99_of_100_sentences():
    rng = random.Random(0)
    sentence = "the order came late and 3 of 12 boxes were damaged on 2024-05-03 at 10:45"
    words = sentence.split()
    found = 0
    for _ in range(1000):
        name = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz.", k=8)).strip(".") or "a"
        number = rng.randint
        planted = rng.choice(
            (
                f"{name}@{rng.choice(('mail', 'corp-x'))}.{rng.choice(('com', 'com.cn'))}",
                f"1{number(3, 9)}{number(10**8, 10**9 - 1)}",
                f"({number(200, 999)}) {number(200, 999)}-{number(1000, 9999)}",
                f"+{number(1, 99)} {number(10, 999)} {number(10**5, 10**7)}",
                f"{number(11, 126)}.{number(10, 255)}.{number(0, 255)}.{number(1, 254)}",
            )
        )
        at = rng.randrange(len(words))
        found += bool(personal_data(" ".join([*words[:at], planted, *words[at:]])))
    assert found >= 990
    assert not personal_data(sentence)


def test_a_check_counts_them_and_shows_none(tmp_path):
    path = tmp_path / "letters.csv"
    path.write_text(
        "text,label\nfine,a\nwrite to ann@b.org,b\nfine too,a\ncall 212-555-0100,b\n"
        '"ann@b.org again, or 212-555-0100",b\n'
    )
    (told,) = (one for one in check_data(path).problems if one.code == "W-DATA-061")
    assert str(told) == (
        f'W-DATA-061 {path}:3 column "text": 3 texts hold what looks like personal data: e-mail '
        "addresses (2), phone numbers (2); the first here. A model can repeat what it has read: "
        "mask them before others get the model."
    )
