# SPDX-License-Identifier: MIT
"""The vocabulary of the network: rotations, norms and maps that commute with them."""

import numpy as np
import pytest
import torch
from conftest import DATA, checkpoint
from structures import structure

from uma_md import UMACalculator
from uma_md.nn.frame import EdgeFrame
from uma_md.nn.radial import Envelope
from uma_md.nn.wigner import EdgeWigner, coupling, real_spherical_harmonics

LMAX = 6

# Every axis, the seam between the charts, and directions a rounding error away from them.
SPECIAL = [
    (1, 0, 0),
    (-1, 0, 0),
    (0, 1, 0),
    (0, -1, 0),
    (0, 0, 1),
    (0, 0, -1),
    (1, 1e-12, 0),
    (1, -1e-12, 0),
    (1e-9, -1, 1e-9),
    (-1e-12, 1, 0),
]


def directions(dtype=torch.float64) -> torch.Tensor:
    rng = np.random.default_rng(0)
    vectors = np.concatenate((np.array(SPECIAL, dtype=float), rng.normal(size=(50, 3))))
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).to(dtype)


def wigner_module(dtype=torch.float64) -> EdgeWigner:
    return EdgeWigner(LMAX).to(dtype)


def test_spherical_harmonics_are_orthonormal_and_start_as_x_y_z():
    nodes, weights = np.polynomial.legendre.leggauss(20)
    azimuths = np.arange(40) * 2 * np.pi / 40
    y, azimuth = (grid.ravel() for grid in np.meshgrid(nodes, azimuths, indexing="ij"))
    sine = np.sqrt(1 - y * y)
    points = np.stack((sine * np.sin(azimuth), y, sine * np.cos(azimuth)), axis=1)
    harmonics = real_spherical_harmonics(LMAX, points)
    stacked = np.concatenate(harmonics, axis=1)
    weight = np.repeat(weights, 40) * 2 * np.pi / 40
    assert np.abs(stacked.T @ (stacked * weight[:, None]) - np.eye(49)).max() < 1e-13
    assert harmonics[1] == pytest.approx(points * np.sqrt(3 / (4 * np.pi)))


@pytest.mark.parametrize("degree", range(2, LMAX + 1))
def test_couplings_are_isometries(degree):
    matrix = coupling(degree)
    assert np.abs(matrix @ matrix.T - np.eye(2 * degree + 1)).max() < 1e-13


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 3e-6)])
def test_wigner_matrices_are_orthogonal_and_rotate_edges_onto_y(dtype, error):
    vectors = directions(dtype)
    matrices = wigner_module(dtype)(vectors)
    ends = (vectors.double().numpy(), np.array([[0.0, 1.0, 0.0]]))
    along, pole = (real_spherical_harmonics(LMAX, end) for end in ends)
    for degree, matrix in enumerate(matrices, start=1):
        identity = torch.eye(2 * degree + 1, dtype=dtype)
        assert (matrix @ matrix.transpose(1, 2) - identity).abs().max() < error
        rotated = np.einsum("eij,ej->ei", matrix.double().numpy(), along[degree])
        assert np.abs(rotated - pole[degree]).max() < error


def test_wigner_matrices_represent_one_rotation():
    """D(R) Y(v) = Y(R v) for any v, with R itself as the matrix of degree 1."""
    vectors = directions()
    matrices = wigner_module()(vectors)
    probe = np.array([0.48, -0.6, 0.64])
    rotated = np.einsum("eij,j->ei", matrices[0].numpy(), probe)
    before = real_spherical_harmonics(LMAX, probe[None])
    after = real_spherical_harmonics(LMAX, rotated)
    for degree, matrix in enumerate(matrices, start=1):
        rotated = np.einsum("eij,j->ei", matrix.numpy(), before[degree][0])
        assert np.abs(rotated - after[degree]).max() < 1e-13


def test_frames_are_the_wigner_matrices_sorted_by_order_without_large_ones():
    mmax = 2
    rotations = EdgeFrame(LMAX, mmax).double()(directions())
    kept = [(degree, 0) for degree in range(LMAX + 1)]
    for m in range(1, mmax + 1):
        kept += [(degree, m) for degree in range(m, LMAX + 1)]
        kept += [(degree, -m) for degree in range(m, LMAX + 1)]
    rows = [degree * degree + degree + order for degree, order in kept]
    one = torch.ones(1, 1, dtype=torch.float64)
    for edge, matrices in enumerate(zip(*wigner_module()(directions()), strict=True)):
        assert torch.equal(rotations[edge], torch.block_diag(one, *matrices)[rows])


def test_gradients_of_frames_are_finite_and_bounded_everywhere():
    vectors = directions().requires_grad_()
    frame = EdgeFrame(LMAX, LMAX).double()
    rotations = frame(vectors / vectors.norm(dim=1, keepdim=True))
    weights = torch.linspace(0, 1, rotations.shape[2])
    (gradient,) = torch.autograd.grad((rotations * weights).sum(), vectors)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() < 1e3


def test_the_envelope_falls_smoothly_to_zero():
    envelope = Envelope(5.0)
    u = torch.tensor([0.0, 2.5, 5.0 - 1e-4, 5.0, 6.0], dtype=torch.float64)
    value = envelope(u)
    assert value[0] == 1
    assert 0 < value[2] < 1e-12
    assert (value[3:] == 0).all()


@pytest.mark.parametrize("spec", ["water:8", "shear", "mol:CH3CH2OH@-1,2"])
@pytest.mark.parametrize("task", ["omol", "omat"])
def test_lmax_6_with_mmax_3_gives_the_numbers_of_fairchem(spec, task):
    reference = np.load(DATA / "tiny-l6.npz")
    atoms = structure(spec)
    atoms.calc = UMACalculator(checkpoint("tiny-l6"), task, dtype="float64", device="cpu")
    assert abs(atoms.get_potential_energy() - reference[f"{task}/{spec}:e"]) < 1e-8
    assert np.abs(atoms.get_forces() - reference[f"{task}/{spec}:f"]).max() < 1e-8
    if atoms.pbc.all():
        stress = atoms.get_stress(voigt=False)
        assert np.abs(stress - reference[f"{task}/{spec}:s"]).max() < 1e-9
