"""redis-py's `json()` commands, in RESP2 and RESP3, alone, in pipelines and in transactions.

    redis_py_json.py PORT
"""

import sys
import warnings

import redis
from redis.commands.json.path import Path

PORT = int(sys.argv[1])
# NUMMULTBY is deprecated, and still used.
warnings.simplefilter("ignore", DeprecationWarning)
DOCUMENT = {"name": "ann", "age": 30, "score": 1.5, "on": True, "tags": ["a", "b"], "deep": {"tags": ["c"], "n": None}}


def check(client):
    client.delete("doc", "{doc}2")
    json = client.json()
    assert json.set("doc", Path.root_path(), DOCUMENT)
    assert json.get("doc") == DOCUMENT
    assert json.get("doc", "$.name", "$.age") == {"$.name": ["ann"], "$.age": [30]}
    assert json.get("doc", Path(".deep.tags")) == ["c"]
    assert json.set("doc", "$.age", 31, xx=True) and json.set("doc", "$.age", 1, nx=True) is None
    assert json.numincrby("doc", "$.age", 2) == [33]
    assert json.nummultby("doc", "$.score", 2) == [3.0]
    assert json.strlen("doc", "$.name") == [3]
    assert json.strappend("doc", "!", "$.name") == [4]
    assert json.toggle("doc", "$.on") == [False]
    assert json.arrappend("doc", "$..tags", "x", {"y": 1}) == [4, 3]
    assert json.arrinsert("doc", "$.tags", 0, "first") == [5]
    assert json.arrindex("doc", "$.tags", "x") == [3]
    assert json.arrlen("doc", "$..tags") == [5, 3]
    assert json.arrpop("doc", "$.tags", 0) in (["first"], ['"first"'])
    assert json.arrtrim("doc", "$.tags", 0, 1) == [2]
    assert json.objlen("doc", "$.deep") == [2]
    assert json.objkeys("doc", "$.deep") == [["tags", "n"]]
    assert json.merge("doc", "$", {"deep": {"n": 5, "tags": None}, "new": [1]})
    assert json.get("doc", "$.deep")[0] == {"n": 5}
    assert json.mset([("doc", "$.new", 2), ("{doc}2", "$", {"new": 3})])
    assert json.mget(["doc", "{doc}2"], "$.new") == [[2], [3]]
    assert json.clear("doc", "$.tags") == 1
    assert json.delete("doc", "$.new") == 1 and json.get("doc", "$.new") == []
    assert client.type("doc") in ("ReJSON-RL", b"ReJSON-RL")

    with client.pipeline(transaction=True) as pipe:
        pipe.json().set("doc", "$.age", 40)
        pipe.json().numincrby("doc", "$.age", 1)
        pipe.json().get("doc", "$.age")
        assert pipe.execute()[1:] == [[41], [41]]
    with client.pipeline() as pipe:
        pipe.watch("doc")
        client.json().set("doc", "$.nosuch.nosuch", 1)
        pipe.multi()
        pipe.json().get("doc")
        try:
            pipe.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("a command that writes trips the guard of its key")
    script = client.register_script("return redis.call('JSON.GET', KEYS[1], ARGV[1])")
    assert script(keys=["doc"], args=["$.age"]) in ("[41]", b"[41]")
    try:
        json.get("doc", "$[")
    except redis.ResponseError as error:
        assert "Error occurred on position 2" in str(error), error
    else:
        raise AssertionError("a malformed path is an error")


for protocol in (2, 3):
    check(redis.Redis(port=PORT, protocol=protocol, decode_responses=True))
