"""The few exceptions a user can meet. Each carries the exit code that the command line ends with.

A message says what is wrong with what, the value met, what is allowed, and the fix: it is printed
as it stands, without a traceback.
"""


class HeadstartError(Exception):
    """Base of all errors whose message is meant for the user."""

    exit_code = 1


class InputError(HeadstartError):
    """The user's data, settings or arguments cannot be used as they are."""

    exit_code = 2


class MachineError(HeadstartError):
    """The machine cannot do it: disk, memory, a missing optional package."""

    exit_code = 3


class CheckpointError(HeadstartError):
    """A checkpoint or model folder is damaged, incomplete or of an unknown kind."""

    exit_code = 4


class NumericError(HeadstartError):
    """Training kept producing loss or gradients that are not finite."""

    exit_code = 6


class Interrupted(HeadstartError):
    """A signal stopped the work; all is saved and the message says how to go on."""

    exit_code = 130


def missing_package(package: str, extra: str) -> MachineError:
    """The answer when an optional package is not installed."""
    return MachineError(f"this needs the package '{package}': pip install 'headstart[{extra}]'")
