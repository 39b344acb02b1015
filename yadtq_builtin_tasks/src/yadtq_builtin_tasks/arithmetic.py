"""add, sub, mul: arithmetic on JSON numbers that refuses expensive inputs before it computes them.

Integers stay exact; with a float among the numbers the result is a float. Results out of range raise InvalidArguments,
in the same functions at submit and in the run.
"""

import math
from collections.abc import Callable, Sequence

from yadtq_builtin_tasks.numbers import MAX_DIGITS, Number, all_floats, check_numbers, too_long
from yadtq_core import InvalidArguments, task

_TOO_LARGE = 10**MAX_DIGITS
SAFE_BITS = 14_000
"""Integers with at most this sum of bits have a product of at most 4,215 digits, so no logarithms are needed."""


def _sum(name: str, numbers: Sequence[Number]) -> Number:
    check_numbers(name, numbers)
    if any(isinstance(number, float) for number in numbers):
        return _finite(name, lambda: math.fsum(all_floats(name, numbers)))
    total = sum(numbers)
    if abs(total) >= _TOO_LARGE:
        raise too_long(name, MAX_DIGITS + 1)
    return total


def _difference(numbers: Sequence[Number]) -> Number:
    if not numbers:
        raise InvalidArguments("sub needs at least one number")
    check_numbers("sub", numbers)
    return _sum("sub", [numbers[0], *(-number for number in numbers[1:])])


def _product(numbers: Sequence[Number]) -> Number:
    check_numbers("mul", numbers)
    if any(isinstance(number, float) for number in numbers):
        return _finite("mul", lambda: math.prod(all_floats("mul", numbers)))
    _check_product_digits([number for number in numbers if isinstance(number, int)])
    return math.prod(numbers)


def _check_product_digits(numbers: Sequence[int]) -> None:
    """Raise InvalidArguments if the product would be too long, from logarithms: it is never computed."""
    if 0 in numbers or sum(number.bit_length() for number in numbers) <= SAFE_BITS:
        return
    digits = math.floor(math.fsum(math.log10(abs(number)) for number in numbers)) + 1
    if digits > MAX_DIGITS:
        raise too_long("mul", digits)


def _finite(name: str, compute: Callable[[], float]) -> float:
    """Return the computed float; raises InvalidArguments if it is out of range."""
    try:
        result = compute()
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise InvalidArguments(f"{name}: the result is out of the range of a float (1.8e308)")
    return result


def _check_add(*numbers: Number) -> None:
    _sum("add", numbers)


def _check_sub(*numbers: Number) -> None:
    _difference(numbers)


def _check_mul(*numbers: Number) -> None:
    _product(numbers)


@task(check=_check_add)
def add(*numbers: int | float) -> int | float:
    """Return the sum of the numbers; 0 without any.

    Integers give an exact integer; with a float among them the sum is a float, rounded once.
    Raises InvalidArguments for other values than numbers, and for a result beyond 4,300 digits or a float's range.
    """
    return _sum("add", numbers)


@task(check=_check_sub)
def sub(*numbers: int | float) -> int | float:
    """Return the first number minus all others; the first alone is itself.

    Raises InvalidArguments without a number, for other values than numbers, and for a result beyond 4,300 digits
    or a float's range.
    """
    return _difference(numbers)


@task(check=_check_mul)
def mul(*numbers: int | float) -> int | float:
    """Return the product of the numbers; 1 without any.

    Raises InvalidArguments for other values than numbers, for a result beyond 4,300 digits (before it multiplies),
    and for a result beyond a float's range.
    """
    return _product(numbers)
