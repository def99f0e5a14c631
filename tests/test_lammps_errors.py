# SPDX-License-Identifier: MIT
"""What ``pair_style uma`` refuses: one clear sentence on every rank, and all processes end."""

import shutil
import time

import pytest
from ase import Atoms
from conftest import checkpoint
from lammps_runs import Block, abort, launch, refuse, static
from structures import structure

from uma_md.export import export

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]


@pytest.fixture
def block(exported):
    return Block(structure("water:8"), exported("tiny-1p1"))


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ("colour blue", "a keyword must be one of device, charge, ... found 'colour'"),
        ("device tpu", "'device' must be auto, cpu, cuda or xpu, found 'tpu'"),
        ("device cuda", "'device cuda' must find a CUDA or ROCm device"),
        ("charge 101", "'charge' must be a whole number from -100 to 100, found '101'"),
        ("spin -1", "'spin' must be a whole number from 0 to 100, found '-1'"),
        ("spin 1.5", "'spin' must be a whole number from 0 to 100, found '1.5'"),
        ("charge nan", "'charge' must be a whole number from -100 to 100, found 'nan'"),
        ("charge -inf", "'charge' must be a whole number from -100 to 100, found '-inf'"),
        ("charge 1.0e", "'charge' must be a whole number from -100 to 100, found '1.0e'"),
        ("charge -1.0,", "'charge' must be a whole number from -100 to 100, found '-1.0,'"),
        ("charge 100.5", "'charge' must be a whole number from -100 to 100, found '100.5'"),
        ("charge 0x1", "'charge' must be a whole number from -100 to 100, found '0x1'"),
        ("chunk 10.5", "'chunk' must be a whole number of edges, 1 or more, found '10.5'"),
        ("chunk 0", "'chunk' must be a whole number of edges, 1 or more, found '0'"),
        ("recompute maybe", "'recompute' must be auto, on or off, found 'maybe'"),
        ("graphs 1", "'graphs' must be auto, on or off, found '1'"),
        (
            "precision half",
            "'precision' must be float32, tf32, fp16x3, bf16x3 or bf16x6, found 'half'",
        ),
        ("exchange pigeon", "'exchange' must be auto, host or device, found 'pigeon'"),
        ("chunk", "'chunk' must be ... found nothing"),
    ],
)
def test_options_are_checked(style, message, block, tmp_path):
    if style == "device cuda":
        import torch

        if torch.accelerator.is_available():
            pytest.skip("there is an accelerator here")
    block.style = style
    refuse(block.setup(tmp_path, 0) + "\nrun 0\n", tmp_path, message)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ("H Wasser", "an element that model UMA-1.1 knows (H to Es), found 'Wasser'"),
        ("H Fm", "an element that model UMA-1.1 knows (H to Es), found 'Fm'"),
        ("H", "one element or NULL per atom type, 2 in all, found 1"),
    ],
)
def test_elements_are_checked(elements, message, block, tmp_path):
    script = block.setup(tmp_path, 0).replace(f"{block.model} H O", f"{block.model} {elements}")
    refuse(script + "\nrun 0\n", tmp_path, message)


def test_missing_files_and_other_files_are_refused(block, tmp_path):
    def with_file(name):
        return block.setup(tmp_path, 0).replace(str(block.model), name) + "\nrun 0\n"

    refuse(with_file("none.pt"), tmp_path, "there is no file 'none.pt'; check its name")
    (tmp_path / "text.pt").write_text("not a model")
    refuse(with_file("text.pt"), tmp_path, "FILE must be a model written by 'uma-md export'")
    shutil.copy(checkpoint("tiny-1p1"), tmp_path / "raw.pt")
    refuse(with_file("raw.pt"), tmp_path, "FILE must be a model written by 'uma-md export'")
    whole = block.model.read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    refuse(with_file("cut.pt"), tmp_path, "FILE must be a model written by 'uma-md export'")


def test_other_units_and_newton_off_are_refused(block, tmp_path):
    script = block.setup(tmp_path, 0) + "\nrun 0\n"
    refuse(
        script.replace("units metal", "units lj"),
        tmp_path,
        "units must be metal or real, found 'lj'",
    )
    refuse("newton off\n" + script, tmp_path, "newton must be on for pairs, but it is off")


def test_groups_whose_atoms_alone_are_neighbors_are_refused(block, tmp_path):
    script = block.setup(tmp_path, 0) + "\ngroup half id 1:12\natom_modify first half\n"
    some = "atoms of all groups must be neighbors across ranks, but 'comm_modify group' leaves"
    refuse(script + "comm_modify group half\nrun 0\n", tmp_path, some)
    some = "all atoms must have neighbors, but 'neigh_modify include' leaves some out"
    refuse(script + "neigh_modify include half\nrun 0\n", tmp_path, some)


