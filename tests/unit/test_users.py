"""Who may begin, who waits, who is refused: the bookkeeping of one user, without a loop."""

from dataclasses import dataclass
from typing import cast

import pytest

from agent_messaging import Limits, RemoteError, RunContext
from agent_messaging._policies import ThreadPolicy
from agent_messaging._users import OpenSession, OwnedRun, User

LIMITS = Limits(runs_per_user=2, queued_per_thread=2)


@dataclass(eq=False)
class Run:
    """A run, as far as its user asks."""

    context: RunContext


@dataclass
class Session:
    """A session, as far as its user asks."""

    connection_id: str


class Book:
    """A user, and the runs by their names."""

    def __init__(self, policy: ThreadPolicy = "queue") -> None:
        self.idle: list[User] = []
        self.user = User("u1", LIMITS, 0.0, self.idle.append)
        self._policy: ThreadPolicy = policy
        self._runs: dict[str, OwnedRun] = {}

    def run(self, name: str) -> OwnedRun:
        return self._runs[name]

    def admit(self, name: str, thread_id: str = "t1") -> list[str]:
        """Admit a new run; the names of those that it replaces."""
        context = RunContext(user_id="u1", thread_id=thread_id, run_id=name, message_id=f"m-{name}")
        self._runs[name] = cast("OwnedRun", Run(context))
        return self._names(self.user.admit(self._runs[name], self._policy, LIMITS))

    def refusal(self, name: str, thread_id: str = "t1") -> str:
        """The code with which a new run is refused; nothing else is to change."""
        before = self.state
        with pytest.raises(RemoteError) as caught:
            self.admit(name, thread_id)
        assert caught.value.message_id == f"m-{name}"
        assert self.state == before
        return str(caught.value.code)

    def release(self, name: str) -> str | None:
        """Release a run; the name of its successor."""
        successor = self.user.release(self._runs[name])
        return None if successor is None else successor.context.run_id

    @property
    def state(self) -> tuple[int, dict[str, tuple[list[str], list[str]]]]:
        """The places taken; by thread, who runs and who waits."""
        threads = {
            thread_id: (self._names(thread.running), self._names(thread.waiting))
            for thread_id, thread in self.user.threads.items()
        }
        return self.user.places, threads

    @staticmethod
    def _names(runs: list[OwnedRun]) -> list[str]:
        return [run.context.run_id for run in runs]


def admitted(policy: ThreadPolicy, *names: str) -> Book:
    book = Book(policy)
    for name in names:
        book.admit(name)
    return book


# An idle thread.


@pytest.mark.parametrize("policy", ["queue", "reject", "replace", "parallel"])
def test_on_an_idle_thread_a_run_takes_a_place_and_gives_it_back(policy: ThreadPolicy) -> None:
    book = Book(policy)
    assert book.admit("a") == []
    assert book.state == (1, {"t1": (["a"], [])})
    assert book.user.position(book.run("a")) == 0
    assert book.release("a") is None
    assert book.state == (0, {})
    assert book.idle == [book.user]


@pytest.mark.parametrize("policy", ["queue", "reject", "replace", "parallel"])
def test_no_more_threads_than_there_are_places(policy: ThreadPolicy) -> None:
    book = Book(policy)
    book.admit("a", "t1")
    book.admit("b", "t2")
    assert book.refusal("c", "t3") == "too_many_runs"
    book.release("a")
    book.admit("c", "t3")
    assert book.state == (2, {"t2": (["b"], []), "t3": (["c"], [])})


# queue


def test_queued_runs_wait_in_their_order_and_take_their_predecessors_place() -> None:
    book = admitted("queue", "a", "b", "c")
    assert book.state == (1, {"t1": (["a"], ["b", "c"])})
    assert [book.user.position(book.run(name)) for name in "abc"] == [0, 1, 2]
    assert book.user.queued == 2
    assert book.release("a") == "b"
    assert book.state == (1, {"t1": (["b"], ["c"])})
    assert book.release("b") == "c"
    assert book.release("c") is None
    assert book.state == (0, {})


def test_a_queue_is_bounded() -> None:
    book = admitted("queue", "a", "b", "c")
    assert book.refusal("d") == "queue_full"
    book.release("a")
    book.admit("d")
    assert book.state == (1, {"t1": (["b"], ["c", "d"])})


