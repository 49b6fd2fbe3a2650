"""The methods paragraph of a page, written from what was really run, with the works that it cites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from umseg.common.text import counted, listed
from umseg.reports.page.sources.runs import Run, Training, same_or_list
from umseg.reports.page.sources.scores import Scores
from umseg.training.loss.registry import LOSSES

_WORKS = {
    "nnunet": "Isensee F, et al. nnU-Net: a self-configuring method for deep learning-based biomedical image "
    "segmentation. Nature Methods 18, 203–211 (2021). doi:10.1038/s41592-020-01008-z",
    "umamba": "Ma J, Li F, Wang B. U-Mamba: Enhancing Long-range Dependency for Biomedical Image Segmentation. "
    "arXiv:2401.04722 (2024)",
    "mamba": "Gu A, Dao T. Mamba: Linear-Time Sequence Modeling with Selective State Spaces. arXiv:2312.00752 (2023)",
    "resenc": "Isensee F, et al. nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation. "
    "MICCAI 2024. arXiv:2404.09556",
    "segresnet": "Myronenko A. 3D MRI brain tumor segmentation using autoencoder regularization. BrainLes 2018. "
    "arXiv:1810.11654",
    "unetr": "Hatamizadeh A, et al. UNETR: Transformers for 3D Medical Image Segmentation. WACV 2022. arXiv:2103.10504",
    "swin_unetr": "Hatamizadeh A, et al. Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in "
    "MRI Images. BrainLes 2021. arXiv:2201.01266",
    "muon": "Jordan K, et al. Muon: An optimizer for hidden layers in neural networks. "
    "kellerjordan.github.io/posts/muon (2024)",
    "adamw": "Loshchilov I, Hutter F. Decoupled Weight Decay Regularization. ICLR 2019. arXiv:1711.05101",
    "dice_loss": "Milletari F, Navab N, Ahmadi S-A. V-Net. 3DV 2016. doi:10.1109/3DV.2016.79",
    "reloaded": "Maier-Hein L, et al. Metrics reloaded: recommendations for image analysis validation. "
    "Nature Methods 21, 195–212 (2024). doi:10.1038/s41592-023-02151-z",
    "dsc": "Dice LR. Measures of the Amount of Ecologic Association Between Species. Ecology 26, 297–302 (1945). "
    "doi:10.2307/1932409",
    "nsd": "Nikolov S, et al. Clinically Applicable Segmentation of Head and Neck Anatomy for Radiotherapy. "
    "J Med Internet Res 23, e26151 (2021). doi:10.2196/26151",
    "hd95": "Huttenlocher DP, Klanderman GA, Rucklidge WJ. Comparing images using the Hausdorff distance. "
    "IEEE TPAMI 15, 850–863 (1993). doi:10.1109/34.232073",
    "confidence": "Zenk M, et al. Comparative benchmarking of failure detection methods in medical image segmentation. "
    "Medical Image Analysis (2025). arXiv:2406.03323",
}
_NETWORKS = {
    "nnunet": ("a plain U-Net in the form of nnU-Net", ("nnunet",)),
    "nnunet_resenc": ("a U-Net with a residual encoder in the form of nnU-Net", ("resenc",)),
    "segresnet": ("SegResNet", ("segresnet",)),
    "unetr": ("UNETR", ("unetr",)),
    "swin_unetr": ("Swin UNETR", ("swin_unetr",)),
}
_OPTIMIZERS = {"sgd": "SGD with Nesterov momentum", "adamw": "AdamW", "muon": "Muon"}


@dataclass
class _Cited:
    """Numbers works in the order in which the text names them."""

    works: list[str] = field(default_factory=list)

    def __call__(self, *keys: str) -> str:
        numbers = []
        for key in keys:
            work = _WORKS[key]
            if work not in self.works:
                self.works.append(work)
            numbers.append(str(self.works.index(work) + 1))
        return f" [{', '.join(numbers)}]"


@dataclass(frozen=True)
class Methods:
    """What was done, and the cited works; the number of a work is its place in the list.

    Attributes:
        paragraphs: The text.
        works: The works.
    """

    paragraphs: tuple[str, ...]
    works: tuple[str, ...]


def methods(sources: Sequence[tuple[str, Training | None, Scores | None, bool]], version: str) -> Methods:
    """The methods of all sources of a page.

    Args:
        sources: Name, training, scores and whether a confidence is stated, of each; None where there is none.
        version: Version of umseg that makes the page.
    """
    cited, paragraphs = _Cited(), []
    for name, training, _, _ in sources:
        if training is not None:
            lead = f"{name}: " if len(sources) > 1 else ""
            paragraphs.append(lead + " ".join(_training(training, cited)))
    scored = [scores for _, _, scores, _ in sources if scores is not None]
    if scored:
        paragraphs.append(" ".join(_evaluation(scored, version, cited)))
    if any(confidence for *_, confidence in sources):
        paragraphs.append(
            "The predicted quality of a case is the mean Dice coefficient over all pairs of the predictions that were "
            f"averaged for it{cited('confidence')}; no reference enters it."
        )
    return Methods(tuple(paragraphs), tuple(cited.works))


def _training(training: Training, cited: _Cited) -> Iterator[str]:
    card, configuration = training.card, training.configuration
    runs, first = training.runs, training.runs[0]
    yield (
        f"umseg {card.umseg_version} configured the training by its preset “{card.plan.preset}”, which follows the "
        f"rules of nnU-Net{cited('nnunet')}."
    )
    channels = listed(card.dataset.channel_names.values())
    schemes = listed(
        dict.fromkeys(scheme.removesuffix("Normalization") for scheme in configuration.normalization_schemes)
    )
    resampled = "" if configuration.dimensions == 2 else f"resampled to {_by(configuration.spacing)} mm and "
    yield f"Images ({channels}) were {resampled}normalised ({schemes})."
    yield _network(training, cited)
    yield _schedule(training, first, cited)
    yield _data(training, runs)
    seeds = same_or_list([run.config.seed for run in runs])
    yield f"Weights, batches and augmentation came from seed {seeds}."


def _network(training: Training, cited: _Cited) -> str:
    card, configuration = training.card, training.configuration
    if card.model in _NETWORKS:
        name, keys = _NETWORKS[card.model]
        name += cited(*keys)
    else:
        kind = "U-Mamba_Bot" if "bot" in card.model else "U-Mamba_Enc" if "enc" in card.model else card.model
        known = card.model.startswith("umamba")
        name = kind + (cited("umamba") if known else "")
        if known and card.options.ssm:
            name += f" with Mamba layers{cited('mamba')}"
            name += ", each with a residual connection," if card.options.ssm_residual else ""
        elif known:
            name += " without its Mamba layers"
    return (
        f"The network is {name} of {configuration.num_stages} stages with {_list(configuration.features_per_stage)} "
        f"channels, trained on patches of {_by(configuration.patch_size)} voxels."
    )


def _schedule(training: Training, run: Run, cited: _Cited) -> str:
    config = run.config.resolved(training.configuration)
    optimizer = _OPTIMIZERS.get(config.optimizer, config.optimizer)
    optimizer += cited(config.optimizer) if config.optimizer in _WORKS else ""
    loss = LOSSES[config.loss].description if config.loss in LOSSES else f"the loss {config.loss}"
    loss += cited("dice_loss") if "dice" in config.loss else ""
    deep = " at all stages of the decoder (deep supervision)" if config.deep_supervision else ""
    epochs = same_or_list([len(run.epochs) or run.config.epochs for run in training.runs])
    return (
        f"It was trained for {epochs} epochs of {config.iterations} iterations with a batch of "
        f"{training.configuration.batch_size}, by {optimizer} with an initial learning rate of {config.initial_lr:g}, "
        f"a {config.schedule} schedule and a weight decay of {config.weight_decay:g}, on {loss}{deep}. "
        f"{config.oversampling:.0%} of each batch held foreground. {_augmentation(run)}"
    )


def _augmentation(run: Run) -> str:
    if run.config.augmentation == "none":
        return "Patches were not augmented."
    mirrored = run.config.mirror_axes
    mirror = (
        "" if mirrored is None else ", without mirroring" if not mirrored else f", mirrored along {_list(mirrored)}"
    )
    return f"Patches were augmented by the transforms “{run.config.transforms}”{mirror}."


def _data(training: Training, runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        run = runs[0]
        if run.training is None or run.validation is None:
            return f"The data set has {counted(training.cases, 'case')}."
        held = f" and {run.validation} held out for validation" if run.validation else ""
        return f"Of {counted(training.cases, 'case')}, {run.training} were used for training (fold {run.fold}){held}."
    validated = sum(run.validation or 0 for run in runs)
    return (
        f"{len(runs)} networks were trained by cross-validation; each of {counted(validated, 'case')} was segmented by "
        "the network that had not seen it."
    )


def _evaluation(scored: Sequence[Scores], version: str, cited: _Cited) -> Iterator[str]:
    columns = {column.key: column for scores in scored for column in scores.columns}
    named = [column.title + (cited(key) if key in _WORKS else "") for key, column in columns.items()]
    cases = same_or_list([counted(len(scores.cases), "case") for scores in scored])
    yield (
        f"Predictions of {cases} were compared with the reference by {listed(named)}, computed by umseg {version}; the "
        f"choice and the edge cases follow Metrics Reloaded{cited('reloaded')}."
    )
    yield from dict.fromkeys(note for scores in scored for note in scores.notes)
    yield (
        "Tables state mean ± standard deviation over cases, the 95 % confidence interval of the mean by Student's t, "
        "and median with quartiles. Cases in which neither label map has a class do not count for it."
    )


def _by(sizes: Iterable[float]) -> str:
    return " × ".join(f"{size:.4g}" for size in sizes)


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
