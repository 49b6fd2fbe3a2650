from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.models.plans import SMALL, U_NETS, make_configuration
from umseg.architectures.memory.model import described
from umseg.architectures.registry import network_spec
from umseg.architectures.stage import Stage
from umseg.architectures.unet import Architecture
from umseg.planning.rules.topology import plan_topology
from umseg.planning.stages import configuration_stages, topology_stages


def describe(model: str, stages: Sequence[Stage]) -> Architecture:
    return described(network_spec(model), stages)


def make_stages(dimensions: int, count: int, edge: int = 1024) -> tuple[Stage, ...]:
    ones, twos = [1] * dimensions, [2] * dimensions
    features = [min(32 * 2**stage, 320) for stage in range(count)]
    return configuration_stages(make_configuration([edge] * dimensions, features, [ones] + [twos] * (count - 1)))


@pytest.mark.parametrize(
    ("count", "encoder", "decoder"),
    [
        (1, [1 + 1], []),
        (2, [2, 1], [2]),
        (3, [2, 2, 1], [2, 2]),
        (6, [2, 2, 2, 1, 1, 1], [1, 1, 2, 2, 2]),
        (8, [2, 2, 2, 2, 1, 1, 1, 1], [1, 1, 1, 2, 2, 2, 2]),
    ],
)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_released_blocks_per_stage(dimensions: int, count: int, encoder: list[int], decoder: list[int]) -> None:
    """The examples in docs/rules.md, Networks; the decoder is listed from the full resolution down."""
    architecture = describe("umamba_bot_released", make_stages(dimensions, count))
    assert [len(row) for row in architecture.encoder] == encoder
    assert [len(row) for row in architecture.decoder] == decoder
    assert architecture.stem == architecture.encoder[0]
    assert all(row[0] == "projected" and set(row[1:]) <= {"residual"} for row in architecture.encoder)
    assert architecture.skips == tuple(dimensions == 3 or stage > 0 for stage in range(count - 1))


@pytest.mark.parametrize(
    ("dimensions", "count", "edge", "expected"),
    [
        (3, 3, 64, "vvv"),
        (3, 4, 40, "vvvc"),  # 5³ = 125 voxels, 256 channels
        (2, 7, 512, "v-v-v-c"),  # 32² > 320, 8² < 320
        (2, 8, 512, "-v-v-c-c"),  # 16² < 320
    ],
)
def test_released_encoder_places_its_mamba_layers(dimensions: int, count: int, edge: int, expected: str) -> None:
    architecture = describe("umamba_enc_released", make_stages(dimensions, count, edge))
    assert "".join(tokens[0] if tokens else "-" for tokens in architecture.ssm) == expected


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("model", U_NETS)
def test_rows_fit_the_stages(model: str, name: str) -> None:
    stages = configuration_stages(SMALL[name])
    architecture = describe(model, stages)
    assert len(architecture.encoder) == len(architecture.ssm) == len(stages)
    assert len(architecture.decoder) == len(architecture.skips) == len(stages) - 1
    plain = architecture.without_ssm()
    assert set(plain.ssm) == {None}
    assert (plain.encoder, plain.decoder, plain.stem) == (
        architecture.encoder,
        architecture.decoder,
        architecture.stem,
    )


def counts(rows: Sequence[Sequence[str]]) -> list[int]:
    return [len(row) for row in rows]


def test_plans_count_their_decoder_from_the_deepest_stage() -> None:
    configuration = SMALL["3d"].model_copy(update={"n_conv_per_stage": (1, 2, 3), "n_conv_per_stage_decoder": (4, 5)})
    architecture = describe("nnunet", configuration_stages(configuration))
    assert counts(architecture.encoder) == [1, 2, 3]
    assert counts(architecture.decoder) == [5, 4]


def test_residual_encoders_have_the_blocks_of_the_plan() -> None:
    topology = plan_topology((1, 1, 1), (32, 32, 32))
    residual = topology_stages(topology, (32, 64, 128, 256), (1, 2, 3, 4), 3, residual=True)
    architecture = describe("nnunet_resenc", residual)
    assert counts(architecture.encoder) == [1, 2, 3, 4]
    assert counts(architecture.decoder) == [3, 3, 3]
