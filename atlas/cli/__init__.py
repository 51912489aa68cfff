"""The command line: `atlas serve`, `trace`, `explain` and others. An error is one line, and the exit code tells its kind."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas import __version__
from atlas.cli.audit import add_audit
from atlas.cli.bias import add_bias
from atlas.cli.corpus import add_corpus
from atlas.cli.drift import add_drift
from atlas.cli.drills import add_drills
from atlas.cli.explain import Tools, add_explain
from atlas.cli.report import add_report
from atlas.cli.serve import add_serve
from atlas.cli.writing import add_writing, check_writing, read_messages, run_model
from atlas.errors import AtlasError, TextError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from atlas.trace import Trace

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

EXAMPLES = """examples:
  atlas serve                                         open the app on a model that comes with it
  atlas models                                        what can be traced, and what is on this disk already
  atlas trace gpt2 "The cat sat on the mat." -o cat.nc
  atlas heads gpt2 "The cat sat. The cat sat." --sort induction --top 5
  atlas heads bert-base-uncased @story.txt -o heads.parquet
  atlas explain gpt2 "The cat sat on the" --outcome " mat" --method integrated_gradients,rollout --heads --agreement
  atlas explain ./my-classifier --rationales marked.jsonl --method all
  atlas trace gpt2 "The cat sat" --write 20 --sample --seed 7 -o on.nc
  atlas trace ./my-chat-model --messages talk.json --write 100 -o talk.nc
  atlas audit gus-mini posts.csv --model bert-base-uncased -o found
  atlas bias gpt2 --benchmark stereoset --data dev.json -o results
  atlas corpus gpt-mini texts.csv -o heads --group source
  atlas drills gpt2 -o drilled.csv                    which heads retrieve, count on, repeat: on texts made for it
  atlas drift last-week this-week || echo "the heads do something else now"
  atlas trace ./my-model "A text." --pair "Another." --keep qk -o both.zarr

exit codes: 0 done, 1 something can be mended (the line says what), 2 wrong usage, 130 interrupted; `atlas drift` has its own
"""

TABLE_ENDINGS = {".csv": "CSV", ".json": "JSON", ".parquet": "Parquet"}
SHOWN = (
    "kind",
    "layer",
    "head",
    "entropy_norm",
    "confidence_mean",
    "special",
    "self",
    "previous",
    "next",
    "distance",
    "induction",
)
"""The columns printed in a terminal, as many as fit its width; files get every column."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    failed: int = getattr(args, "failed", FAILED)
    try:
        command: Callable[[argparse.Namespace], int | None] = args.command
        return command(args) or DONE
    except AtlasError as error:
        print(f"atlas: {' '.join(str(error).split())}", file=sys.stderr)
        return failed
    except KeyboardInterrupt:
        print("atlas: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # In `atlas models | head` the reader has closed the pipe, so nothing more is written, not even at exit.
        sys.stdout = None
    except Exception:
        if failed == FAILED:
            raise
        # Python ends with 1 on an error that nobody foresaw, which a pipeline would take for the answer of this command.
        traceback.print_exc()
        return failed
    return DONE


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(
        prog="atlas",
        description="Look inside a transformer: run a text through it and keep, measure and compare what its attention did.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"attention-atlas {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    add_serve(commands, read_text)

    models = commands.add_parser("models", help="list the models that can be traced by name", description=_models.__doc__)
    models.add_argument("--json", action="store_true", help="print the list as JSON, with every field")
    models.set_defaults(command=_models)

    trace = commands.add_parser(
        "trace", help="run a text through a model and save what its attention did", description=_trace.__doc__
    )
    _add_run(trace, required=False)
    add_writing(trace)
    trace.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help="where to save: NAME.nc (NetCDF), NAME.zarr, or NAME.json for other tools",
    )
    trace.add_argument(
        "--capture", default="stream,predictions", metavar="GROUPS",
        help="what to keep beside attention, by commas: stream, ffn, norms, head_outputs, predictions; '' for nothing "
        "(default: %(default)s)",
    )  # fmt: skip
    trace.set_defaults(command=_trace)

    heads = commands.add_parser("heads", help="measure every head on a text", description=_heads.__doc__)
    _add_run(heads)
    heads.add_argument("-o", "--output", type=Path, metavar="FILE", help="write all columns to a .csv, .json or .parquet file")
    heads.add_argument("--sort", metavar="METRIC", help="order by this column, largest first")
    heads.add_argument("--top", type=_count, metavar="N", help="only the first N heads")
    heads.add_argument("--kind", choices=("encoder", "decoder", "cross"), help="only heads of this kind")
    heads.set_defaults(command=_heads)
    add_explain(commands, Tools(_add_run, _run, _count, write_table))
    add_bias(commands, _count, write_table)
    add_audit(commands, write_table)
    add_corpus(commands, _count)
    add_drills(commands, write_table, _count)
    add_drift(commands, write_table)
    add_report(commands)
    return parser


def _add_run(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("model", metavar="MODEL", help="a name of `atlas models`, a folder, or a hub id such as owner/name")
    parser.add_argument(
        "text",
        metavar="TEXT",
        nargs=None if required else "?",
        help="the text; @FILE reads a file (UTF-8), - reads standard input",
    )
    parser.add_argument("--pair", metavar="TEXT", help="a second segment, for models that take pairs")
    parser.add_argument(
        "--target", metavar="TEXT", help="what an encoder-decoder's decoder reads (default: what it writes itself)"
    )
    parser.add_argument("--truncate", action="store_true", help="cut a text that is too long instead of refusing it")
    parser.add_argument(
        "--keep", default="auto", choices=("auto", "weights", "qk"), help="keep the weights, or what they are made of"
    )
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit on the hub")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, mps ... (default: cuda where there is one, else cpu)")
    parser.add_argument("--dtype", metavar="NAME", help="float32 (default), bfloat16, float16")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run Python code that comes with the model: only if you read it"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars")


def _models(args: argparse.Namespace) -> None:
    """List the models of the catalog: sizes, what each is good for, and which are on this disk already."""
    from atlas.engine.loading.catalog import entries, on_disk

    rows = [(entry, on_disk(entry) is not None) for entry in entries()]
    if args.json:
        listed = [{**_plain(vars_of(entry)), "on_disk": there} for entry, there in rows]
        print(json.dumps(listed, indent=2))
        return
    header = ("NAME", "KINDS", "LAYERS", "HEADS", "WIDTH", "PARAMETERS", "WHERE", "GOOD FOR")
    lines = [header, *(_model_line(entry, there=there) for entry, there in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header) - 1)]
    for line in lines:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]))


