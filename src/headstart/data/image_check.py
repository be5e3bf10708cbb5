"""Look through images before they are used: every problem in one pass, every record counted.

In: paths. Out: the same `CheckReport` as for texts. Every image is decoded once, to a small size at
which copies are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from headstart.data.check import CheckReport
from headstart.data.image_files import SPLITS
from headstart.data.image_leaks import ImageLeakReport, find_image_leaks
from headstart.data.images import Images, contradictions, load_images
from headstart.data.labels import class_warnings
from headstart.data.record import Problem, problem, quoted

SIDE = 32  # pixels, at which copies are compared


def check_images(
    paths: str | Path | Sequence[str | Path],
    *,
    label: str | None = None,
    test: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Decode every image under the paths and report all that is wrong with them.

    label: a column; images without a label are then set aside. test: a test file or folder, to be
    checked for its classes and for copies of its images in the data.
    Raises InputError when there is no image that can be used.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    named = label is not None
    images = load_images(given, side=SIDE, label=label, labelled=named, progress=progress)
    problems, classes = list(images.problems), _classes(images)
    if classes:
        labels = [name for name in images.labels if name]
        problems += contradictions(images)
        problems += class_warnings(labels, "", "classes", str(given[0]), label or "")
    leaks, notes = None, list(images.notes)
    if test is not None:
        leaks, found, tested = _check_test(images, classes, test, label)
        problems += found
        notes += tested.notes
    return CheckReport(
        images.rows,
        len(images),
        images.quarantined,
        images.rejected,
        tuple(problems),
        tuple(notes),
        dict(sorted(classes.items())),
        len(images) - len({row.tobytes() for row in images.digests}),
        leaks,
    )


def _classes(images: Images) -> Counter[str]:
    """How often each class occurs; folders of splits are no classes."""
    found = Counter(name for name in images.labels if name)
    return Counter() if {name.lower() for name in found} <= SPLITS else found


def _check_test(
    images: Images, classes: Counter[str], test: str | Path, label: str | None
) -> tuple[ImageLeakReport, list[Problem], Images]:
    tested = load_images(test, side=SIDE, label=label, labelled=label is not None)
    problems = list(tested.problems)
    for name in _classes(tested) if classes else ():
        if name not in classes:
            message = f"the class {quoted(name)} is only among the test images."
            fix = "Add training images of this class, or correct its spelling."
            source = str(test)
            problems.append(
                problem(25, "warn", source=source, value=name, message=message, fix=fix)
            )
    leaks = find_image_leaks(images, test=tested)
    if leaks.drop:
        fix = "They are left out of pretraining; remove them from training data."
        problems.append(problem(37, "warn", source=str(test), message=f"{leaks}.", fix=fix))
    return leaks, problems, tested
