"""redis-om: JSON models that are saved, loaded, changed and deleted. (Finding them needs RediSearch.)

    redis_om_models.py PORT
"""

import sys
from typing import Optional

import redis
from redis_om import EmbeddedJsonModel, JsonModel, NotFoundError

PORT = int(sys.argv[1])
client = redis.Redis(port=PORT, decode_responses=True)


class Address(EmbeddedJsonModel):
    street: str
    city: str = "Springfield"

    class Meta:
        database = client


class Customer(JsonModel, index=True):
    name: str
    age: int
    address: Address
    bio: Optional[str] = None

    class Meta:
        database = client


customer = Customer(name="Ann", age=30, address=Address(street="12 Long Lane"))
customer.save()
loaded = Customer.get(customer.pk)
assert (loaded.name, loaded.age, loaded.address.city) == ("Ann", 30, "Springfield"), loaded
loaded.age, loaded.address.street = 31, "13 Long Lane"
loaded.save()
again = Customer.get(customer.pk)
assert (again.age, again.address.street) == (31, "13 Long Lane"), again
customer.expire(1000)
assert 0 < client.ttl(customer.key()) <= 1000
Customer.add([Customer(name=f"customer {n}", age=n, address=Address(street="a street")) for n in range(3)])
with client.pipeline(transaction=True) as pipe:
    again.save(pipeline=pipe)
    pipe.execute()
Customer.delete(customer.pk)
try:
    Customer.get(customer.pk)
except NotFoundError:
    pass
else:
    raise AssertionError("a model that is deleted is found")
