"""From the arguments of a client command to a client; its failures become one line."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from hostler.cli.outcome import CommandError, UsageError
from hostler.client import ApiError, CallError, HostlerClient, NotRunningError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator


def client(arguments: Namespace) -> HostlerClient:
    """The Hostler that --url, HOSTLER_URL or the default names."""
    try:
        return HostlerClient(arguments.url, arguments.api_key)
    except CallError as error:
        raise UsageError(str(error)) from error


def answers(client: HostlerClient) -> bool:
    """Whether there is anybody to ask."""
    try:
        client.version()
    except NotRunningError:
        return False
    except CallError:
        pass  # whatever is wrong with it, it is there
    return True


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn what the client raises into what the command prints."""
    try:
        yield
    except ApiError as error:
        if error.status == 401:
            raise CommandError("Hostler wants a key: give it with --api-key or HOSTLER_API_KEY") from error
        raise CommandError(error.message) from error
    except CallError as error:
        raise CommandError(str(error)) from error
