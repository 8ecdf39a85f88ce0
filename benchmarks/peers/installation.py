"""Installed distributions and their size on disk."""

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def is_installed(distribution: str) -> bool:
    """Return whether this environment has the distribution."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def installed_bytes(distributions: tuple[str, ...]) -> int:
    """Bytes of all files of these distributions and of all that they require, each counted once.

    What is required but not installed, such as for another platform, counts nothing. Of an editable
    installation the package's own sources are not among its files.
    """
    found: set[str] = set()
    waiting = [Requirement(name) for name in distributions]
    total = 0
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or not is_installed(name):
            continue
        found.add(name)
        distribution = metadata.distribution(name)
        paths = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
        total += sum(path.stat().st_size for path in paths if path.is_file())
        waiting += [
            needed
            for needed in map(Requirement, distribution.requires or ())
            if needed.marker is None
            or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras))
        ]
    return total