def test_atoms_that_the_file_is_not_merged_for_are_refused(exported, tmp_path):
    block = Block(structure("nacl:2"), exported("tiny-1p1", merge_for="H2O"))
    script = block.setup(tmp_path, 0) + "\nrun 0\n"
    refuse(script, tmp_path, "the file is merged for, H2O1, found Na32Cl32; export the model")
    water = Block(structure("water:8"), block.model, "charge 1")
    script = water.setup(tmp_path, 0) + "\nrun 0\n"
    refuse(script, tmp_path, "merged for, 0 and 1, found 1 and 1; export the model again")


def test_atoms_at_the_same_position_are_refused(block, tmp_path):
    script = block.setup(tmp_path, 0) + "\nset atom 2 x 1.0 y 1.0 z 1.0\n"
    script += "set atom 3 x 1.0 y 1.0 z 1.0\nrun 0\n"
    abort(script, tmp_path, "atoms must be apart, found two at the same position; check the")


def test_atoms_too_dense_are_refused(exported, tmp_path):
    dense = structure("shear")
    dense.set_cell(dense.cell * 0.5, scale_atoms=True)
    script = Block(dense, exported("tiny-1p1", "omat")).setup(tmp_path, 0) + "\nrun 0\n"
    abort(script, tmp_path, "an atom must have at most 300 neighbors within the model's cutoff")


@pytest.mark.parametrize(
    ("side", "pbc"),
    [(0, False), (30, True), (30, (True, False, True)), (6.01, True)],
)
def test_a_lone_atom_is_refused_by_models_without_them(side, pbc, exported, tmp_path):
    """One without an image within the cutoff of six angstrom, periodic or not."""
    atoms = Atoms("Cu", cell=[side] * 3 if side else None, pbc=pbc)
    script = Block(atoms, exported("tiny-1p1", "omat")).setup(tmp_path, 0) + "\nrun 0\n"
    message = "UMA-1.1 does not describe a single isolated atom: use its isolated-atom reference"
    refuse(script, tmp_path, f"{message} energy, or a model that supports single atoms")


def test_atoms_far_from_each_other_are_served(exported, results, tmp_path):
    """As by fairchem-core: of several atoms none is single, whatever the distances."""
    atoms = Atoms("O2", [[1, 1, 1], [1, 1, 451]], cell=[9, 9, 500], pbc=True)
    block = Block(atoms, exported("tiny-1p1"))
    for ranks in (1, 2):
        (found,) = static([block], ranks, tmp_path)
        assert found.energy == pytest.approx(results("tiny-1p1")(atoms)["energy"], abs=1e-9)
        assert not found.forces.any()


def test_an_atom_that_loses_its_images_ends_the_run(exported, tmp_path):
    block = Block(Atoms("Cu", cell=[5.5] * 3, pbc=True), exported("tiny-1p1", "omat"))
    script = block.setup(tmp_path, 0)
    script += (
        "\nthermo 1\nfix grow all deform 1 x scale 1.2 y scale 1.2 z scale 1.2 remap x\nrun 4\n"
    )
    screen = refuse(script, tmp_path, "does not describe a single isolated atom", ranks=2)
    assert "    1   " in screen


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            "style uma",
            "style uma device tpu",
            "'device' must be auto, cpu, cuda or xpu, found 'tpu'",
        ),
        ("coeff * * ", "coeff * * none", "there is no file 'none"),
        ("units metal", "units lj", "units must be metal or real, found 'lj'"),
    ],
)
def test_an_error_ends_all_processes(right, wrong, message, block, tmp_path):
    """In the style, in the file and at the start of a run: the program has a bad exit code."""
    script = block.setup(tmp_path, 0).replace(right, wrong, 1) + "\nrun 0\n"
    abort(script, tmp_path, message)


@pytest.mark.parametrize(
    ("right", "wrong"), [("coeff * * ", "coeff * * none"), ("device cpu", "device cpu chunk 0")]
)
def test_a_launcher_has_time_to_pass_on_what_is_said(right, wrong, block, tmp_path):
    """Before the first rank ends: it may drop the rest when it sees that."""
    script = block.setup(tmp_path, 0).replace(right, wrong, 1) + "\nrun 0\n"
    result = launch(script, 2, tmp_path, "-log", "log.txt")
    ended = time.time()
    assert "\nERROR: pair_" in result.stdout
    assert ended - (tmp_path / "log.txt").stat().st_mtime > 0.29


def test_a_model_that_gives_nan_ends_the_run(changed, tmp_path):
    def spoil(_, __, ema):
        ema["module.output_heads.energyandforcehead.head.energy_block.4.weight"][:] = 3e38

    model = tmp_path / "nan.pt"
    export(changed("tiny-1p1", spoil), model, "omol")
    script = Block(structure("water:8"), model).setup(tmp_path, 0) + "\nrun 10\n"
    refuse(script, tmp_path, "energy and forces must be finite, but the model gave NaN")
