# SPDX-License-Identifier: MIT
"""Speed and memory on an accelerator: force calls, LAMMPS steps, the largest system, a profile.

    python benchmarks/gpu.py uma-s-1p2p1.pt --task omat --output gpu
    python benchmarks/gpu.py --rehearse

Candidates take turns in one run, since clocks drift; medians are given. Where fairchem-core is
installed, its presets are among them, on the same structures. Rows are added to ``results.json``
as they come, so that what was measured is there when time runs out; ``table.txt`` shows them, and
``profile.txt`` has the operators. The structures are rattled face-centered cubic copper; 10 cells
along each axis, 1,000 atoms, are those of published figures. ``--rehearse`` goes through all of it
on the CPU with a small model and a few atoms, and says nothing of speed.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.io.lammpsdata import write_lammps_data
from torch.profiler import ProfilerActivity, profile

from uma_md import UMACalculator
from uma_md.failures import is_out_of_memory
from uma_md.ranks.placement import pick_device

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LATTICE = 3.61  # angstrom, of copper
STAGES = ("embed", "messages", "update", "readout", "forces")  # marks of the evaluator
SCRIPT = """
units metal
atom_style atomic
atom_modify map yes
box tilt large
read_data {data}
pair_style uma device {device} {style}
pair_coeff * * {model} Cu
neighbor 1.0 bin
timestep 0.0005
velocity all create 300 4928
fix 1 all nve
thermo 1000
run {warm}
run {steps}
"""


@dataclass(frozen=True)
class Setting:
    """How a candidate computes.

    Attributes
    ----------
    dtype
        ``float32`` or ``float64``.
    options
        Of ``UMACalculator``, which ``pair_style uma`` takes as well.
    """

    dtype: str = "float32"
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """What a row is called by."""
        return " ".join([self.dtype, *(f"{key} {value}" for key, value in self.options)])

    @property
    def style(self) -> str:
        """Arguments of ``pair_style uma``."""
        return " ".join(f"{key} {value}" for key, value in self.options)


AGAIN = ("recompute", "on")
SETTINGS = (
    Setting(),
    Setting(options=(("precision", "fp16x3"),)),
    Setting(options=(("precision", "tf32"),)),
    Setting(options=(("engine", "portable"),)),
    Setting(options=(("engine", "portable"), ("precision", "tf32"))),
    Setting(options=(AGAIN,)),
    Setting("float64"),
    Setting(options=(("graphs", "off"),)),
    Setting(options=(("precision", "tf32"), ("graphs", "off"))),
)
IN_LAMMPS = (*SETTINGS[:4], *SETTINGS[-2:])
LARGEST = Setting(options=(AGAIN, ("chunk", 65536)))
# Of fairchem-core, "multigpu" being what was "turbo"; the last without TF32. Its "nitro" takes
# published files alone.
PRESETS = ("multigpu", "multigpu float32")


@dataclass
class Bench:
    """What is measured, where, and the rows that came of it."""

    arguments: argparse.Namespace
    folder: Path
    device: torch.device
    rows: list[dict[str, Any]]

    def add(self, part: str, **row: Any) -> None:
        """Keep a row, on disk as well, and show it."""
        self.rows.append({"part": part, **row})
        (self.folder / "results.json").write_text(json.dumps(self.rows, indent=1))
        print(line(self.rows[-1]), flush=True)

    def calculator(self, setting: Setting) -> UMACalculator:
        """One of ours."""
        return UMACalculator(
            self.arguments.model,
            self.arguments.task,
            str(self.device),
            setting.dtype,
            **dict(setting.options),
        )

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def release(self) -> None:
        """Give back what torch keeps of the device's memory, and count anew."""
        if self.device.type != "cpu":
            torch.accelerator.empty_cache()
            torch.accelerator.reset_peak_memory_stats()

    def peak_memory(self) -> float:
        """Gigabytes at the most since the last release; on a CPU, those of the process now."""
        if self.device.type == "cpu":
            return psutil.Process().memory_info().rss / 1e9
        return torch.accelerator.max_memory_allocated(self.device) / 1e9


def copper(cells: int) -> Atoms:
    atoms = bulk("Cu", a=LATTICE) * (cells, cells, cells)
    atoms.rattle(0.05, seed=1)
    return atoms


def describe(bench: Bench) -> None:
    """What machine this is."""
    row: dict[str, Any] = {"torch": torch.__version__, "cores": os.cpu_count()}
    row["device"] = str(bench.device)
    if bench.device.type == "cuda":
        facts = torch.cuda.get_device_properties(bench.device)
        row |= {"name": facts.name, "GB": round(facts.total_memory / 1e9, 1)}
        row["cuda"] = torch.version.cuda or torch.version.hip
    bench.add("machine", **row, model=Path(bench.arguments.model).name, task=bench.arguments.task)


