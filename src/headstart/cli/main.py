"""The program `headstart`: its verbs, its exit codes, and what happens when something goes wrong.

A failure is one message on stderr and an exit code: 0 done, 1 our own fault, 2 the user's input,
3 the machine, 4 a bad checkpoint, 6 numbers that are not finite, 130 interrupted. A traceback is
shown only with HEADSTART_DEBUG=1.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Protocol, runtime_checkable

import typer

from headstart import __version__
from headstart.cli import training, using
from headstart.cli.help import ChineseProgram, ChineseVerb
from headstart.errors import HeadstartError, Interrupted, MachineError
from headstart.words import LANGS, Lang, Phrase, in_language, language_of, say, visible

VERBS = (
    training.report,
    training.pretrain,
    training.finetune,
    using.evaluate,
    using.predict,
    using.generate,
    using.compare,
    using.check,
    training.plan,
    using.doctor,
    training.demo,
)
NO_MEMORY = (
    "not enough memory. Try a smaller --size, --max-length, or --set data.tokens_per_batch=2048; "
    "`headstart plan` forecasts what is needed."
)
NO_SPACE = (
    "no space left on the disk of {place}. Free some, or choose another place with --out; "
    "the same command goes on."
)


@runtime_checkable
class UsageFault(Protocol):
    """What the command-line parser raises for a wrong command line."""

    exit_code: int

    def format_message(self) -> str:
        """What is wrong, in one sentence."""


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"headstart {__version__}\n")
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Pretrain transformers on your own text and images, and learn whether it paid.

    Start with: headstart demo
    """


def make_app(lang: Lang = "en") -> typer.Typer:
    """The command line with all its verbs. lang: what help is shown in."""
    program, command = (ChineseProgram, ChineseVerb) if lang == "zh" else (None, None)
    app = typer.Typer(
        name="headstart",
        cls=program,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_program)
    for verb in VERBS:
        app.command(verb.__name__, cls=command)(verb)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # we say it ourselves
    try:
        with terminable():
            app = make_app(language_asked(given))
            code = app(args=given, standalone_mode=False, prog_name="headstart")
    except BaseException as failure:
        sys.exit(answer(failure, given))
    if code == Interrupted.exit_code:  # the parser turns Ctrl-C into a code
        sys.exit(answer(KeyboardInterrupt(), given))
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def terminable() -> Iterator[None]:
    """Within it SIGTERM ends the program as Ctrl-C does; in training `train.signals` answers."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def answer(failure: BaseException, arguments: Sequence[str]) -> int:
    """Say on stderr what went wrong; the exit code. arguments: the command line, to repeat it."""
    if isinstance(failure, SystemExit):
        return failure.code if isinstance(failure.code, int) else 0
    if os.environ.get("HEADSTART_DEBUG") == "1":
        traceback.print_exception(failure)
    code, message = explain(failure, arguments)
    if message:
        sys.stderr.write(in_both(message, language_asked(arguments)) + "\n")
    return code


def in_both(message: str, lang: Lang) -> str:
    """The message in the reader's language; below one in Chinese, what to search for in English."""
    said, original = in_language(message, lang).rstrip(), visible(message).rstrip()
    return said if said == original or isinstance(message, Phrase) else f"{said}\n{original}"


def language_asked(arguments: Sequence[str]) -> Lang:
    """The language of --lang on a command line, wrong or right; else the environment's."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    given = [
        after if option == "--lang" else option.removeprefix("--lang=")
        for option, after in zip(options, [*options, ""][1:], strict=True)
        if option == "--lang" or option.startswith("--lang=")
    ]
    return next((lang for lang in LANGS if lang in given[-1:]), language_of())


def explain(failure: BaseException, arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code and message of a failure; an empty message where all has been said."""
    said: tuple[int, str]
    match failure:
        case KeyboardInterrupt() | typer.Abort() | Interrupted(args=()):
            command = shlex.join(["headstart", *arguments])
            said = 130, say("interrupted", command=command)
        case HeadstartError():
            said = failure.exit_code, str(failure)
        case UsageFault():
            said = failure.exit_code, failure.format_message()
        case BrokenPipeError():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the reader has left
            said = 0, ""
        case MemoryError():
            said = MachineError.exit_code, NO_MEMORY
        case OSError(errno=errno.ENOSPC):
            place = failure.filename or "the run folder"
            said = MachineError.exit_code, NO_SPACE.format(place=place)
        case _:
            name = type(failure).__name__
            error = f"{name}: {failure}" if str(failure) else name
            said = 1, say("our_fault", error=error)
    return said
