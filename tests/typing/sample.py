"""What type checkers know of an application's own code. Never run.

Every line with an ignore holds an error that must be found: both checkers complain of an ignore without one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_type

from yadtq_core import Call, Client, Handle, YadtqError, call, task


@task
def resize(path: str, width: int = 800) -> str:
    return f"{path} {width}"


@task(name="shop.mail", retries=5)
async def mail(address: str, *, urgent: bool = False) -> int:
    return len(address) + urgent


def here_and_now() -> None:
    assert_type(resize("a.png"), str)
    resize(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_task_itself(client: Client) -> None:
    assert_type(client.submit(resize, "a.png", width=640), Handle[str])
    assert_type(client.submit(resize, "a.png").result(timeout=10), str)
    assert_type(client.submit(mail, "a@b", urgent=True), Handle[int])
    assert_type(client.using(delay=60, queue="slow").submit(resize, "a.png"), Handle[str])
    client.submit(resize, 1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    client.submit(resize)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.submit(resize, "a.png", heigth=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.submit(mail, "a@b", True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.submit(print, "a.png")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


def by_name(client: Client) -> None:
    assert_type(client.submit("shop.resize", "a.png", anything=1), Handle[Any])
    assert_type(client.handle("0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"), Handle[Any])


async def for_async_callers(client: Client) -> None:
    handle = await client.asubmit(mail, "a@b")
    assert_type(handle, Handle[int])
    assert_type(await handle.aresult(), int)
    await client.asubmit(mail, 1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


def calls(client: Client) -> None:
    assert_type(call(resize, "a.png", width=640), Call[str])
    assert_type(call(resize, "a.png").using(delay=1), Call[str])
    assert_type(call(mail, "a@b"), Call[int])
    assert_type(call("add", 1, 2), Call[Any])
    call(resize, 1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    call(resize, "a.png", delay=60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(client.submit_many(call(resize, name) for name in ("a.png", "b.png")), list[Handle[str]])
    assert_type(client.submit_many([call(resize, "a")], on_error="return"), list[Handle[str] | YadtqError])
    client.submit_many([("add", 1)])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def mixed(client: Client) -> None:
    one, other = call(resize, "a.png"), call(mail, "a@b")
    many: Iterable[Call[str | int]] = [one, other]
    assert_type(client.submit_many(many), list[Handle[str | int]])
    handles: list[Handle[Any]] = [*client.submit_many([call(resize, "a.png"), call(mail, "a@b"), call("add", 1)])]
    client.wait_all(handles)


def options(client: Client) -> None:
    client.using(dely=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.using(delay="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Client.connect(confirm="kafka")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
