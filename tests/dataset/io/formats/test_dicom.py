from __future__ import annotations

import locale
import shutil
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from scipy.spatial.transform import Rotation

from tests.dataset.builder import write_description, write_image
from tests.dataset.dicom_builder import PATIENT, write_series, write_slice
from umseg.common.errors import UserError
from umseg.dataset.check.case import check_case
from umseg.dataset.check.digest import case_digest
from umseg.dataset.check.problems import DatasetError
from umseg.dataset.dataset import find_cases, load_dataset, survey_dataset
from umseg.dataset.io.formats.dicom.format import Dicom
from umseg.dataset.io.formats.lazy_sitk import same_locale
from umseg.dataset.io.images import count_components, read_image, read_label, write_label

TILTED = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()


def noise(shape: tuple[int, ...] = (5, 6, 7), dtype: type = np.int16) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(1, 200, shape).astype(dtype)


class TestReading:
    def test_slices_are_ordered_by_place_whatever_their_names(self, tmp_path: Path) -> None:
        values = noise()
        write_series(tmp_path / "a", values)
        image = read_image([tmp_path / "a"])
        np.testing.assert_array_equal(image.array[0], values)
        assert image.notices == ()
        assert image.spacing == pytest.approx((2.0, 0.75, 0.5))
        assert image.geometry.origin == pytest.approx((10, -20, 30))
        assert image.geometry.direction == pytest.approx(np.eye(3).ravel())
        assert count_components(tmp_path / "a") == 1

    def test_the_locale_of_the_process_stays(self, tmp_path: Path) -> None:
        """Python would take text files for ASCII in the locale that GDCM sets."""
        write_series(tmp_path / "a", noise())
        before = locale.setlocale(locale.LC_ALL)
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8" if sys.platform == "linux" else "")
        try:
            chosen = locale.setlocale(locale.LC_ALL)
            read_image([tmp_path / "a"])
            assert locale.setlocale(locale.LC_ALL) == chosen
        finally:
            locale.setlocale(locale.LC_ALL, before)

    @settings(max_examples=15, deadline=None)
    @given(
        angles=st.tuples(*[st.floats(-180, 180)] * 3),
        spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
        origin=st.tuples(*[st.floats(-500, 500)] * 3),
    )
    def test_grid_is_that_of_gdcms_own_reader(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        angles: tuple[float, float, float],
        spacing: tuple[float, float, float],
        origin: tuple[float, float, float],
    ) -> None:
        folder = tmp_path_factory.mktemp("series")
        axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        write_series(folder, noise(), spacing, origin, axes)
        image = read_image([folder])
        theirs = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
        np.testing.assert_array_equal(image.array[0], sitk.GetArrayFromImage(theirs))
        assert image.geometry.size == theirs.GetSize()
        assert image.geometry.spacing == pytest.approx(theirs.GetSpacing(), rel=1e-4)
        assert image.geometry.origin == pytest.approx(theirs.GetOrigin(), abs=1e-4)
        assert image.geometry.direction == pytest.approx(theirs.GetDirection(), abs=1e-5)

    def test_every_slice_has_its_own_slope_and_intercept(self, tmp_path: Path) -> None:
        values = 2 * noise((2, 6, 7))
        write_series(tmp_path, values[:1], tags={"0028|1053": "2", "0028|1052": "-100"})
        write_series(tmp_path, values[1:], origin=(10, -20, 32), tags={"0028|1053": "1", "0028|1052": "5"}, first=1)
        np.testing.assert_array_equal(read_image([tmp_path]).array[0], values)
        # Slopes of real scans have fractions: the text of the first is changed in the file.
        whole, half = b"\x28\x00\x53\x10\x02\x00\x00\x002 ", b"\x28\x00\x53\x10\x02\x00\x00\x00.5"
        content = (tmp_path / "IM0001.dcm").read_bytes()
        assert content.count(whole) == 1
        (tmp_path / "IM0001.dcm").write_bytes(content.replace(whole, half))
        array = read_image([tmp_path]).array[0]
        np.testing.assert_array_equal(array[0], (values[0] + 100) / 4 - 100)
        np.testing.assert_array_equal(array[1], values[1])

    @pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
    def test_compressed_slices(self, tmp_path: Path, compressor: str) -> None:
        values = noise((3, 16, 16))
        write_series(tmp_path, values, compressor=compressor)
        np.testing.assert_array_equal(read_image([tmp_path]).array[0], values)

    def test_files_without_ending_and_other_files_beside_them(self, tmp_path: Path) -> None:
        values = noise()
        for path in write_series(tmp_path, values):
            path.rename(path.with_suffix(""))
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / ".hidden.dcm").write_text("x")
        (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
        np.testing.assert_array_equal(read_image([tmp_path]).array[0], values)

    def test_reports_beside_the_slices_are_no_slices(self, tmp_path: Path) -> None:
        values = noise()
        source = write_series(tmp_path, values)[0].read_bytes()
        ct, report = b"\x1a\x001.2.840.10008.5.1.4.1.1.2\0", b"\x1c\x001.2.840.10008.5.1.4.1.1.88.1"
        at = source.find(ct)
        assert at > 0
        (tmp_path / "report.dcm").write_bytes(source[:at] + report + source[at + len(ct) :])
        np.testing.assert_array_equal(read_image([tmp_path]).array[0], values)
        for path in tmp_path.glob("IM*"):
            path.unlink()
        with pytest.raises(UserError, match="no DICOM image"):
            read_image([tmp_path])

    def test_one_slice_is_as_thick_as_it_says(self, tmp_path: Path) -> None:
        write_series(tmp_path, noise((1, 6, 7)))
        image = read_image([tmp_path])
        assert image.geometry.size == (7, 6, 1)
        assert image.spacing == pytest.approx((2.0, 0.75, 0.5))

    def test_an_image_without_a_place_is_2d(self, tmp_path: Path) -> None:
        # The class of secondary captures, for which nothing is written of the patient's axes.
        path = tmp_path / "x.dcm"
        sitk.WriteImage(sitk.GetImageFromArray(noise((6, 7), np.uint8)), str(path))
        image = read_image([path])
        assert image.array.shape == (1, 1, 6, 7)
        np.testing.assert_array_equal(image.array[0, 0], noise((6, 7)))

    def test_label_map_lies_on_the_grid_of_the_slices(self, tmp_path: Path) -> None:
        write_series(tmp_path / "a", noise(), axes=TILTED)
        geometry = read_image([tmp_path / "a"]).geometry
        values = noise() % 3
        write_label(tmp_path / "a.nii.gz", values, geometry)
        label = read_label(tmp_path / "a.nii.gz")
        np.testing.assert_array_equal(label.array, values)
        assert label.geometry.spacing == pytest.approx(geometry.spacing, rel=1e-5)
        assert label.geometry.origin == pytest.approx(geometry.origin, abs=1e-4)
        assert label.geometry.direction == pytest.approx(geometry.direction, abs=1e-5)


def rewrite(path: Path, syntax: UID | None = None, **tags: Any) -> None:
    """Write a file again with other tags, or in another (uncompressed) transfer syntax; a value of None leaves out."""
    content = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(content, name)
        else:
            setattr(content, name, value)
    if syntax is not None:
        if syntax == ExplicitVRBigEndian:
            content.PixelData = content.pixel_array.astype(">i2").tobytes()
        content.file_meta.TransferSyntaxUID = syntax
    implicit = content.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    little = content.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
    pydicom.dcmwrite(path, content, implicit_vr=implicit, little_endian=little)


class TestHeaders:
    @pytest.mark.parametrize(
        "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
    )
    def test_all_uncompressed_transfer_syntaxes(self, tmp_path: Path, syntax: UID) -> None:
        values = noise()
        for path in write_series(tmp_path, values):
            rewrite(path, syntax)
        image = read_image([tmp_path])
        np.testing.assert_array_equal(image.array[0], values)
        assert image.spacing == pytest.approx((2.0, 0.75, 0.5))
        assert image.geometry.origin == pytest.approx((10, -20, 30))

    def test_no_more_is_inflated_than_a_header_needs(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, noise((1, 6, 7)))
        rewrite(path, DeflatedExplicitVRLittleEndian)
        content = path.read_bytes()
        with path.open("rb") as handle:
            pydicom.filereader.read_preamble(handle, False)
            pydicom.filereader.read_dataset(handle, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
            start = handle.tell()
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        path.write_bytes(content[:start] + packer.compress(b"\x09\x00\x10\x00UN\0\0\0\0\0\x40" + bytes(1 << 28)))
        tracemalloc.start()
        try:
            with pytest.raises(UserError, match="damaged"):
                read_image([path])
            assert tracemalloc.get_traced_memory()[1] < 1 << 26
        finally:
            tracemalloc.stop()

    def test_secondary_captures_lie_where_their_tags_say(self, tmp_path: Path) -> None:
        values = noise()
        for path in write_series(tmp_path, values):
            content = pydicom.dcmread(path)
            content.SOPClassUID = content.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
            content.save_as(path)
        image = read_image([tmp_path])
        np.testing.assert_array_equal(image.array[0], values)
        assert image.spacing == pytest.approx((2.0, 0.75, 0.5))

    def test_spacing_of_an_x_ray_detector(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, noise((1, 6, 7)))
        rewrite(path, PixelSpacing=None, ImagePositionPatient=None, ImagerPixelSpacing=[0.2, 0.1])
        image = read_image([path])
        assert image.geometry.dimensions == 2
        assert image.geometry.spacing == (0.1, 0.2)

    def test_pixels_of_an_unstated_size_count_as_squares_of_1_mm_with_a_notice(self, tmp_path: Path) -> None:
        for path in write_series(tmp_path, noise()):
            rewrite(path, PixelSpacing=None)
        image = read_image([tmp_path])
        assert image.spacing == (2.0, 1.0, 1.0)
        assert [notice.found for notice in image.notices] == ["no PixelSpacing"]

    @pytest.mark.parametrize("spacing", [(0, 0.5), (-0.5, 0.5), (float("nan"), 0.5)])
    def test_an_unusable_size_is_handed_on_as_it_is_stated(self, tmp_path: Path, spacing: tuple[float, float]) -> None:
        write_slice(tmp_path / "0.dcm", noise((6, 7)), spacing=spacing)
        np.testing.assert_equal(Dicom().open(tmp_path).geometry.spacing[:2], spacing[::-1])

    def test_the_size_on_the_detector_stands_in_for_an_unusable_one(self, tmp_path: Path) -> None:
        write_slice(tmp_path / "0.dcm", noise((6, 7)), spacing=(0, 0), ImagerPixelSpacing=[0.2, 0.1])
        assert read_image([tmp_path]).geometry.spacing[:2] == (0.1, 0.2)

    @pytest.mark.parametrize("spacing", [[0, 0], [0, 1]])
    def test_pixels_whose_stated_size_is_zero_are_refused(self, tmp_path: Path, spacing: list[int]) -> None:
        for path in write_series(tmp_path, noise()):
            rewrite(path, PixelSpacing=spacing)
        with pytest.raises(UserError, match="size of a voxel is not usable"):
            read_image([tmp_path])

    def test_the_absolute_value_of_a_negative_pixel_size_is_taken(self, tmp_path: Path) -> None:
        for path in write_series(tmp_path, noise()):
            rewrite(path, PixelSpacing=[-1, 1])
        assert "negative" in read_image([tmp_path]).notices[0].problem

    def test_text_of_any_character_set(self, tmp_path: Path) -> None:
        write_series(tmp_path, noise((2, 6, 7)), uid="1.2.3")
        for path in write_series(tmp_path, noise(), uid="1.2.4", first=10):
            rewrite(path, SpecificCharacterSet="ISO_IR 100", SeriesDescription="Sch\u00e4del")
        with pytest.raises(UserError, match="several DICOM series") as raised:
            read_image([tmp_path])
        assert "'Sch\u00e4del' (CT): 5 slices" in str(raised.value.found)

    @pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
    def test_random_changes(self, tmp_path: Path) -> None:
        first = write_series(tmp_path, noise((3, 16, 16)))[0]
        whole = first.read_bytes()
        random = np.random.default_rng(0)
        outcomes = set()
        for _ in range(150):
            content = bytearray(whole)
            for place in random.integers(128, len(whole) - 512, random.integers(1, 6)):
                content[place] = random.integers(0, 256)
            first.write_bytes(content)
            try:
                outcomes.add(read_image([tmp_path]).array.dtype.name)
            except UserError as error:
                outcomes.add("refused, with the patient's name" if "SECRET" in str(error) else "refused")
        assert outcomes == {"float32", "refused"}


def write_at(folder: Path, heights: list[float], shifts: list[float] | None = None) -> None:
    shifts = shifts or [0.0] * len(heights)
    places = [(shift, 0.0, height) for shift, height in zip(shifts, heights, strict=True)]
    write_series(folder, noise((len(heights), 6, 7)), positions=places)


class TestRefusal:
    def refused(self, folder: Path, match: str) -> UserError:
        with pytest.raises(UserError, match=match) as raised:
            read_image([folder])
        assert raised.value.remedy
        assert raised.value.file
        text = str(raised.value)
        assert not any(part in text for name in PATIENT for part in name.split("^"))
        return raised.value

    def test_several_series_are_listed(self, tmp_path: Path) -> None:
        write_series(tmp_path, noise((2, 6, 7)), uid="1.2.3", tags={"0008|103e": "survey"})
        write_series(tmp_path, noise(), uid="1.2.4", first=10)
        error = self.refused(tmp_path, "several DICOM series")
        assert (
            error.found
            == "2 series: 'thorax' (CT): 5 slices (IM0011.dcm, ...); 'survey' (CT): 2 slices (IM0001.dcm, ...)"
        )

    def test_missing_slices(self, tmp_path: Path) -> None:
        write_at(tmp_path, [0, 2, 4, 10, 12])
        error = self.refused(tmp_path, "Slices of a DICOM series are missing")
        assert error.found == "2 missing; the first gap, of 6.00 mm, between IM0003.dcm and IM0002.dcm"
        assert error.expected == "a slice every 2.00 mm"

    @given(missing=st.integers(1, 6))
    @settings(max_examples=6, deadline=None)
    def test_any_inner_slice_that_is_missing_is_noticed(
        self, tmp_path_factory: pytest.TempPathFactory, missing: int
    ) -> None:
        folder = tmp_path_factory.mktemp("series")
        write_series(folder, noise((8, 6, 7)))[missing].unlink()
        assert str(self.refused(folder, "missing").found).startswith("1 missing")

    def test_time_points(self, tmp_path: Path) -> None:
        write_at(tmp_path, [0, 0, 2, 2, 4, 4])
        assert self.refused(tmp_path, "several slices at the same place").found == "6 slices at 3 places"

    def test_gantry_tilt(self, tmp_path: Path) -> None:
        write_at(tmp_path, [0, 2, 4, 6], [0, 0.5, 1, 1.5])
        assert self.refused(tmp_path, "gantry was tilted").found == "a shift of 1.50 mm over 6.00 mm, 14.0 degrees"

    def test_slices_that_drift_from_an_even_grid(self, tmp_path: Path) -> None:
        write_at(tmp_path, [0, 2, 4, 6, 8, 10, 12.9, 15.8, 18.7, 21.6, 24.5])
        assert self.refused(tmp_path, "not evenly spaced").found == "distances from 2.00 to 2.90 mm"

    def test_slightly_uneven_slices_are_noticed(self, tmp_path: Path) -> None:
        write_at(tmp_path, [0, 2, 4.5, 6, 8])
        (notice,) = read_image([tmp_path]).notices
        assert notice.problem == "The slices of a DICOM series are not evenly spaced."
        assert "2.00 mm apart" in notice.remedy
        assert "0.50 mm" in notice.remedy

    def test_rounded_places_are_even(self, tmp_path: Path) -> None:
        write_at(tmp_path, [0, 0.6, 1.3, 1.9, 2.5, 3.1, 3.8])
        image = read_image([tmp_path])
        assert image.notices == ()
        assert image.spacing[0] == pytest.approx(3.8 / 6)

    def test_slices_that_are_not_parallel(self, tmp_path: Path) -> None:
        write_series(tmp_path, noise((3, 6, 7)))
        write_series(tmp_path, noise((1, 6, 7)), axes=TILTED, first=3)
        assert "1 of 4 slices" in str(self.refused(tmp_path, "not parallel").found)

    def test_slices_of_different_size(self, tmp_path: Path) -> None:
        write_series(tmp_path, noise((3, 6, 7)))
        write_series(tmp_path, noise((1, 6, 8)), origin=(10, -20, 36), first=3)
        self.refused(tmp_path, "differ in size")

    def test_slices_without_a_place(self, tmp_path: Path) -> None:
        for number in range(2):
            image = sitk.GetImageFromArray(noise((6, 7), np.uint8))
            image.SetMetaData("0020|000e", "1.2.3")
            writer = sitk.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(tmp_path / f"{number}.dcm"))
            with same_locale():
                writer.Execute(image)
            # ImagePositionPatient becomes a tag that nobody knows.
            content = (tmp_path / f"{number}.dcm").read_bytes()
            (tmp_path / f"{number}.dcm").write_bytes(content.replace(b"\x20\x00\x32\x00", b"\x20\x00\x31\x00"))
        self.refused(tmp_path, "where their slices lie")

    def test_several_frames_in_one_file(self, tmp_path: Path) -> None:
        write_slice(tmp_path / "a.dcm", noise((3, 6, 7)), NumberOfFrames=3)
        assert self.refused(tmp_path, "several frames").found == "3 frames"

    def test_unknown_compression_is_named(self, tmp_path: Path) -> None:
        path = write_series(tmp_path, noise((2, 16, 16)), compressor="JPEG2000")[0]
        content = path.read_bytes()
        at = content.find(b"1.2.840.10008.1.2.4.9")
        assert at > 0
        path.write_bytes(content[: at + 20] + b"77" + content[at + 22 :])
        error = self.refused(tmp_path, "compressed in a way that cannot be read")
        assert error.file == str(path)
        assert error.found == "transfer syntax 1.2.840.10008.1.2.4.77"

    def test_a_header_that_promises_too_much(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, noise((1, 6, 7)))
        content = path.read_bytes()
        for tag, value in ((0x10, 6), (0x11, 7)):
            field = b"\x28\x00" + bytes([tag, 0]) + b"\x02\x00\x00\x00"
            assert content.count(field + bytes([value, 0])) == 1
            content = content.replace(field + bytes([value, 0]), field + b"\xff\xff")
        path.write_bytes(content)
        self.refused(tmp_path, "damaged")

    @settings(max_examples=25, deadline=None)
    @given(data=st.data(), compressor=st.sampled_from(["", "JPEG2000"]))
    def test_a_slice_cut_short_is_refused(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, compressor: str
    ) -> None:
        folder = tmp_path_factory.mktemp("series")
        values = noise((3, 16, 16))
        path = write_series(folder, values, compressor=compressor)[1]
        whole = path.read_bytes()
        # A share of the file, as its length varies with the numbers that identify it.
        path.write_bytes(whole[: len(whole) * data.draw(st.integers(0, 9999)) // 10_000])
        try:
            array = read_image([folder]).array[0]
        except UserError:
            return
        # JPEG 2000 ends with a marker and perhaps a byte of padding.
        assert compressor
        np.testing.assert_array_equal(array, values)


class TestCases:
    def test_a_folder_of_slices_is_a_case_named_after_it(self, tmp_path: Path) -> None:
        write_series(tmp_path / "scan_0007", noise())
        (case,) = find_cases(tmp_path / "scan_0007", 1, ".mha")
        assert (case.id, case.images) == ("scan_0007", (tmp_path / "scan_0007",))
        assert case.label_ending(".mha") == ".nii.gz"

    def test_a_folder_of_such_folders_has_many_cases(self, tmp_path: Path) -> None:
        for name in ("b", "a", "1.2.840.77"):
            write_series(tmp_path / name, noise((2, 6, 7)))
        (tmp_path / "empty").mkdir()
        (tmp_path / "readme.txt").write_text("x")
        assert [case.id for case in find_cases(tmp_path, 1, ".nii.gz")] == ["1.2.840.77", "a", "b"]

    def test_a_slice_beside_folders_of_slices_is_named(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            write_series(tmp_path / name, noise((2, 6, 7)))
        shutil.copy(tmp_path / "a" / "IM0001.dcm", tmp_path / "stray.dcm")
        with pytest.raises(UserError, match="beside folders") as raised:
            find_cases(tmp_path, 1, ".nii.gz")
        assert raised.value.found == "stray.dcm; and the folders a, b"
        assert raised.value.remedy
        (tmp_path / "stray.dcm").unlink()
        assert [case.id for case in find_cases(tmp_path, 1, ".nii.gz")] == ["a", "b"]

    def test_a_report_beside_folders_of_slices_is_no_slice(self, tmp_path: Path) -> None:
        source = write_series(tmp_path / "a", noise((2, 6, 7)))[0].read_bytes()
        ct, report = b"\x1a\x001.2.840.10008.5.1.4.1.1.2\0", b"\x1c\x001.2.840.10008.5.1.4.1.1.88.1"
        (tmp_path / "report.dcm").write_bytes(source.replace(ct, report))
        assert [case.id for case in find_cases(tmp_path, 1, ".nii.gz")] == ["a"]

    def test_a_single_file(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, noise((1, 6, 7)))
        (case,) = find_cases(path, 1, ".nii.gz")
        assert (case.id, case.images) == (path.stem, (path,))
        assert case.label_ending(".png") == ".nii.gz"

    @pytest.mark.parametrize("inputs", ["", "a_0000"])
    def test_channels_are_folders(self, tmp_path: Path, inputs: str) -> None:
        for channel in range(2):
            write_series(tmp_path / f"a_{channel:04d}", noise() + channel)
        (case,) = find_cases(tmp_path / inputs, 2, ".nii.gz")
        assert (case.id, [path.name for path in case.images]) == ("a", ["a_0000", "a_0001"])
        np.testing.assert_array_equal(read_image(case.images, 2).array[1], noise() + 1)

    def test_a_missing_channel(self, tmp_path: Path) -> None:
        write_series(tmp_path / "a_0000", noise())
        with pytest.raises(UserError, match="wrong number of channels"):
            find_cases(tmp_path, 2, ".nii.gz")

    def test_files_of_the_models_format_go_first(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write_series(tmp_path / "dicom", noise())
        write_image(tmp_path / "a_0000.nii.gz", noise())
        (case,) = find_cases(tmp_path, 1, ".nii.gz")
        assert case.id == "a"
        assert case.label_ending(".nii.gz") == ".nii.gz"
        assert "folders of DICOM slices are skipped: dicom" in caplog.text

    def test_series_that_are_no_volumes_are_all_told_before_anything_is_computed(self, tmp_path: Path) -> None:
        write_at(tmp_path / "gap", [0, 2, 4, 8, 10])
        write_at(tmp_path / "time", [0, 0, 2, 2])
        write_series(tmp_path / "good", noise())
        with pytest.raises(DatasetError) as raised:
            find_cases(tmp_path, 1, ".nii.gz")
        assert {problem.case for problem in raised.value.problems} == {"gap", "time"}


class TestTraining:
    def write(self, folder: Path) -> Path:
        write_description(folder, 2, file_ending=".dcm")
        for number in range(2):
            write_series(folder / "imagesTr" / f"c{number}_0000", noise() + number)
            grid: dict[str, Any] = {"spacing": (0.5, 0.75, 2.0), "origin": (10.0, -20.0, 30.0)}
            write_image(folder / "labelsTr" / f"c{number}.nii.gz", (noise() % 3).astype(np.uint8), **grid)
        return folder

    def test_images_are_folders_and_label_maps_nifti(self, tmp_path: Path) -> None:
        dataset = load_dataset(self.write(tmp_path))
        assert [case.id for case in dataset.cases] == ["c0", "c1"]
        for case in dataset.cases:
            assert case.label is not None
            image, label = read_image(case.images, 1), read_label(case.label)
            assert check_case(case, image, label, dataset.description) == []

    def test_problems_are_told(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path)
        (folder / "labelsTr" / "c1.nii.gz").rename(folder / "labelsTr" / "c1.nrrd")
        (folder / "imagesTr" / "stray.dcm").write_text("x")
        _, problems = survey_dataset(folder)
        assert sorted((problem.file.name, problem.expected) for problem in problems) == [
            ("c1.nii.gz", "for every CASE_0000 in imagesTr a file CASE in labelsTr"),
            ("c1.nrrd", "files ending in .nii.gz"),
            ("stray.dcm", "folders of DICOM slices"),
        ]

    def test_no_series_at_all(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path)
        shutil.rmtree(folder / "imagesTr")
        with pytest.raises(UserError, match="does not exist"):
            load_dataset(folder)
        (folder / "imagesTr").mkdir()
        with pytest.raises(UserError, match="is empty") as raised:
            load_dataset(folder)
        assert raised.value.expected == "folders of DICOM slices"
        (folder / "imagesTr" / "patient" / "scan").mkdir(parents=True)
        with pytest.raises(UserError, match="no folders of DICOM slices") as raised:
            load_dataset(folder)
        assert raised.value.found == "folders: patient"

    def test_a_file_map_may_name_folders(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path)
        entry = {"images": ["imagesTr/c0_0000"], "label": "labelsTr/c0.nii.gz"}
        write_description(folder, 1, file_ending=".nii.gz", dataset={"x": entry})
        (case,) = load_dataset(folder).cases
        assert case.images == (folder / "imagesTr" / "c0_0000",)

    def test_digest_is_of_the_slices(self, tmp_path: Path) -> None:
        case = load_dataset(self.write(tmp_path)).cases[0]
        before = case_digest(case)
        (case.images[0] / "IM0001.dcm").rename(case.images[0] / "other.dcm")
        assert case_digest(case) == before
        write_series(case.images[0], noise() + 1)
        assert case_digest(case) != before
