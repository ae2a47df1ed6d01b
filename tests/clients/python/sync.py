"""redis-py, blocking, over RESP2 and RESP3: what an application does with it,
and which of redis-py's own exceptions it gets when it does wrong.
"""

import sys
import threading
import time

import redis
from redis.exceptions import ClusterCrossSlotError, ExecAbortError, ResponseError, WatchError

from checks import Checks, options

OPTIONS = options()
WORKERS, COMMITS = 6, 40


def connect(protocol, **more):
    return redis.Redis(OPTIONS.host, OPTIONS.port, protocol=protocol, decode_responses=True, socket_timeout=20, **more)


def strings(checks, client, protocol):
    checks.equal("PING", client.ping(), True)
    checks.equal("SET", client.set("s:a", "1"), True)
    checks.equal("GET", client.get("s:a"), "1")
    checks.equal("GET of nothing", client.get("s:none"), None)
    checks.equal("SET NX over a value", client.set("s:a", "2", nx=True), None)
    checks.equal("SET GET", client.set("s:a", "3", get=True), "1")
    checks.equal("INCRBY", client.incrby("s:a", 39), 42)
    checks.equal("APPEND", client.append("s:a", "!"), 3)
    checks.equal("GETRANGE", client.getrange("s:a", 0, 1), "42")
    checks.equal("MSET with one tag", client.mset({"{s}1": "x", "{s}2": "y"}), True)
    checks.equal("MGET with one tag", client.mget("{s}1", "{s}2", "{s}3"), ["x", "y", None])
    checks.equal("TYPE", client.type("s:a"), "string")
    checks.equal("EXISTS", client.exists("{s}1", "{s}2", "{s}3"), 2)
    checks.equal("DEL", client.delete("{s}1", "{s}2", "{s}3"), 2)
    binary = redis.Redis(OPTIONS.host, OPTIONS.port, protocol=protocol, socket_timeout=20)
    every_byte = bytes(range(256)) * 8192
    binary.set(b"s:\x00\r\n\xff", every_byte)
    checks.hold("2 MiB of every byte come back", binary.get(b"s:\x00\r\n\xff") == every_byte)
    checks.equal("and go", binary.delete(b"s:\x00\r\n\xff"), 1)
    binary.close()


def hashes(checks, client, _protocol):
    checks.equal("HSET", client.hset("h", mapping={"name": "ada", "born": "1815"}), 2)
    checks.equal("HGET", client.hget("h", "name"), "ada")
    checks.equal("HGET of no field", client.hget("h", "none"), None)
    checks.equal("HGETALL is a dict", client.hgetall("h"), {"name": "ada", "born": "1815"})
    checks.equal("HGETALL of nothing", client.hgetall("h:none"), {})
    checks.equal("HMGET", client.hmget("h", "name", "none"), ["ada", None])
    checks.equal("HINCRBY", client.hincrby("h", "born", 37), 1852)
    checks.equal("HLEN", client.hlen("h"), 2)
    checks.equal("HEXISTS", client.hexists("h", "name"), True)
    checks.equal("HKEYS", sorted(client.hkeys("h")), ["born", "name"])
    checks.equal("HDEL", client.hdel("h", "name", "none"), 1)
    fields = {f"f{number}": str(number) for number in range(1000)}
    client.hset("h:large", mapping=fields)
    checks.equal("hscan_iter sees every field once", dict(client.hscan_iter("h:large", count=50)), fields)
    checks.equal("a hash without fields is gone", (client.hdel("h", "born"), client.exists("h")), (1, 0))


def bitmaps(checks, client, _protocol):
    checks.equal("SETBIT", (client.setbit("b", 7, 1), client.setbit("b", 7, 1)), (0, 1))
    checks.equal("GETBIT", (client.getbit("b", 7), client.getbit("b", 8)), (1, 0))
    client.set("{b}2", "foobar")
    checks.equal("BITCOUNT", client.bitcount("{b}2"), 26)
    checks.equal("BITCOUNT of bits", client.bitcount("{b}2", 5, 30, "BIT"), 17)
    checks.equal("BITPOS", client.bitpos("{b}2", 1), 1)
    checks.equal("BITOP", client.bitop("AND", "{b}3", "{b}2", "b"), 6)
    field = client.bitfield("{b}4", default_overflow="SAT")
    field.set("u8", "#0", 250).incrby("u8", "#0", 10).get("u8", 0).incrby("i5", 100, 1, overflow="WRAP")
    checks.equal("BITFIELD", field.execute(), [0, 255, 255, 1])
    checks.equal("BITFIELD_RO", client.bitfield_ro("{b}4", "u4", 0, [("u8", "#0")]), [15, 255])


