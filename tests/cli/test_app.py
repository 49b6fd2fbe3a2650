"""The command line as a user meets it: one whole job on a small generated data set, and every kind of bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner, Result

from tests.blobs import write_blobs
from umseg.cli.app import VERBS, app
from umseg.models import MODELS
from umseg.planning.rules.presets import PRESETS

SHORT = ("--epochs", "2", "--iterations", "4", "--workers", "0", "--quiet", "--precision", "fp32")


def umseg(*arguments: object) -> Result:
    """Run a verb in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small data set has been planned and a network trained on it."""
    root = tmp_path_factory.mktemp("job")
    write_blobs(root / "Dataset900_Blobs", num_cases=5)
    planned = umseg("plan", root / "Dataset900_Blobs", "--workspace", root / "w", "--workers", 0, "--quiet")
    assert planned.exit_code == 0, planned.output
    assert "5 cases" in planned.output
    trained = umseg("train", "Dataset900_Blobs", "--workspace", root / "w", "--ssm-residual", *SHORT)
    assert trained.exit_code == 0, trained.output
    assert "mean of classes" in trained.output
    return root


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A small data set that a test may spoil."""
    return write_blobs(tmp_path / "Dataset901_Spoilt", num_cases=3)


def model_folder(job: Path) -> Path:
    return job / "w" / "Dataset900_Blobs" / "models" / "umamba_enc-ssm-residual__3d_fullres"


