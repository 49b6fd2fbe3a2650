"""The options of ``umseg train`` are those of ``TrainingConfig``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.blobs import write_blobs
from tests.entry_points import add_from_outside
from umseg.cli import train
from umseg.cli.app import app
from umseg.cli.training_options import training_parameters
from umseg.common.errors import UserError
from umseg.models import MODELS, ModelOptions
from umseg.planning.plan import Plan
from umseg.training.config.recipes import RECIPES
from umseg.training.config.training_config import TrainingConfig
from umseg.training.loss.registry import LOSSES
from umseg.training.optim.registry import OPTIMIZERS
from umseg.training.optim.schedule import SCHEDULES
from umseg.workflows.plan import plan_dataset
from umseg.workspace import Workspace


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("options")
    folder = write_blobs(root / "Dataset903_Options", num_cases=5)
    plan_dataset(folder, root / "w", configurations=["3d_fullres"], quiet=True)
    return root / "w"


def shown(root: Path, *options: str) -> TrainingConfig:
    """The configuration that the options make."""
    arguments = ["train", "Dataset903_Options", "--workspace", str(root), "--show-config", *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return TrainingConfig.model_validate(json.loads(result.output))


def test_every_field_is_an_option_with_the_same_default() -> None:
    options = {parameter.name: parameter.default for parameter in training_parameters()}
    fields = {**TrainingConfig.model_fields, **ModelOptions.model_fields}
    for special in ("schema_version", "options", "configuration", "fold"):
        del fields[special]
    assert set(options) == {*fields, "config", "fold", "recipe"}
    assert {name: options[name] for name in fields} == {name: field.default for name, field in fields.items()}


def test_without_options_the_papers_configuration(root: Path) -> None:
    configuration = Workspace(root / "Dataset903_Options").load(Plan).configuration("3d_fullres")
    found = shown(root)
    assert found == TrainingConfig().resolved(configuration)
    assert (found.lr, found.weight_decay, found.validation_iterations) == (0.01, 3e-5, 50)
    assert (found.batch_size, found.patch_size) == (configuration.batch_size, configuration.patch_size)
    assert found.mirror_axes == (0, 1, 2)


HEADINGS = ["What to train", "Schedule", "Optimiser", "Loss", "Data", "Memory and speed", "Output"]


def test_help_is_grouped_and_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["train", "--help"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    headings = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Arguments", *HEADINGS, "Other options"]


def test_help_is_the_text_of_the_fields_and_lists_the_tables() -> None:
    result = CliRunner().invoke(app, ["train", "--help"], terminal_width=400)
    text = " ".join(result.output.split())
    for name, field in {**TrainingConfig.model_fields, **ModelOptions.model_fields}.items():
        if name not in ("schema_version", "options"):
            assert (field.description or "?").rstrip(".") in text, name
    for table in (LOSSES, OPTIMIZERS, SCHEDULES, RECIPES):
        for name, entry in table.items():
            assert f"{name} ({entry.description}" in text
    assert all(name in text for name in MODELS)


def test_a_loss_of_another_package_is_listed_and_accepted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_from_outside(monkeypatch, LOSSES, "tversky", "tests.training.loss.test_registry:TVERSKY")
    assert "tversky (Tversky index)" in " ".join(CliRunner().invoke(app, ["train", "--help"]).output.split())
    assert shown(root, "--loss", "tversky").loss == "tversky"


def test_a_loss_that_cannot_be_imported_is_named_when_it_is_chosen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_from_outside(monkeypatch, LOSSES, "gone", "umseg_no_such_module:LOSS")
    listed = CliRunner().invoke(app, ["train", "--help"])
    assert listed.exit_code == 0
    assert "gone (cannot be used)" in " ".join(listed.output.split())
    dataset = ["Dataset903_Options", "--workspace", str(root)]
    chosen = CliRunner().invoke(app, ["train", *dataset, "--loss", "gone", "--iterations", "1"])
    assert chosen.exit_code == 2
    assert "umseg_no_such_module" in chosen.output


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--model", "umamba_ene"], "Did you mean 'umamba_enc'?"),
        (["--loss", "dice-ce"], "Did you mean 'dice_ce'?"),
        (["--optimizer", "adam_w"], "Did you mean 'adamw'?"),
        (["--schedule", "cosin"], "Did you mean 'cosine'?"),
        (["--recipe", "quik"], "Did you mean 'quick'?"),
        (["--epoch", "3"], "--epochs"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(root: Path, arguments: list[str], answer: str) -> None:
    result = CliRunner().invoke(app, ["train", "Dataset903_Options", "--workspace", str(root), *arguments])
    assert result.exit_code == 2
    assert answer in result.output


def test_a_misspelt_data_set_is_answered_with_the_nearest(root: Path) -> None:
    result = CliRunner().invoke(app, ["train", "Dataset903_Option", "--workspace", str(root)])
    assert result.exit_code == 2
    assert "Did you mean 'Dataset903_Options'?" in result.output


def test_names_are_checked_before_torch_is_imported(root: Path) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from umseg.cli.app import app\n"
        "result = CliRunner().invoke(app, sys.argv[1:])\n"
        "sys.exit(10 * ('torch' in sys.modules) + result.exit_code)"
    )
    arguments = ["train", "Dataset903_Options", "--workspace", str(root), "--loss", "dise"]
    assert subprocess.run([sys.executable, "-c", code, *arguments], check=False).returncode == 2


def test_axes_are_numbers_between_commas(root: Path, tmp_path: Path) -> None:
    config = shown(root, "--patch-size", "16,24,16", "--mirror-axes", "none", "--batch-size", "3")
    assert (config.patch_size, config.mirror_axes, config.batch_size) == ((16, 24, 16), (), 3)
    file = tmp_path / "options.yaml"
    file.write_text("patch_size: [16, 24, 16]\nmirror-axes: 0,2\nrecipe: quick\n")
    config = shown(root, "--options", str(file))
    assert (config.patch_size, config.mirror_axes, config.optimizer) == ((16, 24, 16), (0, 2), "muon")
    result = CliRunner().invoke(app, ["train", "Dataset903_Options", "--workspace", str(root), "--patch-size", "a,b"])
    assert result.exit_code == 2
    assert "--patch-size is not valid" in result.output


def test_options_of_the_command_line_win_over_those_of_the_file(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("epochs: 7\nlr: 1e-4\nweight-decay: 1.0e-5\nssm_residual: true\noptimizer: adamw\n")
    config = shown(root, "--options", str(file), "--epochs", "9", "--optimizer", "sgd")
    assert (config.epochs, config.lr, config.weight_decay, config.optimizer) == (9, 1e-4, 1e-5, "sgd")
    assert config.options == ModelOptions(ssm_residual=True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("epoch: 7", "Unknown training option 'epoch'"),
        ("- 7", "does not hold names and values"),
        ("a: [", "cannot be read"),
        ("!!python/object/apply:os.mkdir [spoilt]", "cannot be read"),
        ("lr: fast", "--lr is not valid"),
    ],
)
def test_a_wrong_file_is_explained(root: Path, tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(content)
    arguments = ["train", "Dataset903_Options", "--workspace", str(root), "--show-config", "--options", str(file)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert problem in result.output
    assert not Path("spoilt").exists()


@pytest.mark.parametrize(("text", "seconds"), [("08:00:00", 28800), ("0:01:30", 90), ("100:00:01", 360001)])
def test_durations(text: str, seconds: float) -> None:
    assert train.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["8", "08:61:00", "1:2:3:4", "-1:00:00", "eight"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--max-time"):
        train.parse_duration(text)


def test_several_folds_one_after_another(root: Path) -> None:
    small = "--model umamba_bot --epochs 1 --iterations 1 --validation-iterations 1 --workers 0 --device cpu"
    arguments = ["train", "Dataset903_Options", "--workspace", str(root), "--fold", "1,3", "--quiet"]
    result = CliRunner().invoke(app, [*arguments, *small.split(), "--no-validate"])
    assert result.exit_code == 0, result.output
    trained = root / "Dataset903_Options" / "models" / "umamba_bot__3d_fullres"
    assert sorted(path.parent.name for path in trained.glob("*/weights_final.safetensors")) == ["fold_1", "fold_3"]


def refused(root: Path, *options: str) -> str:
    """The message with which a training is refused before it begins."""
    arguments = ["train", "Dataset903_Options", "--workspace", str(root), "--device", "cpu", "--workers", "0"]
    before = sorted((root / "Dataset903_Options").glob("models/*/fold_*"))
    result = CliRunner().invoke(app, [*arguments, "--quiet", *options])
    assert result.exit_code == 2, result.output
    assert sorted((root / "Dataset903_Options").glob("models/*/fold_*")) == before
    return result.output


def test_a_fold_that_does_not_exist_is_refused(root: Path) -> None:
    for options in (["--fold", "7"], ["--fold", "7", "--no-validate"]):
        message = refused(root, *options)
        assert "There is no fold 7." in message
        assert "0 to 4, or all" in message


def test_a_data_set_that_has_moved_is_noticed_before_training(root: Path) -> None:
    images = root.parent / "Dataset903_Options" / "imagesTr"
    images.rename(images.with_name("elsewhere"))
    try:
        assert "its data set has moved since planning" in refused(root, "--fold", "0")
    finally:
        images.with_name("elsewhere").rename(images)


@pytest.mark.parametrize("model", MODELS)
def test_the_shown_configuration_is_a_file_of_options_that_gives_the_same(
    root: Path, tmp_path: Path, model: str
) -> None:
    first = shown(root, "--model", model, "--recipe", "quick", "--mirror-axes", "none")
    (tmp_path / "options.yaml").write_text(first.to_json())
    assert shown(root, "--options", str(tmp_path / "options.yaml")) == first
    (tmp_path / "short.yaml").write_text("mirror-axes: [0, 1]\nlr: null\n")
    assert shown(root, "--options", str(tmp_path / "short.yaml")).mirror_axes == (0, 1)


@pytest.mark.parametrize(
    ("option", "value"), [("--device", "gpu"), ("--precision", "fp8"), ("--config", "3d_fulres"), ("--model", "nnunt")]
)
def test_every_name_is_checked_before_torch_is_imported(root: Path, option: str, value: str) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from umseg.cli.app import app\n"
        "result = CliRunner().invoke(app, sys.argv[1:])\n"
        "heavy = {'torch', 'scipy', 'SimpleITK'} & set(sys.modules)\n"
        "sys.exit(10 * len(heavy) + result.exit_code)"
    )
    arguments = ["train", "Dataset903_Options", "--workspace", str(root), option, value]
    assert subprocess.run([sys.executable, "-c", code, *arguments], check=False).returncode == 2


def test_a_validation_that_is_interrupted_keeps_the_weights_and_says_how_to_go_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fold = Workspace(root / "Dataset903_Options").model("nnunet-stopped", "3d_fullres").fold(0)

    def trained(*_: object, **__: object) -> Path:
        fold.path.mkdir(parents=True, exist_ok=True)
        fold.weights("final").touch()
        return fold.path

    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("umseg.training.train", trained)
    monkeypatch.setattr("umseg.workflows.validate.validate_fold", interrupted)
    arguments = ["train", "Dataset903_Options", "--workspace", str(root), "--model", "nnunet", "--tag", "stopped"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "To resume: umseg" in result.output
    assert "Stopped in the validation of fold 0; the trained weights are saved." in caplog.text
    assert "interrupted" in fold.log_text.read_text()