def hyperloglogs(checks, client, _protocol):
    checks.equal("PFADD", (client.pfadd("p", "a", "b", "c"), client.pfadd("p", "a")), (1, 0))
    checks.equal("PFCOUNT", client.pfcount("p"), 3)
    client.pfadd("{p}2", "c", "d")
    checks.equal("PFCOUNT of two", client.pfcount("p", "{p}2"), 4)
    checks.equal("PFMERGE", (client.pfmerge("{p}3", "p", "{p}2"), client.pfcount("{p}3")), (True, 4))
    for start in range(0, 20_000, 1000):
        client.pfadd("{p}4", *range(start, start + 1000))
    checks.hold("20,000 within two percent", abs(client.pfcount("{p}4") - 20_000) < 400)
    client.set("{p}5", "none")
    checks.raises("no HyperLogLog", ResponseError, "not a valid HyperLogLog", lambda: client.pfadd("{p}5", "x"))


def places(checks, client, _protocol):
    sicily = (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")
    checks.equal("GEOADD", client.geoadd("g", sicily), 2)
    checks.equal("GEODIST", client.geodist("g", "Palermo", "Catania", unit="km"), 166.2742)
    checks.equal("GEOHASH", client.geohash("g", "Palermo", "none"), ["sqc8b49rny0", None])
    (longitude, latitude), missing = client.geopos("g", "Palermo", "none")
    checks.hold("GEOPOS", abs(longitude - 13.361389) < 1e-5 and abs(latitude - 38.115556) < 1e-5 and missing is None)
    checks.equal("GEOSEARCH", client.geosearch("g", longitude=15, latitude=37, radius=200, unit="km", sort="DESC"), ["Palermo", "Catania"])
    found = client.geosearch("g", member="Palermo", width=400, height=400, unit="km", withdist=True, sort="ASC", count=1)
    checks.equal("GEOSEARCH BYBOX with distances", found, [["Palermo", 0.0]])
    checks.equal("GEORADIUSBYMEMBER", client.georadiusbymember("g", "Catania", 10, unit="km"), ["Catania"])
    checks.equal("GEOSEARCHSTORE", client.geosearchstore("{g}2", "g", longitude=15, latitude=37, radius=100, unit="km", storedist=True), 1)
    checks.equal("stored distance", round(client.zscore("{g}2", "Catania"), 4), 56.4413)
def streams(checks, client, protocol):
    """A stream read by everybody, and one shared out to consumers, one of which dies."""
    ids = [client.xadd("x", {"n": number, "text": "a\r\nb"}) for number in range(3)]
    checks.equal("ids ascend", ids, sorted(ids, key=lambda each: [int(part) for part in each.split("-")]))
    checks.equal("XRANGE", client.xrange("x", min=f"({ids[0]}", count=1), [(ids[1], {"n": "1", "text": "a\r\nb"})])
    checks.equal("XREVRANGE", [each for each, _ in client.xrevrange("x")], ids[::-1])
    read = client.xread({"x": ids[0]}, count=10)
    entries = read["x"][0] if protocol == 3 else read[0][1]
    checks.equal("XREAD", [each for each, _ in entries], ids[1:])
    checks.equal("XREAD of nothing new", not client.xread({"x": "$"}, block=1), True)
    arrived = []
    waiting = connect(protocol)
    reader = threading.Thread(target=lambda: arrived.append(waiting.xread({"x": ids[-1]}, block=20_000)))
    reader.start()
    late = client.xadd("x", {"n": "late"}, maxlen=2, approximate=False)
    reader.join()
    waiting.close()
    got = arrived[0]["x"][0] if protocol == 3 else arrived[0][0][1]
    checks.equal("a blocked XREAD is woken", got, [(late, {"n": "late"})])
    checks.equal("XADD trims", client.xlen("x"), 2)

    checks.equal("XGROUP CREATE", client.xgroup_create("jobs", "workers", mkstream=True), True)
    checks.raises("a group of that name", ResponseError, "Consumer Group name already exists",
                  lambda: client.xgroup_create("jobs", "workers"))
    for number in range(10):
        client.xadd("jobs", {"job": number})

    def take(name, count):
        taken = client.xreadgroup("workers", name, {"jobs": ">"}, count=count)
        entries = taken["jobs"][0] if protocol == 3 else taken[0][1]
        return [(each, fields["job"]) for each, fields in entries]

    dies, lives = take("dies", 4), take("lives", 6)
    checks.equal("each entry goes to one consumer", [job for _, job in dies + lives], [str(n) for n in range(10)])
    checks.equal("XACK", client.xack("jobs", "workers", *(each for each, _ in lives)), 6)
    summary = client.xpending("jobs", "workers")
    checks.equal("XPENDING", (summary["pending"], summary["consumers"]), (4, [{"name": "dies", "pending": 4}]))
    _, claimed, gone = client.xautoclaim("jobs", "workers", "lives", min_idle_time=0, count=3)
    checks.equal("XAUTOCLAIM", ([fields["job"] for _, fields in claimed], gone), (["0", "1", "2"], []))
    checks.equal("XCLAIM", client.xclaim("jobs", "workers", "lives", 0, [dies[3][0]], justid=True), [dies[3][0]])
    deliveries = client.xpending_range("jobs", "workers", "-", "+", 10, consumername="lives")
    checks.equal("how often each was delivered", [each["times_delivered"] for each in deliveries], [2, 2, 2, 1])
    with client.pipeline() as pipe:
        for each, _ in dies:
            pipe.xack("jobs", "workers", each).xdel("jobs", each)
        checks.equal("acknowledged in a transaction", pipe.execute(), [1] * 8)
    checks.equal("XINFO GROUPS", client.xinfo_groups("jobs")[0]["lag"], 0)
    checks.equal("XINFO CONSUMERS", [each["name"] for each in client.xinfo_consumers("jobs", "workers")], ["dies", "lives"])
    checks.equal("XGROUP DESTROY", client.xgroup_destroy("jobs", "workers"), 1)


def expiry(checks, client, _protocol):
    client.set("e:a", "x", ex=100)
    checks.hold("TTL", 95 <= client.ttl("e:a") <= 100)
    checks.equal("PERSIST", client.persist("e:a"), True)
    checks.equal("TTL of a lasting key", client.ttl("e:a"), -1)
    checks.equal("TTL of nothing", client.ttl("e:none"), -2)
    checks.equal("EXPIRE", client.expire("e:a", 50), True)
    checks.equal("a time that has passed deletes", (client.pexpireat("e:a", 1), client.get("e:a")), (True, None))
    client.set("e:soon", "x", px=30)
    # Asks until it has happened, and gives up only long after it is due.
    deadline = time.monotonic() + 10
    while client.get("e:soon") is not None and time.monotonic() < deadline:
        pass
    checks.equal("a key expires", client.exists("e:soon"), 0)


def scanning(checks, client, _protocol):
    wanted = {f"scan:{number}" for number in range(3000)}
    pipe = client.pipeline(transaction=False)
    for key in wanted:
        pipe.set(key, "x")
    pipe.execute()
    found = list(client.scan_iter("scan:*", count=100))
    checks.equal("scan_iter finds every key of every shard", set(found), wanted)
    checks.equal("and each only once on a quiet server", len(found), len(wanted))
    client.hset("scan:hash", "f", "v")
    checks.equal("scan_iter by type", list(client.scan_iter("scan:*", count=500, _type="hash")), ["scan:hash"])
    checks.equal("KEYS", set(client.keys("scan:1?")), {f"scan:1{digit}" for digit in range(10)})
    checks.equal("DBSIZE counts the whole cluster", client.dbsize(), len(list(client.scan_iter(count=1000))))


def pipelines(checks, client, _protocol):
    pipe = client.pipeline(transaction=False)
    for number in range(2000):
        pipe.set(f"p:{number}", number)
        pipe.get(f"p:{number}")
    answers = pipe.execute()
    checks.equal("4000 answers over all slots, in order", answers,
                 [answer for number in range(2000) for answer in (True, str(number))])
    pipe = client.pipeline(transaction=False)
    pipe.set("p:text", "x").incr("p:text").get("p:text")
    first, second, third = pipe.execute(raise_on_error=False)
    checks.equal("before an error", first, True)
    checks.error("the error in its place", second, ResponseError, "value is not an integer or out of range")
    checks.equal("after an error", third, "x")


def transactions(checks, client, _protocol):
    pipe = client.pipeline()
    pipe.set("{t}a", "1").incr("{t}a").hset("{t}h", "f", "v").hgetall("{t}h")
    checks.equal("MULTI runs", pipe.execute(), [True, 2, 1, {"f": "v"}])
    checks.equal("an empty transaction", client.pipeline().execute(), [])

    pipe = client.pipeline()
    pipe.set("{t}a", "x").hget("{t}a", "f").set("{t}b", "y")
    first, second, third = pipe.execute(raise_on_error=False)
    checks.equal("before the failing command", first, True)
    checks.error("WRONGTYPE inside the array", second, ResponseError, "WRONGTYPE")
    checks.equal("no rollback, the rest runs", (third, client.get("{t}a"), client.get("{t}b")), (True, "x", "y"))

    def transfer(pipe):
        balance = int(pipe.get("{t}balance") or 0)
        pipe.multi()
        pipe.set("{t}balance", balance + 5)

    checks.equal("Redis.transaction", client.transaction(transfer, "{t}balance"), [True])

    client.set("{t}w", "1")
    with client.pipeline() as pipe:
        pipe.watch("{t}w")
        seen = pipe.get("{t}w")
        client.set("{t}w", "1")  # even the same value is a touch
        pipe.multi()
        pipe.set("{t}w", seen + "!")
        checks.raises("a touched key", WatchError, "Watched variable changed", pipe.execute)
    checks.equal("and nothing was written", client.get("{t}w"), "1")
    with client.pipeline() as pipe:
        pipe.watch("{t}w")
        client.set("{t}w", "2")
        pipe.unwatch()
        pipe.multi()
        pipe.set("{t}w", "3")
        checks.equal("UNWATCH clears the guard", pipe.execute(), [True])


def contention(checks, client, protocol):
    """Several workers count up through WATCH, GET, MULTI, SET, EXEC. The sum is
    right only if no EXEC ever ran over somebody else's write."""
    client.set("{c}count", 0)
    broken = []
    together = threading.Barrier(WORKERS)

    def work():
        mine = connect(protocol)
        try:
            together.wait(20)
            for _ in range(COMMITS):
                while True:
                    with mine.pipeline() as pipe:
                        try:
                            pipe.watch("{c}count")
                            value = int(pipe.get("{c}count"))
                            pipe.multi()
                            pipe.set("{c}count", value + 1)
                            pipe.execute()
                            break
                        except WatchError:
                            continue
        except Exception as error:
            broken.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    checks.equal("no worker broke", broken, [])
    checks.equal("the sum is the number of commits", client.get("{c}count"), str(WORKERS * COMMITS))


def refusals(checks, client, _protocol):
    client.set("r:text", "x")
    checks.raises("WRONGTYPE", ResponseError, "WRONGTYPE Operation against a key", lambda: client.hget("r:text", "f"))
    checks.raises("unknown command", ResponseError, "unknown command 'NOSUCH'", lambda: client.execute_command("NOSUCH", "x"))
    checks.raises("arity", ResponseError, "wrong number of arguments for 'get' command", lambda: client.execute_command("GET"))
    checks.raises("MSET over two slots", ClusterCrossSlotError, "Keys in request don't hash to the same slot",
                  lambda: client.mset({"foo": "1", "bar": "2"}))
    checks.equal("and nothing of it is stored", (client.get("foo"), client.get("bar")), (None, None))
    checks.raises("WATCH over two slots", ClusterCrossSlotError, "don't hash", lambda: client.pipeline().watch("foo", "bar"))
    pipe = client.pipeline()
    pipe.set("foo", "1").set("bar", "2")
    checks.raises("MULTI over two slots", ClusterCrossSlotError, "don't hash", pipe.execute)
    checks.equal("and nothing of it is stored", (client.get("foo"), client.get("bar")), (None, None))
    pipe = client.pipeline()
    pipe.set("{r}a", "1").execute_command("NOSUCH")
    checks.raises("unknown command in MULTI", ResponseError, "unknown command", pipe.execute)
    checks.equal("and nothing of it ran", client.get("{r}a"), None)
    checks.raises("SELECT 1", ResponseError, "SELECT is not allowed in cluster mode", lambda: client.execute_command("SELECT", "1"))


class Raw:
    """One connection of redis-py, a command at a time: what the pipeline hides."""

    def __init__(self, client):
        self.pool = client.connection_pool
        self.connection = self.pool.get_connection()

    def __call__(self, *words):
        self.connection.send_command(*words)
        try:
            return self.connection.read_response()
        except ResponseError as error:
            return error

    def close(self):
        self.connection.disconnect()
        self.pool.release(self.connection)


def step_by_step(checks, client, _protocol):
    raw = Raw(client)
    checks.error("EXEC without MULTI", raw("EXEC"), ResponseError, "EXEC without MULTI")
    checks.equal("MULTI", raw("MULTI"), "OK")
    checks.error("nested MULTI", raw("MULTI"), ResponseError, "MULTI calls can not be nested")
    checks.equal("SET", raw("SET", "{q}a", "1"), "QUEUED")
    checks.equal("EXEC goes on after a nested MULTI", raw("EXEC"), ["OK"])
    checks.equal("MULTI", raw("MULTI"), "OK")
    checks.equal("SET", raw("SET", "{q}a", "2"), "QUEUED")
    checks.equal("DISCARD", raw("DISCARD"), "OK")
    checks.equal("nothing ran", raw("GET", "{q}a"), "1")
    checks.equal("MULTI", raw("MULTI"), "OK")
    checks.error("arity", raw("GET"), ResponseError, "wrong number of arguments")
    checks.error("EXEC", raw("EXEC"), ExecAbortError, "Transaction discarded because of previous errors")
    if not OPTIONS.reference:
        # The router refuses at once what a node refuses at EXEC.
        checks.equal("MULTI", raw("MULTI"), "OK")
        checks.equal("SET foo", raw("SET", "foo", "1"), "QUEUED")
        checks.error("SET bar", raw("SET", "bar", "2"), ClusterCrossSlotError, "don't hash to the same slot")
        checks.error("EXEC", raw("EXEC"), ExecAbortError, "Transaction discarded because of previous errors")
        checks.equal("nothing ran", raw("GET", "foo"), None)
        checks.equal("WATCH foo", raw("WATCH", "foo"), "OK")
        checks.error("WATCH of another slot", raw("WATCH", "bar"), ClusterCrossSlotError, "don't hash")
        checks.equal("MULTI", raw("MULTI"), "OK")
        checks.equal("SET foo", raw("SET", "foo", "1"), "QUEUED")
        checks.error("EXEC after a failed WATCH", raw("EXEC"), ExecAbortError, "Transaction discarded")
        checks.equal("WATCH foo", raw("WATCH", "foo"), "OK")
        checks.equal("MULTI", raw("MULTI"), "OK")
        checks.error("a key outside the watched slot", raw("SET", "bar", "2"), ClusterCrossSlotError, "don't hash")
        checks.error("EXEC", raw("EXEC"), ExecAbortError, "Transaction discarded")
        checks.equal("the next transaction is clean", [raw("MULTI"), raw("SET", "foo", "1"), raw("EXEC")], ["OK", "QUEUED", ["OK"]])
        raw("DEL", "foo")
    raw.close()


def connections(checks, client, protocol):
    named = connect(protocol, client_name="worker-7", single_connection_client=True)
    checks.equal("the name given at connect", named.client_getname(), "worker-7")
    checks.equal("CLIENT SETNAME", (named.client_setname("worker-8"), named.client_getname()), (True, "worker-8"))
    own = named.client_id()
    info = named.client_info()
    checks.equal("CLIENT INFO id, name", (int(info["id"]), info["name"]), (own, "worker-8"))
    checks.equal("CLIENT INFO resp", info.get("resp"), str(protocol))
    listed = [one for one in client.client_list() if one["name"] == "worker-8"]
    checks.equal("CLIENT LIST", [int(one["id"]) for one in listed], [own])
    checks.equal("the HELLO of this protocol", hello(client, protocol), protocol)

    raw = Raw(named)
    victim = raw("CLIENT", "ID")
    checks.equal("MULTI", raw("MULTI"), "OK")
    checks.equal("SET", raw("SET", "k:queued", "1"), "QUEUED")
    checks.equal("CLIENT KILL ID", client.client_kill_filter(_id=victim), 1)
    try:
        outcome = raw("EXEC")
    except redis.ConnectionError:
        outcome = "closed"
    checks.equal("the killed connection is closed", outcome, "closed")
    checks.equal("and nothing of its queue ran", client.get("k:queued"), None)
    raw.close()
    again = connect(protocol)
    before = again.client_id()
    client.client_kill_filter(_id=before)
    checks.equal("a killed client reconnects by itself", again.set("k:again", "1"), True)
    checks.hold("with a new id", again.client_id() != before)
    again.close()
    named.close()


def hello(client, protocol):
    raw = Raw(client)
    answer = raw("HELLO", protocol)
    raw.close()
    if isinstance(answer, list):
        answer = dict(zip(answer[::2], answer[1::2]))
    return answer.get("proto")


def about(checks, client, _protocol):
    info = client.info()
    checks.hold("INFO has a version", "redis_version" in info)
    checks.equal("FLUSHALL", (client.flushall(), client.dbsize()), (True, 0))


def main():
    checks = Checks("redis-py")
    parts = (
        strings, hashes, streams, bitmaps, hyperloglogs, places, expiry, scanning, pipelines, transactions, contention, refusals,
        step_by_step, connections, about,
    )
    for protocol in (2, 3):
        client = connect(protocol)
        client.flushall()
        for part in parts:
            checks.part = f"RESP{protocol} {part.__name__}"
            try:
                part(checks, client, protocol)
            except Exception as error:
                checks.hold("ended early", False, repr(error))
        client.close()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
