"""Names and colours of labels, which all outputs share."""

from __future__ import annotations

import numpy as np

from tests.inference.outputs.dicom.series import describe
from umseg.common.colours import class_colours
from umseg.inference.outputs.labels import class_labels, labels_of


def test_classes_have_the_colours_of_previews_by_value() -> None:
    labels = class_labels(describe({"background": 0, "tumour": 2, "liver": 1, "ignore": 3}))
    assert [(label.value, label.name, label.members) for label in labels] == [(1, "liver", (1,)), (2, "tumour", (2,))]
    assert [label.colour for label in labels] == [
        tuple(round(255 * part) for part in colour) for colour in class_colours(2)
    ]


def test_regions_are_sorted_by_the_value_that_is_written() -> None:
    description = describe({"background": 0, "core": [2], "whole": [1, 2]}, regions_class_order=(2, 1))
    labels = class_labels(description)
    assert [(label.value, label.name, label.members) for label in labels] == [(1, "whole", (1, 2)), (2, "core", (2,))]
    # A colour belongs to a region, not to a value.
    assert labels[1].colour == tuple(round(255 * part) for part in class_colours(1)[0])


def test_objects_are_those_of_the_label_map() -> None:
    description = describe({"background": 0, "cell": 1}, task="instance")
    label_map = np.array([[[0, 4]], [[7, 4]]])
    assert class_labels(description) == ()
    assert [(label.value, label.name) for label in labels_of(description, label_map)] == [(4, "cell 4"), (7, "cell 7")]


def test_colours_of_very_many_objects_come_again() -> None:
    description = describe({"background": 0, "cell": 1}, task="instance")
    labels = labels_of(description, np.arange(1005).reshape(1, 5, 201))
    assert len({label.colour for label in labels[:1000]}) > 900
    assert labels[1000].colour == labels[0].colour
