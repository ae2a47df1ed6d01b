"""JSON documents, beside Redis Stack: CPU per operation, and memory per document."""

import json

from . import shape
from .servers import Starter
from .units import RANDOM

DOCUMENTS = 100_000
KIB = 1024


def document():
    """An order of about a kibibyte, as an application would keep one."""
    order = {
        "id": f"order:{RANDOM}",
        "status": "open",
        "count": 1000,
        "total": 149.95,
        "customer": {"name": "Ann Example", "email": "ann@example.org", "vip": False, "since": 2019},
        "address": {"street": "12 Long Lane", "city": "Springfield", "code": "12345", "lines": []},
        "items": [
            {"sku": f"sku-{number:04d}", "title": f"A thing of kind {number}", "price": 10.5 + number, "amount": number + 1}
            for number in range(7)
        ],
        "tags": ["gift", "express", "fragile"],
        "notes": "",
    }
    order["notes"] = "x" * (KIB - len(json.dumps(order, separators=(",", ":"))))
    text = json.dumps(order, separators=(",", ":"))
    assert len(text) == KIB
    return text


def groups(group, workload, units):
    key = f"doc:{RANDOM}"
    fill = [["JSON.SET", key, "$", document()]]
    documents = group("documents", f"{DOCUMENTS:,} JSON documents of 1 KiB", fill, DOCUMENTS, DOCUMENTS)
    documents.sample = lambda number: ("JSON.GET", f"doc:{number % DOCUMENTS:012d}", "$.count")
    for name, words, must in (
        ("JSON.GET 1 KiB P=16", ["JSON.GET", key], 1.5),
        ("JSON.GET $.customer.name P=16", ["JSON.GET", key, "$.customer.name"], None),
        ("JSON.GET filter P=16", ["JSON.GET", key, "$.items[?(@.price>14)].sku"], None),
        ("JSON.NUMINCRBY 1 KiB P=16", ["JSON.NUMINCRBY", key, "$.count", "1"], 1.5),
        ("JSON.NUMINCRBY 1 KiB P=1", ["JSON.NUMINCRBY", key, "$.count", "1"], None),
        ("JSON.SET $.status P=16", ["JSON.SET", key, "$.status", '"sent"'], None),
        ("JSON.SET 1 KiB P=16", ["JSON.SET", key, "$", document()], None),
    ):
        pipeline = 1 if name.endswith("P=1") else 16
        documents.workloads.append(workload(name, 20_000 if pipeline == 1 else 200_000, must, units([words], pipeline, DOCUMENTS)))
    return [documents]


def memory(starter: Starter, wanted):
    """Yields a row per wanted kind of document; the *must* is RedisJSON's own."""
    numbers = json.dumps(list(range(1000)), separators=(",", ":"))
    kinds = [
        ("document of 1 KiB", document(), DOCUMENTS),
        ("document of 3 members", f'{{"name":"name{RANDOM}","age":30,"on":true}}', DOCUMENTS),
        ("document of 1,000 integers", numbers, DOCUMENTS // 20),
    ]
    for what, text, count in kinds:
        if wanted(f"memory per {what}"):
            yield shape.elements(starter, what, [["JSON.SET", f"doc:{RANDOM}", "$", text]], count, count)
    if wanted("memory per member of one document"):
        fill = [["JSON.MERGE", "doc", "$", f'{{"member{RANDOM}":1}}']]
        yield shape.elements(starter, "member of one document", fill, DOCUMENTS, DOCUMENTS)
