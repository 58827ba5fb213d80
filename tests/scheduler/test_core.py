"""The decision tree, event by event; the numbers are those of `scheduler.core`."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from hostler.core import ModelId, StopReason
from hostler.scheduler.core import Limits, Phase, Scheduler
from hostler.scheduler.events import Arrived, Left, Refusal, RefusalKind, Refuse
from hostler.scheduler.groups import GroupPolicy

from .drive import ALL_TOGETHER, ONE_AT_A_TIME, Drive, group, ids

MANY = 1000


def test_a_request_loads_its_model_and_is_granted_when_it_is_up() -> None:
    drive = Drive()

    assert drive.phase("a") == Phase.DOWN
    assert drive.arrive("a") == ["load a"]
    assert drive.phase("a") == Phase.LOADING
    assert drive.arrive("a") == []
    assert drive.loaded("a") == ["grant 1", "grant 2"]
    assert drive.phase("a") == Phase.UP
    assert (drive.granted("a"), drive.waiting("a")) == (2, 0)


# -- a request arrives --------------------------------------------------------------------------------------


def test_1_nothing_is_taken_while_closing() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.close()

    assert drive.arrive("a") == ["refuse 2: shutting down"]
    assert drive.arrive("nobody") == ["refuse 3: shutting down"]


def test_2_a_model_nobody_configured_is_refused() -> None:
    assert Drive().arrive("nobody") == ["refuse 1: unknown model"]


def test_3_a_model_that_is_up_grants_at_once() -> None:
    drive = Drive()
    drive.bring_up("a")

    assert drive.arrive("a") == ["grant 2"]
    assert drive.arrive("a", priority=-5) == ["grant 3"]


class NeverAsked:
    def evict(self, target: ModelId, running: Any) -> NoReturn:
        raise AssertionError("the policy was asked")


class NotToBeSearched(dict[Any, Any]):
    """A dict that answers for one key and does not let anybody look through all of them."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("searched")

    keys = values = items = __iter__


def test_3_and_8_the_fast_path_searches_nothing_however_many_wait() -> None:
    drive = Drive(limits={"a": Limits(concurrency=5), "b": Limits(queue=MANY)})
    drive.bring_up("a")
    assert drive.arrive("a") == ["grant 2"]
    for _ in range(MANY):
        assert drive.arrive("b") == []
    scheduler: Any = drive.scheduler
    scheduler._policy = NeverAsked()
    board = scheduler._board
    for books in ("slots", "active", "waited_for", "waiting", "granted"):
        setattr(board, books, NotToBeSearched(getattr(board, books)))
    ticket = drive.tickets + 1

    assert drive.arrive("a") == [f"grant {ticket}"]
    assert drive.leave(ticket) == []


def test_3_a_new_request_does_not_overtake_those_that_wait_for_a_free_place() -> None:
    drive = Drive(limits={"a": Limits(concurrency=1)})
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("a")

    assert drive.arrive("a") == []
    assert drive.leave(2) == ["grant 3"]
    assert drive.leave(3) == ["grant 4"]


def fail_twice(drive: Drive) -> None:
    for error in ("first", "second"):
        assert drive.arrive("a") == ["load a"]
        assert drive.failed("a", error) == [f"refuse {drive.tickets}: load failed"]


def test_4_a_model_that_failed_twice_rests() -> None:
    drive = Drive()
    fail_twice(drive)

    assert drive.arrive("a") == ["refuse 3: backed off"]
    assert drive.last == [Refuse(3, Refusal(RefusalKind.BACKED_OFF, 5.0, "second"))]
    drive.now += 5
    assert drive.arrive("a") == ["load a"]


def test_4_force_does_not_respect_the_rest_and_others_ride_along_once_it_loads() -> None:
    drive = Drive()
    fail_twice(drive)

    assert drive.arrive("a", force=True) == ["load a"]
    assert drive.arrive("a") == []
    assert drive.loaded("a") == ["grant 3", "grant 4"]


def test_4_while_a_forced_one_waits_for_room_others_are_still_refused() -> None:
    drive = Drive()
    fail_twice(drive)
    drive.bring_up("b")

    assert drive.arrive("a", force=True) == ["unload b: evicted"]
    assert drive.arrive("a") == ["refuse 5: backed off"]


