"""Every key of the configuration, once: what it takes, its default, what it does.

The parser, the JSON schema and the tables in docs/configuration.md are made from this. Defaults repeat those
of `schema`, which a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from hostler.config.keys_model import MODEL, PEER_FILTERS, PEER_TIMEOUTS
from hostler.config.kinds import (
    Anything,
    Duration,
    Flag,
    Key,
    Kind,
    ListOf,
    Macros,
    MapOf,
    Nullable,
    OneOf,
    Section,
    Text,
    Whole,
)
from hostler.config.schema import DEFAULT_IGNORE_PATHS, DEFAULT_SESSION_HEADERS

LEVELS = ("debug", "info", "warn", "error")
TIME_FORMATS = (
    "", "ansic", "unixdate", "rubydate", "rfc822", "rfc822z", "rfc850", "rfc1123", "rfc1123z", "rfc3339",
    "rfc3339nano", "kitchen", "stamp", "stampmilli", "stampmicro", "stampnano",
)  # fmt: skip

PEER = Section((
    Key("proxy", Text(), "Where the other server is.", "", required=True),
    Key("models", ListOf(Text(), minimum=1), "The models it offers. Each is reachable as `peer/model`, and "
        "by its bare name when no other peer has it.", (), required=True),
    Key("apiKey", Text(secret=True), "Key to send to it; the client's own key is never passed on.", ""),
    Key("filters", PEER_FILTERS, "As for models, but ids in `setParamsByID` do not become aliases."),
    Key("timeouts", PEER_TIMEOUTS, "Limits of connections to it, in seconds; 0 means none."),
    Key("tls", Section((
        Key("verify", Flag(), "Insist on a certificate that proves who it is; `false` takes any.", True,
            ours=True),
        Key("ca", Text(), "File with the certificates (PEM) that may vouch for it.", "", "the system's",
            ours=True),
    )), "How it proves who it is, when `proxy` is an https URL.", ours=True),
))  # fmt: skip

GROUP = Section((
    Key("swap", Flag(), "Only one member runs at a time.", True),
    Key("exclusive", Flag(), "Loading a member unloads every other group that is not persistent.", True),
    Key("persistent", Flag(), "Other groups do not unload this one.", False),
    Key("members", ListOf(Text()), "Models of the group; a model may be in one group.", ()),
))  # fmt: skip

MATRIX = Section((
    Key("vars", MapOf(Text(), "var", r"^[a-zA-Z0-9.-]{1,32}$"), "Short names for models, for use in `sets`; "
        "needed for ids with characters that the language of sets does not have.", {}),
    Key("evict_costs", MapOf(Whole(minimum=1, enforced=False), "var or model"),
        "How bad it is to unload a model, against others; positive, 1 when not given.", {}),
    Key("sets", MapOf(Text(), "set", minimum=1), "What may run together: `a & b` both, `a | b` either, "
        "`(…)`, `+other` the alternatives of another set. Earlier sets win ties.", {}, required=True),
))  # fmt: skip

SETTINGS = Section((
    Key("groups", MapOf(GROUP, "<group>"), "Groups, by name.", {}),
    Key("matrix", Nullable(MATRIX), "The matrix.", None, unchecked=True),
))  # fmt: skip

ROUTER = Section((
    Key("use", Text(("group", "matrix", "")), "Which of the settings decides.", "", "`group`"),
    Key("settings", SETTINGS, "Both may be given; `use` selects, the other is not looked at."),
))  # fmt: skip

FIFO = Section((
    Key("priority", MapOf(Whole(), "model or alias"), "Waiting requests for models with a higher number go "
        "first.", {}),
    Key("maxWait", Duration(number=True), "How long requests for loaded models may overtake one that waits "
        "for room; seconds or a duration.", 60.0, "`60`", ours=True),
))  # fmt: skip

SCHEDULER = Section((
    Key("use", Text(("fifo", "")), "The scheduler; there is one.", "", "`fifo`"),
    Key("settings", Section((Key("fifo", FIFO, "Settings of `fifo`."),)), "By scheduler."),
))  # fmt: skip

ROUTING = Section((
    Key("router", ROUTER, "Which models may run together."),
    Key("scheduler", SCHEDULER, "Which request goes next."),
))  # fmt: skip

PROFILE = Section((
    Key("description", Text(), "For people.", ""),
    Key("pins", MapOf(Nullable(Text()), "name", r"\S", 1), "While the profile is active, requests for the "
        "name go to this model, alias, peer model or selector; empty switches the name off.", {},
        required=True),
))  # fmt: skip

SELECTOR = Section((
    Key("strategy", Text(pattern="^(warm|pin|spillover)$"), "`warm`: the first target that is loaded; "
        "`pin`: always the first; `spillover`: the next target when one is busy.", "", required=True),
    Key("targets", ListOf(Text(), minimum=1), "Models, aliases or peer models; not selectors.", (),
        required=True),
    Key("settings", Section((
        Key("spillover", Whole(), "Requests a target takes before the next one is used; at least 1.", 1),
    )), "Settings of the strategy."),
    Key("name", Text(), "Display name.", ""),
    Key("description", Text(), "Shown in the model list.", ""),
    Key("unlisted", Flag(), "Leave it out of the model list.", False),
    Key("metadata", MapOf(Anything(), "name"), "Passed on in the model list.", {}),
), rules=({
    "if": {"properties": {"strategy": {"const": "spillover"}}},
    "then": {"properties": {"settings": {"properties": {"spillover": {"minimum": 1}}}}},
},))  # fmt: skip

SCOPES = ("inference", "logs", "admin")

_KEY_TEXT = Text(secret=True, filled=True, pattern="^[^ ]+$")

API_KEY = Section((
    Key("key", _KEY_TEXT, "The key itself.", "", required=True, ours=True),
    Key("name", Text(), "How logs call whoever uses it.", "", ours=True),
    Key("models", ListOf(Text()), "What it may use, and read the logs of: models, aliases, selectors, models "
        "of peers; all when empty.", (), ours=True),
    Key("scopes", ListOf(Text(SCOPES, filled=True)), "What it may do: `inference` (requests to models, the "
        "model list), `logs` (read logs), `admin` (all else); everything when empty.", (), ours=True),
))  # fmt: skip

_FILLED = Text(filled=True, pattern=r"\S")

LOG_CAUSE = Section((
    Key("name", _FILLED, "What programs call the cause, such as `licence_expired`.", "", required=True,
        ours=True),
    Key("pattern", _FILLED, "Regular expression (Python's, case does not count) that is searched in each of "
        "the last lines of a failed run, and in what a running engine prints.", "", required=True, ours=True),
    Key("message", _FILLED, "What happened, for people.", "", required=True, ours=True),
    Key("advice", Text(), "What to do about it.", "", ours=True),
    Key("engines", ListOf(_FILLED), "Engines it is for: `llama.cpp`, `vllm` and so on, or the name of a "
        "program, Python module or image; all when empty.", (), ours=True),
))  # fmt: skip

LOGS = Section((
    Key("bufferBytes", Whole(minimum=1024), "Bytes of each log kept in memory.", 102_400, ours=True),
    Key("keepRuns", Whole(minimum=1), "How many runs of a model keep their logs.", 3, ours=True),
    Key("files", Flag(), "Also write the logs of runs to files.", True, ours=True),
    Key("dir", Text(), "Directory of those files. A change needs a restart.", "", "the system's place for "
        "state", ours=True),
    Key("maxBytes", Whole(minimum=0), "Bytes of all log files together; the oldest go first.", 268_435_456,
        ours=True),
    Key("segmentBytes", Whole(minimum=65_536), "Bytes of one file; then the next one is begun.", 4_194_304,
        ours=True),
    Key("maxRate", Whole(minimum=0), "Bytes a second that a model may log; what is above is left out and "
        "counted. 0 does not limit.", 0, ours=True),
    Key("causes", ListOf(LOG_CAUSE), "Further reasons why a model fails, found in its log.", (),
        ours=True),
))  # fmt: skip

ROOT = Section((
    Key("healthCheckTimeout", Whole(floor=15), "Seconds a model may take until it is ready.", 120),
    Key("logLevel", Text(LEVELS, folded=True, strict=False), "Smallest level of Hostler's own log lines.",
        "info"),
    Key("logTimeFormat", Text(TIME_FORMATS, folded=True, strict=False), "Time in front of those lines; none "
        "when empty.", ""),
    Key("logToStdout", Text(("proxy", "upstream", "both", "none")), "What goes to standard output: Hostler's "
        "lines, those of the models, both or nothing. A change needs a restart.", "proxy"),
    Key("logRequests", Flag(), "Has no effect; accepted because files have it.", False),
    Key("metricsMaxInMemory", Whole(), "Requests the activity list keeps when there is no `store`; 0 or less "
        "means the default.", 1000),
    Key("captureBuffer", Whole(), "Megabytes for captured requests and answers; 0 captures nothing.", 5),
    Key("store", Nullable(Section((
        Key("path", Text(pattern=r"\S"), "The file; its directory must exist.", "", required=True),
        Key("retentionDays", Whole(minimum=0), "Days after which entries are deleted; 0 keeps them.", 0,
            ours=True),
        Key("maxRows", Whole(minimum=0), "Entries to keep; the oldest are deleted. 0 does not limit.", 0,
            ours=True),
    ))), "Keep the activity in a file. Without it, it is kept in memory."),
    Key("ui", Section((
        Key("activity", Section((
            Key("session_id", ListOf(Text()), "Request headers that name a session; `[]` for none.",
                DEFAULT_SESSION_HEADERS),
        )), "The activity page."),
    )), "The web interface."),
    Key("performance", Section((
        Key("disabled", Flag(), "Do not sample processor, memory and GPU use.", False),
        Key("every", Duration(), "Time between samples, at least `1s`; `0s` means the default.", 5.0, "`5s`"),
    )), "The sampler."),
    Key("startPort", Whole(minimum=1, below="startPort must be greater than 1"), "The first number for "
        "`${PORT}`.", 5800),
    Key("sendLoadingState", Flag(), "Tell streaming clients that their model is being loaded.", False),
    Key("includeAliasesInList", Flag(), "Show aliases in the model list.", False),
    Key("globalTTL", Whole(minimum=0, below="globalTTL must be >= 0"), "Seconds without requests after which "
        "a model is unloaded; 0 never.", 0),
    Key("unloadTimeout", Whole(minimum=0, below="unloadTimeout must be >= 0"), "Seconds a model may take to "
        "stop before it is killed; 0 means the default.", 10),
    Key("maxBodyMB", Whole(minimum=1), "Largest request body, in megabytes.", 512, ours=True),
    Key("macros", Macros(), "Text to reuse as `${name}`; see [Macros](#macros).", {}),
    Key("apiKeys", ListOf(OneOf((_KEY_TEXT, API_KEY))), "Keys of which clients must show one; nobody "
        "is asked when empty. A mapping instead of a text is ours.", ()),
    Key("upstream", Section((
        Key("ignorePaths", ListOf(Text()), "Regular expressions (RE2); requests under `/upstream/` whose "
            "path matches do not load a model. Empty means the default.", DEFAULT_IGNORE_PATHS),
    )), "Requests passed to a model by path."),
    Key("models", MapOf(MODEL, "<id>"), "The models, by the id that requests name.", {}),
    Key("peers", MapOf(PEER, "<peer>"), "Other servers whose models are offered here.", {}),
    Key("routing", ROUTING, "Which models may run together and which request goes next."),
    Key("groups", MapOf(GROUP, "<group>"), "Older place of `routing.router.settings.groups`.", {}),
    Key("matrix", Nullable(MATRIX), "Older place of `routing.router.settings.matrix`, with `use: matrix`.",
        None),
    Key("profiles", MapOf(PROFILE, "<profile>"), "Sets of names that can be switched to other models.", {}),
    Key("selectors", MapOf(SELECTOR, "<selector>"), "Names that stand for one of several models.", {}),
    Key("hooks", Section((
        Key("on_startup", Section((
            Key("preload", ListOf(Text()), "Models to load when Hostler starts, in this order.", ()),
        )), "When Hostler starts."),
    )), "What to do by itself."),
    Key("logs", LOGS, "Where logs are kept and how much of them.", ours=True),
    Key("telemetry", Section((
        Key("endpoint", Text(pattern="^([hH][tT][tT][pP][sS]?://.+)?$"), "URL that traces are sent to; none "
            "are made when empty.", "", ours=True),
        Key("headers", MapOf(Text(secret=True), "header", r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"), "Headers of "
            "those requests; their values are never shown.", {}, ours=True),
        Key("serviceName", _FILLED, "What Hostler is called in traces.", "hostler", ours=True),
    )), "OpenTelemetry.", ours=True),
))  # fmt: skip


def walk(section: Section = ROOT, path: str = "") -> Iterator[tuple[str, Section]]:
    """Every section with its path as the reference writes it: `models.<id>.filters`."""
    yield path, section
    for key in section.keys:
        inner, where = _inside(key.kind, f"{path}.{key.name}" if path else key.name)
        if inner is not None:
            yield from walk(inner, where)


def _inside(kind: Kind, path: str) -> tuple[Section | None, str]:
    match kind:
        case Section():
            return kind, path
        case Nullable():
            return _inside(kind.kind, path)
        case MapOf():
            return _inside(kind.value, f"{path}.{kind.name}")
        case ListOf():
            return _inside(kind.item, f"{path}[]")
        case OneOf():
            return next((found for found in (_inside(k, path) for k in kind.kinds) if found[0]), (None, path))
        case _:
            return None, path


@cache
def _owners() -> dict[str, tuple[str, ...]]:
    result: dict[str, tuple[str, ...]] = {}
    for path, section in walk():
        for key in section.keys:
            if not key.hidden:
                result[key.name] = (*result.get(key.name, ()), path or "the top level")
    return result


def owners_of(name: str) -> tuple[str, ...]:
    """The sections that have a key of this name."""
    return _owners().get(name, ())
