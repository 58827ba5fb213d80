"""From a configuration to what is started, and to who may run with whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hostler.config.commands import split_command
from hostler.config.schema import Config, Model
from hostler.config.texts import compile_cause
from hostler.engines.locate import llama_server_argv
from hostler.errors import ConfigError
from hostler.fleet.slot import Launcher
from hostler.logs.monitor import LogMonitor
from hostler.process.causes import Cause, UserRule
from hostler.process.kinds import engine_names, is_meant
from hostler.process.port import is_free
from hostler.process.run import RunSpec
from hostler.scheduler.groups import GroupPolicy
from hostler.scheduler.matrix import MatrixError, MatrixPolicy
from hostler.scheduler.policy import Policy


def policy_of(config: Config) -> Policy:
    """Who may run with whom; raises ConfigError for a matrix that does not compile."""
    matrix = config.routing.matrix
    if config.routing.use == "matrix" and matrix is not None:
        try:
            return MatrixPolicy(
                matrix.sets, models=config.models, variables=matrix.vars, evict_costs=matrix.evict_costs
            )
        except MatrixError as error:
            raise ConfigError(f"matrix: {error}") from error
    return GroupPolicy(config.routing.groups.values())


def user_rules(config: Config, argv: Sequence[str]) -> tuple[UserRule, ...]:
    """The causes of failures that the configuration knows for what is started by `argv`."""
    names = engine_names(argv)
    return tuple(
        UserRule(compile_cause(cause.pattern), Cause(cause.name, cause.message, cause.advice))
        for cause in config.logs.causes
        if not cause.engines or is_meant(cause.engines, names)
    )


def launcher_of(config: Config, log: LogMonitor) -> Launcher:
    """What is started for a model of `config`; the result raises ConfigError for an unusable command."""

    def launch(model: Model) -> RunSpec:
        if model.model:
            spec = _built_in(model, config, log)
        else:
            spec = _spec(model, tuple(split_command(model.cmd)), model.proxy)
        return replace(spec, causes=user_rules(config, spec.argv))

    return launch


def _built_in(model: Model, config: Config, log: LogMonitor) -> RunSpec:
    """A GGUF file: nobody chose its port, so one that is taken on this machine is passed over."""
    assert model.port is not None
    others = {other.port for other in config.models.values()}
    port = model.port
    while not is_free(port):
        port += 1
        while port in others:
            port += 1
        if port > 65_535:
            raise ConfigError(f"model {model.id!r}: no port from {model.port} on is free")
    proxy = model.proxy
    if port != model.port:
        log.warn(f"{model.id}: port {model.port} is taken by another process, using {port}")
        proxy = proxy.replace(f":{model.port}", f":{port}", 1)
    return _spec(model, tuple(llama_server_argv(model.model, port, model.args)), proxy)


def _spec(model: Model, argv: tuple[str, ...], proxy: str) -> RunSpec:
    if not argv:
        raise ConfigError(f"model {model.id!r} has an empty command")
    check = model.check_endpoint.strip()
    return RunSpec(
        argv=argv,
        env=model.env,
        cwd=model.cwd or None,
        stop_argv=tuple(split_command(model.cmd_stop)),
        proxy=proxy,
        check_path=None if check == "none" else check,
        start_timeout=model.health_check_timeout,
        startup_grace=model.startup_grace,
        stop_grace=model.unload_timeout,
    )
