# SPDX-License-Identifier: MIT
"""Files that try to run code, to write elsewhere, or to use up memory and time.

Every attack that runs would create the file ``attacked`` in the working folder.
"""

import pickle
import stat
import struct
import zipfile

import torch
from checkpoint_files import save_as_published

from uma_md.files.checkpoint import read_checkpoint

COMMAND = "touch attacked"
PYTHON = "import pathlib; pathlib.Path('attacked').touch()"
CLASS = b"cfairchem.core.units.mlip_unit.api.inference\nMLIPInferenceCheckpoint\n)\x81"


def pickled(*calls):
    """Protocol 2: call one thing after another, each with one text."""
    text = "\x80\x02"
    for module, name, argument in calls:
        text += f"c{module}\n{name}\nX" + struct.pack("<I", len(argument)).decode("latin1")
        text += argument + "\x85R"
    return text.encode("latin1") + b"."


def _value(value):
    return pickle.dumps(value, protocol=2)[2:-1].replace(b"q\x00", b"")


class Reduce:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def storage(kind="storage", dtype="FloatStorage", key="0"):
    """The bytes of a tensor, as torch's pickles name them."""
    named = f"ctorch\n{dtype}\n".encode()
    return b"(" + _value(kind) + named + _value(key) + _value("cpu") + _value(1) + b"tQ"


def nested():
    return pickle.dumps(Reduce(pickle.loads, pickle.dumps(Reduce(exec, PYTHON))), protocol=2)


def chain():
    """Gets at ``os.system`` step by step, through what looks harmless."""
    inner = Reduce(getattr, Reduce(__import__, "os"), "system")
    return pickle.dumps(Reduce(map, inner, [COMMAND]), protocol=4)


def laughs():
    """Three times a value of three values of three ...: 3^60 values from a few hundred bytes."""
    return b"]" + b"".join(b"q" + bytes([n]) + (b"h" + bytes([n])) * 2 + b"\x87" for n in range(60))


PICKLES = {
    "os.system": pickled(("os", "system", COMMAND)),
    "posix.system": pickled(("posix", "system", COMMAND)),
    "builtins.eval": pickled(("builtins", "eval", "open('attacked', 'w')")),
    "builtins.exec": pickled(("builtins", "exec", PYTHON)),
    "exec of Python 2": pickled(("__builtin__", "exec", PYTHON)),
    "subprocess": pickled(("subprocess", "getoutput", COMMAND)),
    "import": pickled(("builtins", "__import__", "antigravity")),
    "getattr": pickled(("builtins", "getattr", "x")),
    "a nested pickle": nested(),
    "a chain of calls": chain(),
    "torch's nested load": pickled(("torch.storage", "_load_from_bytes", "x")),
    "torch.load": pickled(("torch", "load", "other.pt")),
    "torch.hub": pickled(("torch.hub", "load", "somebody/something")),
    "numpy.load": pickled(("numpy", "load", "other.npy")),
    "an attribute of an allowed name": b"".join(
        (b"\x80\x04", _value("collections"), _value("OrderedDict.__class__"), b"\x93.")
    ),
    "a global without a module": b"c\n\n.",
    "a name as a list": b"\x80\x04]]\x93.",
    "INST": b"(" + _value(COMMAND) + b"ios\nsystem\n.",
    "OBJ": b"(ccollections\nOrderedDict\no.",
    "an extension code": b"\x80\x02\x82\x01.",
    "NEWOBJ_EX": b"\x80\x04ccollections\nOrderedDict\n)}\x92.",
    "a text that is code": b"S'touch attacked'\n.",
    "BUILD of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}" + _value("a") + b"Nsb.",
    "BUILD of two states": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}\x86b.",
    "a call of a value": b"\x80\x02K\x01)R.",
    "a type that is called": b"\x80\x02cbuiltins\nstr\nK\x01\x85R.",
    "a storage of another kind": b"\x80\x02" + storage(kind="evil") + b".",
    "a storage elsewhere": b"\x80\x02" + storage(key="../../etc/passwd") + b".",
    "a storage of no type": b"\x80\x02" + storage(dtype="device") + b".",
    "a persistent id as text": b"Pevil\n.",
    "a number of 2000 bits": b"\x80\x02\x8a\xff" + b"\x01" * 255 + b".",
    "a memory of 2^32 places": b"\x80\x02Nr\xff\xff\xff\xff.",
    "8 EiB of bytes": b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.",
    "a text longer than the file": b"\x80\x02X\xff\xff\xff\x7fx.",
    "no end": b"\x80\x02}",
    "nothing": b"",
    "two values": b"\x80\x02NN.",
    "an open mark": b"\x80\x02(N.",
    "an empty stack": b"\x80\x020.",
    "millions of instructions": b"\x80\x02" + b"N" * 1_100_000 + b".",
    "keys of lists": b"\x80\x02}]K\x01s.",
}


def checkpoint_pickle(config=b"}", weights=b"}"):
    """A checkpoint whose model_config and weights are made by the given instructions."""
    parts = b"}(" + _value("model_config") + config + _value("ema_state_dict") + weights
    return b"\x80\x02" + CLASS + parts + _value("tasks_config") + b"]ub."


CONFIGS = {
    "lists of lists of lists": checkpoint_pickle(laughs()),
    "a list within itself": checkpoint_pickle(b"]q\x00h\x00a"),
    "a dictionary within itself": checkpoint_pickle(b"}q\x00X\x01\x00\x00\x00ah\x00s"),
    "nesting 1000 deep": checkpoint_pickle(b"]" * 1000 + b"a" * 999),
    "a list": checkpoint_pickle(b"]"),
    "a text": checkpoint_pickle(b"X\x01\x00\x00\x00a"),
}


