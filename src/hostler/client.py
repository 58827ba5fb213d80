"""A client for Hostler's HTTP API; standard library only, synchronous, one connection per call.

    CallError
    ├── NotRunningError   nobody listens at the address
    ├── ApiError          the server answered with an error; carries what it said
    └── BrokenError       the connection failed, or what came back was not an answer of Hostler

A log is a `LogStream`: an iterator over bytes as they arrive, which any thread may close.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypedDict, cast
from urllib.parse import SplitResult, quote, urlencode, urlsplit

if TYPE_CHECKING:
    from types import TracebackType

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_TIMEOUT = 30.0
CHUNK = 65_536  # one read; the size of a pipe's buffer, beyond which reads get no cheaper
MAX_ERROR_BODY = 1_048_576  # an error with its log lines is a few kB; more than this is not ours

_BROKEN = (OSError, http.client.HTTPException)


class CallError(Exception):
    """The root; its text is a sentence for the person who reads it."""


class NotRunningError(CallError):
    """Nobody listens at the address."""


class BrokenError(CallError):
    """The connection failed in the middle, or the answer made no sense."""


class ApiError(CallError):
    """The server refused or failed; `message`, `code` and `details` are its own words."""

    def __init__(
        self, status: int, message: str, *, code: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.details: dict[str, Any] = dict(details or {})

    @classmethod
    def from_body(cls, status: int, reason: str, body: bytes) -> ApiError:
        """Understand the OpenAI error shape; anything else is shown as the text it is."""
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        error = document.get("error") if isinstance(document, dict) else None
        if isinstance(error, dict):
            details = error.get("details")
            return cls(
                status,
                str(error.get("message") or f"{status} {reason}"),
                code=str(error.get("code") or ""),
                details=details if isinstance(details, dict) else None,
            )
        text = error if isinstance(error, str) else body[:500].decode("utf-8", "replace").strip()
        text = text.removeprefix("hostler: ")  # how the server signs plain text
        return cls(status, text or f"{status} {reason}")

    @property
    def cause(self) -> Mapping[str, Any]:
        """`kind`, `message` and `advice` of a failed start, where the log showed one; else empty."""
        cause = self.details.get("cause")
        return cause if isinstance(cause, dict) else {}

    @property
    def log_lines(self) -> list[str]:
        """The last lines the engine wrote before it failed."""
        lines = self.details.get("log")
        return [str(line) for line in lines] if isinstance(lines, list) else []


class Version(TypedDict, total=False):
    """What GET /api/version says."""

    version: str
    commit: str
    build_date: str


class RunningModel(TypedDict, total=False):
    """One process of GET /running."""

    model: str
    state: str
    cmd: str
    proxy: str
    ttl: int
    name: str
    description: str
    pid: int | None
    run: int | None
    port: int | None
    active: int
    waiting: int
    uptime: float | None


class ModelStatus(TypedDict, total=False):
    """One model of GET /api/models, running or not; `since` is how many seconds it is in this state."""

    id: str
    state: str
    name: str
    description: str
    aliases: list[str]
    pid: int | None
    run: int | None
    active: int
    waiting: int
    since: float | None
    uptime: float | None
    ttl: int
    ttl_left: float | None
    last_exit: Any
    last_error: str
    progress: Any
    unlisted: bool


class Loaded(TypedDict, total=False):
    """A model that became ready."""

    model: str
    state: str
    seconds: float


class LogStream(Iterator[bytes]):
    """Bytes of a log as they arrive; ends when the server ends it or `close` is called from any thread."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self._socket = connection.sock  # kept because the connection forgets it when the server will close
        self._left = response.length  # None: chunked, or until the server closes
        self._closed = False

    def __next__(self) -> bytes:
        if self._closed or self._left == 0:
            raise StopIteration
        try:
            data = self._response.read1(CHUNK if self._left is None else min(CHUNK, self._left))
        except (*_BROKEN, ValueError, AttributeError) as error:  # the last two: closed under our feet
            if self._closed:
                raise StopIteration from None
            raise BrokenError("the connection to Hostler broke in the middle of the log") from error
        if not data:
            if self._left and not self._closed:
                raise BrokenError("the log ended before all of it had arrived")
            raise StopIteration
        if self._left is not None:
            self._left -= len(data)
        return data

    def close(self) -> None:
        """End the stream; a read that waits in another thread returns at once."""
        self._closed = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it had ended already
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class HostlerClient:
    """Asks one Hostler; stateless, so it may be shared between threads.

    `timeout` bounds connecting and ordinary answers. Loading, unloading and following wait as long as it
    takes. The address and the key come from HOSTLER_URL and HOSTLER_API_KEY when they are not given.
    """

    def __init__(
        self, base_url: str | None = None, api_key: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        url = base_url or os.environ.get("HOSTLER_URL") or DEFAULT_URL
        self._target = _split_url(url)
        self._prefix = self._target.path.rstrip("/")
        self.base_url = url.rstrip("/")
        self._api_key = api_key if api_key is not None else os.environ.get("HOSTLER_API_KEY", "")
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<HostlerClient {self.base_url}{' with a key' if self._api_key else ''}>"

    def health(self) -> bool:
        """True when the server says it is well."""
        return self._ask("GET", "/health").strip() == b"OK"

    def version(self) -> Version:
        """What the server is."""
        return cast("Version", self._ask_json("GET", "/api/version"))

    def models(self) -> list[dict[str, Any]]:
        """The models offered to API clients (GET /v1/models), peers and selectors included."""
        return cast("list[dict[str, Any]]", self._ask_json("GET", "/v1/models").get("data") or [])

    def status(self) -> list[ModelStatus]:
        """Every model of this server and what it is doing."""
        return cast("list[ModelStatus]", self._ask_json("GET", "/api/models").get("models") or [])

    def running(self) -> list[RunningModel]:
        """The models that have a process."""
        return cast("list[RunningModel]", self._ask_json("GET", "/running").get("running") or [])

    def load(self, model: str) -> Loaded:
        """Start `model` and wait until it is ready; ApiError says why it did not get there."""
        answer = self._ask_json("POST", f"/api/models/load/{path_of(model)}", patient=True)
        return cast("Loaded", answer)

    def unload(self, model: str | None = None) -> None:
        """Stop `model`, or every model, and wait until it has ended."""
        tail = "" if model is None else f"/{path_of(model)}"
        self._ask("POST", f"/api/models/unload{tail}", patient=True)

    def logs(self, source: str = "", *, follow: bool = False, history: bool = True) -> LogStream:
        """The log of a model, of `proxy`, of `upstream`, or of everything together (the empty name).

        Without `follow` it is what the server holds now; with it, the stream goes on until either side
        ends it. `history=False` leaves out what was written before.
        """
        path = ("/logs/stream" if follow else "/logs") + (f"/{path_of(source)}" if source else "")
        if not history:
            path += "?no-history"
        connection, response = self._open("GET", path, patient=False, accept="text/plain")
        if response.status != 200:
            self._fail(connection, response)
        if follow:
            _wait_without_limit(connection.sock)
        return LogStream(connection, response)

    def records(
        self, sources: Sequence[str] = (), params: Mapping[str, str] | None = None, *, follow: bool = False
    ) -> LogStream:
        """The records of logs as JSON by the line; an empty line is a sign of life.

        `sources` are names as for `logs`, none of them means everything; `params` are the parameters of the
        HTTP API (`tail`, `grep`, `cursor`, …).
        """
        path = "/logs/stream" if follow else "/logs"
        pairs = [("format", "ndjson"), *(params or {}).items()]
        if len(sources) == 1:
            path += f"/{path_of(sources[0])}" if sources[0] else ""
        else:
            pairs += [("model", source) for source in sources]
        connection, response = self._open(
            "GET", f"{path}?{urlencode(pairs)}", patient=False, accept="application/x-ndjson"
        )
        if response.status != 200:
            self._fail(connection, response)
        if follow:
            _wait_without_limit(connection.sock)
        return LogStream(connection, response)

    def runs(self, model: str) -> list[dict[str, Any]]:
        """The runs of a model, newest first."""
        return cast(
            "list[dict[str, Any]]", self._ask_json("GET", f"/logs/runs/{path_of(model)}").get("runs") or []
        )

    def capture(self, number: int) -> dict[str, Any]:
        """A captured request and its answer (GET /api/captures/ID); bodies are in base64."""
        return self._ask_json("GET", f"/api/captures/{number}")

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> LogStream:
        """Send `body` and read the answer as it comes, however long that takes; ApiError from 300 on."""
        connection, response = self._open("POST", path, patient=True, accept="*/*", body=body, more=headers)
        if response.status >= 300:
            self._fail(connection, response)
        return LogStream(connection, response)

    def log_url(self, source: str) -> str:
        """Where the log of `source` can be followed with any HTTP client."""
        return f"{self.base_url}/logs/stream/{path_of(source)}"

    def _ask(self, method: str, path: str, *, patient: bool = False) -> bytes:
        connection, response = self._open(method, path, patient=patient, accept="application/json")
        try:
            if response.status >= 300:
                self._fail(connection, response)
            return response.read()
        except _BROKEN as error:
            raise BrokenError(f"the connection to Hostler at {self.base_url} broke: {error}") from error
        finally:
            response.close()
            connection.close()

    def _ask_json(self, method: str, path: str, *, patient: bool = False) -> dict[str, Any]:
        body = self._ask(method, path, patient=patient)
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise BrokenError(f"what answers at {self.base_url} does not speak Hostler's API")
        return document

    def _open(
        self,
        method: str,
        path: str,
        *,
        patient: bool,
        accept: str,
        body: bytes | None = None,
        more: Mapping[str, str] | None = None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = self._connection()
        headers = {"Accept": accept, "Connection": "close", "User-Agent": "hostler-client", **(more or {})}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        try:
            connection.connect()
        except OSError as error:
            raise NotRunningError(_nobody_at(self.base_url, error)) from error
        try:
            if patient:
                _wait_without_limit(connection.sock)
            connection.request(method, self._prefix + path, body, headers)
            sock = connection.sock
            response = connection.getresponse()
            connection.sock = sock  # LogStream.close needs it
        except TimeoutError as error:
            connection.close()
            raise BrokenError(f"Hostler at {self.base_url} gave no answer in {self._timeout:g} s") from error
        except (*_BROKEN, ValueError) as error:
            connection.close()
            raise BrokenError(f"the connection to Hostler at {self.base_url} broke: {error}") from error
        return connection, response

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._target.hostname or "", self._target.port
        if self._target.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    def _fail(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> NoReturn:
        try:
            body = response.read(MAX_ERROR_BODY)
        except _BROKEN:
            body = b""
        finally:
            response.close()
            connection.close()
        raise ApiError.from_body(response.status, response.reason, body)


def path_of(name: str) -> str:
    """A model id as part of a path: its slashes stay, everything else that means something is escaped."""
    return "/".join(quote(segment, safe="") for segment in name.split("/"))


def _split_url(url: str) -> SplitResult:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        valid = False
    if not valid:
        raise CallError(f"{url!r} is not an address of a server; give one like {DEFAULT_URL}")
    return parts


def _nobody_at(url: str, error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"no Hostler at {url}; start one with `hostler serve`"
    reason = error.strerror or str(error) or type(error).__name__
    return f"no Hostler at {url} ({reason}); start one with `hostler serve`, or name another with --url"


def _wait_without_limit(sock: socket.socket) -> None:
    """No deadline, but the system probes a silent peer, so a machine that vanished is noticed."""
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
