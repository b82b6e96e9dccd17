"""One search for all who ask for the same; it ends with the last of them, and is kept if whole."""

from __future__ import annotations

import threading

import pytest

from playground.utils.page import shared_searches
from playground.utils.page.shared_searches import Searching, SharedSearches

WAIT = 60.0


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(shared_searches, "SECONDS_BETWEEN_NEWS", 0.01)


class Search:
    """Stands for a search: goes on until it is let go or cancelled."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls, self.error = 0, error
        self.begun, self.go, self.ended = (threading.Event() for _ in range(3))

    def __call__(self, tell, cancel) -> str:
        self.calls += 1
        tell("some")
        self.begun.set()
        while not self.go.wait(0.01) and not cancel.is_set():
            pass
        self.ended.set()
        if self.error is not None:
            raise self.error
        return "all" if self.go.is_set() else "some"

    @property
    def searching(self) -> Searching[str]:
        return Searching("key", self, lambda found: found == "all")


class Follower:
    """A viewer who asks for a search."""

    def __init__(self, searches: SharedSearches[str], search: Search) -> None:
        self.stop, self.told, self.result = threading.Event(), threading.Event(), None
        self.thread = threading.Thread(target=self._follow, args=(searches, search))
        self.thread.start()

    def _follow(self, searches, search) -> None:
        self.result = searches.follow(search.searching, self.stop.is_set, lambda _: self.told.set())

    def end(self) -> tuple[str | None, str]:
        self.thread.join(WAIT)
        return self.result


def test_two_who_ask_for_the_same_have_one_search_and_one_result():
    searches, search = SharedSearches(size=4), Search()
    viewers = [Follower(searches, search) for _ in range(2)]
    assert all(one.told.wait(WAIT) for one in viewers)
    search.go.set()
    assert [one.end() for one in viewers] == [("all", ""), ("all", "")]
    assert search.calls == 1


def test_what_was_searched_wholly_is_there_for_those_to_come():
    searches, search = SharedSearches(size=4), Search()
    search.go.set()
    assert Follower(searches, search).end() == ("all", "")
    assert Follower(searches, search).end() == ("all", "")
    assert (search.calls, searches.recall("key")) == (1, "all")


def test_stop_keeps_what_there_is_but_not_for_others():
    searches, search = SharedSearches(size=4), Search()
    viewer = Follower(searches, search)
    assert viewer.told.wait(WAIT)
    viewer.stop.set()
    assert viewer.end() == ("some", "")
    assert search.ended.wait(WAIT)
    assert searches.recall("key") is None


def test_a_search_goes_on_while_another_follows_it():
    searches, search = SharedSearches(size=4), Search()
    first, second = (Follower(searches, search) for _ in range(2))
    assert first.told.wait(WAIT) and second.told.wait(WAIT)
    first.stop.set()
    assert first.end() == ("some", "")
    search.go.set()
    assert second.end() == ("all", "")


def test_what_goes_wrong_is_one_sentence():
    searches, search = SharedSearches(size=4), Search(ValueError("the inputs are wrong."))
    search.go.set()
    assert Follower(searches, search).end() == ("some", "The inputs are wrong.")
    assert searches.recall("key") is None
