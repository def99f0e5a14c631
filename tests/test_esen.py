# SPDX-License-Identifier: MIT
"""eSEN: the backbone without experts, in every way that UMA is used.

``esen-tiny`` has the plain backbone, one dataset and a wrapped head; ``esen-bare`` neither an
embedding of datasets nor a wrapper, as the first published files; ``esen-few`` UMA's backbone with
no experts, a few datasets, charge and spin as waves, balanced channels, and heads beside that of
the energy.
"""

import math

import numpy as np
import pytest
import torch
from conftest import DATA, ESEN, checkpoint
from lammps_runs import Block, Prediction, in_a_box, static
from structures import MOLECULES, STRUCTURES, structure

from uma_md import UMACalculator
from uma_md.export import export
from uma_md.files.safetensors_checkpoint import write_checkpoint
from uma_md.files.weight_names import COMPUTED
from uma_md.info import describe
from uma_md.loading import UMASource

DIRECT = "the checkpoint is a direct-force model"


def reference(variant):
    """fairchem-core's values, and the names of its structures."""
    values = np.load(DATA / f"{variant}.npz")
    return values, sorted({key.rsplit(":", 1)[0] for key in values.files})


@pytest.mark.parametrize(
    ("engine", "part"),
    [
        ("kernels", slice(None)),
        ("portable", slice(0, None, 2)),
        pytest.param("portable", slice(1, None, 2), marks=pytest.mark.extended),
    ],
)
@pytest.mark.parametrize("variant", ESEN)
def test_both_engines_give_the_numbers_of_fairchem(variant, engine, part):
    values, names = reference(variant)
    calculators = {}
    for name in names[part]:
        task, spec = name.split("/")
        if task not in calculators:
            calculators[task] = UMACalculator(
                checkpoint(variant), task, dtype="float64", device="cpu", engine=engine
            )
        atoms = structure(spec)
        atoms.calc = calculators[task]
        assert abs(atoms.get_potential_energy() - values[f"{name}:e"]) < 1e-8, name
        assert np.abs(atoms.get_forces() - values[f"{name}:f"]).max() < 1e-8, name
        if f"{name}:s" in values.files:
            stress = atoms.get_stress(voigt=False)
            assert np.abs(stress - values[f"{name}:s"]).max() < 1e-9, name


def test_info_tells_what_a_checkpoint_holds():
    few = dict(describe(checkpoint("esen-few")))
    assert few["model"] == "eSEN"
    assert few["experts"] == "none"
    assert few["tasks"] == "omol, oc25, odac"
    assert few["charge channels"] == "0 to 1"
    assert few["ignored heads"] == "forcehead (Linear_Force_Head), stresshead (MLP_Stress_Head)"
    assert "ignored heads" not in dict(describe(checkpoint("esen-bare")))


@pytest.mark.parametrize("variant", ESEN)
def test_parameters_are_those_of_the_file(variant):
    source = UMASource(checkpoint(variant))
    metadata = source.metadata(source.task("omol"), "float32", 0, 1)
    sizes = {name: math.prod(w.shape) for name, w in source.checkpoint.weights.items()}
    stored = {name: size for name, size in sizes.items() if not COMPUTED.match(name)}
    unused = (".forcehead.", ".stresshead.", "dict.oc25", "dict.odac")
    others = sum(size for name, size in stored.items() if any(part in name for part in unused))
    # esen-few's head has an expert for each of three datasets.
    others += sum(2 * size // 3 for name, size in stored.items() if name.endswith(".weights"))
    assert metadata.parameters_total == sum(stored.values())
    assert metadata.parameters_active == sum(stored.values()) - others


@pytest.mark.parametrize("variant", ESEN)
def test_one_exported_file_serves_any_composition(variant, exported):
    values, _ = reference(variant)
    calculator = UMACalculator(exported(variant), device="cpu")
    assert calculator.metadata.composition is None
    for spec in ("water:8", "cutri:4", "mol:CH3CH2OH@-1,2", "mol:OH@0,2"):
        atoms = structure(spec)
        atoms.calc = calculator
        assert abs(atoms.get_potential_energy() - values[f"omol/{spec}:e"]) < 1e-8
        assert np.abs(atoms.get_forces() - values[f"omol/{spec}:f"]).max() < 1e-8


def test_there_is_nothing_to_merge(tmp_path):
    with pytest.raises(ValueError, match=r"--merge-for must be left out for eSEN, .* no experts"):
        export(checkpoint("esen-tiny"), tmp_path / "out.pt", "omol", merge_for="H2O")
    assert not (tmp_path / "out.pt").exists()


def expect(found: Prediction, block: Block, variant: str, task: str, spec: str) -> None:
    """What LAMMPS found must be fairchem-core's."""
    values, _ = reference(variant)
    name = f"{task}/{spec}"
    assert found.energy == pytest.approx(float(values[f"{name}:e"]), abs=1e-8)
    assert np.abs(found.forces - values[f"{name}:f"]).max() < 1e-8
    assert found.atom_energies.sum() == pytest.approx(found.energy, abs=1e-8)
    if f"{name}:s" in values.files:
        virial = -values[f"{name}:s"] * block.atoms.get_volume()
        assert np.abs(found.virial - virial).max() < 1e-6 * np.abs(virial).max() + 1e-9


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "half"),
    [
        (1, None),
        (2, 0),
        (4, 1),
        pytest.param(2, 1, marks=pytest.mark.extended),
        pytest.param(4, 0, marks=pytest.mark.extended),
    ],
)
@pytest.mark.parametrize(
    ("variant", "task"), [("esen-tiny", "omol"), ("esen-bare", "omol"), ("esen-few", "oc25")]
)
def test_lammps_gives_the_numbers_of_fairchem(variant, task, ranks, half, exported, tmp_path):
    """On one rank all structures; on several, every second of them."""
    model, specs, blocks = exported(variant, task), [], []
    wanted = (*STRUCTURES, *(MOLECULES if task == "omol" else ()))
    for spec in wanted if half is None else wanted[half::2]:
        atoms, style = structure(spec), ""
        if "charge" in atoms.info:
            style = f"charge {atoms.info['charge']} spin {atoms.info['spin']}"
        blocks.append(Block(in_a_box(atoms), model, style, open_boundary="s" if style else "f"))
        specs.append(spec)
    found = static(blocks, ranks, tmp_path)
    for block, spec, prediction in zip(blocks, specs, found, strict=True):
        expect(prediction, block, variant, task, spec)


