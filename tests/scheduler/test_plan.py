"""Swaps, one rule at a time, by sections F and H of the compatibility notes and `scheduler.plan`."""

from __future__ import annotations

from hostler.core import ModelId
from hostler.scheduler.core import Limits, Phase
from hostler.scheduler.groups import GroupPolicy
from hostler.scheduler.matrix import MatrixPolicy

from .drive import ALL_TOGETHER, Drive, group, ids

PAIRS = GroupPolicy([group("x", "ab", exclusive=False), group("y", "cd", exclusive=False)])
"""Two places side by side: a or b in one, c or d in the other."""


def matrix(*sets: str) -> MatrixPolicy:
    return MatrixPolicy({f"s{n}": text for n, text in enumerate(sets)}, models=ids("abcdef"))


# -- section F ----------------------------------------------------------------------------------------------


def test_section_f_a_swap_waits_for_running_requests_then_for_the_process_to_be_gone() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("a")

    assert drive.arrive("b") == []
    assert drive.leave(2) == []
    assert drive.leave(3) == ["unload a: evicted"]
    assert drive.gone("a") == ["load b"]
    assert drive.loaded("b") == ["grant 4"]


def test_section_f_requests_are_batched_by_model() -> None:
    drive = Drive()
    for model in "abcabc":
        drive.arrive(model)

    assert drive.loaded("a") == ["grant 1", "grant 4"]
    drive.leave(1)
    assert drive.leave(4) == ["unload a: evicted"]
    assert drive.gone("a") == ["load b"]
    assert drive.loaded("b") == ["grant 2", "grant 5"]
    drive.leave(2)
    assert drive.leave(5) == ["unload b: evicted"]
    assert drive.gone("b") == ["load c"]
    assert drive.loaded("c") == ["grant 3", "grant 6"]


def test_section_f_priority_decides_who_is_loaded_next() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b", priority=-1)
    drive.arrive("c")
    drive.arrive("d", priority=5)
    drive.leave(2)

    assert drive.gone("a") == ["load d"]
    drive.loaded("d")
    drive.leave(5)
    assert drive.gone("d") == ["load c"]


def test_section_f_a_request_that_fits_is_promoted_over_one_that_waits_for_a_busy_model() -> None:
    drive = Drive(PAIRS)
    drive.bring_up("a")
    drive.arrive("a")
    assert drive.arrive("b") == []

    assert drive.arrive("c") == ["load c"]


def test_section_f_models_that_may_stand_side_by_side_load_side_by_side() -> None:
    drive = Drive(ALL_TOGETHER)

    assert drive.arrive("a") == ["load a"]
    assert drive.arrive("b") == ["load b"]


def test_section_f_swaps_that_do_not_touch_run_side_by_side() -> None:
    drive = Drive(PAIRS)
    drive.bring_up("a", "c")

    assert drive.arrive("b") == ["unload a: evicted"]
    assert drive.arrive("d") == ["unload c: evicted"]
    assert drive.gone("c") == ["load d"]
    assert drive.gone("a") == ["load b"]


def test_section_f_a_failed_load_leaves_the_evicted_models_down() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("b")
    drive.gone("a")

    assert drive.failed("b") == ["refuse 2: load failed"]
    assert drive.phase("a") == Phase.DOWN


# -- what is loading, what goes -----------------------------------------------------------------------------


def test_a_loading_model_is_not_evicted_and_serves_its_batch_first() -> None:
    drive = Drive()
    drive.arrive("a")
    assert drive.arrive("b") == []
    assert drive.arrive("a") == []

    assert drive.loaded("a") == ["grant 1", "grant 3"]
    drive.leave(1)
    assert drive.leave(3) == ["unload a: evicted"]


def test_a_loading_model_serves_its_batch_even_when_an_aged_ticket_needs_it_gone() -> None:
    drive = Drive()
    drive.arrive("a")
    drive.arrive("b")
    drive.arrive("a")
    drive.after(100)
    drive.leave(1)

    assert drive.loaded("a") == ["grant 3"]
    assert drive.arrive("a") == [], "but takes nothing new"
    assert drive.leave(3) == ["unload a: evicted"]
    assert drive.gone("a") == ["load b"]


def test_a_loading_model_nobody_waits_for_any_more_may_be_cut() -> None:
    drive = Drive()
    drive.arrive("a")
    drive.leave(1)

    assert drive.arrive("b") == ["unload a: evicted"]
    assert drive.loaded("a") == [], "too late"
    assert drive.gone("a") == ["load b"]


