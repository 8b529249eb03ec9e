"""What crosses between candidate and judge, and what is refused."""

import math
import socket
import struct
from collections import Counter, OrderedDict, defaultdict, namedtuple
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest
import torch

from judge.wire import Gone, NotPlain, decode, encode, receive, send

Pair = namedtuple("Pair", "a b")
Colour = IntEnum("Colour", "RED")


def across(value):
    here, there = socket.socketpair()
    with here, there:
        raw = []
        send(here, {"value": encode(value, raw)}, raw)
        said, raw = receive(there)
        return decode(said["value"], raw)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 7, -(2**80), 1.5, math.inf, -0.0, 1e-320, "text", "half \ud800", b"\0b", 1 + 2j,
        [1, (2, {3}), frozenset([4])], {1: "a", "1": [None]}, Counter("aab"), OrderedDict(b=1, a=2),
        range(2, 9, 3), slice(None, 4), Path("a/b"), torch.float16, torch.Size([2, 3]), torch.device("cpu"),
        np.float32(1.5), np.array(["ab", "c"]),
    ],
)  # fmt: skip
def test_plain_data_arrives_as_it_was(value):
    got = across(value)
    assert type(got) is type(value) and np.all(got == value)
    assert not isinstance(value, float) or math.copysign(1, got) == math.copysign(1, value)


@pytest.mark.parametrize("dtype", "float64 float32 float16 bfloat16 complex64 int64 int8 uint8 bool float8_e4m3fn".split())
@pytest.mark.parametrize("shape", [(), (0, 3), (4,), (2, 3, 5)])
def test_tensors_of_every_dtype(dtype, shape):
    tensor = torch.arange(math.prod(shape)).reshape(shape).to(getattr(torch, dtype))
    got = across(tensor)
    assert got.dtype == tensor.dtype and got.shape == tensor.shape
    assert torch.equal(got.to(torch.complex128), tensor.to(torch.complex128))


@pytest.mark.parametrize(
    "odd",
    [torch.randn(3, 4).T, torch.randn(3, 8)[:, ::2], torch.randn(9, 9)[2:5, 3:7], torch.randn(2, 3, 4).permute(1, 2, 0), torch.nn.Parameter(torch.randn(4, 3).T)],
)
def test_layouts_arrive_as_they_were(odd):
    """A function that reckons with one order of memory failed in the notebook only: what crossed was contiguous."""
    got = across(odd)
    assert torch.equal(got, odd) and got.stride() == odd.stride() and type(got) is type(odd)
    array = odd.detach().numpy()
    assert np.array_equal(across(array), array) and across(array).strides == array.strides


@pytest.mark.parametrize("odd", [torch.randn(5).expand(3, 5), torch.arange(9.0).unfold(0, 3, 1), torch.zeros(4, 2_000_000)[:, :2], torch.zeros(0, 3).T])
def test_shared_or_scattered_memory_arrives_as_a_plain_copy(odd):
    assert torch.equal(across(odd), odd) and across(odd).is_contiguous()


@pytest.mark.parametrize("layout", [[1], [0, 1], [-1, 1], [1, 1], [1 << 40, 1], ["1", 1], [1.5, 1], "ab", [True, 1]])
def test_a_layout_that_memory_cannot_have_is_refused(layout):
    for value in (torch.zeros(3, 4), np.zeros((3, 4))):
        raw = []
        said = encode(value, raw)
        next(iter(said.values()))[-1] = layout
        with pytest.raises(ValueError):
            decode(said, raw)


def test_one_element_with_odd_strides_crosses():
    """It counts as contiguous, and refused to be viewed as bytes: a right answer lost its points."""
    tensor = torch.tensor([7.0, 8.0])[::2].reshape(1, 1)
    for odd in (tensor, torch.arange(8.0).as_strided((1, 1), (2, 2)), torch.arange(6.0).as_strided((1, 3), (5, 2))):
        assert torch.equal(across(odd), odd)


def test_what_a_tensor_is_besides_its_values():
    """Strides do not cross; that a gradient is wanted does, also for parameters."""
    assert torch.equal(across(torch.arange(6).reshape(2, 3).t()), torch.arange(6).reshape(2, 3).t())
    assert across(torch.ones(2, requires_grad=True)).requires_grad
    assert type(across(torch.nn.Parameter(torch.ones(2)))) is torch.nn.Parameter
    assert np.array_equal(across(np.arange(6).reshape(2, 3)[:, ::2]), [[0, 2], [3, 5]])


def test_a_subclass_crosses_as_its_base_sees_it():
    """Its own methods may say anything: a tuple that iterates over nothing passed as right."""

    class Empty(tuple):
        __class__ = tuple

        def __iter__(self):
            return iter(())

    class Five(float):
        def __eq__(self, other):
            return True

    got = across([Pair(1, 2), Empty((3, 4)), Five(5), Colour.RED, defaultdict(int, a=1)])
    assert got == [(1, 2), (3, 4), 5.0, 1, {"a": 1}]
    assert [type(item) for item in got] == [tuple, tuple, float, int, dict]


@pytest.mark.parametrize("value", [object(), torch.nn.Linear(1, 1), (i for i in "ab"), torch.ones(2).to_sparse(), lambda: 0, np.array([object()])])
def test_what_is_not_plain_is_named(value):
    with pytest.raises(NotPlain):
        across([value])


@pytest.mark.parametrize(
    ("said", "raw"),
    [
        ({"tensor": ["float32", [-1], False, [0, 4]]}, [b"0000"]),
        ({"tensor": ["float32", [2**40], False, [0, 4]]}, [b"0000"]),
        ({"tensor": ["float32", [1], False, [7, 4]]}, [b"0000"]),
        ({"tensor": ["float32", [1.0], False, [0, 4]]}, [b"0000"]),
        ({"tensor": ["load", [1], False, [0, 4]]}, [b"0000"]),
        ({"array": ["O", [1], [0, 8]]}, [b"00000000"]),
        ({"array": ["<f4", [1] * 40, [0, 4]]}, [b"0000"]),
        ({"dtype": "nn"}, []),
        ({"function": 0}, []),
        ({"list": 5}, []),
        ({"set": [{"list": []}]}, []),
        ({"dict": [[1]]}, []),
        ({"a": 1, "b": 2}, []),
        ({}, []),
        ([1], []),
    ],
)
def test_hostile_values_are_refused(said, raw):
    with pytest.raises((ValueError, TypeError, KeyError, IndexError, RuntimeError, OverflowError)):
        decode(said, raw)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        struct.pack("!II", 2**31, 0),
        struct.pack("!II", 2, 2**31),
        struct.pack("!IIQ", 2, 1, 2**60) + b"{}",
        struct.pack("!II", 2, 0) + b"[]",
        struct.pack("!II", 2, 0) + b"{!",
        struct.pack("!II", 200_000, 0) + b"[" * 200_000,
    ],
)
def test_garbage_ends_the_conversation(data):
    here, there = socket.socketpair()
    with there:
        with here:
            here.sendall(data)
        with pytest.raises(Gone):
            receive(there)
