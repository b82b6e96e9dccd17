"""A folder -> the folders of networks in it, and what was not looked into."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..facts import Refusal, RefusalKind
from .alike_names import number_alike
from .model_file import printable

# Below the models folder; deeper ones are a circle, or made to be one.
DEEPEST_FOLDER = 32
MOST_FOLDERS = 10_000
# So many unreadable folders are named.
MOST_REFUSALS = 20


@dataclass(frozen=True, eq=False)
class FoundNetworks:
    """The folders that hold ``.onnx`` files, by a printable name that no other has.

    ``refusals`` say what was not looked into, and why nothing was found.
    """

    networks: dict[str, Path]
    refusals: tuple[Refusal, ...] = ()


def find_networks(root: str | os.PathLike[str]) -> dict[str, Path]:
    """Return the folders under ``root`` that hold ``.onnx`` files, ``root`` itself among them.

    Their names are printable: one that is not UTF-8 could not be sent to a browser.
    """
    return look_for_networks(root).networks


def look_for_networks(root: str | os.PathLike[str]) -> FoundNetworks:
    """Return what `find_networks` does, and what stood in its way. Follows no links."""
    search = _Search(Path(root))
    search.run()
    return FoundNetworks(search.name_networks(), tuple(search.list_refusals()))


class _Search:
    """A walk through folders, level by level, so that what is cut off is the deepest."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._name = printable(root.absolute().name)
        self._found: list[Path] = []
        self._unreadable: list[Refusal] = []
        self._looked_into = 0
        self._too_deep = self._too_many = False

    def run(self) -> None:
        level = [self._root]
        for _ in range(DEEPEST_FOLDER + 1):
            following: list[Path] = []
            for folder in level:
                if self._looked_into == MOST_FOLDERS:
                    self._too_many = True
                    return
                self._looked_into += 1
                following += self._look_into(folder)
            level = following
        self._too_deep = bool(level)

    def _look_into(self, folder: Path) -> list[Path]:
        """Note whether a folder holds a model; return the folders in it."""
        inside, holds_model = [], False
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        inside.append(folder / entry.name)
                    else:
                        holds_model |= entry.name.endswith(".onnx")
        except OSError as error:
            self._unreadable.append(self._refuse(folder, error))
        if holds_model:
            self._found.append(folder)
        return sorted(inside)

    def _refuse(self, folder: Path, error: OSError) -> Refusal:
        is_root = folder == self._root
        return refuse_folder(
            self._name if is_root else printable(str(folder.relative_to(self._root))), error
        )

    def name_networks(self) -> dict[str, Path]:
        """Return the folders by name, in order; those that print alike are numbered."""
        folders = sorted(self._found)
        names = [
            printable(f.name if f == self._root else str(f.relative_to(self._root)))
            for f in folders
        ]
        return dict(zip(number_alike(names), folders, strict=True))

    def list_refusals(self) -> list[Refusal]:
        refusals = self._unreadable[:MOST_REFUSALS]
        if self._too_many:
            refusals.append(
                Refusal(RefusalKind.TOO_MANY_FOLDERS, name=self._name, limit=MOST_FOLDERS)
            )
        if self._too_deep:
            refusals.append(
                Refusal(RefusalKind.FOLDERS_TOO_DEEP, name=self._name, limit=DEEPEST_FOLDER)
            )
        if not self._found and not refusals:
            refusals.append(Refusal(RefusalKind.NO_MODELS, name=self._name))
        return refusals


def refuse_folder(name: str, error: OSError) -> Refusal:
    """Return why a folder cannot be read."""
    if isinstance(error, FileNotFoundError):
        return Refusal(RefusalKind.NO_FOLDER, name=name)
    if isinstance(error, NotADirectoryError):
        return Refusal(RefusalKind.NOT_A_FOLDER, name=name)
    reason = error.strerror or type(error).__name__
    return Refusal(RefusalKind.FOLDER_UNREADABLE, name=name, reason=reason)
