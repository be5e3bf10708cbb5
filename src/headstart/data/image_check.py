"""Look through images before they are used: every problem in one pass, every record counted.

In: paths. Out: the same `CheckReport` as for texts. Every image is decoded once, to a small size at
which copies are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from headstart.data.check import CheckReport
from headstart.data.image_files import SPLITS, class_folder_remarks, class_of, walk
from headstart.data.image_leaks import ImageLeakReport, find_image_leaks
from headstart.data.images import Images, contradictions, load_images
from headstart.data.labels import NO_VALUE, class_warnings, no_value_among_numbers
from headstart.data.pairs import caption_remarks
from headstart.data.record import Problem, problem, quoted, shown

SIDE = 32  # pixels, at which copies are compared


def check_images(
    paths: str | Path | Sequence[str | Path],
    *,
    image: str | None = None,
    label: str | None = None,
    test: str | Path | None = None,
    encoding: str | None = None,
    also: Callable[[Images, str], Iterable[Problem]] = lambda _, __: (),
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Decode every image under the paths and report all that is wrong with them.

    image, label: columns; with a label named, images without one are set aside. test: a test file
    or folder, to be checked for its classes and for copies of its images in the data. encoding: of
    tables, as in `read_rows`. also: what else there is to remark on the images of this source.
    Raises InputError when there is no image that can be used.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    named = label is not None
    images = load_images(
        given,
        side=SIDE,
        image=image,
        label=label,
        labelled=named,
        encoding=encoding,
        progress=progress,
    )
    problems, classes = list(images.problems), _classes(images)
    if classes:
        labels = [name for name in images.labels if name]
        problems += contradictions(images)
        named_so = zip(images.origins, images.labels, strict=True)
        places = [origin for origin, name in named_so if name.casefold() in NO_VALUE]
        found = no_value_among_numbers(labels, places, str(given[0]), label or "")
        problems += found or class_warnings(labels, "", "classes", str(given[0]), label or "")
    problems += _folder_remarks(images, [Path(path) for path in given], classes)
    problems += _caption_remarks(images, str(given[0]))
    problems += also(images, str(given[0]))
    leaks, notes = None, list(images.notes)
    if test is not None:
        tested = load_images(
            test, side=SIDE, image=image, label=label, labelled=named, encoding=encoding
        )
        leaks, found = _check_test(images, classes, test, tested)
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


def _folder_remarks(
    images: Images, paths: Sequence[Path], classes: Counter[str]
) -> Iterator[Problem]:
    """Warnings about folders and images that a labelled task would stumble over."""
    source = str(paths[0])
    for root in paths if classes else ():
        if root.is_dir():
            folders = {class_of(path, root) for path in walk(root)[0]} - {""}
            yield from class_folder_remarks(root, folders)
    named = zip(images.origins, images.labels, strict=True)
    without = [origin for origin, name in named if not name]
    if classes and without:
        where = shown(without[0], most=400)
        message = f"{len(without)} images have no class, first {where}."
        fix = "Learning classes leaves them out: give each one, or remove it."
        yield problem(55, "warn", source=source, message=message, fix=fix)
    splits = {name for name in images.labels if name}
    if splits and not classes:
        message = f"its folders are splits ({', '.join(sorted(splits))}), no classes."
        fix = "Check one of them, with the other as --test."
        yield problem(54, "warn", source=source, message=message, fix=fix)


def _caption_remarks(images: Images, source: str) -> Iterator[Problem]:
    """Warnings about captions, where there are some."""
    if not any(images.captions):
        return
    yield from caption_remarks(images, source)
    without = [n for n, captions in enumerate(images.captions) if not captions]
    if without:
        where = shown(images.origins[without[0]], most=400)
        message = f"{len(without)} images have no caption, first {where}."
        fix = "Learning from captions leaves them out: fill them in, or remove the rows."
        yield problem(48, "warn", source=source, message=message, fix=fix)


def _check_test(
    images: Images,
    classes: Counter[str],
    test: str | Path,
    tested: Images,
) -> tuple[ImageLeakReport, list[Problem]]:
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
    return leaks, problems
