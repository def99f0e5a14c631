# SPDX-License-Identifier: MIT
"""Exported models: TorchScript files with a JSON record, written whole or not at all."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from uma_md.files import torchscript
from uma_md.files.archive import open_archive
from uma_md.files.metadata import Metadata
from uma_md.files.scripted_code import MOST_CODE, check_operators, check_words
from uma_md.files.whole_file import reserve, written_whole
from uma_md.memory import move_network
from uma_md.model import UMA

_RECORD = "metadata.json"
_LONGEST_RECORD = 1 << 20


def is_exported(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive, rather than a checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError):
        return False


def read_metadata(path: str | Path) -> Metadata:
    """Read the record of an exported file, without running its code.

    Raises
    ------
    ValueError
        When the file was not written by ``uma-md export``, or by a newer one.
    """
    with open_archive(Path(path), MOST_CODE) as archive:
        return _read_record(archive, Path(path))


def save(model: UMA, metadata: Metadata, path: str | Path) -> None:
    """Write a network and its record to one file, whole or not at all.

    Raises
    ------
    OSError
        When it cannot be written.
    ValueError
        When the network uses an operator that readers of such files do not allow, or this
        Python has no TorchScript.
    """
    scripted = torchscript.script(model)
    check_operators(scripted, "the network")
    with written_whole(Path(path)) as part:
        # Torch's writer ends the process when the disk is full, so there must be room before.
        tensors = (*scripted.parameters(), *scripted.buffers())
        reserve(part, sum(tensor.nbytes for tensor in tensors) + MOST_CODE // 8)
        torchscript.save(scripted, part, {_RECORD: metadata.to_json()})


class ScriptedModel:
    """The stages of an exported file, interpreted as they are.

    TorchScript's profiling executor and its fusion would compile anew whenever the number of
    edges changes. They are off for these calls alone: other modules of the process keep them.

    Parameters
    ----------
    module
        A loaded TorchScript module with the methods of ``uma_md.model.UMA``.
    """

    def __init__(self, module: torch.jit.ScriptModule) -> None:
        self._module = module

    def __getstate__(self) -> bytes:
        """What a pickle holds: the module as a file."""
        file = io.BytesIO()
        torchscript.save(self._module, file, {})
        return file.getvalue()

    def __setstate__(self, state: bytes) -> None:
        """Load the module, onto the CPU."""
        self._module = torchscript.load(io.BytesIO(state))

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Parameters and their names."""
        return self._module.named_parameters()

    def named_buffers(self, *, remove_duplicate: bool = True) -> Iterator[tuple[str, torch.Tensor]]:
        """Tensors that are no parameters, and their names."""
        return self._module.named_buffers(remove_duplicate=remove_duplicate)

    @property
    def num_layers(self) -> int:
        """Layers of message passing."""
        return int(self._module.num_layers)

    @property
    def lmax(self) -> int:
        """Largest degree."""
        return int(self._module.lmax)

    @property
    def sphere_channels(self) -> int:
        """Channels of node features."""
        return int(self._module.sphere_channels)

    @property
    def cutoff(self) -> float:
        """Reach of an edge, angstrom."""
        return float(self._module.cutoff)

    @property
    def has_weights(self) -> bool:
        """Whether the file hands out its weights, as those of older versions do not."""
        return hasattr(self._module, "node_weights")

    @property
    def num_balanced(self) -> int:
        """Channels that sum to charge and spin."""
        return int(self._module.num_balanced)

    @property
    def max_num_elements(self) -> int:
        """Rows of the tables indexed by atomic number."""
        return int(self._module.max_num_elements)

    def merge(self, counts: torch.Tensor, charge: int, spin: int) -> None:
        """As in ``uma_md.model.UMA``, and so are the stages."""
        self._call("merge", counts, charge, spin)

    def edge_weights(self) -> list[torch.Tensor]:
        """Weights of what all edges share, for the kernels."""
        return self._call("edge_weights")

    def message_weights(self, layer: int) -> list[torch.Tensor]:
        """Weights of a layer's messages, for the kernels."""
        return self._call("message_weights", layer)

    def node_weights(self, layer: int) -> list[torch.Tensor]:
        """Weights of a layer's norms and node update, for the kernels."""
        return self._call("node_weights", layer)

    def readout_weights(self) -> list[torch.Tensor]:
        """Weights of the readout, for the kernels."""
        return self._call("readout_weights")

    @property
    def targets(self) -> torch.Tensor:
        """What the balanced channels sum to."""
        targets: torch.Tensor = self._module.targets
        return targets

    def embed(self, *arguments: Any) -> torch.Tensor:
        """First node features."""
        return self._call("embed", *arguments)

    def edge_embedding(self, *arguments: Any) -> torch.Tensor:
        """What each edge adds to its receiver's first features."""
        return self._call("edge_embedding", *arguments)

    def normalize(self, *arguments: Any) -> torch.Tensor:
        """Features that a layer sends."""
        return self._call("normalize", *arguments)

    def messages(self, *arguments: Any) -> torch.Tensor:
        """What each edge adds to its receiver in a layer."""
        return self._call("messages", *arguments)

    def update(self, *arguments: Any) -> torch.Tensor:
        """Node features after a layer."""
        return self._call("update", *arguments)

    def channel_sums(self, *arguments: Any) -> torch.Tensor:
        """Sums of the balanced channels."""
        return self._call("channel_sums", *arguments)

    def balance(self, *arguments: Any) -> torch.Tensor:
        """Node features whose balanced channels sum to charge and spin."""
        return self._call("balance", *arguments)

    def readout(self, *arguments: Any) -> torch.Tensor:
        """Energy of each atom."""
        return self._call("readout", *arguments)

    def _call(self, name: str, *arguments: Any) -> Any:
        method = getattr(self._module, name)
        before = torch._C._get_graph_executor_optimize()
        torch._C._set_graph_executor_optimize(False)
        try:
            return method(*arguments)
        finally:
            torch._C._set_graph_executor_optimize(before)


