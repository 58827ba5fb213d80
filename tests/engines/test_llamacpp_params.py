"""Defaults and what follows from the settings."""

from __future__ import annotations

import pytest

from hostler.engines.cores import usable_cores
from hostler.engines.llamacpp_params import fill, model_path, parse


def test_last_model_counts() -> None:
    assert model_path(parse(["-m", "a", "--model", "b"])) == "b"
    assert model_path(parse(["-c", "1"])) is None


def test_defaults_are_those_of_llama_server() -> None:
    native = pytest.importorskip("xllamacpp")
    params = native.CommonParams()

    fill(params, native, parse(["-m", "folder/model.gguf"]))

    assert (params.port, params.n_parallel, params.hostnames) == (8080, -1, ["127.0.0.1"])
    assert params.cpuparams.n_threads == usable_cores()
    assert params.cpuparams_batch.n_threads == usable_cores()
    assert params.model_alias == {"model.gguf"}


def test_settings_win_over_defaults() -> None:
    native = pytest.importorskip("xllamacpp")
    params = native.CommonParams()

    fill(
        params, native, parse(["-m", "m", "-t", "3", "--port", "1", "-np", "2", "-a", "x,y", "--host", "::1"])
    )

    assert (params.port, params.n_parallel, params.hostnames) == (1, 2, ["::1"])
    assert (params.cpuparams.n_threads, params.cpuparams_batch.n_threads) == (3, 3)
    assert params.model_alias == {"x", "y"}
