# SPDX-License-Identifier: MIT
"""A machine that follows the instructions of a pickle which data needs, and no other.

Python's own unpickler calls and changes what the pickle names, even if it finds the name through
a list. This one looks nothing up: a name is a key of a table that says what to make of it.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from uma_md.files.archive import StoredTensor

# Published files stay far below these.
MOST_BYTES = 1 << 25
_MOST_INSTRUCTIONS = 1_000_000
_MOST_VALUES = 200_000
_DEEPEST = 50
_MOST_AXES = 8

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass
class Record:
    """Stands for an object of a class that the pickle names: its name and its state."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)


def read_pickle(data: bytes, prefix: str) -> Any:
    """Make the value that a pickle describes; objects become records, tensors stay on disk.

    Parameters
    ----------
    data
        The pickle.
    prefix
        The folder of the archive with the tensors' records.

    Raises
    ------
    ValueError
        When the pickle is damaged or too large, or does anything but describe data.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"its pickle must have at most {MOST_BYTES} bytes, found {len(data)}")
    return _Machine(prefix).run(data)


def plain(value: Any) -> Any:
    """Turn what omegaconf pickles into dicts, lists and values, all the way down.

    Raises
    ------
    ValueError
        When there are too many values, or they are nested too deep.
    """
    return _plain(value, iter(range(_MOST_VALUES)), _DEEPEST)


def _plain(value: Any, left: Iterator[int], depth: int) -> Any:
    if next(left, None) is None or depth == 0:
        raise ValueError(
            f"a checkpoint must hold at most {_MOST_VALUES} values, nested at most {_DEEPEST} deep"
        )
    if isinstance(value, Record):
        inner = {"DictConfig": "_content", "ListConfig": "_content"}.get(value.name, "_val")
        return _plain(value.state.get(inner), left, depth - 1)
    if isinstance(value, dict):
        return {key: _plain(part, left, depth - 1) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(part, left, depth - 1) for part in value)
    return str(value) if isinstance(value, _Name) else value


class _Name(NamedTuple):
    """A name that the pickle refers to."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class _Storage(NamedTuple):
    """The bytes of a tensor: a record of the archive and the type of its elements."""

    record: str
    dtype: torch.dtype


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_rest: Any) -> StoredTensor:
    if not isinstance(storage, _Storage) or len(shape) != len(stride) or len(shape) > _MOST_AXES:
        raise ValueError(
            f"a checkpoint's tensors must have a storage, and at most {_MOST_AXES} axes with a "
            f"stride each, found {len(shape)} with {len(stride)}"
        )
    for size in (offset, *shape, *stride):
        if type(size) is not int or size < 0:
            raise ValueError(f"a checkpoint's tensors must have sizes from 0, found {_short(size)}")
    return StoredTensor(storage.record, storage.dtype, offset, tuple(shape), tuple(stride))


def _short(value: Any) -> str:
    """A value as a message shows it: containers may be endless, so their type has to do."""
    return repr(value)[:200] if isinstance(value, (str, int)) else f"a {type(value).__name__}"


def _first(value: Any = (), *_rest: Any) -> Any:
    """What is made of a value where its kind does not matter: itself, and no copy."""
    return value


def _empty(*_arguments: Any) -> dict[str, Any]:
    """A dictionary of another kind, as torch and omegaconf make them: empty at first."""
    return {}


def _record(name: str) -> Callable[..., Record]:
    return lambda *_arguments: Record(name)


# What a pickle may name, and what is made when it is called. None: it is only named, as a type.
_ALLOWED: dict[_Name, Callable[..., Any] | None] = {
    _Name("collections", "OrderedDict"): _empty,
    _Name("collections", "defaultdict"): _empty,
    _Name("torch", "Size"): _first,
    _Name("torch", "device"): lambda *_arguments: "device",
    _Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    _Name("torch._utils", "_rebuild_parameter"): _first,
    _Name("builtins", "set"): _first,
    **{
        _Name("builtins", name): None
        for name in ("dict", "list", "tuple", "int", "long", "float", "str", "bool")
    },
    _Name("typing", "Any"): None,
    **{
        _Name(module, name): _record(name)
        for module, name in (
            ("fairchem.core.units.mlip_unit.api.inference", "MLIPInferenceCheckpoint"),
            ("omegaconf.dictconfig", "DictConfig"),
            ("omegaconf.listconfig", "ListConfig"),
            ("omegaconf.base", "ContainerMetadata"),
            ("omegaconf.base", "Metadata"),
            ("omegaconf.nodes", "AnyNode"),
            ("omegaconf.nodes", "IntegerNode"),
            ("omegaconf.nodes", "FloatNode"),
            ("omegaconf.nodes", "StringNode"),
            ("omegaconf.nodes", "BooleanNode"),
        )
    },
    **{_Name("torch", name): None for name in _DTYPES},
    **{
        _Name("torch", str(dtype).removeprefix("torch.")): None
        for dtype in (*_DTYPES.values(), torch.complex64)
    },
}


