# SPDX-License-Identifier: MIT
"""Reading published files: their layouts, what is refused, and that nothing in them runs."""

import subprocess
import sys
import zipfile

import pytest
import torch
from checkpoint_files import published_class, rewrite
from conftest import DATA, VARIANTS, checkpoint

from uma_md.files.checkpoint import read_checkpoint
from uma_md.info import describe
from uma_md.loading import UMASource


@pytest.mark.parametrize("variant", VARIANTS)
def test_info_tells_what_a_checkpoint_holds(variant):
    rows = dict(describe(checkpoint(variant)))
    assert rows["model"] == {"tiny-1p2": "UMA-S-1.2", "tiny-1p2p1": "UMA-S-1.2.1"}.get(
        variant, "UMA-1.1"
    )
    tasks = 5 if rows["model"] == "UMA-1.1" else 7
    assert len(rows["tasks"].split(", ")) == tasks
    assert rows["elements, all tasks"] == "H to Es (99)"
    assert "in all" in rows["parameters"]
    assert "fairchem" not in sys.modules


def test_parameters_are_counted_as_stored_and_as_active():
    source = UMASource(checkpoint("tiny-1p1"))
    metadata = source.metadata(source.task("omol"), "float32", 0, 1)
    stored = sum(
        torch.Size(tensor.shape).numel()
        for name, tensor in source.checkpoint.weights.items()
        if "Jd_" not in name
    )
    assert metadata.parameters_total == stored
    assert metadata.parameters_active < stored / 2


def test_the_averaged_weights_are_used_and_the_raw_ones_never_read():
    path = checkpoint("tiny-1p1")
    source = read_checkpoint(path)
    with zipfile.ZipFile(path) as archive:
        stored = sum("/data/" in name for name in archive.namelist())
    assert len(source.weights) < stored * 0.6
    with published_class():
        content = torch.load(path, weights_only=False)
    name = "backbone.sphere_embedding.weight"
    read = source.read([name], torch.float32)[name]
    assert torch.equal(read, content.ema_state_dict["module." + name])
    assert not torch.equal(read, content.model_state_dict[name])


def test_omegaconf_containers_are_read_as_plain_ones():
    """The file holds the configs of tiny-1p2 as omegaconf 2.3 pickles them, and no weights."""
    plain, wrapped = UMASource(checkpoint("tiny-1p2")), UMASource(DATA / "omegaconf.pt")
    assert wrapped.config == plain.config
    assert wrapped.tasks == plain.tasks
    assert wrapped.task("omat") == plain.task("omat")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("act_type", "s2"),
        ("ff_type", "grid"),
        ("norm_type", "layer_norm_sh"),
        ("chg_spin_emb_type", "lin_emb"),
        ("moe_expert_coefficient_norm", "pnorm"),
        ("use_dataset_embedding", None),
        ("direct_stress", True),
        ("distance_function", "bessel"),
    ],
)
def test_unsupported_options_are_refused_by_name(option, value, changed):
    path = changed("tiny-1p1", lambda config, *_: config["backbone"].update({option: value}))
    with pytest.raises(ValueError, match=f"config option {option} must be .* found|has {value!r}"):
        UMASource(path)


def test_unknown_options_are_refused_by_name(changed):
    path = changed("tiny-1p1", lambda config, *_: config["backbone"].update(new_physics=3))
    with pytest.raises(ValueError, match=r"config option new_physics \(here 3\) is unknown"):
        UMASource(path)


def test_options_left_out_have_the_defaults_of_fairchem(changed):
    path = changed("tiny-1p1", lambda config, *_: config["backbone"].pop("ff_type"))
    with pytest.raises(ValueError, match="config option ff_type must be 'spectral'"):
        UMASource(path)


def test_uma_1p0_files_are_refused_with_the_reason(changed):
    path = changed("tiny-1p1", lambda config, *_: config["backbone"].pop("model_version"))
    with pytest.raises(ValueError, match=r"must be UMA 1\.1 or later.*neither model_id nor"):
        UMASource(path)


def test_models_that_are_not_uma_are_refused(changed):
    path = changed("tiny-1p1", lambda config, *_: config["backbone"].update(model="equiformer_v3"))
    with pytest.raises(
        ValueError, match="must hold a UMA or an eSEN model .* found 'equiformer_v3'"
    ):
        UMASource(path)


def test_forces_scaled_apart_from_the_energy_are_refused(changed):
    def scale(_, tasks, __):
        next(task for task in tasks if task["name"] == "omol_forces")["normalizer"] = {"rmsd": 2.0}

    path = changed("tiny-1p1", scale)
    with pytest.raises(ValueError, match="normalizer rmsd of omol_forces must equal the energy's"):
        UMASource(path).task("omol")


def test_missing_and_unknown_weights_are_refused(changed):
    name = "module.backbone.mix_csd.bias"
    source = UMASource(changed("tiny-1p1", lambda _, __, ema: ema.pop(name)))
    with pytest.raises(ValueError, match=r"lacks the weight backbone.mix_csd.bias \(1 in all\)"):
        source.build(source.task("omol"), torch.float32)
    extra = {"module.backbone.more": torch.ones(1)}
    source = UMASource(changed("tiny-1p1", lambda _, __, ema: ema.update(extra)))
    with pytest.raises(ValueError, match=r"has the weight backbone\.more .* does not know"):
        source.build(source.task("omol"), torch.float32)