def fairchem(bench: Bench, preset: str) -> Calculator:
    """fairchem-core with one of its presets."""
    from fairchem.core import FAIRChemCalculator
    from fairchem.core.units.mlip_unit import MLIPPredictUnit
    from fairchem.core.units.mlip_unit.api.inference import guess_inference_settings

    settings = guess_inference_settings(preset.split()[0])
    if preset.endswith("float32"):
        settings = replace(settings, tf32=False)
    unit = MLIPPredictUnit(
        bench.arguments.model, device=bench.device.type, inference_settings=settings
    )
    return FAIRChemCalculator(unit, task_name=bench.arguments.task)


def candidates(bench: Bench) -> dict[str, Callable[[], Calculator]]:
    """By name, what makes them."""
    found: dict[str, Callable[[], Calculator]] = {
        setting.name: partial(bench.calculator, setting) for setting in SETTINGS
    }
    if find_spec("fairchem"):
        for preset in bench.arguments.presets:
            found[f"fairchem-core {preset}"] = partial(fairchem, bench, preset)
    return found


def force_calls(bench: Bench) -> None:
    """Milliseconds of a force call through ASE, on structures that a candidate has not seen."""
    chosen = candidates(bench)
    for cells in bench.arguments.cells:
        atoms = copper(cells)
        made: dict[str, Calculator] = {}
        times: dict[str, list[float]] = {}
        memory: dict[str, float] = {}
        for name, make in chosen.items():
            with failing(bench, "force call", atoms, name):
                bench.release()
                calculator = make()
                for seed in range(2):  # the first compiles and fills caches
                    force_call(bench, atoms, calculator, seed)
                made[name], times[name], memory[name] = calculator, [], bench.peak_memory()
        for repeat in range(bench.arguments.repeats):
            for name in list(made):
                with failing(bench, "force call", atoms, name) as failed:
                    times[name].append(force_call(bench, atoms, made[name], 10 + repeat))
                if failed:
                    del made[name]
        for name in made:
            middle = round(1000 * statistics.median(times[name]), 2)
            least = round(1000 * min(times[name]), 2)
            peak = round(memory[name], 2)
            bench.add("force call", atoms=len(atoms), how=name, ms=middle, least=least, GB=peak)


def force_call(bench: Bench, atoms: Atoms, calculator: Calculator, seed: int) -> float:
    """Seconds of a force call."""
    atoms = atoms.copy()
    atoms.rattle(1e-3, seed=seed)
    atoms.calc = calculator
    bench.synchronize()
    start = time.perf_counter()
    atoms.get_forces()
    bench.synchronize()
    return time.perf_counter() - start


@contextmanager
def failing(
    bench: Bench, part: str, atoms: Atoms | None = None, how: str = ""
) -> Iterator[list[str]]:
    """Make what goes wrong in a block a row; the list that is given then holds its text."""
    failed: list[str] = []
    try:
        yield failed
    except Exception as failure:
        text = "out of memory" if is_out_of_memory(failure) else " ".join(str(failure).split())
        failed.append(text[:300])
        bench.add(part, atoms=len(atoms or ()), how=how, error=failed[0])


