from __future__ import annotations

import numpy as np

from umseg.dataset.description import DatasetDescription
from umseg.planning.classes import describe_classes, measure_classes


def description(labels: dict[str, object], **fields: object) -> DatasetDescription:
    content = {"channel_names": {"0": "CT"}, "numTraining": 1, "file_ending": ".nii.gz", "labels": labels, **fields}
    return DatasetDescription.model_validate(content)


def label_map(*counts: int) -> np.ndarray:
    values = np.repeat(np.arange(len(counts)), counts).astype(np.int8)
    return values.reshape(2, 2, -1)


def test_sizes_are_volumes() -> None:
    plain = description({"background": 0, "liver": 1, "tumour": 2})
    sizes = measure_classes(label_map(3, 4, 1), (2.0, 0.5, 3.0), plain)
    assert sizes.sizes == {"liver": 12.0, "tumour": 3.0}
    assert sizes.objects is None


def test_size_of_a_slice_is_an_area() -> None:
    plain = description({"background": 0, "liver": 1})
    assert measure_classes(label_map(3, 5).reshape(1, 2, 4), (999.0, 0.5, 1.0), plain).sizes == {"liver": 2.5}


def test_regions_overlap_and_ignored_voxels_belong_to_none() -> None:
    regions = description({"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}, regions_class_order=[1, 2])
    assert measure_classes(label_map(1, 4, 2, 1), (1.0, 1.0, 1.0), regions).sizes == {"whole": 6.0, "core": 2.0}


def test_objects_are_counted() -> None:
    instances = description({"background": 0, "cell": 1}, task="instance")
    label = np.array([[[0, 7, 7, 300]]], np.int16)
    sizes = measure_classes(label, (999.0, 1.0, 1.0), instances)
    assert (sizes.sizes, sizes.objects) == ({"cell": 3.0}, 2)


def test_statistics_are_over_the_cases_that_have_a_class() -> None:
    plain = description({"background": 0, "liver": 1, "tumour": 2})
    cases = [measure_classes(label_map(8 - n, n, 0), (1.0, 1.0, 1.0), plain) for n in (0, 2, 4, 5)]
    statistics = describe_classes(cases)
    liver = statistics["liver"]
    assert (liver.cases, liver.min_size, liver.median_size, liver.max_size) == (3, 2.0, 4.0, 5.0)
    assert (statistics["tumour"].cases, statistics["tumour"].median_size) == (0, 0)