class TestWholeJob:
    def test_plan_writes_its_documents(self, job: Path) -> None:
        workspace = job / "w" / "Dataset900_Blobs"
        for name in ("dataset.json", "fingerprint.json", "plan.json", "splits.json"):
            assert json.loads((workspace / name).read_text())["schema_version"] == 1
        plan = json.loads((workspace / "plan.json").read_text())
        assert set(plan["configurations"]) == {"2d", "3d_fullres"}
        for configuration in plan["configurations"]:
            assert len(list((workspace / "preprocessed" / configuration).glob("*.data.b2nd"))) == 5
        assert not list(workspace.rglob(".tmp-*"))

    def test_train_leaves_log_pictures_and_weights(self, job: Path) -> None:
        fold = model_folder(job) / "fold_0"
        lines = (fold / "log.csv").read_text().splitlines()
        assert len(lines) == 3
        assert lines[0].startswith("epoch,lr,train_loss,validation_loss,mean_dice")
        assert (fold / "progress.png").read_bytes().startswith(b"\x89PNG")
        for name in ("weights_final", "weights_best", "checkpoint_latest"):
            assert (fold / f"{name}.safetensors").stat().st_size > 1000
        scores = json.loads((fold / "validation" / "metrics.json").read_text())
        assert len(scores["cases"]) == 1
        assert not [p for p in fold.rglob("*") if p.suffix in (".pkl", ".pt", ".pth", ".npz")]

    def test_predict_and_evaluate(self, job: Path, tmp_path: Path) -> None:
        images = job / "Dataset900_Blobs" / "imagesTr"
        predicted = umseg("predict", "--model", model_folder(job), "--input", images, "--output", tmp_path, "--quiet")
        assert predicted.exit_code == 0, predicted.output
        for image in sorted(images.iterdir()):
            before, after = sitk.ReadImage(str(image)), sitk.ReadImage(str(tmp_path / image.name.replace("_0000", "")))
            assert before.GetSize() == after.GetSize()
            assert before.GetSpacing() == after.GetSpacing()
            assert before.GetOrigin() == after.GetOrigin()
            assert before.GetDirection() == after.GetDirection()
            assert set(np.unique(sitk.GetArrayFromImage(after))) <= {0, 1, 2}
        scored = umseg(
            "evaluate",
            "--predictions",
            tmp_path,
            "--reference",
            job / "Dataset900_Blobs" / "labelsTr",
            "--output",
            tmp_path / "scores",
            "--quiet",
        )
        assert scored.exit_code == 0, scored.output
        assert "left blob" in scored.output
        assert len((tmp_path / "scores" / "metrics.csv").read_text().splitlines()) == 1 + 5 * 2
        assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["tolerance"]["left blob"] == 1.0

    def test_one_file_is_predicted_like_its_folder(self, job: Path, tmp_path: Path) -> None:
        image = job / "Dataset900_Blobs" / "imagesTr" / "blob_0_0000.nii.gz"
        for inputs, output in ((image, "file"), (image.parent, "folder")):
            arguments = ("--model", model_folder(job), "--input", inputs, "--output", tmp_path / output, "--quiet")
            assert umseg("predict", *arguments).exit_code == 0
        one, many = (sitk.ReadImage(str(tmp_path / name / "blob_0.nii.gz")) for name in ("file", "folder"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(many))

    def test_the_same_command_again_finds_the_run_complete(self, job: Path) -> None:
        weights = model_folder(job) / "fold_0" / "weights_final.safetensors"
        before = weights.read_bytes()
        again = umseg("train", "Dataset900_Blobs", "--workspace", job / "w", "--ssm-residual", *SHORT)
        assert again.exit_code == 0, again.output
        assert weights.read_bytes() == before

    def test_2d_trains_and_predicts(self, job: Path, tmp_path: Path) -> None:
        arguments = ("--workspace", job / "w", "--config", "2d", "--model", "umamba_bot", *SHORT)
        trained = umseg("train", "Dataset900_Blobs", *arguments)
        assert trained.exit_code == 0, trained.output
        assert (job / "w" / "Dataset900_Blobs" / "models" / "umamba_bot__2d" / "fold_0" / "validation").is_dir()

    def test_fold_all_and_options_reach_the_network(self, job: Path) -> None:
        arguments = ("--workspace", job / "w", "--fold", "all", "--no-ssm", "--optimizer", "adamw", *SHORT)
        trained = umseg("train", job / "Dataset900_Blobs", *arguments)
        assert trained.exit_code == 0, trained.output
        fold = job / "w" / "Dataset900_Blobs" / "models" / "umamba_enc-no-ssm__3d_fullres" / "fold_all"
        config = json.loads((fold / "config.json").read_text())
        assert config["optimizer"] == "adamw"
        assert json.loads((fold.parent / "model.json").read_text())["options"]["ssm"] is False


def spoil_description(dataset: Path) -> str:
    (dataset / "dataset.json").unlink()
    return "dataset.json"


def spoil_label_file(dataset: Path) -> str:
    (dataset / "labelsTr" / "blob_1.nii.gz").unlink()
    return "blob_1"


def rewrite_label(dataset: Path, change: Callable[[sitk.Image], sitk.Image]) -> str:
    path = dataset / "labelsTr" / "blob_1.nii.gz"
    sitk.WriteImage(change(sitk.ReadImage(str(path))), str(path))
    return "blob_1"


def spoil_shape(dataset: Path) -> str:
    return rewrite_label(dataset, lambda label: label[:, :, 1:])


def spoil_spacing(dataset: Path) -> str:
    def change(label: sitk.Image) -> sitk.Image:
        label.SetSpacing((1.0, 1.0, 2.5))
        return label

    return rewrite_label(dataset, change)


def spoil_label_value(dataset: Path) -> str:
    def change(label: sitk.Image) -> sitk.Image:
        label[3, 3, 3] = 7
        return label

    rewrite_label(dataset, change)
    return "7"


def spoil_with_nan(dataset: Path) -> str:
    path = dataset / "imagesTr" / "blob_1_0000.nii.gz"
    image = sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkFloat32)
    image[2, 2, 2] = float("nan")
    sitk.WriteImage(image, str(path))
    return "NaN"


def spoil_by_truncation(dataset: Path) -> str:
    path = dataset / "imagesTr" / "blob_1_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    return "blob_1_0000.nii.gz"


def spoil_with_text(dataset: Path) -> str:
    (dataset / "imagesTr" / "blob_1_0000.nii.gz").write_text("not an image")
    return "blob_1_0000.nii.gz"


