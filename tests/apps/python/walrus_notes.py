"""An ORM on plain Redis: walrus, with the models and containers of its documentation.
(rapyer keeps its objects in RedisJSON: see tests/apps/json.)

    walrus_notes.py PORT as-written|hashtags
"""

import datetime
import sys

import walrus

PORT, VARIANT = int(sys.argv[1]), sys.argv[2]
db = walrus.Database(port=PORT)
TAG = "{notes}" if VARIANT == "hashtags" else ""


class User(walrus.Model):
    __database__ = db
    __namespace__ = TAG or None
    username = walrus.TextField(primary_key=True)
    age = walrus.IntegerField(index=True)


class Note(walrus.Model):
    __database__ = db
    __namespace__ = TAG or None
    text = walrus.TextField(fts=True)
    author = walrus.TextField(index=True)
    written = walrus.DateTimeField(default=datetime.datetime.now, index=True)
    tags = walrus.SetField()


for age, name in enumerate(["ann", "bob", "cleo"], 30):
    User.create(username=name, age=age)
for number in range(6):
    note = Note.create(text=f"a note on the number {number}", author=["ann", "bob"][number % 2])
    note.tags.add("number", str(number))
assert len(list(Note.query(Note.author == "ann"))) == 3
assert len(list(User.query(User.age >= 31, order_by=User.age.desc()))) == 2
assert len(list(User.query((User.age == 30) | (User.username == "bob")))) == 2
assert list(Note.query(Note.text.search("note")))
note.author = "cleo"
note.save()
note.delete()

# Containers, and a transaction over two of them.
members, seen = db.Set(f"{TAG}members"), db.ZSet(f"{TAG}seen")
members.add("ann", "bob")
seen.add({"ann": 1, "bob": 2})
with db.atomic() as atomic:
    atomic.pipe.sadd(f"{TAG}members", "cleo")
    atomic.pipe.zadd(f"{TAG}seen", {"cleo": 3})
both = members & db.Set(f"{TAG}friends")
cache = db.cache(name=f"{TAG}cache")
cache.set("a", 1, 10)
assert cache.get("a") == 1
cache.delete("a")
limit = db.rate_limit(f"{TAG}limit", limit=2, per=60)
limit.limit("ann")
with db.lock("report", ttl=1000):
    db.set(f"{TAG}report", 1)