def load(
    path: str | Path, device: torch.device, *, trust_code: bool = False
) -> tuple[ScriptedModel, Metadata]:
    """Load an exported file's stages onto a device, and its record.

    Parameters
    ----------
    path
        The file.
    device
        Where to put the network.
    trust_code
        Load code that does more than ``uma-md export`` writes, and let it do so.

    Raises
    ------
    ValueError
        When the file was not written by ``uma-md export``, or is damaged, or this Python has
        no TorchScript.
    """
    path = Path(path)
    with open_archive(path, MOST_CODE) as archive:
        metadata = _read_record(archive, path)
        damaged = archive.testzip()
        if damaged:
            raise ValueError(
                f"{path} must be as it was written, found other bytes in {damaged}: "
                "export the model again"
            )
        if not trust_code:
            check_words(archive, path)
    try:
        module = torchscript.load(path)
    except RuntimeError as error:
        raise ValueError(
            f"{path} must be a TorchScript file that torch {torch.__version__} can read, found "
            "it damaged or written by a newer one: export the model again"
        ) from error
    if not trust_code:
        check_operators(module, path)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    move_network(module, device)
    return ScriptedModel(module), metadata


def _read_record(archive: zipfile.ZipFile, path: Path) -> Metadata:
    found = [info for info in archive.infolist() if info.filename.endswith(f"/extra/{_RECORD}")]
    if len(found) != 1:
        raise ValueError(f"{path} is TorchScript, but not a file that uma-md export wrote")
    if found[0].file_size > _LONGEST_RECORD:
        raise ValueError(f"{path} must have metadata of at most 1 MB, found more")
    try:
        return Metadata.from_json(archive.read(found[0]).decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must have metadata as UTF-8, found other bytes") from error