def vars_of(entry: Any) -> dict[str, Any]:
    """The fields of a catalog entry."""
    from dataclasses import asdict

    return asdict(entry)


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}


def _model_line(entry: Any, *, there: bool) -> tuple[str, ...]:
    layers = f"{entry.layers}+{entry.decoder_layers}" if entry.decoder_layers else str(entry.layers)
    where = "embedded" if entry.embedded else "on disk" if there else "hub, gated" if entry.gated else "hub"
    if not entry.traceable:
        where = "not yet"
    return (entry.name, "/".join(entry.kinds), layers, str(entry.heads), str(entry.hidden), _million(entry.parameters), where,
            entry.good_for)  # fmt: skip


def _million(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count < 1e9 else f"{count / 1e9:,.2f} B"


def _trace(args: argparse.Namespace) -> None:
    """Run a text through a model once and save everything its attention did; atlas.open(FILE) reads it back."""
    if args.output.suffix not in (".nc", ".zarr", ".json"):
        msg = f"A trace is saved as NAME.nc, NAME.zarr or NAME.json, not {args.output.name!r}."
        raise TextError(msg)
    check_writing(args)
    groups = (group.strip() for group in args.capture.split(","))
    trace = _run(args, tuple(group for group in groups if group))
    path = trace.save(args.output)
    print(f"{trace!r} -> {path}")
    _print_notes(trace)


def _heads(args: argparse.Namespace) -> None:
    """Measure every head on a text: spread, targets, distance, repetition, roles; each beside its value for uniform attention."""
    if args.output is not None and args.output.suffix not in TABLE_ENDINGS:
        endings = ", ".join(TABLE_ENDINGS)
        msg = f"A table is written as one of {endings}, not {args.output.name!r}."
        raise TextError(msg)
    trace = _run(args, ())
    table = _selected_rows(trace.heads, args)
    if args.output is not None:
        write_table(table, args.output)
        print(f"{len(table)} heads x {table.shape[1]} columns -> {args.output}")
    else:
        columns = list(dict.fromkeys([*SHOWN, *([args.sort] if args.sort else [])]))
        print(table[columns].to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    _print_notes(trace)


def _selected_rows(table: pd.DataFrame, args: argparse.Namespace) -> pd.DataFrame:
    if args.kind is not None:
        table = table[table["kind"] == args.kind]
        if table.empty:
            msg = f"This model has no {args.kind} attention."
            raise TextError(msg)
    if args.sort is not None:
        if args.sort not in table.columns:
            known = ", ".join(name for name in table.columns if not name.endswith(("_uniform", "_rows", "_p")))
            msg = f"There is no column {args.sort!r} to sort by; there are {known}."
            raise TextError(msg)
        if table[args.sort].isna().all():
            msg = (
                f"{args.sort!r} is not known for these heads: it needs words, repeats or queries and keys, "
                "which this run does not have."
            )
            raise TextError(msg)
        table = table.sort_values(args.sort, ascending=False, kind="stable")
    return table if args.top is None else table.head(args.top)


def _count(written: str) -> int:
    count = int(written)
    if count < 1:
        raise ValueError
    return count


_count.__name__ = "number from 1"  # argparse says "invalid number from 1 value: '0'"


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table in the format of the file's ending. An existing file is replaced only once the new one is complete."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            table.to_csv(new, index=False)
        elif path.suffix == ".json":
            # Not pandas' to_json, which rounds numbers to ten digits.
            rows = table.astype(object).where(table.notna(), None).to_dict(orient="records")
            new.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        else:
            table.to_parquet(new, index=False)
        new.replace(path)
    except OSError as error:
        msg = f"The table cannot be written to {path}: {error.strerror or error}. Choose another place."
        raise TextError(msg) from error
    finally:
        with suppress(OSError):
            new.unlink()


def _run(args: argparse.Namespace, capture: Sequence[str]) -> Trace:
    messages = getattr(args, "messages", None)
    prompt = read_text(args.text) if messages is None else read_messages(messages, read_text)
    with _bars(quiet=args.quiet) as (download, layers, tokens):
        from atlas.engine.loading.load import load

        model = load(
            args.model, args.revision, args.device, args.dtype, trust_remote_code=args.trust_remote_code, progress=download
        )
        return run_model(model, args, capture, prompt, layers, tokens)


def read_text(argument: str) -> str:
    """The argument itself, or the text of the file named after @, or of standard input for '-'."""
    if argument == "-":
        return _decoded(sys.stdin.buffer.read(), "Standard input")
    if not argument.startswith("@"):
        return argument
    path = Path(argument[1:])
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        hint = "A text that itself begins with @ can be passed on standard input, with - for TEXT."
        msg = f"The text file {path} cannot be read: {getattr(error, 'strerror', None) or error}. {hint}"
        raise TextError(msg) from error
    return _decoded(raw, f"The text file {path}")


def _decoded(raw: bytes, what: str) -> str:
    """The text of a file or stream, without the line end at its end, which belongs to the file and not to the text."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{what} is not UTF-8 (byte {error.start}). Save it as UTF-8."
        raise TextError(msg) from error
    return text.removesuffix("\n").removesuffix("\r")


def _print_notes(trace: Trace) -> None:
    for note in _notes(trace):
        print(f"note: {note}", file=sys.stderr)


def _notes(trace: Trace) -> Iterable[str]:
    return trace.provenance.get("notes", ())


@contextmanager
def _bars(
    *, quiet: bool
) -> Iterator[tuple[Callable[[Any], None] | None, Callable[[int, int], None] | None, Callable[[int, int], None] | None]]:
    """Progress bars on standard error for downloads, layers of a pass and written tokens, only if it is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None, None, None
        return
    from tqdm import tqdm

    open_bars: dict[str, tqdm[Any]] = {}

    def show(name: str, done: int, total: int | None, **how: Any) -> None:
        if name not in open_bars:
            open_bars[name] = tqdm(desc=name, total=total, leave=False, **how)
        bar = open_bars[name]
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield (
            lambda progress: show(progress.what, progress.done, progress.total, unit="B", unit_scale=True),
            lambda done, total: show("layers", done, total, unit="layer"),
            lambda done, total: show("writing", done, total, unit="token"),
        )
    finally:
        for bar in open_bars.values():
            bar.close()