def test_weights_of_another_shape_are_refused(changed):
    name = "module.backbone.blocks.0.norm_1.affine_bias"
    source = UMASource(changed("tiny-1p1", lambda _, __, ema: ema.update({name: torch.ones(3)})))
    with pytest.raises(ValueError, match=r"message_norm\.bias must have shape \(16,\).* \(3,\)"):
        source.build(source.task("omol"), torch.float32)


def test_a_head_without_wrapper_serves_its_task(changed, calculators):
    """Fine-tunes may have one task and a plain head."""
    from structures import structure

    from uma_md import UMACalculator

    def unwrap(config, tasks, ema):
        head = {"module": "fairchem.core.models.uma.escn_md.MLP_EFS_Head"}
        config["heads"] = {"efs": head}
        tasks[:] = [task for task in tasks if task["datasets"] == ["omol"]]
        for name in [name for name in ema if "energy_block" in name]:
            new = name.replace("energyandforcehead.head", "efs")
            ema[new] = ema.pop(name)

    atoms = structure("mol:CH3CH2OH@-1,2")
    atoms.calc = UMACalculator(changed("tiny-1p1", unwrap), dtype="float64", device="cpu")
    other = atoms.copy()
    other.calc = calculators("tiny-1p1")
    assert atoms.get_potential_energy() == other.get_potential_energy()


def test_tasks_that_share_an_embedding_and_a_head_do_so(changed, calculators):
    from structures import structure

    from uma_md import UMACalculator

    def share(config, *_):
        for part in (config["backbone"], config["heads"]["energyandforcehead"]):
            part["dataset_mapping"] = {**part["dataset_mapping"], "oc22": "oc20"}

    path = changed("tiny-1p2", share)
    source = UMASource(path)
    assert source.task("oc22").embedding == "oc20"
    assert source.task("oc22").head == source.task("oc20").head
    unshared = UMASource(checkpoint("tiny-1p2")).task("omol").head
    assert unshared is not None
    assert source.task("omol").head == unshared - 1
    atoms = structure("water:8")
    forces = []
    for task in ("oc20", "oc22"):
        atoms.calc = UMACalculator(path, task, dtype="float64", device="cpu")
        forces.append(atoms.get_forces())
    assert (forces[0] == forces[1]).all()


class Attack:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('attacked').touch()",))


def test_a_file_that_names_code_is_refused_and_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model_config": Attack()}, "attack.pt")
    with pytest.raises(ValueError, match=r"names builtins\.exec, which is not on uma-md's"):
        read_checkpoint("attack.pt")
    assert not (tmp_path / "attacked").exists()


def test_missing_files_and_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoint must be an existing file"):
        read_checkpoint(tmp_path / "none.pt")
    text = tmp_path / "text.pt"
    text.write_text("not a model")
    with pytest.raises(ValueError, match="must be a UMA checkpoint as published"):
        read_checkpoint(text)
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="must hold an MLIPInferenceCheckpoint"):
        read_checkpoint(tmp_path / "other.pt")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    source = read_checkpoint(checkpoint("tiny-1p1"))
    name = next(iter(source.weights))
    tensor = source.weights[name]
    source.weights[name] = type(tensor)(tensor.record, tensor.dtype, 0, (1 << 40,), (1,))
    with pytest.raises(ValueError, match="the checkpoint is damaged"):
        source.read([name], torch.float32)


@pytest.mark.slow
def test_reading_takes_little_more_memory_than_the_averaged_weights(tmp_path):
    """The raw weights are as large again, and are not to be held as well."""

    def grow(config, _, ema):
        size = 1500
        config["backbone"]["max_num_elements"] = 100
        for name in [name for name in ema if name.endswith("fc_m0.weights")]:
            shape = ema[name].shape
            ema[name] = torch.zeros(size, *shape[1:])
        for name in [name for name in ema if name.endswith("fc.weights")]:
            shape = ema[name].shape
            ema[name] = torch.zeros(size, *shape[1:])
        for name, shape in (
            ("0.weight", (2 * size, 32)),
            ("0.bias", (2 * size,)),
            ("2.weight", (2 * size, 2 * size)),
            ("2.bias", (2 * size,)),
            ("4.weight", (size, 2 * size)),
            ("4.bias", (size,)),
        ):
            ema[f"module.backbone.routing_mlp.{name}"] = torch.zeros(shape)
        config["backbone"]["num_experts"] = size

    path = rewrite(checkpoint("tiny-1p1"), tmp_path / "large.pt", grow)
    weights = path.stat().st_size
    assert weights > 200e6
    script = (
        "import resource, sys, torch\n"
        "from uma_md.loading import UMASource\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "source = UMASource(sys.argv[1]); task = source.task('omol'); before = peak()\n"
        "model = source.build(task, torch.float32)\n"
        "print(peak() - before)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 1.3 * weights