def test_victims_go_together_once_all_are_idle() -> None:
    drive = Drive(GroupPolicy([group("big", "a"), group("small", "bc", swap=False)]))
    drive.bring_up("b", "c")
    drive.arrive("b")

    assert drive.arrive("a") == [], "c is idle but b is not"
    assert drive.leave(3) == ["unload b: evicted", "unload c: evicted"]
    assert drive.gone("c") == []
    assert drive.gone("b") == ["load a"]


def test_the_place_of_an_eviction_is_kept_for_whom_it_was_made() -> None:
    drive = Drive()
    drive.bring_up("a")
    assert drive.arrive("b") == ["unload a: evicted"]
    assert drive.arrive("a") == []

    assert drive.gone("a") == ["load b"]


def test_while_a_model_goes_nothing_that_conflicts_with_it_loads() -> None:
    drive = Drive(PAIRS)
    drive.bring_up("a")
    drive.ask_unload("a")

    assert drive.arrive("b") == []
    assert drive.arrive("c") == ["load c"], "it does not conflict"
    assert drive.gone("a") == ["load b"]


def test_weakness_9_a_target_that_is_stopping_does_not_count_as_running() -> None:
    drive = Drive(matrix("a&b", "c"))
    drive.bring_up("a")
    drive.ask_unload("a")
    assert drive.arrive("c") == []
    assert drive.arrive("a") == []
    assert drive.gone("a") == ["load c"]

    assert drive.loaded("c") == ["grant 2"]
    assert drive.leave(2) == ["unload c: evicted"]
    assert drive.gone("c") == ["load a"]


def test_section_g_a_model_of_a_modest_group_does_not_slip_in_before_one_that_would_evict_it() -> None:
    drive = Drive(GroupPolicy([group("strict", "ab"), group("modest", "cd", swap=False, exclusive=False)]))
    drive.bring_up("a")
    assert drive.arrive("b") == ["unload a: evicted"]

    assert drive.arrive("c") == [], "it would fit now, but b would have to throw it out again"
    assert drive.gone("a") == ["load b", "load c"]


def test_section_g_a_target_does_not_throw_out_one_that_was_placed_before_and_is_not_loading_yet() -> None:
    drive = Drive(GroupPolicy([group("strict", "a"), group("modest", "bc", exclusive=False)]))
    drive.bring_up("b")
    assert drive.arrive("c") == ["unload b: evicted"]

    assert drive.arrive("a") == []
    assert drive.gone("b") == ["load c"]


# -- section H ----------------------------------------------------------------------------------------------


def test_section_h_the_cheapest_way_is_taken_and_kept() -> None:
    drive = Drive(matrix("a&b", "a&c", "b&c"))
    drive.bring_up("b", "c")

    assert drive.arrive("a") == ["unload c: evicted"]
    assert drive.gone("c") == ["load a"]


def test_section_h_three_models_of_which_any_two_fit() -> None:
    drive = Drive(matrix("a&b", "b&c", "a&c"))
    assert drive.arrive("a") == ["load a"]
    assert drive.arrive("b") == ["load b"]
    assert drive.arrive("c") == []

    assert drive.loaded("a") == ["grant 1"]
    assert drive.loaded("b") == ["grant 2"]
    assert drive.leave(2) == [], "the earlier set keeps b"
    assert drive.leave(1) == ["unload a: evicted"]
    assert drive.gone("a") == ["load c"]


# -- ageing -------------------------------------------------------------------------------------------------


def test_a_model_that_is_up_is_not_held_back_before_max_wait() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.after(59.9)

    assert drive.arrive("a") == ["grant 4"]
    assert not drive.draining("a")


def test_weakness_1_an_aged_ticket_makes_a_busy_model_take_nothing_new() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")

    assert drive.after(60) == []
    assert drive.draining("a")
    assert drive.arrive("a") == []
    assert drive.leave(2) == ["unload a: evicted"]
    assert drive.gone("a") == ["load b"]
    assert drive.loaded("b") == ["grant 3"]
    assert drive.leave(3) == ["unload b: evicted"], "now it is the turn of the one that waits for a"
    assert drive.gone("b") == ["load a"]
    assert drive.loaded("a") == ["grant 4"]


def test_ageing_is_noticed_by_the_next_arrival_even_without_a_tick() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.now = 60.0

    assert drive.arrive("a") == []


def test_the_drain_ends_when_the_aged_ticket_leaves() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.after(60)
    drive.arrive("a")
    drive.arrive("a")

    assert drive.leave(3) == ["grant 4", "grant 5"]
    assert drive.arrive("a") == ["grant 6"]


def test_an_aged_ticket_keeps_its_place_against_what_would_fit() -> None:
    drive = Drive(GroupPolicy([group("strict", "ab"), group("modest", "cd", swap=False, exclusive=False)]))
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.after(60)

    assert drive.arrive("c") == []
    drive.leave(2)
    assert drive.gone("a") == ["load b", "load c"]


