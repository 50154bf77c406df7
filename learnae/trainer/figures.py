"""Numbers that the user's loop gives: checked where they are given, since what is wrong with them would show in another process, later."""

from __future__ import annotations

import math
import operator
import threading
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from learnae.content.expect import MAX_INTEGER


def whole(value: Any, what: str, most: int = MAX_INTEGER) -> int:
    """A count, also where it comes as 8.0, as numpy's number or as a tensor of one element. Raises ValueError, TypeError."""
    number = _whole(_single(value, what), value, what)
    if not 0 <= number <= most:
        raise ValueError(f"{what} is {shown(value)}: wanted is a whole number from 0 to {most}")
    return number


def loss_of(value: Any) -> float | Tensor:
    """A number, or a tensor of one element as it is: it is read when a snapshot is taken. Raises ValueError, TypeError."""
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_meta or value.is_complex() or value.is_nested:
            raise ValueError(f"loss is {shown(value)}: wanted is a number or a tensor of one element, such as its mean()")
        return value if _is_plain(value) else _read(value)
    return _float(value, "loss", "a number or a tensor of one element")


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_quantized


def _read(tensor: Tensor) -> float:
    """At once, where it is not sure that it can be read at all: a snapshot would be taken long after the mistake."""
    try:
        return float(tensor.detach().item())
    except RuntimeError as error:
        raise ValueError(f"loss is {shown(tensor)}, and it cannot be read: {str(error)[:200]}") from error


def seconds_of(value: Any, what: str = "seconds") -> float:
    """A time to wait. Raises ValueError, TypeError."""
    number = _float(value, what, "a number of seconds")
    if not 0 <= number <= threading.TIMEOUT_MAX:  # which NaN is not
        raise ValueError(f"{what} is {shown(value)}: wanted is a number of seconds from 0 to {threading.TIMEOUT_MAX:.0f}")
    return number


def _float(value: Any, what: str, wanted: str) -> float:
    number = _single(value, what)
    if not _is_real(number):
        raise TypeError(f"{what} is {shown(value)}: wanted is {wanted}")
    try:
        return float(number)
    except OverflowError:
        raise ValueError(f"{what} is {shown(value)}, which no float can hold") from None
    except ValueError:  # a signalling NaN of Decimal
        raise ValueError(f"{what} is {shown(value)}: wanted is {wanted}") from None


def _is_real(number: Any) -> bool:
    return isinstance(number, Real | Decimal) and not isinstance(number, bool)


def _whole(number: Any, value: Any, what: str) -> int:
    wanted = f"{what} is {shown(value)}: wanted is a whole number"
    if isinstance(number, bool):
        raise TypeError(wanted)
    if not _is_real(number):
        try:
            return operator.index(number)
        except TypeError:
            raise TypeError(wanted) from None
    try:
        exact = Fraction(number)
    except (ValueError, OverflowError):  # not a number, or infinite
        raise ValueError(wanted) from None
    if exact.denominator != 1:
        raise ValueError(wanted)
    return exact.numerator


def _single(value: Any, what: str) -> Any:
    """What is in an array of one element, of any library and on any device; everything else as it is."""
    shape = getattr(value, "shape", None)
    if shape is None or not hasattr(value, "item"):
        return value
    if math.prod(shape) != 1:
        raise ValueError(f"{what} is {shown(value)}: wanted is one number, such as its sum()")
    try:
        return value.item()
    except RuntimeError as error:
        raise ValueError(f"{what} is {shown(value)}, and it cannot be read: {error}") from error


def shown(value: Any) -> str:
    """What was given, in short, for a message."""
    try:
        shape = getattr(value, "shape", None)
    except RuntimeError:  # a nested tensor has none
        shape = None
    if shape is not None and math.prod(shape) != 1:
        return f"a {type(value).__name__} of the shape {tuple(shape)}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # integers of more than 4,300 digits, and whatever else has no words for itself
        return f"a {type(value).__name__} that cannot be shown"
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"
