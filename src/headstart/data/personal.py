"""Personal data in texts: what a model could learn by heart and say again.

In: texts. Out: which kinds of personal data each holds. Only kinds with a form of their own are
found, by this form and, where there is one, by their check digit; names are not. Nothing that was
found is shown or kept.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Generic, Literal, TypeVar

from headstart.data.record import Problem, problem

Place = TypeVar("Place")
Personal = Literal["e-mail", "phone", "card", "identity", "key", "address"]

# in the order in which they are told
PERSONAL: dict[Personal, str] = {
    "e-mail": "e-mail addresses",
    "phone": "phone numbers",
    "card": "payment card numbers",
    "identity": "identity numbers",
    "key": "keys or passwords of services",
    "address": "internet addresses of computers",
}
# every text is searched for this first
_ANY = re.compile(
    r"@|\d(?:[ .()/-]{0,2}\d){6}|\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f]?:[0-9A-Fa-f]{0,4}:"
    r"|AKIA|gh[pousr]_|sk-|xox[abprs]-|AIza|PRIVATE KEY|eyJ"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
    r"(?![A-Za-z0-9-])"
)
_PHONE = re.compile(
    r"(?<![\w.+/-])(?:"
    r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"  # +49 30 1234567
    r"|(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}"  # (212) 555-0100
    r"|1[3-9]\d[ -]?\d{4}[ -]?\d{4}"  # 138 0013 8000
    r"|0\d{2,3}-\d{7,8}"  # 010-62770000
    r")(?![\w-]|\.\d)",
    re.ASCII,
)
_CARD = re.compile(
    r"(?<![\d.])(?:[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5})(?!\d)"
)
_CHINESE_ID = re.compile(r"(?<!\d)\d{17}[\dXx](?![\dA-Za-z])")
_SOCIAL = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_KEY = re.compile(
    r"\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bsk-[A-Za-z0-9_-]{20}"
    r"|\bxox[abprs]-[0-9A-Za-z-]{10}"
    r"|\bAIza[0-9A-Za-z_-]{35}|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."
)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){3,7}(?![\w:])", re.ASCII)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def personal_data(text: str) -> frozenset[Personal]:
    """The kinds of personal data in a text."""
    if not _ANY.search(text):
        return frozenset()
    return frozenset(kind for kind, found in _FINDERS.items() if found(text))


@dataclass(frozen=True)
class Where:
    """A record's line and column, and what a sentence calls its place."""

    line: int = 0
    column: str = ""
    said: str = "here"


@dataclass
class PersonalCounts(Generic[Place]):
    """How many texts hold personal data, by kind, and where the first of them is."""

    counts: Counter[Personal] = field(default_factory=Counter)
    records: int = 0
    first: Place | None = None

    def look(self, text: str, place: Place) -> None:
        """Count one text."""
        kinds = personal_data(text)
        if kinds:
            self.counts.update(kinds)
            self.records += 1
            self.first = place if self.first is None else self.first

    def problems(
        self, source: str, what: str, *, where: Callable[[Place], Where]
    ) -> Iterator[Problem]:
        """The warning, if there is anything to warn of. what: the records are."""
        if self.first is None:
            return
        place = where(self.first)
        first = place.said
        kinds = ", ".join(
            f"{name} ({self.counts[kind]})" for kind, name in PERSONAL.items() if self.counts[kind]
        )
        yield problem(
            61,
            "warn",
            source=source,
            line=place.line,
            column=place.column,
            message=(
                f"{self.records} {what} hold what looks like personal data: {kinds}; "
                f"the first {first}."
            ),
            fix="A model can repeat what it has read: mask them before others get the model.",
        )


def _cards(text: str) -> bool:
    return any(_luhn(re.sub(r"\D", "", match[0])) for match in _CARD.finditer(text))


def _luhn(digits: str) -> bool:
    """The check digit of ISO/IEC 7812, of numbers as long as their issuers make them."""
    lengths = {"3": (15,), "4": (13, 16, 19), "5": (16,), "2": (16,), "6": (16, 17, 18, 19)}
    if len(digits) not in lengths[digits[0]] or len(set(digits)) == 1:
        return False
    doubled = [2 * int(d) for d in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(d - 9 * (d > 9) for d in doubled)) % 10 == 0


def _identities(text: str) -> bool:
    if _SOCIAL.search(text):
        return True
    return any(_chinese_id(match[0]) for match in _CHINESE_ID.finditer(text))


def _chinese_id(number: str) -> bool:
    """A possible day of birth, and the check digit of GB 11643."""
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number, strict=False))
    return born.year >= 1900 and "10X98765432"[total % 11] == number[17].upper()


def _computers(text: str) -> bool:
    matches = [*_IPV4.finditer(text), *_IPV6.finditer(text)]
    return any(_of_the_internet(match[0]) for match in matches)


def _of_the_internet(address: str) -> bool:
    """Whether it is a public address, and not the number of a chapter."""
    if all(len(part) == 1 for part in address.split(".")) and "." in address:
        return False
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _seen(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.search(text) is not None


_FINDERS: dict[Personal, Callable[[str], bool]] = {
    "e-mail": _seen(_EMAIL),
    "phone": _seen(_PHONE),
    "card": _cards,
    "identity": _identities,
    "key": _seen(_KEY),
    "address": _computers,
}