def lammps_steps(bench: Bench) -> None:
    """Milliseconds of a step at constant energy, by ranks on one device."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dtype in sorted({setting.dtype for setting in IN_LAMMPS}):
            command = ["export", bench.arguments.model, "--task", bench.arguments.task]
            command += ["--dtype", dtype, "-o", folder / f"{dtype}.pt"]
            done = [BIN / "uma-md", *command]
            subprocess.run(list(map(str, done)), check=True, stdout=subprocess.DEVNULL)
        for cells in bench.arguments.cells:
            atoms = copper(cells)
            write_lammps_data(
                folder / "data", atoms, masses=True, units="metal", atom_style="atomic"
            )
            for setting in IN_LAMMPS:
                for ranks in bench.arguments.ranks:
                    with failing(bench, "LAMMPS", atoms, f"{setting.name}, {ranks} ranks"):
                        found = lammps(bench, folder, setting, ranks)
                        bench.add(
                            "LAMMPS", atoms=len(atoms), how=setting.name, ranks=ranks, **found
                        )


def lammps(bench: Bench, folder: Path, setting: Setting, ranks: int) -> dict[str, Any]:
    """The time of a step, and what the pair style says of devices and memory."""
    script = SCRIPT.format(
        data=folder / "data",
        device=bench.device.type,
        style=setting.style,
        model=folder / f"{setting.dtype}.pt",
        warm=2,
        steps=bench.arguments.steps,
    )
    (folder / "in").write_text(script)
    threads = str(max(1, torch.get_num_threads() // ranks))
    command = [BIN / "mpiexec", "-n", str(ranks), BIN / "lmp", "-in", folder / "in", "-log", "none"]
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | {"OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        timeout=bench.arguments.limit,
        check=False,
    )
    seconds = re.findall(r"Loop time of (\S+)", done.stdout)
    if done.returncode != 0 or len(seconds) != 2:
        raise RuntimeError(f"LAMMPS must end well, found {(done.stdout + done.stderr)[-500:]}")
    says = [text.strip() for text in re.findall(r"^  (?:devices|memory): (.*)", done.stdout, re.M)]
    return {"ms": round(1000 * float(seconds[1]) / bench.arguments.steps, 2), "says": says}


def largest(bench: Bench) -> None:
    """One force call on more and more atoms, messages recomputed, until memory ends."""
    for cells in bench.arguments.large:
        atoms = copper(cells)
        bench.release()
        with failing(bench, "largest", atoms, LARGEST.name) as failed:
            seconds = force_call(bench, atoms, bench.calculator(LARGEST), 0)
            peak = round(bench.peak_memory(), 2)
            bench.add("largest", atoms=len(atoms), how=LARGEST.name, s=round(seconds, 2), GB=peak)
        if failed:
            return


def stages(bench: Bench) -> None:
    """Where the time of a force call goes: stages forward, again in reverse, and all else."""
    atoms = copper(bench.arguments.cells[-1])
    calculator = bench.calculator(Setting())
    for seed in range(3):
        force_call(bench, atoms, calculator, seed)
    activities = [ProfilerActivity.CPU]
    if bench.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recorded:
        seconds = force_call(bench, atoms, calculator, 9)
    events = recorded.key_averages()
    for event in events:
        if event.key in STAGES:
            times = {"cpu_ms": event.cpu_time_total, "device_ms": event.device_time_total}
            rounded = {key: round(value / 1000, 2) for key, value in times.items()}
            bench.add("profile", atoms=len(atoms), how=event.key, calls=event.count, **rounded)
    device = sum(event.self_device_time_total for event in events) / 1000
    launches = sum(event.count for event in events if "LaunchKernel" in event.key)
    bench.add(
        "profile",
        atoms=len(atoms),
        how="all",
        calls=launches,
        cpu_ms=round(1000 * seconds, 2),
        device_ms=round(device, 2),
    )
    key = "self_device_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"
    table = events.table(sort_by=key, row_limit=60, max_name_column_width=90)
    (bench.folder / "profile.txt").write_text(table)


def line(row: dict[str, Any]) -> str:
    """A row of the table: what was measured first, then its figures by name."""
    head = f"{row['part']:10s} {row.get('atoms', ''):>8} {row.get('how', ''):42s}"
    rest = {key: value for key, value in row.items() if key not in ("part", "atoms", "how")}
    figures = (f"{key} {'; '.join(v) if isinstance(v, list) else v}" for key, v in rest.items())
    return " ".join((head, "  ".join(figures))).rstrip()


PARTS: dict[str, Callable[[Bench], None]] = {
    "force-calls": force_calls,
    "profile": stages,
    "lammps": lammps_steps,
    "largest": largest,
}


def rehearsal(arguments: argparse.Namespace) -> None:
    """Everything small, and on the CPU."""
    arguments.model = str(ROOT / "tests" / "data" / "tiny-1p2p1.pt")
    arguments.device, arguments.cells, arguments.large = "cpu", [3], [3, 4]
    arguments.ranks, arguments.steps, arguments.repeats = [1, 2], 2, 2
    torch.set_num_threads(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="a checkpoint, or the name of a published one")
    parser.add_argument("--task", default="omat")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cells", type=int, nargs="+", default=[5, 10, 16], help="along each axis")
    parser.add_argument("--large", type=int, nargs="+", default=[20, 32, 46, 60, 80])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=10, help="of a run of LAMMPS")
    parser.add_argument("--repeats", type=int, default=10, help="of a force call")
    parser.add_argument("--presets", nargs="*", choices=PRESETS, default=PRESETS)
    parser.add_argument("--limit", type=int, default=300, help="of a run of LAMMPS, seconds")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--output", type=Path, default=Path("gpu"))
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU")
    arguments = parser.parse_args()
    if arguments.rehearse:
        rehearsal(arguments)
    if arguments.model is None:
        parser.error("name a model, or --rehearse")
    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(arguments, folder, pick_device(arguments.device), [])
    describe(bench)
    for part in arguments.parts:
        with failing(bench, part):  # the other parts are worth having
            PARTS[part](bench)
    (folder / "table.txt").write_text("".join(f"{line(row)}\n" for row in bench.rows))


if __name__ == "__main__":
    main()
