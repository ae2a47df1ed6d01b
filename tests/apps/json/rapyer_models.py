"""rapyer: the examples of its documentation, with what they promise checked: atomic models, pipelines,
lock context managers, nested models.

    rapyer_models.py PORT one|several

How many slots a transaction may use: rapyer saves several models in one, and finds them with one
JSON.MGET.
"""

import asyncio
import sys
from dataclasses import dataclass
from enum import Enum
from typing import Dict, List

import rapyer
from rapyer.base import AtomicRedisModel
from rapyer.errors.base import KeyNotFound
from redis.exceptions import ResponseError

PORT, SLOTS = int(sys.argv[1]), sys.argv[2]


@dataclass
class Config:
    debug: bool = False


class Status(Enum):
    OPEN = "open"
    SHIPPED = "shipped"


class Address(AtomicRedisModel):
    street: str = ""
    lines: List[str] = []


class User(AtomicRedisModel):
    name: str = "default"
    age: int = 0
    balance: float = 0.0
    tags: List[str] = []
    scores: List[int] = []
    metadata: Dict[str, str] = {}
    config: Config = Config()
    status: Status = Status.OPEN
    address: Address = Address()


async def atomic():
    user = User(name="John", age=30)
    await user.asave()
    await user.tags.aappend("python")
    await user.tags.aextend(["redis", "pydantic"])
    await user.metadata.aupdate(role="developer", level="senior")
    loaded = await User.aget(user.key)
    assert loaded.tags == ["python", "redis", "pydantic"], loaded.tags
    assert loaded.metadata == {"role": "developer", "level": "senior"}, loaded.metadata
    assert (loaded.name, loaded.age, loaded.config, loaded.status) == ("John", 30, Config(), Status.OPEN)

    await user.age.aincrease(5)
    await user.tags.ainsert(0, "first")
    assert await user.tags.apop() == "pydantic"
    assert await user.tags.apop(0) == "first"
    await user.metadata.adel_item("level")
    await user.metadata.aset_item("team", "core")
    assert await user.metadata.apop("team") == "core"
    assert await user.metadata.apop("nosuch", "none") == "none"
    await user.address.lines.aappend("a line")
    await user.aupdate(name="Jane", status=Status.SHIPPED)
    loaded = await User.aget(user.key)
    assert (loaded.age, loaded.tags, loaded.metadata) == (35, ["python", "redis"], {"role": "developer"})
    assert (loaded.name, loaded.status, loaded.address.lines) == ("Jane", Status.SHIPPED, ["a line"])
    await user.tags.aclear()
    await user.metadata.aclear()
    await user.aload()
    assert (user.tags, user.metadata) == ([], {})
    return user


async def pipelines(user):
    async with user.apipeline() as pipelined:
        await pipelined.tags.aappend("redis")
        await pipelined.metadata.aupdate(level="senior")
        pipelined.age += 1
        pipelined.name = "Pipe"
    loaded = await User.aget(user.key)
    assert (loaded.tags, loaded.metadata) == (["redis"], {"level": "senior"}), loaded
    assert (loaded.age, loaded.name) == (36, "Pipe"), loaded
    async with user.apipeline() as pipelined:
        pipelined.scores.extend([1, 2, 3])
        pipelined.age *= 2
    loaded = await User.aget(user.key)
    assert (loaded.scores, loaded.age) == ([1, 2, 3], 72), loaded


async def locks(user):
    async with user.alock("update_profile", save_at_end=True) as locked:
        locked.age += 1
        locked.balance -= 50
        await locked.tags.aappend("experienced")
    loaded = await User.aget(user.key)
    assert (loaded.age, loaded.balance, loaded.tags[-1]) == (73, -50.0, "experienced"), loaded

    # No addition gets lost, with locks and without. (A lock saves the whole model.)
    async def spend():
        async with user.alock("spend", save_at_end=True) as locked:
            locked.balance += 1

    await asyncio.gather(*(spend() for _ in range(10)))
    await asyncio.gather(*(user.age.aincrease(1) for _ in range(10)))
    loaded = await User.aget(user.key)
    assert (loaded.balance, loaded.age) == (-40.0, 83), loaded


async def refused(call):
    try:
        await call
    except ResponseError as error:
        assert "hash to the same slot" in str(error), error
    else:
        raise AssertionError("a call over several slots is run")


async def several(user):
    others = [User(name=f"user {number}") for number in range(3)]
    if SLOTS == "one":
        await refused(User.ainsert(*others))
        for other in others:
            await other.asave()
        # JSON.MGET, and COPY.
        await refused(User.afind())
        await refused(user.aduplicate())
    else:
        await User.ainsert(*others)
        found = await User.afind()
        assert {one.key for one in found} >= {one.key for one in others}, found
        twin = await user.aduplicate()
        assert twin.name == (await User.aget(user.key)).name
    assert await User.aexists(user.key)
    assert await user.adelete()
    assert not await User.aexists(user.key)
    try:
        await User.aget(user.key)
    except KeyNotFound:
        return
    raise AssertionError("a key that is deleted is found")


async def main():
    await rapyer.init_rapyer(f"redis://127.0.0.1:{PORT}/0")
    user = await atomic()
    await pipelines(user)
    await locks(user)
    await several(user)
    await rapyer.teardown_rapyer()


asyncio.run(main())
