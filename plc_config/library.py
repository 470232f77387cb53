"""Finding files by name: the shipped cell types, profiles and sites, or the site engineer's own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from plc_config.problem import ConfigError, Problem
from plc_config.schema.base import check, salvage
from plc_config.schema.cell import CellType
from plc_config.schema.profile import Profile
from plc_config.sense import complaints
from plc_config.strict_yaml import Document, load

DATA: Final = Path(__file__).parent / "data"


def shipped(folder: str) -> list[str]:
    """Names of the shipped files of one kind: cells, profiles or sites."""
    return sorted(p.stem for p in (DATA / folder).glob("*.yaml"))


def find(kind: str, name: str, beside: Path | None = None) -> Path | None:
    """The file of a name: `<folder of the site>/<kind>/NAME.yaml` first, then the shipped one."""
    for folder in ([beside / kind] if beside else []) + [DATA / kind]:
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    return None


def site_path(site: str) -> Path:
    """The file of SITE: a path, or the name of a shipped site."""
    path = Path(site)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    known = find("sites", site)
    if known is None:
        right = f"give a file, or one of: {', '.join(shipped('sites'))}"
        raise ConfigError([Problem(site, 1, 1, f"no site of the name {site!r}", right)])
    return known


@cache
def profile_at(path: Path) -> tuple[Profile, Document]:
    """A checked device profile and its document."""
    document = load(path)
    try:
        return check(Profile, document), document
    except ConfigError as error:
        rest = salvage(Profile, document)
        more = [document.problem(*complaint) for complaint in complaints(rest)] if rest is not None else []
        raise ConfigError([*error.problems, *more]) from error


@cache
def cell_type_at(path: Path) -> tuple[CellType, Document]:
    """A checked cell type and its document."""
    document = load(path)
    return check(CellType, document), document