def test_5_a_full_line_is_refused() -> None:
    drive = Drive(limits={"a": Limits(concurrency=1, queue=2)})
    drive.bring_up("a")
    drive.arrive("a")

    assert drive.arrive("a") == []
    assert drive.arrive("a") == []
    assert drive.arrive("a") == ["refuse 5: queue full"]
    assert drive.leave(2) == ["grant 3"]
    assert drive.arrive("a") == []


def test_5_granted_tickets_do_not_count_as_waiting() -> None:
    drive = Drive(limits={"a": Limits(queue=1)})

    assert drive.arrive("a") == ["load a"]
    assert drive.loaded("a") == ["grant 1"]
    assert drive.arrive("a") == ["grant 2"]


# -- a ticket leaves ----------------------------------------------------------------------------------------


def test_7_a_waiting_ticket_that_leaves_is_forgotten() -> None:
    drive = Drive()
    drive.arrive("a")

    assert drive.leave(1) == []
    assert drive.leave(1) == []
    assert drive.loaded("a") == []
    assert drive.phase("a") == Phase.UP, "the load goes on and the model stays"


def test_7_when_the_last_one_leaves_the_next_target_gets_its_turn() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.arrive("c")
    drive.leave(2)

    assert drive.gone("a") == ["load b"]
    assert drive.leave(3) == ["unload b: evicted"], "nobody waits for b any more, so its load may be cut"
    assert drive.gone("b") == ["load c"]


def test_7_a_ticket_that_leaves_during_its_eviction_leaves_nothing_to_load() -> None:
    drive = Drive()
    drive.bring_up("a")

    assert drive.arrive("b") == ["unload a: evicted"]
    assert drive.leave(2) == []
    assert drive.gone("a") == []


def test_8_a_granted_ticket_that_leaves_twice_frees_one_place() -> None:
    drive = Drive(limits={"a": Limits(concurrency=1)})
    drive.bring_up("a")
    for _ in range(3):
        drive.arrive("a")

    assert drive.leave(2) == ["grant 3"]
    assert drive.leave(2) == []


def test_8_the_line_of_a_model_with_a_limit_is_served_before_it_goes_for_another() -> None:
    drive = Drive(limits={"a": Limits(concurrency=1)})
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.arrive("a")

    assert drive.leave(2) == ["grant 4"]
    assert drive.leave(4) == ["unload a: evicted"]


def test_9_a_ticket_nobody_knows_may_leave() -> None:
    assert Drive().leave(99) == []


def test_9_a_refused_ticket_may_leave() -> None:
    drive = Drive()
    drive.arrive("nobody")

    assert drive.leave(1) == []


# -- a life of a process goes on ----------------------------------------------------------------------------


def test_10_loaded_serves_as_many_as_the_limit_allows_by_priority() -> None:
    drive = Drive(limits={"a": Limits(concurrency=2)})
    drive.arrive("a")
    drive.arrive("a", priority=1)
    drive.arrive("a", priority=2)

    assert drive.loaded("a") == ["grant 3", "grant 2"]


def test_10_loaded_comes_too_late_for_a_model_that_was_told_to_go() -> None:
    drive = Drive()
    drive.arrive("a")
    drive.ask_unload("a")

    assert drive.loaded("a") == []
    assert drive.phase("a") == Phase.UNLOADING


def test_10_stray_events_are_ignored() -> None:
    drive = Drive()
    drive.bring_up("b")

    assert drive.loaded("a") == []
    assert drive.failed("a") == []
    assert drive.gone("a") == []
    assert drive.loaded("b") == []
    assert drive.failed("b") == []
    assert drive.loaded("nobody") == []
    assert drive.failed("nobody") == []
    assert drive.gone("nobody") == []
    assert drive.ask_unload("nobody") == []
    assert (drive.phase("a"), drive.phase("b"), drive.phase("nobody")) == ("down", "up", "down")
    assert (drive.granted("nobody"), drive.waiting("nobody"), drive.draining("nobody")) == (0, 0, False)


def test_11_a_failed_load_refuses_all_who_wait_and_lets_others_proceed() -> None:
    drive = Drive()
    drive.arrive("a")
    drive.arrive("a")
    drive.arrive("b")

    assert drive.failed("a", "no memory") == ["refuse 1: load failed", "refuse 2: load failed", "load b"]
    assert drive.last[0] == Refuse(1, Refusal(RefusalKind.LOAD_FAILED, None, "no memory"))