@pytest.mark.ipi
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("variant", ["esen-bare", "esen-few"])
def test_ipi_evaluates_batches(variant, calculators):
    pytest.importorskip("ipi", reason="i-PI is not installed")
    from ipi_runs import Field

    from ipi_driver.options import Options
    from ipi_driver.potential import UMAPotential

    beads = [structure("water:8") for _ in range(3)]
    for seed, atoms in enumerate(beads):
        atoms.rattle(0.05, seed=seed)
        atoms.info.update(charge=1, spin=2)
    options = Options(task="omol", dtype="float64", device="cpu", charge=1, spin=2)
    potential = UMAPotential(checkpoint(variant), beads[0], options, lambda _: None)
    with Field(potential, len(beads)) as field:
        found = field.evaluate((atoms.cell.array, atoms.positions) for atoms in beads)
    for (energy, forces, virial, _), atoms in zip(found, beads, strict=True):
        atoms.calc = calculators(variant)
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        assert forces == pytest.approx(atoms.get_forces(), abs=1e-8)
        expected = -atoms.get_stress(voigt=False) * atoms.get_volume()
        assert virial == pytest.approx(expected, abs=1e-7)


def test_safetensors_hold_the_same_model(tmp_path, calculators):
    source = UMASource(checkpoint("esen-few")).checkpoint
    path = tmp_path / "few.safetensors"
    weights = source.read(list(source.weights), torch.float32)
    write_checkpoint(path, source.model_config, source.tasks_config, weights)
    atoms = structure("mol:CH3CH2OH@-1,2")
    calculator = UMACalculator(path, "omol", dtype="float64", device="cpu")
    energy = calculators("esen-few").get_potential_energy(atoms)
    assert calculator.get_potential_energy(atoms) == energy


def test_charge_and_spin_reach_the_energy(calculators):
    for variant in ESEN:
        energies = set()
        for charge, spin in ((0, 1), (1, 2), (-1, 2), (0, 0)):
            atoms = structure("mol:H2O")
            atoms.info.update(charge=charge, spin=spin)
            energies.add(round(calculators(variant).get_potential_energy(atoms), 6))
        assert len(energies) == 4, variant


@pytest.mark.parametrize("left_out", [False, True])
def test_direct_force_models_are_refused_with_the_reason(left_out, changed):
    """fairchem-core's backbone is a direct one where the file does not say."""

    def direct(config, *_):
        config["backbone"].pop("direct_forces")
        if not left_out:
            config["backbone"]["direct_forces"] = True
        config["backbone"]["ff_type"] = "grid"  # the reason comes before what else is missing
        config["heads"] = {
            "omol_energy": {"module": "fairchem.core.models.uma.escn_md.MLP_Energy_Head"},
            "omol_forces": {"module": "fairchem.core.models.uma.escn_md.Linear_Force_Head"},
        }

    path = changed("esen-tiny", direct)
    message = rf"{DIRECT} \(direct_forces True, heads omol_energy, omol_forces\): .* not conserve"
    with pytest.raises(ValueError, match=message):
        describe(path)


def head(kind, **options):
    return {"module": f"fairchem.core.models.uma.escn_md.{kind}", **options}


def wrapped(kind):
    return {
        "module": "fairchem.core.models.uma.escn_moe.DatasetSpecificSingleHeadWrapper",
        "head_cls": f"fairchem.core.models.uma.escn_md.{kind}",
        "dataset_names": ["omol"],
    }


