"""Pairing pictures with instance maps and with the rows of the manifest."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.text import counted, few
from umseg.dataset.check.problems import Problem
from umseg.dataset.convert.manifest import USUAL_COLUMNS, Columns, Row, case_name, read_manifest
from umseg.dataset.dataset import Case
from umseg.dataset.io.registry import format_of, picture_endings
from umseg.dataset.listing import list_folder, refuse_lost

log = logging.getLogger(__name__)

REMEDY = "Name a folder with images/ and instances/: for each images/CASE.png a map instances/CASE.tif."


def list_cases(source: Path, columns: Columns) -> tuple[Mapping[str, Row], list[Case], list[Problem]]:
    """The manifest's row of each case, the cases, and the problems of both.

    Raises:
        UserError: A folder is missing or has no picture, or the manifest is wrong.
    """
    cases, problems = pair_files(source)
    manifest = source / "manifest.csv"
    if not manifest.is_file():
        if columns != USUAL_COLUMNS:
            raise UserError(
                "Columns were named, but there is no manifest.", file=manifest, remedy="Add it beside images/."
            )
        return {case.id: Row() for case in cases}, cases, problems
    rows = read_manifest(manifest, columns)
    names = {case.id for case in cases} | {problem.case for problem in problems}
    problems += [
        Problem(
            "The manifest names a case that has no files.",
            name,
            manifest,
            found="",
            expected=f"images/{name}.png and instances/{name}.tif",
            remedy="Add the files, or remove the row.",
        )
        for name in sorted(set(rows) - names)
    ]
    problems += [
        Problem(
            "A case is not in the manifest.",
            case.id,
            case.images[0],
            found="",
            expected=f"a row in {manifest.name}",
            remedy="Add a row, or take the files out.",
        )
        for case in cases
        if case.id not in rows
    ]
    return rows, cases, problems


def pair_files(source: Path) -> tuple[list[Case], list[Problem]]:
    """The cases with an image and an instance map, sorted, and a problem for each file without a counterpart.

    Raises:
        UserError: A folder is missing, or has no picture.
    """
    images, problems = _pictures(source / "images")
    maps, more = _pictures(source / "instances")
    # Some data sets call the map of CASE CASE_label.
    maps = {_image_of(name, images, maps): path for name, path in maps.items()}
    problems += more
    problems += [
        Problem(
            "An image has no instance map.",
            name,
            images[name],
            found="",
            expected=f"instances/{name}.tif, .png or .bmp",
            remedy="Add the map, or take the image out of images/.",
        )
        for name in sorted(set(images) - set(maps))
    ]
    problems += [
        Problem(
            "An instance map has no image.",
            name,
            maps[name],
            found="",
            expected=f"images/{name}.png or another picture",
            remedy="Add the image, or take the map out of instances/.",
        )
        for name in sorted(set(maps) - set(images))
    ]
    both = sorted(set(images) & set(maps))
    return [Case(id=name, images=(images[name],), label=maps[name]) for name in both], problems


def _pictures(folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """The file of each case, and a problem for each further file of the same case. Hidden files do not count."""
    refuse_lost(folder)
    if not folder.is_dir():
        raise UserError(f"The folder {folder.name} does not exist.", file=folder, remedy=REMEDY)
    files, _ = list_folder(folder)
    pictures = [path for path in files if format_of(path).is_picture]
    if not pictures:
        raise UserError(
            f"The folder {folder.name} has no pictures.",
            file=folder,
            found=counted(len(files), "file"),
            expected="files ending in " + ", ".join(picture_endings()),
            remedy=REMEDY,
        )
    if len(pictures) < len(files):
        others = few(path.name for path in files if path not in pictures)
        log.warning("%s: files that are no pictures are skipped: %s", folder, others)
    found: dict[str, Path] = {}
    problems = [
        Problem(
            "Two files have the name of one case.",
            case_name(path.name),
            path,
            found=f"{path.name} and {first.name}",
            expected="one file per case",
            remedy="Remove or rename one of them.",
        )
        for path in pictures
        if (first := found.setdefault(case_name(path.name), path)) is not path
    ]
    return found, problems


def _image_of(name: str, images: Container[str], maps: Container[str]) -> str:
    bare = name.removesuffix("_label")
    return name if name in images or bare in maps else bare