def test_11_the_refusal_says_how_long_the_model_rests_now() -> None:
    drive = Drive()
    fail_twice(drive)

    assert drive.last == [Refuse(2, Refusal(RefusalKind.LOAD_FAILED, 5.0, "second"))]


def test_11_a_load_that_was_cut_is_no_failure() -> None:
    drive = Drive()
    for _ in range(5):
        assert drive.arrive("a") == ["load a"]
        drive.ask_unload("a")
        assert drive.failed("a") == []
        assert drive.phase("a") == Phase.DOWN


def test_12_after_a_crash_grants_are_void_and_who_waits_gets_a_new_load() -> None:
    drive = Drive(limits={"a": Limits(concurrency=1)})
    drive.bring_up("a")
    drive.now += 60
    drive.arrive("a")
    drive.arrive("a")

    assert drive.crashed("a") == ["load a"]
    assert drive.granted("a") == 0
    assert drive.leave(2) == []
    assert drive.loaded("a") == ["grant 3"]


def test_12_a_second_early_crash_refuses_who_waits_unless_forced() -> None:
    drive = Drive(limits={"a": Limits(concurrency=1)})
    drive.arrive("a")
    drive.loaded("a")
    drive.crashed("a", "first")
    for force in (False, False, True):
        drive.arrive("a", force=force)
    drive.loaded("a")

    assert drive.crashed("a", "second") == ["refuse 3: backed off", "load a"]
    assert drive.last[0] == Refuse(3, Refusal(RefusalKind.BACKED_OFF, 5.0, "second"))
    assert drive.loaded("a") == ["grant 4"]


def test_12_crashes_after_ten_seconds_never_start_a_rest() -> None:
    drive = Drive()
    for _ in range(5):
        assert drive.arrive("a") == ["load a"]
        drive.loaded("a")
        drive.now += 10
        assert drive.crashed("a") == []


def test_12_a_process_that_ends_before_it_was_ready_is_a_failed_load() -> None:
    drive = Drive()
    drive.arrive("a")

    assert drive.crashed("a") == ["refuse 1: load failed"]


def test_12_a_model_that_was_up_between_may_be_swapped_in_again_at_once() -> None:
    drive = Drive()
    fail_twice(drive)
    drive.arrive("a", force=True)
    drive.loaded("a")
    drive.leave(3)
    drive.arrive("b")
    drive.arrive("a")

    assert drive.gone("a") == ["load b"]
    assert drive.loaded("b") == ["grant 4"]
    assert drive.leave(4) == ["unload b: evicted"]
    assert drive.gone("b") == ["load a"]


# -- an unload is asked for ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [StopReason.API, StopReason.RELOAD])
def test_14_a_model_that_is_up_goes_at_once_with_what_runs_on_it(reason: StopReason) -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")

    assert drive.ask_unload("a", reason) == [f"unload a: {reason}"]
    assert drive.leave(2) == []
    assert drive.gone("a") == []


def test_14_who_waits_is_refused_and_nothing_brings_the_model_back() -> None:
    drive = Drive()
    drive.arrive("a")
    drive.arrive("a")

    assert drive.ask_unload("a") == ["refuse 1: unloaded", "refuse 2: unloaded", "unload a: api"]
    assert drive.gone("a") == []
    assert drive.after(1000) == []
    assert drive.phase("a") == Phase.DOWN


def test_14_who_comes_while_it_goes_gets_a_new_load() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.ask_unload("a")

    assert drive.arrive("a") == []
    assert drive.gone("a") == ["load a"]
    assert drive.loaded("a") == ["grant 2"]


def test_14_a_second_request_to_unload_refuses_who_came_meanwhile() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.ask_unload("a")
    drive.arrive("a")

    assert drive.ask_unload("a") == ["refuse 2: unloaded"]
    assert drive.gone("a") == []


def test_14_weakness_8_a_target_unloaded_during_its_eviction_phase_is_not_loaded() -> None:
    drive = Drive()
    drive.bring_up("a")
    assert drive.arrive("b") == ["unload a: evicted"]

    assert drive.ask_unload("b") == ["refuse 2: unloaded"]
    assert drive.gone("a") == []
    assert drive.phase("b") == Phase.DOWN


