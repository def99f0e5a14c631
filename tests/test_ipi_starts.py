# SPDX-License-Identifier: MIT
"""What i-PI starts from, read before a run, is what it sends in one; faults in it are named."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from click.testing import CliRunner
from conftest import checkpoint
from structures import water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_analytic import Analytic
from ipi_runs import SECONDS, Address, Server, drive

from ipi_driver.cli import main
from ipi_driver.input.ipi_input import read_input
from ipi_driver.input.start import read_start
from ipi_driver.units import BOHR
from ipi_driver.wire.address import serve

pytestmark = pytest.mark.ipi

CELL = "<cell mode='abc' units='angstrom'> [ {0}, {0}, {0} ] </cell>"
GOOD = "<file mode='ase' units='angstrom'> init.extxyz </file>"


@pytest.fixture(scope="module")
def water() -> Atoms:
    return water_box(1)


@pytest.fixture
def folder(tmp_path, water):
    """Files of the same structure, and of two beads of it."""
    write(tmp_path / "init.extxyz", water)
    write(tmp_path / "plain.xyz", water, comment="water", format="xyz")
    write(tmp_path / "models.pdb", water)
    lines = (tmp_path / "models.pdb").read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if line.startswith(("CRYST1", "ATOM", "END\n")))
    (tmp_path / "init.pdb").write_text(text)
    length = water.cell[0, 0]
    beads = [water.copy(), water.copy()]
    beads[1].rattle(0.02)
    comment = f"# CELL(abcABC): {length} {length} {length} 90 90 90 positions{{angstrom}} "
    write(tmp_path / "ipi.xyz", beads, comment=comment + "cell{angstrom}", format="xyz")
    write(tmp_path / "boxed.xyz", water, comment=comment.partition(" pos")[0], format="xyz")
    atomic = water.copy()
    atomic.positions /= BOHR
    write(tmp_path / "bohr.xyz", atomic, comment="in bohr", format="xyz")
    water.write(tmp_path / "template.extxyz")
    return tmp_path


def initialize(entries: str, water: Atoms, beads: int = 2) -> str:
    listed = ", ".join(map(str, (water.positions / BOHR).ravel()))
    masses = ", ".join(map(str, water.get_masses()))
    text = entries.replace("LISTED", listed).replace("MASSES", masses)
    return f"<initialize nbeads='{beads}'> {text.format(water.cell[0, 0])} </initialize>"


BOXED = CELL.replace("{0}", "{0:.4f}")
STARTS = [
    GOOD,
    "<file mode='pdb'> init.pdb </file>",
    "<file mode='xyz'> ipi.xyz </file>",
    "<file mode='xyz' units='angstrom'> plain.xyz </file>" + BOXED,
    "<file mode='xyz' units='angstrom'> init.extxyz </file>" + BOXED,
    "<file mode='xyz'> bohr.xyz </file>" + BOXED,
    GOOD + "<positions mode='xyz' units='angstrom' bead='1'> plain.xyz </positions>",
    "<positions mode='manual' units='angstrom' bead='0'> [ LISTED ] </positions>"
    "<positions mode='manual' bead='1'> [ LISTED ] </positions>"
    "<masses mode='manual' units='dalton'> [ MASSES ] </masses>"
    "<labels mode='manual'> [ O, D, D ] </labels>" + BOXED,
    # wrong ones are read as i-PI reads them
    "<file mode='xyz'> plain.xyz </file>" + BOXED,
    "<file mode='xyz' units='angstrom'> boxed.xyz </file>",
    "<file mode='pdb' units='angstrom'> init.pdb </file>" + CELL.replace(" units='angstrom'", ""),
]


@pytest.mark.parametrize("entries", STARTS)
def test_what_is_read_is_what_i_pi_sends(entries, folder, water):
    address = Address()
    sent = []

    class Recorder(Analytic):
        def __call__(self, structures):
            sent.append([BOHR * np.array(array) for array in structures])
            return super().__call__(structures)

    server = Server(folder, water, address.field(2), beads=2, steps=1)
    path = folder / "input.xml"
    head, _, rest = path.read_text().partition("<initialize")
    tail = rest.partition("</initialize>")[2]
    path.write_text(head + initialize(entries, water) + tail)
    start = read_start(read_input(path).systems[0].node, folder)
    with server:
        serve(Recorder(), address.of_driver, lambda _: None)
        server.finish()
    cells, positions = sent[0]
    assert len(start.cells) == len(start.positions) == 2
    assert start.cells[: len(cells)] == pytest.approx(cells, abs=1e-12)  # equal beads come once
    assert start.positions[: len(cells)] == pytest.approx(positions, abs=1e-9)
    assert np.array_equal(start.positions[-1], start.positions[len(cells) - 1])


@pytest.fixture
def check(folder, water):
    """Output and exit code of a check of an input that starts so."""

    def run(entries, template="template.extxyz", systems=None):
        field = (
            "<ffsocket name='uma' mode='unix'> <address>uma-check</address> "
            "<batch_size>2</batch_size> <latency>1e-2</latency> <timeout>600</timeout> </ffsocket>"
        )
        path = folder / "input.xml"
        made = systems or f"<system> {initialize(entries, water)} </system>"
        path.write_text(f"<simulation> {field} {made} </simulation>")
        fixed = ["--template", folder / template, "--task", "omol", "--device", "cpu"]
        command = [checkpoint("tiny-1p2p1"), *fixed, "--check", path, "--unix", "uma-check"]
        done = CliRunner().invoke(main, [str(word) for word in command])
        return done.output, done.exit_code

    return run


@pytest.mark.parametrize("entries", STARTS[:7])
def test_a_right_start_is_free_of_remarks(entries, check):
    output, code = check(entries)
    assert code == 0, output
    assert "nothing to remark on" in output


WRONG = [
    (
        "<file mode='xyz'> plain.xyz </file>" + BOXED,
        "distances between nearest atoms are 0.529 times the template's: angstrom were read as "
        "bohr; write <file mode='xyz' units='angstrom'>, since the default is bohr",
    ),
    (
        "<file mode='xyz'> boxed.xyz </file>",
        "cell vectors 0.529 times the template's: angstrom were read as bohr; write <file "
        "mode='xyz' units='angstrom'>, since the default is bohr and write <file mode='xyz' "
        "cell_units='angstrom'>",
    ),
    (
        "<file mode='xyz' units='angstrom'> boxed.xyz </file>",
        "cell vectors are 0.529 times the template's: angstrom were read as bohr; write <file "
        "mode='xyz' cell_units='angstrom'>",
    ),
    (
        "<file mode='xyz' units='angstrom'> bohr.xyz </file>" + BOXED,
        "distances between nearest atoms are 1.890 times the template's: bohr were read as",
    ),
    (
        "<positions mode='xyz'> plain.xyz </positions> <masses mode='xyz'> plain.xyz </masses>"
        "<labels mode='xyz'> plain.xyz </labels>" + BOXED,
        "write <positions mode='xyz' units='angstrom'>",
    ),
    (
        GOOD + "<positions mode='xyz' bead='1'> plain.xyz </positions>",
        "angstrom were read as bohr; write <positions mode='xyz' units='angstrom'>",
    ),
    (
        GOOD + "<positions mode='xyz' units='nanometer'> plain.xyz </positions>",
        "distances between nearest atoms are 10.000 times the template's: angstrom were read as",
    ),
    (GOOD + CELL.replace(" units='angstrom'", ""), "write <cell mode='abc' units='...'> with"),
    (
        "<file mode='xyz' units='angstrom'> init.extxyz </file>",
        "could not initialize the cell (ValueError); init.extxyz is extended XYZ, which mode='xyz' "
        "does not read: write <file mode='ase'>",
    ),
    ("<file mode='xyz' units='bohr'> ipi.xyz </file>", "units mismatch with units indicated in"),
    ("<file mode='xyz' units='inch'> plain.xyz </file>" + BOXED, "would not start from <initi"),
    ("<file mode='pdb'> plain.xyz </file>", "would not start from <initialize> (plain.xyz): "),
    ("<file mode='pdb'> models.pdb </file>", "would not start from <initialize> (models.pdb): "),
    ("<file mode='xyz'> none.xyz </file>", "none.xyz must be a file, found none"),
    (
        GOOD + "<masses mode='manual'> [ 1, 2 ] </masses>",
        "would not start from <initialize> (init.extxyz): ",
    ),
    (GOOD + "<velocities mode='manual'> [ 1, 2, 3 ] </velocities>", "would not start from"),
    (GOOD + CELL.format(100.0), "the template is periodic along a, so i-PI's cell must resemble"),
    (GOOD + "<cell mode='abc'> [ nan, 5, 5 ] </cell>", "positions and cell must be finite"),
]


@pytest.mark.parametrize(("entries", "sentence"), WRONG)
def test_a_wrong_start_is_an_error(entries, sentence, check):
    output, code = check(entries)
    assert code == 1, output
    errors = [line for line in output.splitlines() if line.startswith("uma-ipi: error: ")]
    assert len(errors) == 1, output
    assert sentence in errors[0]


def test_a_start_from_a_checkpoint_is_said_not_to_be_read(check):
    output, code = check("<file mode='chk'> RESTART </file>")
    assert code == 0
    assert "warning: a start from the checkpoint RESTART is not read before a run" in output


def test_a_restart_is_read(check, water):
    listed = ", ".join(map(str, (water.positions / BOHR).ravel()))
    length = water.cell[0, 0]
    text = (
        f"<system> <beads natoms='3' nbeads='1'> <q shape='(1, 9)'> [ {listed} ] </q> "
        "<m> [ 29164, 1837, 1837 ] </m> <names> [ O, H, H ] </names> </beads> "
        f"<cell units='UNIT'> [ {length}, 0, 0, 0, {length}, 0, 0, 0, {length} ] </cell> </system>"
    )
    output, code = check("", systems=text.replace("UNIT", "angstrom"))
    assert code == 0, output
    output, code = check("", systems=text.replace("UNIT", "atomic_unit"))
    assert code == 1
    assert "cell vectors are 0.529 times the template's" in output


def test_systems_of_a_template_are_read_one_by_one(check):
    text = (
        "<system_template> <template> <system> <initialize nbeads='2'> <file mode='xyz' "
        "units='UNIT'> plain.xyz </file> " + BOXED.format(3.1) + "</initialize> </system> "
        "</template> <labels> [ UNIT ] </labels> <instance> [ angstrom ] </instance> "
        "<instance> [ atomic_unit ] </instance> </system_template>"
    )
    text = text.replace("nbeads='2'", "nbeads='1'")  # which fill a batch of two together
    output, code = check("", systems=text)
    assert code == 1
    assert output.count("angstrom were read as bohr") == 1
    assert "warning: " not in output


def test_deuterium_is_hydrogen_with_its_own_mass(check, water, folder):
    heavy = (folder / "plain.xyz").read_text().replace("H ", "D ")
    (folder / "plain.xyz").write_text(heavy)
    output, code = check("<file mode='xyz' units='angstrom'> plain.xyz </file>" + BOXED)
    assert code == 0, output
    assert "nothing to remark on" in output


@pytest.mark.parametrize("batch", [1, 2])
def test_a_run_in_a_wrong_unit_is_refused(batch, folder, water):
    address = Address()
    server = Server(folder, water, address.field(batch), beads=2)
    path = folder / "input.xml"
    old = "<file mode='ase' units='angstrom'> init.extxyz </file>"
    new = "<file mode='xyz'> plain.xyz </file>" + BOXED.format(water.cell[0, 0])
    path.write_text(path.read_text().replace(old, new))
    with server:
        done = drive(folder / "template.extxyz", *address.options)
        assert done.exit_code == 1
        assert (
            "\nError: i-PI must start from a structure like the template, found that distances "
            "between nearest atoms are 0.529 times the template's: angstrom were read as bohr; "
        ) in done.output
        server.process.terminate()
        assert server.process.wait(SECONDS) == 0
