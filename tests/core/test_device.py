"""Which device is used, and what fits into its memory."""

import psutil
import pytest
import torch
from torch import nn

from ppcmi_sf.device import (
    activation_bytes,
    available_bytes,
    choose_device,
    describe_device,
    place,
    require_memory,
    training_bytes,
)
from ppcmi_sf.errors import ResourceError


def test_auto_takes_the_best_there_is():
    if torch.cuda.is_available():
        expected = "cuda"
    else:
        expected = "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device().type == expected
    assert choose_device("cpu") == torch.device("cpu")


def test_devices_that_are_not_there_are_refused():
    absent = [
        name
        for name, there in (
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
            ("tpu", False),
        )
        if not there
    ]
    for name in absent:
        with pytest.raises(ResourceError, match=f"'{name}' is not available") as caught:
            choose_device(name)
        assert "cpu" in caught.value.hint
        assert name not in caught.value.hint


def test_the_description_names_the_cpu():
    text = describe_device(torch.device("cpu"))
    assert text.startswith("Using the CPU (")
    assert str(torch.get_num_threads()) in text


def test_memory_of_the_machine():
    free = available_bytes(torch.device("cpu"))
    assert 0 < free <= psutil.virtual_memory().total
    require_memory(1, torch.device("cpu"), "Nothing much")
    with pytest.raises(ResourceError, match=r"It needs about .* GiB of memory; .* GiB are free"):
        require_memory(10 * psutil.virtual_memory().total, torch.device("cpu"), "It")


def test_activations_are_counted_without_computing():
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
        images = torch.empty(10**6, 1, 32, 32)
        assert activation_bytes(model, images) == 10**6 * 32 * 32 * 4 * (4 + 4 + 2)
    assert all(not module._forward_hooks for module in model)
    assert training_bytes(10, 100, 7) == 10 * 4 * 5 + 200 + 7


def test_place_keeps_values_and_turns_channels_last():
    convolution = nn.Conv2d(3, 4, 3)
    before = convolution.weight.detach().clone()
    assert place(convolution, torch.device("cpu")) is convolution
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(convolution.weight, before)
