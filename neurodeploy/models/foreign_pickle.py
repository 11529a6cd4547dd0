"""The pickle stream of a `.pt` file, read without running any of it.

A pickle is a program: it may name any function of the machine and have it called. Here its opcodes are walked by hand; names
build inert records, and only those that `torch.save` writes for tensors and plain values are known. Every other name is refused
before anything else happens. Tensors come out as what they declare about a storage, not as memory.
Opcodes: Python's pickletools; names: torch 2, `torch.save` of a state_dict.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from neurodeploy.errors import UnsafeFile

MAX_BYTES = 2**19  # of the stream: tensors lie beside it, 200 bytes of it stand for one
MAX_RANK = 8
RESAVE = (
    "If you made the file yourself, write its weights alone: torch.save(torch.load(FILE, weights_only=False).state_dict(), "
    '"weights.pt"), then give weights.pt with --arch'
)
STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


@dataclass(frozen=True)
class Storage:
    """`n` values of type `dtype` in the archive's entry `data/<key>`."""

    key: str
    dtype: str
    n: int


@dataclass(frozen=True)
class Declared:
    """A tensor as the stream declares it: a view of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Name:
    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


_MARK = object()


def shown(name: str) -> str:
    """A name out of a stranger's file for a terminal: short, and without characters that steer it."""
    return "".join(c if c.isprintable() else "?" for c in name[:120])


def declared(stream: bytes, where: str) -> Any:
    """What a stream builds: plain values, and Declared where tensors are. Nothing is executed.

    Raises UnsafeFile for a name that is not known (it says which), for what `torch.save` does not write, and for a damaged
    stream.
    """
    if len(stream) > MAX_BYTES:
        raise UnsafeFile(f"its pickle stream has {len(stream)} bytes", where=where, limit=f"At most {MAX_BYTES}", remedy=RESAVE)
    try:
        return _Reader(where).read(stream)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, UnicodeDecodeError, OverflowError) as error:
        _damaged(where, str(error))


def refuse_calls(stream: bytes, where: str) -> None:
    """Raise UnsafeFile for the first name that is no tensor's in pickles that follow each other; the last may be cut short."""
    texts: list[str] = []
    source = io.BytesIO(stream)
    try:
        while source.tell() < len(stream):
            for opcode, argument, _ in pickletools.genops(source):
                if isinstance(argument, str):
                    texts = argument.split(" ", 1) if opcode.name in ("GLOBAL", "INST") else [*texts[-1:], argument]
                if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL") and not _known(*texts):
                    _refused(_Name(*texts), where)
    except (ValueError, IndexError, TypeError, UnicodeDecodeError):
        return


def _known(module: str, name: str) -> bool:
    return (module, name) in _BUILDERS or (module == "torch" and (name in STORAGES or name in STORAGES.values()))


def _damaged(where: str, limit: str) -> NoReturn:
    raise UnsafeFile("its pickle stream is damaged; nothing in it was executed", where=where, limit=limit[:200],
                     remedy="Get a fresh copy, or write the state_dict again")


def _refused(name: _Name, where: str) -> NoReturn:
    raise UnsafeFile(
        f"it is a pickle that wants {name} called, no file of tensors alone; nothing in it was executed", where=where,
        limit="A pickled module, optimizer or other object runs its own code when it is loaded", remedy=RESAVE,
    )


def _tensor(storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Declared:
    if not isinstance(storage, Storage) or not len(_of(shape, tuple)) == len(_of(stride, tuple)) <= MAX_RANK:
        raise ValueError("a tensor without a storage, or of impossible shape")
    if not all(type(v) is int and v >= 0 for v in (offset, *shape, *stride)):
        raise ValueError("a tensor of negative sizes")
    return Declared(storage, offset, shape, stride)


def _empty() -> dict[Any, Any]:
    """An OrderedDict, whose items follow: one copied from an argument could be copied a million times."""
    return {}


_BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _empty,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *rest: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *rest: data,
}
_PLAIN = {  # opcodes whose argument is the value
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4",
    "BINFLOAT", "FLOAT", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_DICT": dict, "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple, "MARK": lambda: _MARK,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, stream: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return self.stack.pop()
            self.step(opcode.name, argument)
        raise ValueError("it does not end")

    def since_mark(self) -> list[Any]:
        at = next(i for i in reversed(range(len(self.stack))) if self.stack[i] is _MARK)
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def step(self, op: str, argument: Any) -> None:
        stack = self.stack
        if op in _PLAIN:
            stack.append(argument)
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op]())
        elif op in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self.memo[len(self.memo) if op == "MEMOIZE" else int(argument)] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif op in _TUPLES:
            n = _TUPLES[op]
            stack[-n:] = [tuple(stack[-n:])]
        elif op == "TUPLE":
            stack.append(tuple(self.since_mark()))
        elif op in ("APPEND", "APPENDS"):
            found = self.since_mark() if op == "APPENDS" else [stack.pop()]
            _of(stack[-1], list).extend(found)
        elif op in ("SETITEM", "SETITEMS"):
            found = self.since_mark() if op == "SETITEMS" else [stack.pop(-2), stack.pop()]
            for key, value in zip(found[::2], found[1::2], strict=True):
                if type(key) not in (str, int, float, bool):  # a nested tuple that shares its parts may take forever to hash
                    raise TypeError(f"a key of type {type(key).__name__}")
                _of(stack[-1], dict)[key] = value
        elif op == "GLOBAL":
            self.name(*argument.split(" ", 1))
        elif op == "STACK_GLOBAL":
            name = stack.pop()
            self.name(_of(stack.pop(), str), _of(name, str))
        elif op == "BINPERSID":
            stack.append(self.storage(stack.pop()))
        elif op == "REDUCE":
            arguments = stack.pop()
            self.call(stack.pop(), arguments)
        elif op == "BUILD":  # attributes of an OrderedDict: the versions of its modules
            _of(stack.pop(), dict)
            _of(stack[-1], dict)
        elif op not in ("PROTO", "FRAME"):
            raise ValueError(f"{op}, which torch.save does not write")

    def name(self, module: str, name: str) -> None:
        if not _known(module, name):
            _refused(_Name(module, name), self.where)
        self.stack.append(_Name(module, name))

    def call(self, function: Any, arguments: Any) -> None:
        build = _BUILDERS.get((function.module, function.name)) if isinstance(function, _Name) else None
        if build is None:
            raise ValueError(f"a {type(function).__name__} is called")
        self.stack.append(build(*_of(arguments, tuple)))

    def storage(self, reference: Any) -> Storage:
        kind, storage, key, _, n = reference
        dtype = STORAGES.get(storage.name) if isinstance(storage, _Name) else None
        if kind != "storage" or dtype is None or type(key) is not str or type(n) is not int or n < 0:
            raise ValueError("a reference to no storage")
        return Storage(key, dtype, n)


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value
