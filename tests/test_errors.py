"""The exceptions that a user can meet."""

import pytest

from headstart import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.HeadstartError, 1),
        (errors.InputError, 2),
        (errors.MachineError, 3),
        (errors.CheckpointError, 4),
        (errors.NumericError, 6),
        (errors.Interrupted, 130),
    ],
)
def test_each_kind_of_failure_has_the_documented_exit_code(kind, code):
    assert kind("message").exit_code == code
    assert issubclass(kind, errors.HeadstartError)


def test_a_missing_package_is_answered_with_the_exact_install_command():
    answer = errors.missing_package("optuna", "tune")
    assert isinstance(answer, errors.MachineError)
    assert str(answer) == "this needs the package 'optuna': pip install 'headstart[tune]'"
