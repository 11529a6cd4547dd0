"""Names of others: from decorators and from packages' entry points, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
from neurodeploy import data
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.event_sources import load_events
from neurodeploy.errors import UsageError
from neurodeploy.extensions import Registry, require_callable
from neurodeploy.jobs.run import located

from own_packages import REGISTRIES, install


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_registered", {})
        monkeypatch.setattr(registry, "_loaded", {})
    yield
    for module in ("mine", "theirs"):
        sys.modules.pop(module, None)


def things() -> Registry[Any]:
    return Registry("thing", "neurodeploy.things", "nd.register_thing", require_callable("thing", "a function"), ("own",))


def test_an_entry_point_is_found_and_imported_at_its_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from pathlib import Path\nPath(__file__).with_name('imported').touch()\ndef one(): return 1\n"
    install(tmp_path, "mine", source, {"neurodeploy.things": {"one": "one", "own": "one"}})
    monkeypatch.syspath_prepend(tmp_path)
    registry = things()
    assert registry.names() == ("one",) and "one" in registry and "two" not in registry and "own" not in registry
    assert not (tmp_path / "imported").exists(), "names alone import nothing"
    assert registry.get("one")() == 1
    assert (tmp_path / "imported").exists()
    assert registry.only_in_this_process(["one", "two"]) == ()


def test_what_an_entry_point_can_do_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "mine", "raise RuntimeError('half done')", {"neurodeploy.things": {"one": "one", "both": "one"}})
    install(tmp_path, "theirs", "seven = 7", {"neurodeploy.things": {"both": "seven", "seven": "seven"}})
    monkeypatch.syspath_prepend(tmp_path)
    registry = things()
    for name, message in (("one", r"cannot be imported \(RuntimeError: half done\).*mine:one of package mine.*Mend or unin"),
                          ("both", r"in the packages (mine, theirs|theirs, mine)"), ("seven", "is a int.*must be a function"),
                          ("two", "no thing 'two'. Registered: both, one, seven.*entry point group neurodeploy.things")):
        with pytest.raises(UsageError, match=message):
            registry.get(name)


def test_a_name_is_registered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = things()

    def one() -> int:
        return 1

    assert registry.register("one")(one) is one and registry.register("one")(one) is one, "a cell that runs twice"
    assert registry.only_in_this_process(["one", "other"]) == ("one",)
    with pytest.raises(UsageError, match=r"registered already.*Choose another name"):
        registry.register("one")(lambda: 2)
    for name in ("own", "a.b", "", "x,y", "é", "x" * 65):
        with pytest.raises(UsageError, match="cannot name a thing"):
            registry.register(name)(one)
    with pytest.raises(UsageError, match="is a int"):
        registry.register("seven")(7)
    source = "import test_extensions as t\n@t.SHARED.register('mine')\ndef mine(): return 3\n"
    install(tmp_path, "mine", source, {"neurodeploy.things": {"mine": "mine"}})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "test_extensions", sys.modules[__name__])
    monkeypatch.setattr(sys.modules[__name__], "SHARED", registry, raising=False)
    assert registry.get("mine")() == 3, "decorated and listed is the same thing"
    assert registry.only_in_this_process(["mine"]) == ()
    with pytest.raises(UsageError, match="an installed package has a thing 'mine'"):
        things().register("mine")(one)


def pair() -> tuple[Any, Any]:
    return np.arange(40 * 12).reshape(40, 3, 4).astype(np.uint8), np.arange(40) % 4


def test_a_dataset_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nd.register_dataset("ours")(pair)
    found = data.load("ours")
    assert found.name == "ours" and found.x.shape == (40, 1, 3, 4) and found.n_classes == 4 and len(found.splits["test"]) == 12
    nd.register_dataset("again")(lambda: found)
    again = data.load("again")
    assert np.shares_memory(again.x, found.x) and again.x.dtype == np.uint8 and again.splits.keys() == found.splits.keys()
    assert np.array_equal(again.split("test")[0], (found.x[found.splits["test"]] / 255).astype(np.float32))
    nd.register_dataset("half")(lambda: replace(found, splits={"train": np.arange(40)}))
    with pytest.raises(UsageError, match=r"dataset 'half'.*lack 'validation'"):
        data.load("half")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours").mkdir()
    assert located("ours") == "ours", "a folder of that name is not meant"
    with pytest.raises(UsageError, match=r"no dataset 'theirs'.*Registered: again, half, ours.*nd\.register_dataset"):
        data.load("theirs")
    with pytest.raises(UsageError, match=r"data\.size"):
        data.load("ours", size=8)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: 1 / 0, r"dataset 'bad': raised ZeroDivisionError"), (lambda: 3, "gives a int.*pair"),
    (lambda: (pair()[0], pair()[1] + 1), "Renumber"), (lambda: ([[1.5]], [0]), r"shape \(1, 1\)"),
])
def test_datasets_that_are_none(make: Any, message: str) -> None:
    nd.register_dataset("bad")(make)
    with pytest.raises(UsageError, match=message):
        data.load("bad")


def test_events_of_one_s_own() -> None:
    digits = load_events("digits-events")
    few = EventDataset("few", digits.streams[:80], digits.y[:80], 10, digits.sensor, digits.duration_us,
                       {"train": np.arange(40), "validation": np.arange(40, 60), "test": np.arange(60, 80)})
    nd.register_dataset("few")(lambda: few)
    nd.register_dataset("ours")(pair)
    assert load_events("few") is few
    cut = load_events("few", per_class=1, duration_us=90_000)
    assert cut.duration_us == 90_000 and len(cut.streams) == sum(len(np.unique(few.y[i])) for i in few.splits.values())
    assert all(s[-1, 0] < 90_000 for s in cut.streams if len(s)) and any(len(s) for s in cut.streams)
    with pytest.raises(UsageError, match=r"gives a tuple.*EventDataset.*simulated camera"):
        load_events("ours")
    with pytest.raises(UsageError, match="gives a EventDataset"):
        data.load("few")
    with pytest.raises(UsageError, match=r"no events 'none'.*Registered: few, ours"):
        load_events("none")
