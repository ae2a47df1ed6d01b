"""django-redis as a Django cache, with the calls of its documentation.

    django_shop.py PORT as-written|hashtags
"""

import sys

import django
from django.conf import settings

PORT, VARIANT = int(sys.argv[1]), sys.argv[2]
CACHE = {
    "BACKEND": "django_redis.cache.RedisCache",
    # As its documentation has it: database 1.
    "LOCATION": f"redis://127.0.0.1:{PORT}/1",
    "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
}
if VARIANT == "hashtags":
    # All of the cache in one slot: what set_many and get_many ask for.
    CACHE.update(LOCATION=f"redis://127.0.0.1:{PORT}/0", KEY_PREFIX="{shop}")
settings.configure(
    CACHES={"default": CACHE},
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    INSTALLED_APPS=["django.contrib.sessions"],
)
django.setup()

from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import cache

for number in range(10):
    cache.set(f"page:{number}", {"number": number}, timeout=300)
    assert cache.get(f"page:{number}") == {"number": number}
cache.set_many({f"price:{number}": number for number in range(8)}, timeout=60)
assert len(cache.get_many([f"price:{number}" for number in range(8)])) == 8
cache.add("once", 1)
cache.incr("once")
cache.get_or_set("made", lambda: "value")
assert cache.ttl("price:1") > 0
cache.expire("price:1", timeout=10)
cache.persist("price:2")
cache.touch("price:3", 100)
with cache.lock("report", timeout=5):
    cache.set("report:done", True)
cache.delete_many(["price:4", "price:5"])
assert list(cache.keys("price:*"))
cache.delete_pattern("page:*")
cache.incr_version("once")
session = SessionStore()
session["user"] = 7
session.save()
session.cycle_key()
session.delete()
cache.clear()