def test_colour_photographs_need_no_option(tmp_path: Path) -> None:
    """2-D RGB PNGs: planned, trained in 2-D by default, and scored in pixels."""
    folder = tmp_path / "Dataset904_Photos"
    rng = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number in range(3):
        label = np.zeros((32, 40), np.uint8)
        label[8:24, 10 + number : 26 + number] = 1
        image = (rng.normal(80, 10, (32, 40, 3)) + label[..., None] * np.array([90, 30, 0])).clip(0, 255)
        # Some programs add a transparency that says nothing.
        opaque = np.full((32, 40, 1), 255)
        stored = np.concatenate([image, opaque], axis=2) if number == 1 else image
        photo = sitk.GetImageFromArray(stored.astype(np.uint8), isVector=True)
        sitk.WriteImage(photo, str(folder / "imagesTr" / f"photo_{number}_0000.png"))
        sitk.WriteImage(sitk.GetImageFromArray(label), str(folder / "labelsTr" / f"photo_{number}.png"))
    description = {
        "channel_names": {"0": "red", "1": "green", "2": "blue"},
        "labels": {"background": 0, "cell": 1},
        "numTraining": 3,
        "file_ending": ".png",
        "licence": "other tools' fields are welcome",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    planned = umseg("plan", folder, "--workspace", tmp_path / "w", "--workers", 0, "--quiet")
    assert planned.exit_code == 0, planned.output
    trained = umseg(
        "train", folder, "--workspace", tmp_path / "w", "--model", "umamba_bot", "--optimizer", "adamw", *SHORT
    )
    assert trained.exit_code == 0, trained.output
    assert "1 px" in trained.output
    (made,) = (tmp_path / "w" / "Dataset904_Photos" / "models" / "umamba_bot__2d").rglob("photo_*.png")
    assert sitk.ReadImage(str(made)).GetSize() == (40, 32)


class TestBadInput:
    @pytest.mark.parametrize(
        "spoil",
        [
            spoil_description,
            spoil_label_file,
            spoil_shape,
            spoil_spacing,
            spoil_label_value,
            spoil_with_nan,
            spoil_by_truncation,
            spoil_with_text,
        ],
    )
    @pytest.mark.parametrize("workers", [0, 2])
    def test_plan_refuses_wrong_data(
        self, dataset: Path, tmp_path: Path, spoil: Callable[[Path], str], workers: int
    ) -> None:
        named = spoil(dataset)
        result = umseg("plan", dataset, "--workspace", tmp_path / "w", "--workers", workers, "--quiet")
        self.check(result, named)
        written = [path.name for path in (tmp_path / "w").rglob("*") if path.is_file()]
        assert written in ([], ["problems.csv"]), "nothing else may be written before the data set has been checked"

    def test_fix_geometry_makes_wrong_headers_plannable(self, dataset: Path, tmp_path: Path) -> None:
        spoil_spacing(dataset)
        arguments = ("--workspace", tmp_path / "w", "--config", "2d", "--workers", 0, "--quiet")
        self.check(umseg("plan", dataset, *arguments), "--fix-geometry")
        planned = umseg("plan", dataset, *arguments, "--fix-geometry")
        assert planned.exit_code == 0, planned.output

    def test_unknown_model_lists_the_known(self, job: Path) -> None:
        self.check(umseg("train", "Dataset900_Blobs", "--workspace", job / "w", "--model", "unet"), "umamba_enc")

    def test_unknown_configuration_lists_the_known(self, job: Path) -> None:
        result = umseg("train", "Dataset900_Blobs", "--workspace", job / "w", "--config", "3d")
        self.check(result, "3d_fullres")

    def test_unknown_dataset_lists_the_planned(self, job: Path) -> None:
        self.check(umseg("train", "Dataset999_Nothing", "--workspace", job / "w"), "Dataset900_Blobs")

    @pytest.mark.parametrize(
        ("option", "value"), [("--fold", "x"), ("--optimizer", "lion"), ("--device", "tpu"), ("--precision", "int8")]
    )
    def test_wrong_option_values(self, job: Path, option: str, value: str) -> None:
        self.check(umseg("train", "Dataset900_Blobs", "--workspace", job / "w", option, value), value)

    def test_other_options_do_not_overwrite_a_run(self, job: Path) -> None:
        arguments = ("--workspace", job / "w", "--ssm-residual", *SHORT, "--seed", "5")
        self.check(umseg("train", "Dataset900_Blobs", *arguments), "seed")

    def test_predict_with_another_number_of_channels(self, job: Path, tmp_path: Path) -> None:
        images = job / "Dataset900_Blobs" / "imagesTr"
        for channel in (0, 1):
            shutil.copy(images / "blob_0_0000.nii.gz", tmp_path / f"scan_{channel:04d}.nii.gz")
        result = umseg("predict", "--model", model_folder(job), "--input", tmp_path, "--output", tmp_path / "out")
        self.check(result, "channel")

    @pytest.mark.parametrize("missing", ["model.json", "fold_0/weights_final.safetensors"])
    def test_predict_with_an_incomplete_model_folder(self, job: Path, tmp_path: Path, missing: str) -> None:
        folder = shutil.copytree(model_folder(job), tmp_path / "model")
        (folder / missing).unlink()
        images = job / "Dataset900_Blobs" / "imagesTr"
        result = umseg("predict", "--model", folder, "--input", images, "--output", tmp_path / "out")
        self.check(result, Path(missing).name)
        assert not (tmp_path / "out").exists()

    def test_evaluate_with_a_missing_prediction(self, job: Path, tmp_path: Path) -> None:
        labels = job / "Dataset900_Blobs" / "labelsTr"
        shutil.copy(labels / "blob_0.nii.gz", tmp_path)
        self.check(umseg("evaluate", "--predictions", tmp_path, "--reference", labels, "--quiet"), "blob_1")

    def check(self, result: Result, named: str) -> None:
        """Exit code 2, no traceback, one screen that names what is wrong and what to do."""
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
        assert named in result.output
        assert result.output.startswith("error: ")
        assert "remedy:" in result.output or "expected:" in result.output
        assert len(result.output.splitlines()) <= 30

    def test_debug_shows_where_the_error_arose(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "umseg", "plan", str(tmp_path / "nothing"), "--debug"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert "require_folder" in done.stderr


def test_every_verb_is_listed_with_the_beginning_of_its_own_help() -> None:
    text = " ".join(CliRunner().invoke(app, ["--help"], terminal_width=400).output.split())
    for name in VERBS:
        own = CliRunner().invoke(app, [name, "--help"], terminal_width=400)
        assert own.exit_code == 0, own.output
        first = " ".join(own.output.split("\n\n")[1].split())
        assert f"{name} {first}" in text


def test_help_of_plan_lists_models_and_presets() -> None:
    text = " ".join(umseg("plan", "--help").output.split())
    assert all(name in text for name in MODELS)
    assert all(f"{name} ({preset.description})" in text for name, preset in PRESETS.items())


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("trian",), "Did you mean 'train'?"),
        (("convert", "mds"), "Did you mean 'msd'?"),
        (("zzz",), "The commands are plan, train, predict"),
        (("predict", "--modle", "x"), "--model"),
    ],
)
def test_a_misspelt_verb_or_option_is_answered_with_the_nearest(arguments: tuple[str, ...], answer: str) -> None:
    result = umseg(*arguments)
    assert result.exit_code == 2
    assert answer in result.output