def test_an_aged_ticket_goes_before_any_priority() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b", priority=-9)
    drive.now = 50.0
    drive.arrive("c", priority=9)
    drive.after(10)
    drive.leave(2)

    assert drive.gone("a") == ["load b"]


def test_an_aged_ticket_of_low_priority_gets_the_next_free_place_of_its_own_model() -> None:
    drive = Drive(limits={"a": Limits(concurrency=1)})
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("a", priority=-9)
    drive.after(60)
    drive.arrive("a", priority=9)

    assert drive.leave(2) == ["grant 3"]


def test_tickets_older_than_the_aged_one_are_still_served() -> None:
    drive = Drive(limits={"a": Limits(concurrency=1)})
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.arrive("a")
    drive.after(60)

    assert drive.leave(2) == ["grant 3"]
    assert drive.leave(3) == ["unload a: evicted"], "ticket 5 is younger than the one for b"


def test_a_batch_passes_an_older_aged_ticket_only_for_a_while() -> None:
    drive = Drive(limits={"a": Limits(concurrency=1)})
    drive.arrive("a")
    drive.arrive("b")
    for _ in range(3):
        drive.arrive("a")
    drive.after(60)
    assert drive.loaded("a") == ["grant 1"]

    assert drive.leave(1) == ["grant 3"], "it waited for this load as well"
    drive.after(59)
    assert drive.leave(3) == ["grant 4"]
    drive.after(1)
    assert drive.leave(4) == ["unload a: evicted"]


def test_of_two_aged_tickets_the_older_one_goes_first_and_the_other_one_next() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.arrive("c")
    drive.after(60)
    drive.leave(2)

    assert drive.gone("a") == ["load b"]
    assert drive.loaded("b") == ["grant 3"]
    assert drive.arrive("b") == [], "b has to go for c"
    assert drive.leave(3) == ["unload b: evicted"]
    assert drive.gone("b") == ["load c"]


def test_two_aged_tickets_that_fit_side_by_side_drain_side_by_side() -> None:
    drive = Drive(PAIRS)
    drive.bring_up("a", "c")
    drive.arrive("a")
    drive.arrive("c")
    drive.arrive("b")
    drive.arrive("d")
    drive.after(60)

    assert (drive.draining("a"), drive.draining("c")) == (True, True)
    assert drive.leave(4) == ["unload c: evicted"]
    assert drive.gone("c") == ["load d"]


def test_with_max_wait_zero_nothing_overtakes() -> None:
    drive = Drive(max_wait=0.0)
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")

    assert drive.arrive("a") == []
    assert drive.leave(2) == ["unload a: evicted"]


def test_with_max_wait_zero_a_load_still_serves_who_waited_for_it() -> None:
    drive = Drive(max_wait=0.0)
    drive.arrive("a")
    drive.arrive("b")
    drive.arrive("a")
    drive.leave(1)

    assert drive.loaded("a") == ["grant 3"]


def test_nothing_is_evicted_early_for_a_target_that_also_waits_for_the_victims_of_another() -> None:
    drive = Drive(matrix("a&d", "a&b", "c&d"))
    drive.bring_up("c", "d")
    drive.arrive("c")
    drive.arrive("a")
    drive.after(60)

    assert drive.arrive("b") == [], "d is idle and has to go for b, but c is still in b's way"
    assert drive.leave(3) == ["unload c: evicted", "unload d: evicted"]
    assert drive.gone("d") == []
    assert drive.gone("c") == ["load a", "load b"]


def test_an_idle_model_that_was_barred_serves_its_older_tickets_before_it_goes_for_a_younger_one() -> None:
    drive = Drive(matrix("b&c", "a", "c&d"))
    drive.bring_up("b", "c")
    drive.arrive("c")
    drive.arrive("a")
    drive.after(60)
    assert drive.arrive("b") == [], "it has to go for a, which waits for c"
    drive.arrive("d")
    drive.after(60)

    assert drive.leave(4) == ["grant 5"]
    assert drive.leave(5) == ["unload b: evicted"]
    assert drive.gone("b") == ["load d"]


def test_one_plan_is_enough_when_an_idle_model_with_a_barred_line_has_to_go() -> None:
    drive = Drive(PAIRS, limits={"a": Limits(concurrency=1)})
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.after(60)
    drive.arrive("a")
    drive.now += 60

    assert drive.leave(2) == ["unload a: evicted"]
    assert drive.gone("a") == ["load b"]
    assert drive.scheduler.waiting(ModelId("a")) == 1


def test_the_drain_ends_also_when_nobody_waits_any_more() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.after(60)

    assert drive.leave(3) == []
    assert drive.arrive("a") == ["grant 4"]
