from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from umseg.architectures.memory.layers import CUDA_ALLOWANCE, Layer, Training, peak_memory

LAYERS = st.lists(st.builds(Layer, st.integers(0, 50), st.integers(0, 500), st.integers(0, 500)), max_size=6)


def test_peak_of_a_row() -> None:
    row = [Layer(kept=10), Layer(parameters=5, kept=100, passing=30), Layer(parameters=1, kept=20, passing=40)]
    memory = peak_memory(row, "cpu")
    # The last layer runs backwards: all is kept, and the only gradient is its own.
    assert (memory.weights_and_optimizer, memory.activations, memory.workspace) == (8 * 6 + 4, 130, 40)
    # The first layer's workspace is so large that the gradients of all exist at the peak.
    memory = peak_memory([Layer(kept=10), Layer(parameters=5, kept=100, passing=90), *row[2:]], "cpu")
    assert (memory.weights_and_optimizer, memory.activations, memory.workspace) == (12 * 6, 110, 90)
    assert peak_memory(row, "cuda").total == peak_memory(row, "cpu").total + CUDA_ALLOWANCE


def test_large_weights_peak_after_the_backward_pass() -> None:
    memory = peak_memory([Layer(kept=10), Layer(parameters=1000), Layer(kept=50, passing=5)], "cpu")
    assert (memory.weights_and_optimizer, memory.activations) == (12_000, 10)


@given(LAYERS)
def test_peak_is_that_of_a_walk_backwards(layers: list[Layer]) -> None:
    weights = 8 * sum(layer.parameters for layer in layers)
    live, kept = weights, sum(layer.kept for layer in layers)
    moments = [live]
    for layer in reversed(layers):
        live += 4 * layer.parameters
        moments.append(live + kept + layer.passing)
        kept -= layer.kept
    assert peak_memory(layers, "cpu").total == max(*moments, live)


def test_bytes_of_maps_and_images() -> None:
    mixed, full = Training(2, 3, 5, "mixed", "cpu"), Training(2, 3, 5, "fp32", "cpu")
    assert (mixed.map_bytes(7, (4, 6)), full.map_bytes(7, (4, 6))) == (2 * 7 * 24 * 2, 2 * 7 * 24 * 4)
    assert mixed.image_bytes((4, 6), readers=2) == 3 * 48 * (4 + 2 + 2)
    assert full.image_bytes((4, 6), readers=2) == 3 * 48 * 4
    assert (mixed.rounded_weights(9), full.rounded_weights(9)) == (18, 0)
    # Softmax, one-hot target and log-softmax in float32, whatever the precision.
    assert mixed.loss((4, 6)).kept == full.loss((4, 6)).kept == 3 * 4 * 5 * 48