def test_a_queued_run_needs_no_place_of_its_own() -> None:
    book = Book("queue")
    book.admit("a", "t1")
    book.admit("b", "t2")
    book.admit("c", "t1")
    assert book.state == (2, {"t1": (["a"], ["c"]), "t2": (["b"], [])})


def test_one_that_waits_may_leave_the_queue() -> None:
    book = admitted("queue", "a", "b", "c")
    assert book.release("b") is None
    assert book.state == (1, {"t1": (["a"], ["c"])})
    assert book.user.position(book.run("c")) == 1
    assert book.idle == []


# reject


def test_a_busy_thread_is_told_where_nothing_waits() -> None:
    book = admitted("reject", "a")
    assert book.refusal("b") == "thread_busy"
    book.release("a")
    book.admit("b")
    assert book.state == (1, {"t1": (["b"], [])})


# replace


def test_one_that_replaces_waits_until_the_others_have_ended() -> None:
    book = admitted("replace", "a")
    assert book.admit("b") == ["a"]
    # Those that wait come first, so that none of them begins when the first has ended.
    assert book.admit("c") == ["b", "a"]
    assert book.state == (1, {"t1": (["a"], ["b", "c"])})
    assert book.release("b") is None
    assert book.release("a") == "c"


def test_one_that_replaces_all_that_wait_finds_no_queue_full() -> None:
    book = admitted("replace", "a", "b", "c")
    assert book.admit("d") == ["b", "c", "a"]


# parallel


def test_parallel_runs_share_a_thread_and_take_a_place_each() -> None:
    book = admitted("parallel", "a", "b")
    assert book.state == (2, {"t1": (["a", "b"], [])})
    assert book.refusal("c") == "too_many_runs"
    assert book.release("a") is None
    assert book.state == (1, {"t1": (["b"], [])})
    assert book.idle == []
    assert book.release("b") is None
    assert book.state == (0, {})


# Lookups.


def test_a_run_is_found_from_its_place_in_the_thread_on() -> None:
    book = admitted("queue", "a", "b")
    assert book.user.find("a") is book.run("a")
    assert book.user.find("b") is book.run("b")
    assert book.user.find("c") is None
    book.user.runs["a"] = book.run("a")
    assert book.user.find("a") is book.run("a")
    book.release("a")
    assert book.user.find("a") is None
    assert book.user.runs == {}


def test_of_all_runs_those_that_wait_come_first() -> None:
    book = Book("queue")
    for name, thread_id in [("a", "t1"), ("b", "t1"), ("c", "t2"), ("d", "t1"), ("e", "t2")]:
        book.admit(name, thread_id)
    assert [run.context.run_id for run in book.user.all_runs()] == ["b", "d", "a", "e", "c"]


def test_all_runs_may_end_while_they_are_looked_at() -> None:
    book = Book("queue")
    for name, thread_id in [("a", "t1"), ("b", "t1"), ("c", "t2")]:
        book.admit(name, thread_id)
    for run in book.user.all_runs():
        book.user.release(run)
    assert book.state == (0, {})


# When there is nothing to know.


def test_a_user_with_a_session_is_not_idle() -> None:
    book = Book()
    session = cast("OpenSession", Session("c1"))
    book.user.sessions["c1"] = session
    book.admit("a")
    book.release("a")
    assert book.idle == []
    book.user.leave(session)
    assert book.idle == [book.user]
    assert book.user.sessions == {}


def test_a_user_with_a_run_is_not_idle() -> None:
    book = Book()
    session = cast("OpenSession", Session("c1"))
    book.user.sessions["c1"] = session
    book.admit("a")
    book.user.leave(session)
    assert book.idle == []
    book.release("a")
    assert book.idle == [book.user]


def test_a_session_may_leave_twice() -> None:
    book = Book()
    session = cast("OpenSession", Session("c1"))
    book.user.sessions["c1"] = session
    book.user.leave(session)
    book.user.leave(session)
    assert book.user.sessions == {}


def test_calls_of_handlers_take_places_too() -> None:
    book = Book()
    book.user.take_place(LIMITS, "m1")
    book.admit("a")
    assert book.refusal("b", "t2") == "too_many_runs"
    with pytest.raises(RemoteError) as caught:
        book.user.take_place(LIMITS, None)
    assert caught.value.code == "too_many_runs"
    book.release("a")
    assert book.idle == []
    book.user.give_place_back()
    assert book.idle == [book.user]
