from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from tests.blobs import write_blobs
from tests.models.plans import BASELINES, SMALL, U_NETS
from tests.reports.test_models import DESCRIPTION, HIPPOCAMPUS
from umseg.cli.app import app
from umseg.models import MODELS, build_network
from umseg.models.ssm import MambaLayer
from umseg.models.unet import UNet
from umseg.planning.plan import Configuration
from umseg.planning.stages import configuration_stages
from umseg.reports.diagram import Level, make_diagram
from umseg.reports.drawing import draw, draw_models
from umseg.reports.models import ModelFacts

TIMES = "\N{MULTIPLICATION SIGN}"
DOCS = Path(__file__).resolve().parents[2] / "docs"


def levels(model: str, configuration: Configuration) -> tuple[Level, ...]:
    return make_diagram(model, configuration, 1, 3).levels


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def counted(text: str) -> int:
    """The number that a line of a box begins with."""
    found = re.search(rf"(\d+) {TIMES}", text)
    return int(found[1]) if found else 0


def test_the_pictures_of_the_documentation_are_what_the_code_draws(tmp_path: Path) -> None:
    """After a change: `umseg models Dataset004_Hippocampus --draw docs/models`."""
    drawn, missing = draw_models(tmp_path, HIPPOCAMPUS, DESCRIPTION)
    assert [path.stem for path in drawn] == U_NETS
    assert missing == dict.fromkeys(BASELINES, "its layers are not described")
    assert {path.name for path in drawn} == {path.name for path in (DOCS / "models").iterdir()}
    for path in drawn:
        assert path.read_text(encoding="utf-8") == (DOCS / "models" / path.name).read_text(encoding="utf-8"), path.name


def test_the_documentation_shows_and_names_every_model() -> None:
    text = (DOCS / "models.md").read_text(encoding="utf-8")
    assert re.findall(r"^## `(\w+)`", text, flags=re.MULTILINE) == list(MODELS)
    assert re.findall(r"\]\(models/(\w+)\.svg\)", text) == U_NETS


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("model", U_NETS)
def test_a_picture_shows_every_stage_and_every_block(model: str, name: str) -> None:
    configuration = SMALL[name]
    network = build_network(model, configuration, 1, 3)
    assert isinstance(network, UNet)
    described = levels(model, configuration)
    for level, stage, skip in zip(described, configuration_stages(configuration), [*network.skips, False], strict=True):
        assert level.title == f"{stage.features} features, {TIMES.join(map(str, stage.size))}"
        assert level.skip == skip
    encoders = [list(stage.children()) for stage in network.encoder]
    encoders[0] = [*network.stem, *encoders[0]]
    for level, layers in zip(described, encoders, strict=True):
        mamba = [layer for layer in layers if isinstance(layer, MambaLayer)]
        assert sum(counted(part.text) for part in level.encoder) == len(layers) - len(mamba)
        lines = [part.text for part in level.encoder if part.kind == "mamba"]
        assert len(lines) == len(mamba)
        for line, layer in zip(lines, mamba, strict=True):
            assert ("channels as" in line) == layer.channel_tokens
            assert line.endswith(f" tokens of {layer.mamba.d_model}")
    for level, decoder in zip(described, reversed([*network.decoder]), strict=False):
        assert sum(counted(part.text) for part in level.decoder) == len([*decoder])
    assert sum(bool(level.head) for level in described) == len(network.heads)
    shown = Counter(texts(draw(make_diagram(model, configuration, 1, 3))))
    expected = Counter(level.title for level in described for part in (level.encoder, level.decoder) if part)
    assert all(shown[title] == count for title, count in expected.items())


def test_pictures_need_nothing_from_outside() -> None:
    for model in U_NETS:
        svg = draw(make_diagram(model, HIPPOCAMPUS, 4, 200))
        assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
        assert "image, 4 channels" in texts(svg)
        assert f"{TIMES.join('111')} → 200 classes" in texts(svg)


def test_models_that_the_plan_is_not_for_are_left_out(tmp_path: Path) -> None:
    counts = {"n_conv_per_stage": None, "n_blocks_per_stage": (1, 3, 4, 6), "n_conv_per_stage_decoder": (1, 1, 1)}
    drawn, missing = draw_models(tmp_path, HIPPOCAMPUS.model_copy(update=counts), DESCRIPTION)
    assert [path.stem for path in drawn] == [model for model in U_NETS if model != "nnunet"]
    assert missing["nnunet"] == "The plain U-Net needs a plan that was made for it."


def test_the_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The table is another test's; it builds all networks.
    monkeypatch.setattr("umseg.reports.models.describe_models", lambda *_: [ModelFacts("any", (1, 1))])
    write_blobs(tmp_path / "Dataset905_Drawn", num_cases=5)
    where = ["--workspace", str(tmp_path / "w"), "--quiet"]
    for command in (
        ["plan", str(tmp_path / "Dataset905_Drawn"), "--config", "2d", "--workers", "0", *where],
        ["models", "Dataset905_Drawn", "--config", "2d", "--draw", str(tmp_path / "pictures"), *where],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    assert sorted(path.stem for path in (tmp_path / "pictures").iterdir()) == sorted(U_NETS)
    assert "No picture of unetr: its layers are not described\n" in done.output