@pytest.mark.parametrize(
    ("name", "extra", "message"),
    [
        ("zero", wrapped("Linear_Force_Head"), "omol_forces must come from .* head zero"),
        ("zero", head("MLP_EFS_Head"), "must have one energy head, found 2"),
        ("zero", head("Linear_Energy_Head"), "head zero must be an MLP_EFS_Head"),
        ("lr", head("LongRangeHead"), "head lr must be an MLP_EFS_Head, .* 'LongRangeHead'"),
        ("any", {}, "head any must be an MLP_EFS_Head"),
        ("any", 3, "damaged"),
    ],
)
def test_heads_that_may_change_energy_or_forces_are_refused(name, extra, message, changed):
    path = changed("esen-tiny", lambda config, *_: config["heads"].update({name: extra}))
    with pytest.raises(ValueError, match=message):
        UMASource(path)


def test_outputs_by_the_names_of_heads_are_understood(changed, calculators):
    """Without outputs that are passed through, a task is served by the head of its name."""

    def by_name(config, tasks, ema):
        config["pass_through_head_outputs"] = False
        config["heads"] = {"energy": head("MLP_EFS_Head"), "stress": head("MLP_Stress_Head")}
        tasks[:] = [{**task, "name": task["property"]} for task in tasks]
        for name in [name for name in ema if "output_heads" in name]:
            ema[name.replace("energyandforcehead", "energy")] = ema.pop(name)
        ema["module.output_heads.stress.l2_linear.weight"] = torch.ones(3, 1, 16)

    path = changed("esen-bare", by_name)
    assert dict(describe(path))["ignored heads"] == "stress (MLP_Stress_Head)"
    atoms = structure("mol:H2O@2,1")
    calculator = UMACalculator(path, dtype="float64", device="cpu")
    energy = calculators("esen-bare").get_potential_energy(atoms)
    assert calculator.get_potential_energy(atoms) == energy
    swapped = changed(
        "esen-bare",
        lambda config, tasks, ema: (
            by_name(config, tasks, ema),
            config["heads"].update(energy=head("MLP_Stress_Head"), stress=head("MLP_EFS_Head")),
        ),
    )
    with pytest.raises(ValueError, match="energy must come from the energy head stress"):
        UMASource(swapped)


@pytest.mark.parametrize(
    ("variant", "weight", "shape", "message"),
    [
        ("esen-tiny", "blocks.0.edge_wise.so2_conv_1.fc_m0.weight", (3, 3), "must have shape"),
        ("esen-tiny", "blocks.1.edge_wise.so2_conv_2.so2_m_conv.1.fc.weight", (1,), "must have"),
        ("esen-bare", "mix_csd.weight", (16, 48), r"shape \(16, 32\) .* found \(16, 48\)"),
        ("esen-few", "charge_embedding.W", (3,), r"charge must be half as many .* 16; .*\(3,\)"),
        ("esen-few", "spin_embedding.W", (2, 4), r"spin must be half as many .* \(2, 4\)"),
        ("esen-tiny", "routing_mlp.4.bias", (4,), "num_experts must be that of .* 4; found 0"),
        ("esen-tiny", "routing_mlp.0.bias", (4,), "has the weight backbone.routing_mlp.0.bias"),
        ("esen-bare", "dataset_embedding.more", (1,), "has the weight backbone.dataset_embed"),
    ],
)
def test_weights_that_are_not_those_of_the_config_are_refused(
    variant, weight, shape, message, changed
):
    change = {f"module.backbone.{weight}": torch.ones(shape)}
    path = changed(variant, lambda _, __, ema: ema.update(change))
    with pytest.raises(ValueError, match=message):
        UMACalculator(path, "omol", device="cpu")


@pytest.mark.parametrize("weight", ["so2_conv_1.fc_m0.weight", "so2_conv_2.so2_m_conv.0.fc.weight"])
@pytest.mark.parametrize("value", [float("nan"), None])
def test_plain_maps_must_be_there_and_finite(weight, value, changed):
    name = f"module.backbone.blocks.0.edge_wise.{weight}"

    def spoil(_, __, ema):
        if value is None:
            ema.pop(name)
        else:
            ema[name][0, 0] = value

    path = changed("esen-tiny", spoil)
    message = "lacks the weight" if value is None else "must be finite numbers"
    with pytest.raises(ValueError, match=f"{message}.*{weight}|{weight}.*{message}"):
        UMACalculator(path, "omol", device="cpu")


def test_options_of_experts_have_no_effect_without_them(changed, calculators):
    def change(config, *_):
        config["backbone"].update(use_composition_embedding=False, moe_type="other")

    atoms = structure("mol:H2O@2,1")
    calculator = UMACalculator(changed("esen-few", change), "omol", dtype="float64", device="cpu")
    energy = calculators("esen-few").get_potential_energy(atoms)
    assert calculator.get_potential_energy(atoms) == energy
    plain = changed("esen-tiny", lambda config, *_: config["backbone"].update(num_experts=4))
    with pytest.raises(ValueError, match="num_experts must be 0 in an eSCNMDBackbone, .* has 4"):
        UMASource(plain)


def test_an_isolated_atom_is_refused(calculators):
    atoms = structure("mol:H2O")[:1]
    with pytest.raises(ValueError, match="eSEN does not describe a single isolated atom"):
        calculators("esen-bare").get_potential_energy(atoms)
