"""What must hold: work that is put off is done once, in order, soon, and at once when it is much."""

from __future__ import annotations

import asyncio

from hostler.aio import Batch


async def test_a_batch_is_done_in_a_moment() -> None:
    done: list[list[int]] = []
    over = asyncio.Event()

    def work(items: list[int]) -> None:
        done.append(items)
        over.set()

    batch = Batch(work, seconds=0.001, most=10)
    for number in range(3):
        batch.add(number)
    assert done == []
    async with asyncio.timeout(5):
        await over.wait()

    assert done == [[0, 1, 2]]


async def test_a_full_batch_is_done_at_once_and_an_empty_one_never() -> None:
    done: list[list[int]] = []
    batch = Batch(done.append, seconds=60, most=2)
    for number in range(5):
        batch.add(number)
    assert done == [[0, 1], [2, 3]]
    batch.flush()
    batch.flush()

    assert done == [[0, 1], [2, 3], [4]]


async def test_what_is_added_while_a_batch_is_done_is_the_next_one() -> None:
    done: list[list[int]] = []

    def work(items: list[int]) -> None:
        done.append(items)
        if len(done) == 1:
            batch.add(9)

    batch = Batch(work, seconds=60, most=5)
    batch.add(1)
    batch.flush()
    batch.flush()

    assert done == [[1], [9]]


async def test_a_share_at_a_time_leaves_turns_to_others() -> None:
    done: list[list[int]] = []
    batch: Batch[int] = Batch(done.append, seconds=0.0, most=100, share=2)
    for number in range(5):
        batch.add(number)
    turns = 0
    while sum(map(len, done)) < 5:
        await asyncio.sleep(0)
        turns += 1

    assert done == [[0, 1], [2, 3], [4]]
    assert turns >= 3
    batch.add(5)
    batch.add(6)
    batch.add(7)
    batch.flush()
    assert done[-1] == [5, 6, 7]
    await asyncio.sleep(0)
    assert len(done) == 4


async def test_a_full_batch_is_relieved_by_a_share_and_stays_bounded() -> None:
    done: list[list[int]] = []
    batch: Batch[int] = Batch(done.append, seconds=60, most=6, share=2)
    for number in range(9):
        batch.add(number)

    assert done == [[0, 1], [2, 3]]
    batch.flush()
    assert done[2:] == [[4, 5, 6, 7, 8]]


async def test_what_weighs_more_shares_a_turn_with_fewer() -> None:
    done: list[list[int]] = []
    batch: Batch[int] = Batch(done.append, seconds=60, most=6, share=4, weigh=lambda item: item)
    for item in (1, 2, 1, 3, 9):
        batch.add(item)
    assert done == []
    batch.add(1)
    assert done == [[1, 2, 1]]
    batch.flush()
    assert done == [[1, 2, 1], [3, 9, 1]]

    timed: Batch[int] = Batch(done.append, seconds=0.0, most=100, share=4, weigh=lambda item: item)
    done.clear()
    for item in (3, 9, 1, 1):
        timed.add(item)
    async with asyncio.timeout(5):
        while sum(map(len, done)) < 4:
            await asyncio.sleep(0)
    assert done == [[3], [9], [1, 1]]
