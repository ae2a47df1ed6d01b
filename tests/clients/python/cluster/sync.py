"""redis-py's RedisCluster, blocking, over RESP2 and RESP3, against node ports: what it
discovers, pipelines and transactions, subscriptions, replicas, and that it counts
right while slots move and a replica takes over.
"""

import contextlib
import sys
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster
from redis.exceptions import (
    AskError, ClusterCrossSlotError, ClusterError, CrossSlotTransactionError, MovedError, ResponseError, TryAgainError,
    WatchError,
)
from redis.retry import Retry

from checks import Checks

from .nodes import HOST, NODES, PORT, TAGS, Ledger, address, first_slots, topology

# How long anything may take that is due at once.
PATIENCE_S = 20


def connect(protocol, **more):
    return RedisCluster(HOST, PORT, protocol=protocol, decode_responses=True, socket_timeout=20, **more)


def connect_once(protocol):
    """A client that never sends a command again of which it does not know what came of
    it: an increment done twice would otherwise be the client's own."""
    return connect(protocol, retry=Retry(NoBackoff(), 0))


def plain(node, protocol):
    """One node, without what a cluster client does about redirections."""
    host, port = node.rsplit(":", 1)
    return redis.Redis(host, int(port), protocol=protocol, decode_responses=True, socket_timeout=20)