def archive(path, content, *, prefix="m/", compression=zipfile.ZIP_STORED, more=()):
    """A torch archive around a pickle."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(f"{prefix}data.pkl", content)
        file.writestr(f"{prefix}byteorder", "little")
        for name, data in more:
            file.writestr(name, data)
    return path


def symlink(name, target):
    """A member that unpacks to a link, and what it points to."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


def _claims(path, size):
    """The directory says that a member has more bytes than there are."""
    archive(path, b"N.", more=[("m/data/0", b"x" * 999)])
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<II", 999, 999), struct.pack("<II", size, size)))


def _overlap(path):
    """Many entries of the directory that share the same bytes."""
    archive(path, b"N.", more=[(f"m/data/{n:03}", bytes(10_000)) for n in range(100)])
    with zipfile.ZipFile(path) as file:
        first = file.infolist()[2]
        at, end = first.header_offset, file.infolist()[3].header_offset
        directory = file.start_dir
    content = path.read_bytes()
    short, moved = content[:end], directory - end
    entries, rest = content[directory:], b""
    while entries[:4] == b"PK\x01\x02":
        length = 46 + sum(struct.unpack("<HHH", entries[28:34]))
        offset = min(struct.unpack("<I", entries[42:46])[0], at)
        rest += entries[:42] + struct.pack("<I", offset) + entries[46:length]
        entries = entries[length:]
    start = struct.unpack("<I", entries[16:20])[0] - moved
    path.write_bytes(short + rest + entries[:16] + struct.pack("<I", start) + entries[20:])


def _encrypted(path):
    archive(path, b"N.")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def _deflated(path):
    archive(path, b"\x80\x02" + b"N" * 30_000_000, compression=zipfile.ZIP_DEFLATED)


def _large(path):
    archive(path, b"\x80\x02" + b"N" * (1 << 25) + b".")


def _cut(path):
    whole = archive(path, b"N.", more=[("m/data/0", bytes(1000))]).read_bytes()
    path.write_bytes(whole[:600])


ARCHIVES = {
    "an absolute name": lambda path: archive(path, b"N.", more=[("/tmp/attacked", b"x")]),
    "a name that climbs": lambda path: archive(path, b"N.", more=[("m/../../attacked", b"x")]),
    "a name with backslashes": lambda path: archive(path, b"N.", more=[("m\\..\\attacked", b"x")]),
    "a link": lambda path: archive(path, b"N.", more=[symlink("m/data/0", "/etc/passwd")]),
    "a member twice": lambda path: archive(path, b"N.", more=[("m/data.pkl", b"x")]),
    "an encrypted member": _encrypted,
    "a bomb of 30 MB": _deflated,
    "overlapping members": _overlap,
    "a member larger than the file": lambda path: _claims(path, 1 << 30),
    "a pickle of 32 MB": _large,
    "an end cut off": _cut,
    "no pickle": lambda path: zipfile.ZipFile(path, "w").writestr("m/other", b"x"),
    "two pickles": lambda path: archive(path, b"N.", more=[("n/data.pkl", b"N.")]),
    "another byte order": lambda path: zipfile.ZipFile(path, "w").writestr("m/byteorder", b"big"),
    "a raw pickle": lambda path: path.write_bytes(PICKLES["os.system"]),
    "torch's format of old": lambda path: torch.save(
        Reduce(exec, PYTHON), path, _use_new_zipfile_serialization=False
    ),
    "nothing": lambda path: path.write_bytes(b""),
}


def tensor_pickle(offset, shape, stride):
    """A checkpoint with one weight, whose storage is the record ``m/data/0``."""
    numbers = b"".join(b"(" + b"".join(map(_value, sizes)) + b"t" for sizes in (shape, stride))
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + _value(offset) + numbers + b"\x89}tR"
    )
    return checkpoint_pickle(weights=b"}" + _value("module.w") + tensor + b"s")


# Offset, shape and stride of a tensor of 4 bytes each, whose storage has 64 bytes.
TENSORS = {
    "a shape larger than the storage": (0, (17,), (1,)),
    "a shape that is far larger": (0, (1 << 40,), (1,)),
    "a product beyond 64 bits": (0, (1 << 62, 1 << 62), (0, 0)),
    "elements that all share a place": (0, (1 << 40,), (0,)),
    "a stride beyond the storage": (0, (2,), (16,)),
    "a stride beyond 64 bits": (0, (2,), (1 << 63,)),
    "an offset beyond the storage": (16, (1,), (1,)),
    "a negative offset": (-1, (1,), (1,)),
    "a negative size": (0, (-1,), (1,)),
    "a negative stride": (15, (4,), (-1,)),
    "a size that is no number": (0, ("4",), (1,)),
    "a truth for a size": (0, (True,), (1,)),
    "strides too few": (0, (2, 2), (1,)),
    "a thousand axes": (0, (1,) * 1000, (1,) * 1000),
}


def spoiled(source, target, change):
    """A checkpoint saved anew with its configs and weights changed."""
    content = read_checkpoint(source)
    weights = content.read(list(content.weights), torch.float32)
    change(content.model_config, content.tasks_config, weights)
    ema = {f"module.{name}": tensor for name, tensor in weights.items()}
    save_as_published(content.model_config, content.tasks_config, ema, target)
    return target
