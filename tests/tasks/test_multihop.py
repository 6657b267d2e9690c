"""The generator: questions that the gold hops answer, names that do not leak, splits that do not meet."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.tasks import load_tasks
from apportion.pipeline.tasks.multihop import generate, write
from apportion.pipeline.tools.search import Index, documents_in

OWNED = re.compile(r"The (?P<inn>.+) is owned by (?P<person>.+)\.")
LIVES = re.compile(r"(?P<person>.+) lives in (?P<town>.+)\.")
LIES = re.compile(r"The town of (?P<town>.+) lies on the river (?P<river>.+)\.")


def matches(pattern, documents):
    found = [pattern.fullmatch(text) for text in documents]
    assert all(found)
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 120), st.integers(0, 10**6), st.sampled_from(["train", "test"]), st.floats(0, 1))
def test_documents_answer_every_question(n, seed, split, share):
    world = generate(n, seed, split, river_share=share)
    owners = [(m["inn"], m["person"]) for m in matches(OWNED, world.documents["owners"])]
    homes = [(m["person"], m["town"]) for m in matches(LIVES, world.documents["homes"])]
    rivers = [(m["town"], m["river"]) for m in matches(LIES, world.documents["rivers"])]
    for facts in (owners, homes, rivers):
        assert max(Counter(key for key, _ in facts).values()) == 1
    owner_of, home_of, river_of = dict(owners), dict(homes), dict(rivers)
    assert len(set(owner_of.values())) == len(owner_of)
    assert len(world.tasks) == n == len({task.task_id for task in world.tasks})
    assert len(owner_of) > n
    for task in world.tasks:
        inn = re.search(r"owner of the (.+?) lives?\?", task.question)[1]
        town = home_of[owner_of[inn]]
        is_river = task.meta["kind"] == "river"
        assert task.references[0] == (river_of[town] if is_river else town)
        assert task.meta["hops"] == len(task.meta["facts"]) == (3 if is_river else 2)
        assert task.split == split
        for fact, name in zip(task.meta["facts"], task.meta["sets"], strict=True):
            assert fact in world.documents[name]
    assert sum(task.meta["kind"] == "river" for task in world.tasks) == round(n * share)


@pytest.mark.parametrize("n", [40, 5000])
def test_splits_share_no_inn_and_no_person(n):
    worlds = [generate(n, 7, split) for split in ("train", "test")]
    inns, people = (
        [{m[part] for m in matches(OWNED, world.documents["owners"])} for world in worlds] for part in ("inn", "person")
    )
    assert not inns[0] & inns[1]
    assert not people[0] & people[1]


def test_the_name_of_an_inn_tells_nothing_about_its_owner():
    owners = matches(OWNED, generate(400, 3).documents["owners"])
    pairs = Counter((m["inn"].split()[0], m["person"].split()[0]) for m in owners)
    assert max(pairs.values()) <= 6
    assert len(pairs) > len(owners) / 2


def test_inns_share_words_with_distractors():
    inns = [m["inn"].split() for m in matches(OWNED, generate(40, 1).documents["owners"])]
    words = Counter(word for inn in inns for word in inn)
    assert all(max(words[word] for word in inn) >= 2 for inn in inns)


def test_same_seed_same_world_and_another_seed_another():
    assert generate(30, 5, river_share=0.5) == generate(30, 5, river_share=0.5)
    assert generate(30, 5).tasks != generate(30, 6).tasks


def test_a_search_by_name_finds_each_gold_fact():
    world = generate(60, 2, river_share=0.5)
    tools = {name: Index(documents) for name, documents in world.documents.items()}
    for task in world.tasks:
        inn = OWNED.fullmatch(task.meta["facts"][0])["inn"]
        person, town = LIVES.fullmatch(task.meta["facts"][1]).groups()
        for fact, name, query in zip(task.meta["facts"], task.meta["sets"], [inn, person, town], strict=False):
            assert tools[name].run(query).text == fact


def test_written_world_is_read_back_with_the_same_ids(tmp_path):
    world = generate(20, 4, "test", river_share=0.3)
    write(world, tmp_path)
    tasks, rejects = load_tasks(str(tmp_path / "tasks.jsonl"))
    assert not rejects
    assert [(t.task_id, t.references, t.meta, t.split) for t in tasks] == [
        (t.task_id, t.references, t.meta, "test") for t in world.tasks
    ]
    assert list(documents_in(tmp_path / "rivers.jsonl")) == list(world.documents["rivers"])


def test_a_world_replaces_a_world_and_no_file_of_the_users(tmp_path):
    write(generate(8, 1), tmp_path)
    write(generate(8, 2), tmp_path)
    second = (tmp_path / "tasks.jsonl").read_bytes()
    (tmp_path / "homes.jsonl").write_text('{"text": "My own document."}\n')
    with pytest.raises(UserError, match=r"homes\.jsonl: is there and is no world of ours"):
        write(generate(8, 1), tmp_path)
    assert (tmp_path / "homes.jsonl").read_text() == '{"text": "My own document."}\n'
    assert (tmp_path / "tasks.jsonl").read_bytes() == second


@pytest.mark.parametrize(("n", "split", "share"), [(0, "train", 0), (5001, "train", 0), (3, "dev", 0), (3, "test", 2)])
def test_refuses_what_it_cannot_make(n, split, share):
    with pytest.raises(UserError, match="multihop"):
        generate(n, 1, split, river_share=share)
