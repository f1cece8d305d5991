import numpy as np
import pytest

from recsys.evaluate.events import Events
from recsys.evaluate.heldout import HeldOut
from recsys.evaluate.slices import by_popularity, by_surface, everything, never_bought, new_items, new_users, standard
from tests.evaluate.worlds import shopping

BOUNDARY = 80 * 86_400


def held_out() -> HeldOut:
    events = shopping()
    return HeldOut.between(events.before(BOUNDARY), events.since(BOUNDARY))


def test_held_out_is_what_a_loop_finds():
    events, held = shopping(), held_out()
    for u, user in enumerate(held.users):
        mine = events.user == user
        after = set(events.item[mine & (events.time >= BOUNDARY)])
        before = set(events.item[mine & (events.time < BOUNDARY)])
        assert set(held.relevant.values[held.relevant.offsets[u] : held.relevant.offsets[u + 1]].tolist()) == after
        assert set(held.seen.values[held.seen.offsets[u] : held.seen.offsets[u + 1]].tolist()) == before
    assert set(held.users) == set(events.user[events.time >= BOUNDARY])


def test_repeat_and_never_bought_share_out_the_relevant_items():
    held = held_out()
    slices = {cut.name: cut for cut in standard(held)}
    assert (slices["repeat"].keep ^ slices["never_bought"].keep).all()
    assert slices["never_bought"].hide_seen
    assert not slices["repeat"].hide_seen
    for row, item, first in zip(held.relevant.row, held.relevant.values, slices["never_bought"].keep, strict=True):
        seen = held.seen.values[held.seen.offsets[row] : held.seen.offsets[row + 1]]
        assert bool(first) == (item not in seen)


def test_head_mid_tail_hold_their_share_of_events_and_miss_no_item():
    held = held_out()
    parts = by_popularity(held)
    assert sum(cut.keep.int() for cut in parts).eq(1).all()
    counts = np.sort(held.train_counts.numpy())[::-1]
    num_head = int(np.searchsorted(counts.cumsum(), counts.sum() * 0.5)) + 1
    head_items = held.relevant.values[parts[0].keep].unique()
    assert held.train_counts[head_items].min() >= counts[num_head - 1]
    assert held.train_counts[held.relevant.values[parts[2].keep]].max() <= counts[num_head - 1]


def test_names_and_joined_slices():
    held = held_out()
    fresh, tail = never_bought(held), by_popularity(held)[2]
    both = fresh & tail
    assert both.metric("recall", 20) == "recall@20[never_bought,tail]"
    assert both.hide_seen
    assert (both.keep == (fresh.keep & tail.keep)).all()
    assert everything(held).metric("ndcg", 5) == "ndcg@5"
    assert (everything(held) & tail).name == "tail"


def test_new_users_new_items_and_surfaces():
    past = Events.of([0, 0], [1, 2], [10, 20], num_users=2, num_items=5).before(100)
    future = Events.of([0, 1, 1, 0], [3, 1, 2, 3], [100, 110, 120, 130], num_users=2, num_items=5)
    held = HeldOut.between(past, future, surface=np.array([1, 0, 1, 0]))
    assert held.relevant.values.tolist() == [3, 1, 2]
    assert held.surface.tolist() == [1, 0, 1]  # where the item was first taken
    assert new_items(held).keep.tolist() == [True, False, False]
    assert new_users(held).keep.tolist() == [False, True, True]
    assert [cut.keep.tolist() for cut in by_surface(held, ("shelf", "mailer"))] == [
        [False, True, False],
        [True, False, True],
    ]


def test_a_leak_is_refused():
    events = shopping()
    with pytest.raises(ValueError, match="leak"):
        HeldOut.between(events.before(BOUNDARY), events)
    with pytest.raises(ValueError, match="outside"):
        Events.of([0], [7], [1], num_users=1, num_items=7)


def test_a_sample_keeps_users_with_their_rows():
    held = held_out()
    few = held.sample(7, np.random.default_rng(0))
    assert len(few.users) == 7
    for u, user in enumerate(few.users):
        whole = int(np.flatnonzero(held.users == user)[0])
        for small, large in ((few.relevant, held.relevant), (few.seen, held.seen)):
            assert (
                small.values[small.offsets[u] : small.offsets[u + 1]].tolist()
                == large.values[large.offsets[whole] : large.offsets[whole + 1]].tolist()
            )
    assert held.sample(10_000, np.random.default_rng(0)) is held