def until(ask):
    """Asks again until the answer is true or PATIENCE_S is over; the last answer."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := ask()) and time.monotonic() < deadline:
        pass
    return answer


def discovery(checks, client, protocol):
    masters, replicas = topology("masters").split(), topology("replicas").split()
    checks.equal("primaries", sorted(map(address, client.get_primaries())), sorted(masters))
    checks.equal("replicas", sorted(map(address, client.get_replicas())), sorted(replicas))
    ends = (0, 5460, 5461, 10922, 10923, 16383)
    checks.equal("slots have their owners", [address(client.get_node_from_key(TAGS[slot])) for slot in ends],
                 [master for master in masters for _ in range(2)])
    checks.equal("all slots are known", len(client.nodes_manager.slots_cache), 16384)
    checks.equal("any node tells the same", sorted(map(address, RedisCluster(
        startup_nodes=[ClusterNode(*replicas[0].rsplit(":", 1))], protocol=protocol).get_nodes())), sorted(NODES))
    checks.equal("CLUSTER KEYSLOT", client.cluster_keyslot("foo"), 12182)
    checks.equal("CLUSTER INFO", client.cluster_info(target_nodes=client.get_primaries()[0])["cluster_state"], "ok")
    told = client.cluster_nodes()
    checks.equal("CLUSTER NODES", sorted(told), sorted(NODES))
    checks.equal("and their slots", [told[node]["slots"] for node in masters],
                 [[["0", "5460"]], [["5461", "10922"]], [["10923", "16383"]]])
    checks.equal("and roles", ["master" in told[node]["flags"] for node in masters + replicas], [True] * 3 + [False] * 3)
    ids = {node: line["node_id"] for node, line in told.items()}
    checks.equal("CLUSTER MYID", {address(node): client.cluster_myid(node) for node in client.get_nodes()}, ids)
    checks.equal("CLUSTER REPLICAS", sorted(client.cluster_replicas(ids[masters[0]])), [topology("replica", masters[0])])
    checks.equal("CLUSTER SHARDS", len(client.cluster_shards()), 3)
    client.mset({"{foo}1": "x", "{foo}2": "y"})
    checks.equal("CLUSTER COUNTKEYSINSLOT", client.cluster_countkeysinslot(12182), 2)
    checks.equal("CLUSTER GETKEYSINSLOT", sorted(client.cluster_get_keys_in_slot(12182, 10)), ["{foo}1", "{foo}2"])


def all_slots(checks, client, _protocol):
    client.flushall()
    keys = [f"all:{{{TAGS[slot]}}}" for slot in range(16384)]
    pipe = client.pipeline()
    for slot, key in enumerate(keys):
        pipe.set(key, slot)
    checks.equal("a SET in each slot", set(pipe.execute()), {True})
    pipe = client.pipeline()
    for key in keys:
        pipe.get(key)
    checks.equal("a GET in each slot", pipe.execute(), [str(slot) for slot in range(16384)])
    everywhere = RedisCluster.PRIMARIES
    checks.equal("DBSIZE of all", total(client.dbsize(target_nodes=everywhere)), 16384)
    checks.equal("scan_iter meets every key", sorted(client.scan_iter("all:*", count=1000)), sorted(keys))
    checks.equal("KEYS of all", sorted(client.keys("all:*", target_nodes=everywhere)), sorted(keys))
    checks.equal("mget_nonatomic", client.mget_nonatomic(keys[::100]), [str(slot) for slot in range(0, 16384, 100)])
    checks.equal("DEL over slots, one by one", client.delete(*keys[:100]), 100)
    client.flushall(target_nodes=everywhere)
    checks.equal("FLUSHALL of all", total(client.dbsize(target_nodes=everywhere)), 0)


def total(answers):
    return sum(answers.values()) if isinstance(answers, dict) else answers


def one_slot(checks, client, protocol):
    checks.equal("MSET", client.mset({"{m}1": "a", "{m}2": "b"}), True)
    checks.equal("MGET", client.mget("{m}1", "{m}2", "{m}3"), ["a", "b", None])
    checks.equal("RENAME", client.rename("{m}1", "{m}4"), True)
    client.sadd("{m}s", "a", "b")
    client.sadd("{m}t", "b", "c")
    checks.equal("SINTERSTORE", client.sinterstore("{m}u", "{m}s", "{m}t"), 1)
    owner = client.get_node_from_key("{m}")
    checks.raises("CROSSSLOT", ClusterCrossSlotError, "Keys in request don't hash to the same slot",
                  lambda: client.execute_command("MSET", "foo", "1", "bar", "2", target_nodes=owner))
    # `{m}` and `{x}`: two slots of one node. Refused all the same.
    first = TAGS[client.keyslot("{m}") + 1]
    checks.raises("CROSSSLOT on one node", ClusterCrossSlotError, "don't hash to the same slot",
                  lambda: client.execute_command("MGET", "{m}", f"{{{first}}}", target_nodes=owner))
    other = plain(next(node for node in topology("masters").split() if node != address(owner)), protocol)
    try:
        other.get("{m}2")
        moved = None
    except MovedError as error:
        moved = (error.slot_id, f"{error.host}:{error.port}")
    checks.equal("MOVED to the owner", moved, (client.keyslot("{m}"), address(owner)))


def pipelines(checks, client, _protocol):
    pipe = client.pipeline()
    for number in range(1000):
        pipe.incrby(f"p:{number}", number).get(f"p:{number}")
    answers = pipe.execute()
    checks.equal("2000 answers in order", answers, [one for number in range(1000) for one in (number, str(number))])
    pipe = client.pipeline()
    pipe.set("p:text", "x").incr("p:text").get("p:text").get("p:0")
    first, second, third, fourth = pipe.execute(raise_on_error=False)
    checks.equal("around an error", (first, third, fourth), (True, "x", "0"))
    checks.error("the error in its place", second, ResponseError, "value is not an integer or out of range")


def transactions(checks, client, protocol):
    with client.pipeline(transaction=True) as pipe:
        pipe.incr("{t}a").incr("{t}a").hset("{t}h", "f", "v").hget("{t}h", "f")
        checks.equal("MULTI runs", pipe.execute(), [1, 2, 1, "v"])
    with client.pipeline(transaction=True) as pipe:
        pipe.set("foo", "1").set("bar", "2")
        checks.raises("over two slots, refused by the client", CrossSlotTransactionError, "same slot", pipe.execute)
    client.set("{t}w", "1")
    with client.pipeline(transaction=True) as pipe:
        pipe.watch("{t}w")
        seen = pipe.get("{t}w")
        client.set("{t}w", "1")  # even the same value is a touch
        pipe.multi()
        pipe.set("{t}w", seen + "!")
        checks.raises("a touched key", WatchError, "Watched variable changed", pipe.execute)
    checks.equal("and nothing was written", client.get("{t}w"), "1")
    with client.pipeline(transaction=True) as pipe:
        pipe.watch("{t}w")
        client.set("{t}w", "2")
        pipe.unwatch()
        pipe.multi()
        pipe.incr("{t}w")
        checks.equal("UNWATCH clears the guard", pipe.execute(), [3])

    def transfer(pipe):
        balance = int(pipe.get("{t}balance") or 0)
        pipe.multi()
        pipe.incrby("{t}balance", balance + 5)

    checks.equal("RedisCluster.transaction", [client.transaction(transfer, "{t}balance") for _ in range(2)], [[5], [15]])

    # What a node itself says, without a cluster client's own checks before it.
    slot = client.keyslot("{t}")
    node = plain(topology("owner", slot), protocol)
    with node.pipeline() as pipe:
        pipe.set("{t}a", "1").set(f"{{{TAGS[slot + 1]}}}", "2")
        checks.raises("two slots of one node, at EXEC", ClusterCrossSlotError, "don't hash", pipe.execute)
    elsewhere = TAGS[(slot + 8192) % 16384]
    with node.pipeline() as pipe:
        pipe.set("{t}a", "x").set(elsewhere, "2")
        checks.raises("a slot of another node", MovedError, address(client.get_node_from_key(elsewhere)), pipe.execute)
    checks.equal("nothing of either is stored", (client.get("{t}a"), client.get(elsewhere)), ("2", None))

    client.set("{t}count", 0)

    def work():
        mine = connect(protocol)
        for _ in range(20):
            while True:
                with mine.pipeline(transaction=True) as pipe:
                    try:
                        commit(pipe, "{t}count")
                        break
                    except WatchError:
                        continue
        mine.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    checks.equal("the sum is the number of commits", client.get("{t}count"), "80")


def commit(pipe, key):
    """Adds one by WATCH, GET, MULTI, SET and EXEC."""
    pipe.watch(key)
    value = int(pipe.get(key) or 0) + 1
    pipe.multi()
    pipe.set(key, value)
    pipe.execute()
    return value


def subscriptions(checks, client, _protocol):
    with contextlib.closing(client.pubsub()) as listener:
        listener.subscribe("news")
        listener.psubscribe("n?ws")
        until(lambda: listener.get_message(timeout=1) and listener.get_message(timeout=1))
        # From every node: a cluster carries a message to all subscribers.
        for number, node in enumerate(client.get_nodes()):
            plain(address(node), 2).publish("news", str(number))
        seen = []
        until(lambda: seen.append(listener.get_message(timeout=1)) or len([one for one in seen if one]) >= 12)
        texts = sorted((one["type"], one["data"]) for one in seen if one)
        checks.equal("PUBLISH from each node arrives", texts,
                     [(kind, str(number)) for kind in ("message", "pmessage") for number in range(6)])


def receive(listener, wanted):
    """Sharded messages until there are that many; channel and text of each."""
    found = []

    def ask():
        message = listener.get_sharded_message(ignore_subscribe_messages=True, timeout=0.1)
        if message:
            found.append((message["channel"], message["data"]))
        return len(found) >= wanted

    until(ask)
    return found


def sharded(checks, client, _protocol):
    channels = [f"s:{{{TAGS[slot]}}}" for slot in (1, 6000, 16000)]
    with contextlib.closing(client.pubsub()) as listener:
        listener.ssubscribe(*channels)
        checks.equal("PUBSUB SHARDNUMSUB", until(lambda: all(
            client.pubsub_shardnumsub(channel, target_nodes=client.get_node_from_key(channel)) == [(channel, 1)]
            for channel in channels)), True)
        checks.equal("SPUBLISH finds its subscriber", [client.spublish(channel, f"to {channel}") for channel in channels], [1, 1, 1])
        checks.equal("and each arrives", sorted(receive(listener, 3)), sorted((channel, f"to {channel}") for channel in channels))
    node = client.get_node_from_key(channels[0])
    other = next(one for one in client.get_primaries() if one != node)
    checks.raises("SPUBLISH on another node", MovedError, address(node),
                  lambda: plain(address(other), 2).execute_command("SPUBLISH", channels[0], "x"))


def replicas(checks, client, protocol):
    reader = connect(protocol, load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN_REPLICAS)
    keys = {f"r:{{{TAGS[slot]}}}": str(slot) for slot in range(7, 16384, 1000)}
    for key, value in keys.items():
        client.set(key, value)
    before = {address(node): gets(node) for node in client.get_nodes()}
    checks.equal("replicas have the values", until(lambda: all(reader.get(key) == value for key, value in keys.items())), True)
    asked = sorted(address(node) for node in client.get_nodes() if gets(node) > before[address(node)])
    checks.equal("only replicas were asked", asked, sorted(topology("replicas").split()))
    checks.equal("writes go to the masters", {reader.set(key, "new") for key in keys}, {True})
    key = next(iter(keys))
    master = address(client.get_node_from_key(key))
    replica = plain(topology("replica", master), protocol)
    checks.raises("a replica without READONLY", MovedError, master, lambda: replica.get(key))
    lone = replica.client()
    lone.readonly()
    checks.equal("with READONLY", until(lambda: lone.get(key) == "new"), True)
    checks.raises("but no write", MovedError, master, lambda: lone.set(key, "no"))
    lone.readwrite()
    checks.raises("nor after READWRITE", MovedError, master, lambda: lone.get(key))
    lone.close()
    reader.close()


def gets(node):
    """How many GETs that node has run."""
    return plain(address(node), 2).info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]


def half_migrated(checks, client, protocol):
    """A slot of which one part has moved: each key is found where it is."""
    slot = 5474  # {user}
    source = topology("owner", slot)
    target = next(node for node in topology("masters").split() if node != source)
    client.mset({"{user}gone": "1", "{user}here": "2", "{user}count": "10"})
    topology("half", slot, target, "{user}gone", "{user}count")
    try:
        here = plain(source, protocol)
        checks.raises("the node says ASK", AskError, target, lambda: here.get("{user}gone"))
        checks.raises("and TRYAGAIN for both", TryAgainError, "rehashing of slot", lambda: here.mget("{user}gone", "{user}here"))
        checks.equal("what is gone", client.get("{user}gone"), "1")
        checks.equal("what is still here", client.get("{user}here"), "2")
        checks.equal("an increment of what is gone", client.incr("{user}count"), 11)
        checks.equal("a new key", client.set("{user}new", "3"), True)
        checks.equal("is made at the target", sorted(plain(target, protocol).cluster("GETKEYSINSLOT", slot, 10)),
                     ["{user}count", "{user}gone", "{user}new"])
        checks.equal("both keys gone", client.mget("{user}gone", "{user}count"), ["1", "11"])
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(until(unless_tryagain)))

        def unless_tryagain():
            # The client itself gives up on TRYAGAIN after a while.
            try:
                return client.mget("{user}gone", "{user}here", "{user}new")
            except (ClusterError, TryAgainError):
                return None

        waiting.start()
    finally:
        topology("finish", slot, target)
    waiting.join()
    checks.equal("MGET came through TRYAGAIN", answers, [["1", "2", "3"]])
    checks.equal("all together again", client.mget("{user}gone", "{user}here", "{user}new", "{user}count"), ["1", "2", "3", "11"])
    checks.equal("at the new owner", address(client.get_node_from_key("{user}")), target)


def counting(checks, protocol, slots, change):
    """Workers count in these slots, with INCR and with WATCH, while `change` goes on."""
    name = f"{change.__name__}{protocol}"
    plain_keys = [f"{name}:incr:{{{TAGS[slot]}}}" for slot in slots]
    guarded = [f"{name}:watch:{{{TAGS[slot]}}}" for slot in slots]
    ledger = Ledger(plain_keys + guarded)
    over = threading.Event()

    def work(keys, step):
        mine = connect_once(protocol)
        deadline = time.monotonic() + 60
        while not over.is_set() and time.monotonic() < deadline:
            for key in keys:
                try:
                    ledger.answered(key, step(mine, key))
                except Exception as error:  # told apart, and shown, by the ledger
                    ledger.broken(key, error)
        mine.close()

    def guard(mine, key):
        with mine.pipeline(transaction=True) as pipe:
            return commit(pipe, key)

    workers = [threading.Thread(target=work, args=work_of) for work_of in (
        (plain_keys, lambda mine, key: mine.incr(key)), (plain_keys[::-1], lambda mine, key: mine.incr(key)),
        (guarded, guard), (guarded[::-1], guard),
    )]
    for worker in workers:
        worker.start()
    try:
        until(lambda: all(ledger.answers.values()))
        before = ledger.total()
        change()
        checks.hold("counted meanwhile", ledger.total() > before)
        after = ledger.total()
        checks.hold("and goes on", until(lambda: ledger.total() > after + 200))
    finally:
        over.set()
        for worker in workers:
            worker.join()
    client = connect(protocol)
    ledger.check(checks, {key: int(client.get(key) or 0) for key in ledger.answers})
    client.close()
    return ledger


def reshard(checks, client, protocol):
    source, target = topology("masters").split()[:2]
    moving = first_slots(source, 120)
    pipe = client.pipeline()
    for slot in moving:
        for number in range(8):
            pipe.set(f"fill:{{{TAGS[slot]}}}{number}", slot)
    pipe.execute()

    def slots_move():
        topology("reshard", source, target, len(moving))

    ledger = counting(checks, protocol, moving[::30] + [16000], slots_move)
    checks.equal("no connection broke", sum(ledger.unknown.values()), 0)
    kept = sum(client.exists(*(f"fill:{{{TAGS[slot]}}}{number}" for number in range(8))) for slot in moving)
    checks.equal("no key was lost", kept, 8 * 120)
    checks.equal("the slots have moved", {address(client.get_node_from_key(TAGS[slot])) for slot in moving}, {target})


def failover(checks, client, protocol):
    slots = [0, 100, 6000, 16000]
    master = topology("owner", 0)
    replica = topology("replica", master)

    def replica_takes_over():
        topology("failover", replica)

    counting(checks, protocol, slots, replica_takes_over)
    checks.equal("the replica has taken over", topology("owner", 0), replica)
    checks.equal("the client goes there", (client.set(TAGS[0], "x"), address(client.get_node_from_key(TAGS[0]))), (True, replica))
    topology("failover", master)
    checks.equal("and back", (client.get(TAGS[0]), topology("owner", 0)), ("x", master))


def following(checks, client, _protocol):
    """A sharded subscription goes where its slot goes."""
    source, target = topology("masters").split()[:2]
    slot = first_slots(source, 1)[0]
    channel = f"f:{{{TAGS[slot]}}}"
    # After the failovers before, redis-py may have an old map of slots that it has not used since; a subscription
    # that goes astray raises MOVED.
    client.nodes_manager.initialize()
    with contextlib.closing(client.pubsub()) as listener:
        listener.ssubscribe(channel)
        until(lambda: client.spublish(channel, "before") == 1)
        checks.equal("before the slot moves", receive(listener, 1), [(channel, "before")])
        topology("reshard", source, target, 1)
        # redis-py subscribes anew when it learns of the move: by a redirection, here.
        found = []

        def ask():
            client.spublish(channel, "after")
            found.extend(receive_one(listener))
            return found

        checks.hold("after it has moved", until(ask) and found[0] == (channel, "after"), found)


def receive_one(listener):
    message = listener.get_sharded_message(ignore_subscribe_messages=True, timeout=0.1)
    return [(message["channel"], message["data"])] if message else []


def main():
    checks = Checks("redis-py-cluster")
    for protocol in (2, 3):
        client = connect(protocol)
        client.flushall()
        parts = [all_slots, one_slot, pipelines, transactions, subscriptions, sharded, replicas,
                 half_migrated, reshard, failover, following]
        # Where the slots lie at first is known only at first.
        for part in [discovery, *parts] if protocol == 2 else parts:
            checks.part = f"RESP{protocol} {part.__name__}"
            try:
                part(checks, client, protocol)
            except Exception as error:
                checks.hold("ended early", False, repr(error))
        client.close()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
