"""The jobs of rq_office.py: plain functions, which a worker imports."""


def add(one, other):
    return one + other


def wrong():
    raise ValueError("as asked")
