"""logs as records: selected, of several sources, over restarts of the server."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from hostler.cli import connect, log_files, log_runs
from hostler.cli.handover import Handover, check_reader
from hostler.cli.log_output import Json, Record, Text
from hostler.cli.log_query import parameters, selects_lines
from hostler.cli.outcome import OK
from hostler.client import ApiError, CallError, NotRunningError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping, Sequence

    from hostler.client import HostlerClient

# Seconds between two tries to reach a server that went away; it takes about as long to start.
RETRY = 0.5


def wanted(arguments: Namespace) -> bool:
    """Whether the command line asks for records; everything else is bytes as they are."""
    options = ("head", "since", "until", "grep", "level", "run")
    switches = ("invert", "stderr", "stdout", "previous", "json", "runs", "why", "timestamps")
    return (
        len(arguments.sources) > 1
        or (arguments.follow and not arguments.raw)
        or any(getattr(arguments, name) is not None for name in options)
        or any(getattr(arguments, name) for name in switches)
    )


def logs(arguments: Namespace) -> int:
    """Do what the command line asks for."""
    if arguments.runs or arguments.why:
        return log_runs.tell(arguments)
    params = parameters(arguments)
    if arguments.dir is not None:
        return log_files.show(arguments)
    client = connect.client(arguments)
    if log_files.may_read(arguments) and not connect.answers(client) and log_files.hold(arguments):
        return log_files.show(arguments)
    show = Json(sys.stdout) if arguments.json else text_of(arguments)
    try:
        with connect.explained():
            for record in records(client, arguments.sources, params, follow=arguments.follow):
                show(record)
    finally:
        show.close()
    return OK


def text_of(arguments: Namespace) -> Text:
    """What shows records as the command line wants them."""
    runs = not selects_lines(arguments)
    return Text(sys.stdout, arguments.sources, runs=runs, times=arguments.timestamps)


def records(
    client: HostlerClient, sources: Sequence[str], params: Mapping[str, str], *, follow: bool
) -> Iterator[Record]:
    """The records; a stream that breaks off is taken up again behind the last one, as soon as it can be."""
    params = dict(params)
    begun = False
    while True:
        try:
            for record in lines(client, sources, params, follow=follow):
                begun = True
                if "cursor" in record:
                    params = _behind(params, str(record["cursor"]))
                yield record
            if not follow or not begun or "head" in params or "run" in params:
                return
        except ApiError:
            raise
        except CallError as error:
            if not follow or (not begun and isinstance(error, NotRunningError)):
                raise
        print("hostler: the server is away; waiting for it", file=sys.stderr)
        _wait_for(client)


def _behind(params: Mapping[str, str], cursor: str) -> dict[str, str]:
    kept = {name: value for name, value in params.items() if name not in ("tail", "no-history", "since")}
    return kept | {"cursor": cursor}


def lines(
    client: HostlerClient, sources: Sequence[str], params: Mapping[str, str], *, follow: bool
) -> Iterator[Record]:
    """The records of one answer; BrokenPipeError as soon as nobody reads ours."""
    rest = b""
    with client.records(sources, params, follow=follow) as stream:
        for chunk in Handover(stream).read_by(sys.stdout) if follow else stream:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line:
                    found: dict[str, Any] = json.loads(line)
                    yield found


def _wait_for(client: HostlerClient) -> None:
    while True:
        time.sleep(RETRY)
        check_reader(sys.stdout)
        try:
            client.version()
        except ApiError:
            return
        except CallError:
            continue
        return
