# SPDX-License-Identifier: MIT
"""A potential of springs and repelling Gaussians: what i-PI and a driver say to each other does
not depend on the model, and this one needs no torch.

As a program, this file serves it: ``python ipi_analytic.py --unix NAME``. With ``--sleep MARKER``
it leaves a file and sleeps in the middle of its third batch.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np

from ipi_driver.wire.address import Address, serve
from ipi_driver.wire.protocol import Results, Structures

SPRING, LENGTH = 0.35, 1.8  # hartree/bohr^2, bohr
HEIGHT, WIDTH = 0.02, 1.5  # hartree, bohr
IMAGES = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
AGES = 1000.0  # seconds


class Analytic:
    """Water molecules with springs from O to both H, and Gaussians between all atoms and images.

    Parameters
    ----------
    molecules
        Atoms come as O, H, H, O, H, H, ...

    Attributes
    ----------
    parameters
        As i-PI gave them.
    structures, batches
        Computed so far.
    """

    def __init__(self, molecules: int = 1) -> None:
        self.natoms = 3 * molecules
        self.parameters: dict[str, str] = {}
        self.structures = self.batches = 0
        oxygen = np.repeat(np.arange(0, self.natoms, 3), 2)
        self._bonds = oxygen, oxygen + np.tile([1, 2], molecules)

    def configure(self, parameters: dict[str, str]) -> None:
        """Keep what i-PI's input says."""
        self.parameters = parameters

    def __call__(self, structures: Structures) -> Results:
        """Energies, forces and virials in atomic units."""
        rows = [self._evaluate(*one) for one in zip(*structures, strict=True)]
        self.structures += len(rows)
        self.batches += 1
        energies, forces, virials = map(np.array, zip(*rows, strict=True))
        return Results(energies, forces, virials, [""] * len(rows))

    def _evaluate(self, cell, positions):
        forces, virial = np.zeros_like(positions), np.zeros((3, 3))
        energy = 0.0
        for vectors, senders, receivers, pair in (
            (positions[self._bonds[1]] - positions[self._bonds[0]], *self._bonds[::-1], _spring),
            (*self._neighbors(cell, positions), _gaussian),
        ):
            energies, gradients = pair(vectors)
            energy += energies.sum()
            np.add.at(forces, receivers, gradients)
            np.subtract.at(forces, senders, gradients)
            virial -= vectors.T @ gradients
        return energy, forces, virial

    def _neighbors(self, cell, positions):
        """Vectors from receivers to senders and their images, each pair in both directions."""
        vectors = positions[:, None, None] + IMAGES @ cell - positions[:, None]
        senders, receivers, images = np.indices(vectors.shape[:3]).reshape(3, -1)
        keep = (senders != receivers) | IMAGES[images].any(axis=1)
        return vectors.reshape(-1, 3)[keep], senders[keep], receivers[keep]


def _spring(vectors):
    """Energies, and their derivatives by the vectors."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return 0.5 * SPRING * (lengths - LENGTH) ** 2, SPRING * (lengths - LENGTH) * vectors / lengths


def _gaussian(vectors):
    heights = 0.5 * HEIGHT * np.exp(-0.5 * (vectors**2).sum(axis=1, keepdims=True) / WIDTH**2)
    return heights, -heights * vectors / WIDTH**2


class Sleeping(Analytic):
    """Sleeps in the middle of its third batch, once it has left a marker."""

    def __init__(self, marker: Path) -> None:
        super().__init__()
        self._marker = marker

    def __call__(self, structures: Structures) -> Results:
        if self.batches == 2:
            self._marker.touch()
            time.sleep(AGES)
        return super().__call__(structures)


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--unix")
    parser.add_argument("--port", type=int)
    parser.add_argument("--shm", action="store_true")
    parser.add_argument("--mpi", action="store_true")
    parser.add_argument("--sleep", type=Path, metavar="MARKER")
    options = vars(parser.parse_args())
    marker = options.pop("sleep")
    potential, address = Sleeping(marker) if marker else Analytic(), Address(**options)
    if address.mpi:
        from ipi_driver.wire.ffmpi import introduce, split_world

        introduce(split_world(), "")
    _say("ready")
    serve(potential, address, _say)
    _say(f"i-PI said EXIT: {potential.structures} structures")


if __name__ == "__main__":
    main()