def test_14_unloading_what_another_waits_for_lets_that_one_load() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")

    assert drive.ask_unload("a") == ["unload a: api"]
    assert drive.gone("a") == ["load b"]


def test_14_unloading_a_victim_that_goes_already_changes_nothing() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("b")

    assert drive.ask_unload("a") == []
    assert drive.gone("a") == ["load b"]


def test_13_an_idle_unload_loses_against_a_request() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    assert drive.ask_unload("a", StopReason.IDLE) == []
    drive.leave(2)

    assert drive.ask_unload("a", StopReason.IDLE) == ["unload a: idle"]
    assert drive.arrive("a") == []
    assert drive.ask_unload("a", StopReason.IDLE) == [], "somebody waits for it again"
    assert drive.gone("a") == ["load a"]


# -- shutdown -----------------------------------------------------------------------------------------------


def test_15_closing_refuses_all_who_wait_and_unloads_all_that_runs() -> None:
    drive = Drive(GroupPolicy([group("all", "abc", swap=False)]))
    drive.bring_up("a", "c")
    drive.arrive("a")
    drive.arrive("b")
    drive.arrive("d")
    drive.ask_unload("c")

    assert drive.close() == [
        "refuse 4: shutting down",
        "refuse 5: shutting down",
        "unload a: shutdown",
        "unload b: shutdown",
    ]
    assert drive.close() == []
    assert [drive.gone(model) for model in "abc"] == [[], [], []]
    assert repr(drive.scheduler) == "<Scheduler 0 up, 0 loading | 0 granted, 0 waiting | closing>"


# -- what is shown ------------------------------------------------------------------------------------------


def test_positions_are_places_in_the_order_of_service() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.arrive("c", priority=3)
    drive.arrive("b")

    positions = [drive.scheduler.position(ticket) for ticket in (2, 3, 4, 5, 99)]
    assert positions == [None, 2, 1, 3, None]

    drive.after(60)
    assert [drive.scheduler.position(ticket) for ticket in (3, 4, 5)] == [1, 2, 3], "by arrival once aged"


def test_a_tick_is_due_when_the_oldest_waiting_ticket_ages() -> None:
    drive = Drive()
    assert drive.scheduler.next_wakeup(0.0) is None
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    drive.now = 7.0
    drive.arrive("b")

    assert drive.scheduler.next_wakeup(7.0) == 60.0
    assert drive.scheduler.next_wakeup(61.0) == 61.0
    drive.now = 60.0
    drive.tick()
    assert drive.scheduler.next_wakeup(60.0) == 67.0


def test_without_a_bound_no_tick_is_due() -> None:
    drive = Drive(max_wait=float("inf"))
    drive.arrive("a")

    assert drive.scheduler.next_wakeup(0.0) is None


def test_repr_is_a_status_line() -> None:
    drive = Drive(ALL_TOGETHER)
    drive.bring_up("a", "b")
    drive.arrive("a")
    drive.arrive("c")
    drive.ask_unload("b")

    assert repr(drive.scheduler) == "<Scheduler 1 up, 1 loading, 1 unloading | 1 granted, 1 waiting>"


# -- other rules for a running scheduler --------------------------------------------------------------------


def replaced(drive: Drive, models: str, limit: Limits | None = None) -> list[str]:
    commands = drive.scheduler.replace(
        now=drive.now, policy=ALL_TOGETHER, limits=dict.fromkeys(ids(models), limit or Limits())
    )
    return [type(command).__name__ for command in commands]


def test_a_new_policy_lets_waiting_models_load() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")

    assert replaced(drive, "ab") == ["Load"]
    assert drive.phase("b") == Phase.LOADING


def test_new_limits_serve_who_waited_for_a_place() -> None:
    drive = Drive(limits={"a": Limits(concurrency=1)})
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("a")

    assert replaced(drive, "a", Limits(concurrency=2)) == ["Grant"]


def test_a_model_that_is_no_longer_configured_goes_when_it_is_idle() -> None:
    drive = Drive(ALL_TOGETHER, limits={"a": Limits(concurrency=1)})
    drive.bring_up("a", "b")
    drive.arrive("a")
    drive.arrive("a")

    assert replaced(drive, "d") == ["Unload"], "b is idle"
    assert drive.arrive("a") == ["refuse 5: unknown model"]
    assert drive.leave(3) == ["grant 4"], "it waited already"
    assert drive.leave(4) == ["unload a: reload"]
    assert [drive.gone(model) for model in "ab"] == [[], []]
    assert drive.arrive("a") == ["refuse 6: unknown model"]
    assert drive.arrive("d") == ["load d"]


