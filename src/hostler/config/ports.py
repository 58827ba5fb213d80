"""Which number `${PORT}` stands for in each model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from hostler.core import ModelId

LAST_PORT = 65_535


def assign_ports(
    ids: Iterable[ModelId],
    start: int,
    previous: Mapping[ModelId, int] | None = None,
    fixed: Collection[int] = (),
    is_free: Callable[[int], bool] = lambda _: True,
) -> dict[ModelId, int]:
    """One port for each of `ids`, from `start` upwards in the order of their names.

    With nothing else given these are the numbers llama-swap assigns. A model that is in `previous` keeps its
    port, so adding one does not move the others; ports of models that are gone are not reused right away
    either, because their processes may still be about to end. `fixed` ports were chosen by hand. A port that
    is given out for the first time has to satisfy `is_free`.
    """
    wanted = sorted(ids)
    ports: dict[ModelId, int] = {}
    taken = set(fixed)
    before = previous or {}
    for model_id in wanted:
        port = before.get(model_id)
        if port is not None and port >= start and port not in taken:
            ports[model_id] = port
            taken.add(port)
    taken.update(before.values())
    port = start
    for model_id in wanted:
        if model_id in ports:
            continue
        while port in taken or (port <= LAST_PORT and not is_free(port)):
            port += 1
        ports[model_id] = port
        port += 1
    return {model_id: ports[model_id] for model_id in wanted}