def test_a_misspelt_preset_is_answered_with_the_nearest(dataset: Path, tmp_path: Path) -> None:
    result = umseg("plan", dataset, "--workspace", tmp_path / "w", "--preset", "resenc_l")
    assert result.exit_code == 2
    assert "Did you mean 'resenc-l'?" in result.output


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--version"], {"umseg.common.record"}),
        (["--help"], {"umseg.common.record"}),
        (["plan", "--help"], {"umseg.common.record"}),
        (["train", "--help"], set()),
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str], forbidden: set[str]) -> None:
    """Help answers at once: no library that takes long to load is imported for it."""
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from umseg.cli.app import app\n"
        "assert CliRunner().invoke(app, sys.argv[1:]).exit_code == 0\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "numpy", "scipy", "SimpleITK", "matplotlib", "numba", *forbidden}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "nothing", "--preset", "defaul"], "Did you mean"),
        (["plan", "nothing", "--for-model", "nnunett"], "Did you mean"),
        (["predict", "--model", "nothing", "--input", "a", "--output", "b"], "The model folder does not exist"),
        (["plan", "nothing"], "The data set folder does not exist"),
        (["inspect", "nothing"], "There is no workspace for 'nothing'"),
    ],
)
def test_names_are_checked_before_torch_is_imported(arguments: list[str], message: str) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from umseg.cli.app import app\n"
        "result = CliRunner().invoke(app, sys.argv[2:])\n"
        "assert sys.argv[1] in result.output\n"
        "sys.exit(10 * ('torch' in sys.modules) + result.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code, message, *arguments], check=False)
    assert done.returncode == 2
