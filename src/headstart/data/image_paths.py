"""A path that stands in a table: found beside the table, or refused.

In: what a cell says. Out: a file inside the table's folder, or why not. Nothing is ever fetched,
and no link, drive letter or ".." leads out.
"""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from headstart.data.columns import nearest
from headstart.data.picture import Fault
from headstart.data.record import quoted, shown

LONGEST_PATH = 4096
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: "C:" is a drive


class Beside:
    """Files by their paths relative to one folder. Listings of folders are kept."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._home = folder.resolve()
        self._listed: dict[Path, list[str]] = {}

    def find(self, name: str) -> Path | Fault:
        """The file, or why it cannot be used."""
        fault = self._refused(name)
        if fault is not None:
            return fault
        path = self.folder / name
        try:
            real = path.resolve()
            if not real.is_relative_to(self._home):
                return self._leaves(name)
            if real.is_file():
                return path
            there = real.exists()
        except (OSError, RuntimeError):  # a loop of links, a name that is too long
            there = False
        if there:
            message = f"{quoted(name)} is no regular file, so it is not opened."
            return Fault(49, "quarantine", message, "Put the image itself in its place.")
        return self._missing(name)

    def _refused(self, name: str) -> Fault | None:
        if not name.strip():
            return Fault(40, "quarantine", "there is no image.", "Fill it in, or remove the row.")
        if _ADDRESS.match(name):
            message = f"{quoted(name)} is an address, and nothing is ever fetched."
            fix = "Download the images, and write their paths beside the table."
            return Fault(46, "reject", message, fix)
        if len(name) > LONGEST_PATH or "\0" in name:
            message = f"{quoted(name)} is not a path."
            return Fault(46, "reject", message, "Write the path of an image beside the table.")
        if name.startswith(("/", "~", "\\")) or PureWindowsPath(name).drive:
            message = f"{quoted(name)} is an absolute path; paths are looked for beside the table."
            fix = "Write it relative to the table's folder."
            return Fault(46, "reject", message, fix)
        return None

    def _leaves(self, name: str) -> Fault:
        message = f"{quoted(name)} leads out of the table's folder."
        return Fault(46, "reject", message, "Put the images below the table's folder.")

    def _missing(self, name: str) -> Fault:
        slashed = name.replace("\\", "/")
        for candidate in dict.fromkeys((slashed, unquote(slashed))):
            there = self._spelled(candidate)
            if there is not None:
                message = f"there is no file {quoted(name)}, but there is {quoted(there)}."
                return Fault(47, "reject", message, "Write the path as the file is named.")
        parent = (self.folder / slashed).parent
        near = nearest(Path(slashed).name, self._names(parent))
        hint = f" The most alike is {quoted(near)}." if near else ""
        message = f"there is no file {quoted(name)} in {shown(str(self.folder), most=400)}.{hint}"
        return Fault(47, "quarantine", message, "Add the image, or remove the row.")

    def _spelled(self, name: str) -> str | None:
        """The path of a file that is written like this but for upper and lower case."""
        here, found = self._home, []
        for part in Path(name).parts:
            names = self._names(here)
            same = part if part in names else None
            folded = part.casefold()
            match = same or next((n for n in names if n.casefold() == folded), None)
            if match is None:
                return None
            here = here / match
            found.append(match)
        inside = here.resolve().is_relative_to(self._home)
        return "/".join(found) if inside and here.is_file() else None

    def _names(self, folder: Path) -> list[str]:
        real = folder.resolve()
        if real not in self._listed:
            inside = real.is_relative_to(self._home) and real.is_dir()
            self._listed[real] = sorted(p.name for p in real.iterdir()) if inside else []
        return self._listed[real]