class _Machine:
    """The stack, the marks and the memory of a pickle."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memory: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Follow the instructions to the end and return the value that they make."""
        for count, (instruction, argument) in enumerate(_instructions(data)):
            if count == _MOST_INSTRUCTIONS:
                raise ValueError(f"its pickle must have at most {count} instructions, found more")
            try:
                self._follow(instruction, argument)
            except (IndexError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"its pickle is damaged at {instruction}") from error
        if len(self._stack) != 1 or self._marked:
            raise ValueError("its pickle is damaged at its end")
        return self._stack.pop()

    def _follow(self, instruction: str, argument: Any) -> None:
        if instruction in _VALUES:
            self._stack.append(argument)
        elif instruction in _CONSTANTS:
            self._stack.append(_CONSTANTS[instruction]())
        elif instruction in _ACTIONS:
            _ACTIONS[instruction](self, argument)
        elif instruction not in _NOTHING:
            raise ValueError(
                f"a checkpoint must hold data only, this one has the pickle instruction "
                f"{instruction}: do not trust this file"
            )

    def name(self, argument: str) -> None:
        """Push a name of the table."""
        module, name = argument.split(" ", 1)
        found = _Name("builtins" if module == "__builtin__" else module, name)
        if found not in _ALLOWED:
            raise ValueError(
                f"a checkpoint must hold data only, this one names {str(found)[:200]}, "
                "which is not on uma-md's allow-list: do not trust this file"
            )
        self._stack.append(found)

    def name_from_stack(self, _: Any) -> None:
        """Push the name whose parts were pushed before."""
        module, name = self.last(2)
        if type(module) is not str or type(name) is not str:
            raise TypeError("names are texts")
        self.name(f"{module} {name}")

    def integer(self, value: int) -> None:
        """Push an integer of at most 64 bits: larger ones can be made slow to compare."""
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError("a checkpoint's integers must have at most 64 bits, found more")
        self._stack.append(value)

    def mark(self, _: Any) -> None:
        """Begin a group of values."""
        self._marked.append(self._stack)
        self._stack = []

    def since_mark(self) -> list[Any]:
        """End a group of values and return it."""
        values, self._stack = self._stack, self._marked.pop()
        return values

    def push(self, value: Any) -> None:
        """Push a value that was made."""
        self._stack.append(value)

    def append(self, values: list[Any]) -> None:
        """Add to the list below."""
        if type(self._stack[-1]) is not list:
            raise TypeError("only lists are appended to")
        self._stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        """Add keys and values to the dictionary below."""
        keys = values[::2]
        if type(self._stack[-1]) is not dict or len(values) % 2:
            raise TypeError("only dictionaries have items")
        if any(type(key) not in (str, int) for key in keys):
            raise TypeError("keys are texts or integers")
        self._stack[-1].update(zip(keys, values[1::2], strict=True))

    def last(self, count: int) -> list[Any]:
        """Take the last values."""
        return [self._stack.pop() for _ in range(count)][::-1]

    def make(self, _: Any) -> None:
        """Push what a name makes of a tuple of arguments."""
        arguments, name = self._stack.pop(), self._stack.pop()
        maker = _ALLOWED[name] if isinstance(name, _Name) else None
        if maker is None or type(arguments) is not tuple:
            raise TypeError("only names that make something are called")
        self._stack.append(maker(*arguments))

    def give_state(self, _: Any) -> None:
        """Give the record below its state; torch's dictionaries have one that does not matter."""
        state = self._stack.pop()
        if isinstance(state, tuple):
            state = next((part for part in state if part), {})
        target = self._stack[-1]
        if isinstance(target, Record) and type(state) is dict:
            target.state = state
        elif type(target) is not dict:
            raise TypeError("only records have a state")

    def storage(self, _: Any) -> None:
        """Push the bytes of a tensor."""
        kind, dtype, key, _location, _size = self._stack.pop()
        known = isinstance(dtype, _Name) and dtype.module == "torch" and dtype.name in _DTYPES
        if kind != "storage" or not known or not re.fullmatch(r"[0-9]{1,9}", key):
            raise ValueError(f"a checkpoint's tensors must be torch storages, found {_short(kind)}")
        self._stack.append(_Storage(f"{self._prefix}data/{key}", _DTYPES[dtype.name]))

    def remember(self, key: int | None) -> None:
        """Keep the last value under a number, the next one if none is given."""
        self._memory[len(self._memory) if key is None else key] = self._stack[-1]

    def recall(self, key: int) -> None:
        """Push a value that was kept."""
        self._stack.append(self._memory[key])


_NOTHING = frozenset(("PROTO", "FRAME", "STOP"))
_VALUES = frozenset(("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "BINFLOAT"))
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "LONG1": _Machine.integer,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "MARK": _Machine.mark,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.last(3))),
    "APPEND": lambda machine, _: machine.append(machine.last(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "REDUCE": _Machine.make,
    "NEWOBJ": _Machine.make,
    "BUILD": _Machine.give_state,
    "BINPERSID": _Machine.storage,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
}


def _instructions(data: bytes) -> Iterator[tuple[str, Any]]:
    """The instructions of a pickle and their arguments, up to its STOP."""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            yield opcode.name, argument
    except (ValueError, IndexError) as error:
        raise ValueError(f"its pickle is damaged: {str(error)[:100]}") from error
