"""Every error Hostler answers a request with, as one tree that says whose fault it is.

    HostlerError
    ├── ClientError            400  the request is wrong
    │   ├── Unauthorized       401
    │   ├── Forbidden          403
    │   ├── NotFound           404  no such model, request, log
    │   ├── MethodNotAllowed   405
    │   ├── RequestTimeout     408  the client sent too slowly
    │   ├── Conflict           409
    │   ├── Gone               410  the log does not hold that any more
    │   ├── TooLarge           413
    │   ├── QueueFull          429  try again later
    │   ├── HeadTooLarge       431
    │   └── RequestCancelled   499  somebody ended the request by the API
    ├── ConfigError            500  the configuration is wrong; found at load where possible
    │   └── ConfigRejected     422  a new configuration cannot be used; the old one stays
    ├── ModelError             502  the engine is at fault
    │   ├── StartFailed        502  it did not become ready
    │   ├── UpstreamFailed     502  it refused or broke the connection before answering
    │   ├── BackedOff          503  it keeps failing to start
    │   └── Unloaded           503  it was unloaded while the request waited
    └── InternalError          500  Hostler is at fault
        ├── Busy               503  a bound of Hostler's own was reached
        └── ShuttingDown       503  Hostler is stopping

`status`, `type` and `code` are what goes on the wire; type and code per status are those llama-swap's
clients know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class HostlerError(Exception):
    """The root; `message` is one or two sentences for the person who reads it.

    `retry_after` is in seconds and becomes the header of that name; `details` is added to the error object.
    """

    fault: ClassVar[str] = "hostler"
    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.details: dict[str, object] = dict(details or {})

    def body(self) -> dict[str, object]:
        """The JSON object clients get: the OpenAI error shape, with `src` as llama-swap has it."""
        error: dict[str, object] = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        if self.details:
            error["details"] = self.details
        return {"src": "hostler", "error": error}


class ClientError(HostlerError):
    """The request is wrong; sending it again unchanged will not help."""

    fault = "client"
    status = 400
    type = "invalid_request_error"
    code = "bad_request"


class Unauthorized(ClientError):
    """No key, or not one of ours; never says which."""

    status = 401
    type = "authentication_error"
    code = "unauthorized"


class Forbidden(ClientError):
    """The key is known but may not do this."""

    status = 403
    type = "authentication_error"
    code = "forbidden"


class NotFound(ClientError):
    """What the request names does not exist."""

    status = 404
    code = "not_found"


class MethodNotAllowed(ClientError):
    """The path exists, but not for this method."""

    status = 405
    code = "invalid_request"


class RequestTimeout(ClientError):
    """The client took too long to send its request."""

    status = 408
    code = "invalid_request"


class Conflict(ClientError):
    """The request does not fit the state things are in."""

    status = 409
    code = "conflict"


class Gone(ClientError):
    """What the request asks for was there once."""

    status = 410
    code = "gone"


class TooLarge(ClientError):
    """The body is larger than the configured limit."""

    status = 413
    code = "invalid_request"


class QueueFull(ClientError):
    """More requests wait for the model than its queue holds."""

    status = 429
    type = "rate_limit_error"
    code = "concurrency_limit"


class HeadTooLarge(ClientError):
    """The request line and headers are larger than the limit."""

    status = 431
    code = "invalid_request"


class RequestCancelled(ClientError):
    """An operator, or the client itself, cancelled the request by its number; nginx's status for that."""

    status = 499
    code = "request_cancelled"


class ConfigError(HostlerError):
    """The configuration is wrong."""

    fault = "config"


class ConfigRejected(ConfigError):
    """A reload was asked for, and what there is to read cannot be used."""

    status = 422
    type = "invalid_request_error"
    code = "invalid_config"


class ModelError(HostlerError):
    """The engine behind a model is at fault."""

    fault = "model"
    status = 502
    code = "bad_gateway"


class StartFailed(ModelError):
    """The engine did not become ready."""


class UpstreamFailed(ModelError):
    """The engine refused the connection, or broke it before it answered."""


class BackedOff(ModelError):
    """The engine failed to start several times in a row and is given a rest."""

    status = 503
    code = "service_unavailable"


class Unloaded(ModelError):
    """The model was unloaded while this request waited for it."""

    status = 503
    code = "service_unavailable"


class InternalError(HostlerError):
    """Hostler is at fault."""


class Busy(InternalError):
    """A bound that protects Hostler itself was reached."""

    status = 503
    code = "service_unavailable"


class ShuttingDown(InternalError):
    """Hostler is stopping and takes no new work."""

    status = 503
    code = "service_unavailable"