def test_a_removed_model_serves_who_waits_for_the_load_that_is_under_way() -> None:
    drive = Drive(ALL_TOGETHER)
    drive.arrive("a")
    drive.arrive("b")
    drive.leave(2)

    assert replaced(drive, "d") == ["Unload"], "b is loading for nobody"
    assert drive.loaded("a") == ["grant 1"]
    assert drive.leave(1) == ["unload a: reload"]


def test_a_removed_model_that_would_have_to_be_loaded_refuses() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")

    assert replaced(drive, "a") == ["Refuse"]


def test_who_waits_for_a_removed_model_that_crashes_is_told() -> None:
    drive = Drive(ALL_TOGETHER, limits={"a": Limits(concurrency=1)})
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("a")
    replaced(drive, "d")

    assert drive.crashed("a") == ["refuse 3: unknown model"]
    assert drive.arrive("a") == ["refuse 4: unknown model"]


def outdated(drive: Drive, stale: str, changed: str = "") -> list[str]:
    commands = drive.scheduler.replace(now=drive.now, stale=ids(stale), changed=ids(changed))
    return [type(command).__name__ for command in commands]


def test_an_outdated_process_ends_what_it_has_and_gets_nothing_more() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")

    assert outdated(drive, "a") == []
    assert drive.arrive("a") == []
    assert drive.leave(2) == ["unload a: reload"]
    assert drive.gone("a") == ["load a"]
    assert drive.loaded("a") == ["grant 3"]
    assert drive.arrive("a") == ["grant 4"], "the new process is not outdated"


def test_an_outdated_process_that_is_idle_goes_at_once_and_is_not_started_before_it_is_needed() -> None:
    drive = Drive()
    drive.bring_up("a")

    assert outdated(drive, "a") == ["Unload"]
    assert drive.gone("a") == []
    assert drive.arrive("a") == ["load a"]


def test_an_outdated_load_is_begun_anew_for_those_who_wait() -> None:
    drive = Drive()
    drive.arrive("a")

    assert outdated(drive, "a") == ["Unload"]
    assert drive.gone("a") == ["load a"]
    assert drive.loaded("a") == ["grant 1"]


def test_a_definition_that_is_changed_back_in_time_leaves_its_process_alone() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    outdated(drive, "a")
    drive.arrive("a")

    assert outdated(drive, "") == ["Grant"]
    assert drive.leave(2) == []


def test_a_changed_definition_is_tried_at_once_after_failures() -> None:
    drive = Drive()
    for ticket in (1, 2):
        drive.arrive("a")
        drive.failed("a")
        assert drive.scheduler.position(ticket) is None
    assert drive.arrive("a") == ["refuse 3: backed off"]

    assert outdated(drive, "", changed="a") == []
    assert drive.arrive("a") == ["load a"]


def test_the_longest_wait_may_change() -> None:
    drive = Drive()
    drive.bring_up("a")
    drive.arrive("a")
    drive.arrive("b")
    assert drive.scheduler.next_wakeup(0.0) == drive.now + 60.0

    drive.scheduler.replace(now=drive.now, max_wait=5.0)

    assert drive.scheduler.next_wakeup(0.0) == drive.now + 5.0


def test_a_model_that_is_configured_again_before_it_was_idle_stays() -> None:
    drive = Drive(ALL_TOGETHER)
    drive.bring_up("a")
    drive.arrive("a")
    replaced(drive, "b")

    assert replaced(drive, "ab") == []
    assert drive.leave(2) == []
    assert drive.arrive("a") == ["grant 3"]


def test_limits_may_be_left_out() -> None:
    scheduler = Scheduler(ONE_AT_A_TIME, limits={ModelId("a"): Limits()})

    assert scheduler.replace(now=0.0) == []
    assert [type(command).__name__ for command in scheduler.handle(Arrived(1, ModelId("a"), 0.0))] == ["Load"]
    assert scheduler.handle(Left(1, 0.0)) == []
