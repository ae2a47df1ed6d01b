"""Groups of workloads on bitmaps, HyperLogLogs and places."""

from .units import OTHER, RANDOM

BITMAPS = 100_000
MEMBERS = 100_000
ELEMENTS = 1_000_000
MEBIBYTE = 1 << 20


def groups(Group, Workload, units):
    bits = f"bits:{RANDOM}"
    small = Group("bitmap", f"{BITMAPS:,} bitmaps of 126 bytes", [["SETBIT", bits, "1000", "1"]], BITMAPS, BITMAPS)
    small.sample = lambda number: ("GETBIT", f"bits:{number % BITMAPS:012d}", "1000")
    for name, words in (
        ("SETBIT P=16", ["SETBIT", bits, "500", "1"]),
        ("GETBIT P=16", ["GETBIT", bits, "1000"]),
        ("BITFIELD P=16", ["BITFIELD", bits, "INCRBY", "u16", "#20", "1"]),
    ):
        small.workloads.append(Workload(name, 800_000, 2.0, units([words], 16, BITMAPS)))

    large = Group(
        "large bitmap", "bitmaps of 1 MiB",
        [
            ["SET", "{b}text", "the quick brown fox " * (MEBIBYTE // 20)],
            ["SET", "{b}other", "jumps over the lazy " * (MEBIBYTE // 20)],
            ["SETBIT", "{b}zeros", str(8 * MEBIBYTE - 1), "1"],
        ],
        1, 3,
    )
    large.sample = lambda _: ("BITCOUNT", "{b}text")
    for name, words in (
        ("BITCOUNT 1 MiB", ["BITCOUNT", "{b}text"]),
        ("BITPOS 1 MiB", ["BITPOS", "{b}zeros", "1"]),
        ("BITOP AND 1 MiB", ["BITOP", "AND", "{b}to", "{b}text", "{b}other"]),
        ("BITOP NOT 1 MiB", ["BITOP", "NOT", "{b}to", "{b}text"]),
    ):
        large.workloads.append(Workload(name, 8_000, 2.0, units([words], 1, 1)))

    loglog = Group(
        "HyperLogLog", f"HyperLogLogs of {ELEMENTS:,} elements",
        [["PFADD", "{h}one", f"element:{RANDOM}"], ["PFADD", "{h}other", f"other:{RANDOM}"]], ELEMENTS, 2,
    )
    loglog.sample = lambda _: ("PFCOUNT", "{h}one")
    for name, operations, words in (
        ("PFADD P=16", 800_000, ["PFADD", "{h}one", f"element:{RANDOM}"]),
        ("PFADD to 10,000 P=16", 400_000, ["PFADD", f"few:{RANDOM}", f"element:{OTHER}"]),
        ("PFCOUNT P=16", 800_000, ["PFCOUNT", "{h}one"]),
        ("PFCOUNT of 2 P=16", 40_000, ["PFCOUNT", "{h}one", "{h}other"]),
        ("PFMERGE of 2 P=16", 20_000, ["PFMERGE", "{h}to", "{h}one", "{h}other"]),
    ):
        keyspace = 10_000 if "10,000" in name else ELEMENTS
        loglog.workloads.append(Workload(name, operations, 2.0, units([words], 16, keyspace)))

    # In ten degrees by ten: one in about 12 square kilometres.
    east, north = f"{RANDOM}e-4", f"{OTHER}e-5"
    places = Group("geo", f"{MEMBERS:,} places", [["GEOADD", "places", east, north, f"member:{RANDOM}"]], MEMBERS, 1)
    places.sample = lambda number: ("GEOHASH", "places", f"member:{number % MEMBERS:012d}")
    # Every reply has the same number of lines: about ten from one place, or the nearest ten from any.
    here = ["GEOSEARCH", "places", "FROMLONLAT", "5", "5", "BYRADIUS", "6", "km", "ASC"]
    anywhere = ["GEOSEARCH", "places", "FROMLONLAT", east, f"{OTHER}e-4", "BYRADIUS", "25", "km", "COUNT", "10"]
    for name, operations, words in (
        ("GEOSEARCH of 10 P=16", 100_000, here),
        ("GEOSEARCH of 10 WITHDIST P=16", 100_000, [*here, "WITHDIST", "WITHCOORD"]),
        ("GEOSEARCH nearest 10 P=16", 40_000, anywhere),
        ("GEOSEARCH any 10 P=16", 100_000, [*anywhere, "ANY"]),
        ("GEOPOS P=16", 400_000, ["GEOPOS", "places", f"member:{RANDOM}"]),
        ("GEOADD P=16", 400_000, ["GEOADD", "places", east, f"{OTHER}e-4", f"member:{RANDOM}"]),
    ):
        places.workloads.append(Workload(name, operations, 2.0, units([words], 16, MEMBERS)))
    return [small, large, loglog, places]
