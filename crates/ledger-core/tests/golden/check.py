"""Makes every value of vectors.txt again from the protocol's text, with Python's standard library alone.

Usage: check.py VECTORS. Prints how many values agree; names each one that does not, and exits 1.
"""

import hashlib
import struct
import sys

ZERO = bytes(32)


# Encodings: fixed-width little-endian integers, u64 lengths, u32 enum tags, one byte before an option.
def u8(n): return struct.pack("<B", n)
def u16(n): return struct.pack("<H", n)
def u32(n): return struct.pack("<I", n)
def i32(n): return struct.pack("<i", n)
def u64(n): return struct.pack("<Q", n)
def i64(n): return struct.pack("<q", n)
def raw(data): return u64(len(data)) + data
def text(value): return raw(value.encode("utf-8"))
def items(encoded): return u64(len(encoded)) + b"".join(encoded)
def option(encoded): return b"\0" if encoded is None else b"\1" + encoded


# Tagged hashes in the way of BIP 340.
def tagged(tag, federation, message, context=b""):
    half = hashlib.sha256(tag.encode() + federation + context).digest()
    return hashlib.sha256(half + half + message).digest()


def root(leaves):
    """RFC 6962, section 2.1, with the leaves as they are."""
    if len(leaves) < 2:
        return leaves[0] if leaves else ZERO
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return tagged("qfzz/node/1", ZERO, root(leaves[:split]) + root(leaves[split:]))


# Ed25519 as in RFC 8032, section 6: slow and plain.
P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, P - 2, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, P - 2, P)
    return x % P, y % P


def times(scalar, point):
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def base_point():
    y = 4 * pow(5, P - 2, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P)
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x if x % 2 == 0 else P - x), y


BASE = base_point()


def compress(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def number(digest):
    return int.from_bytes(digest, "little")


class Key:
    def __init__(self, seed):
        self.seed = seed
        digest = hashlib.sha512(seed).digest()
        self.scalar = number(digest[:32]) & ((1 << 254) - 8) | (1 << 254)
        self.prefix = digest[32:]
        self.station = compress(times(self.scalar, BASE))

    def sign(self, message, prefix=None):
        """With another prefix than its own: a second signature, which no honest station makes."""
        r = number(hashlib.sha512((prefix or self.prefix) + message).digest()) % Q
        start = compress(times(r, BASE))
        h = number(hashlib.sha512(start + self.station + message).digest()) % Q
        return start + ((r + h * self.scalar) % Q).to_bytes(32, "little")


def peer_id(station):
    """The identity multihash of the key's protobuf, in base58."""
    data = bytes([0x00, 0x24, 0x08, 0x01, 0x12, 0x20]) + station
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    value, digits = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        digits = alphabet[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def at(millis):
    return 1_767_225_600_000 + millis


def record_user_action(user, action, target, delta, timestamp):
    return u32(0) + text(user) + text(action) + text(target) + i32(delta) + i64(timestamp)


def record_added(content, creator, score, metadata):
    return u32(1) + text(content) + text(creator) + u32(score) + text(metadata)


def record_about(kind, content, creator):
    return u32(kind) + text(content) + text(creator)


def equivocation(batches):
    """Kind 8: two signed headers, given as (id, header, signature), the lower id first."""
    first, second = sorted(batches)
    return u32(8) + b"".join(header + raw(signature) for _, header, signature in (first, second))


def record_dataset(dataset, sha256):
    return (u32(4) + text(dataset) + text("OpenMusic") + text("CC-BY-4.0") + u32(900_000) + sha256 + u64(1_024)
            + text("Ω, and others") + text("https://example.org/") + text("artist_001") + text("")
            + items([text("ambient"), text("live")]))


class Batch:
    def __init__(self, federation, key, sequence, previous, seen, created_at, introduction, records):
        context = key.station + u64(sequence)
        self.record_hashes = [tagged("qfzz/record/1", federation, u16(index) + record, context)
                              for index, record in enumerate(records)]
        self.header = (key.station + u64(sequence) + previous + seen + i64(created_at) + u16(len(records))
                       + root(self.record_hashes) + option(introduction))
        self.hash = tagged("qfzz/batch/1", federation, self.header)
        self.signature = key.sign(self.hash)
        self.id = tagged("qfzz/batch-id/1", federation, self.hash + self.signature)
        self.signed = self.header + raw(self.signature) + items(records)

    def signed_header(self):
        return self.id, self.header, self.signature

    def values(self, name):
        yield f"{name}.header", self.header
        yield f"{name}.hash", self.hash
        yield f"{name}.signature", self.signature
        yield f"{name}.id", self.id
        for index, record_hash in enumerate(self.record_hashes):
            yield f"{name}.record_hash.{index}", record_hash
        yield f"{name}.signed", self.signed


def header(difficulty, index, previous, merkle_root, count, size, timestamp, producer, reveal, nonce):
    return (u32(1) + u32(difficulty) + u64(index) + previous + merkle_root + u32(count) + u32(size) + i64(timestamp)
            + producer + reveal + u64(nonce))


def mine(federation, difficulty, *fields):
    """The first nonce from 0 on whose hash starts with enough zero digits."""
    nonce = 0
    while True:
        candidate = header(difficulty, *fields, nonce)
        block_hash = tagged("qfzz/block/1", federation, candidate)
        if block_hash.hex().startswith("0" * difficulty):
            return candidate, block_hash, nonce
        nonce += 1


class Block:
    def __init__(self, federation, key, index, previous, reveal, batches, introduces, parent_draw):
        merkle_root = root([batch.id for batch in batches])
        size = sum(len(batch.signed) for batch in batches)
        self.header, self.hash, _ = mine(federation, 2, index, previous, merkle_root, len(batches), size,
                                         at(5_000 * index), key.station, reveal)
        self.seal_digest = tagged("qfzz/seal/1", federation, self.hash)
        self.sealed = self.header + raw(key.sign(self.seal_digest))
        introduction = batches[0].header + raw(batches[0].signature) if introduces else None
        self.announcement = self.sealed + option(introduction) + items([batch.id for batch in batches])
        self.signed = self.sealed + items([batch.signed for batch in batches])
        self.rank = tagged("qfzz/rank/1", federation, previous + key.station)
        self.draw = tagged("qfzz/draw/1", federation, parent_draw + reveal)

    def values(self, name):
        for part in ["header", "hash", "seal_digest", "sealed", "announcement", "signed", "rank", "draw"]:
            yield f"{name}.{part}", getattr(self, part)


def parameters(difficulty, signatures, admission, founders, finality):
    actions = [("connection", 50_000), ("dataset_verification", 0), ("interaction", 10_000), ("late", -50_000),
               ("rating", 30_000), ("verification", 20_000)]
    licenses = ["CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-SA-4.0", "CC0-1.0", "MIT", "PDDL-1.0"]
    return (text("golden") + u32(1) + i64(at(0)) + u32(difficulty) + u32(signatures) + u32(admission)
            + items([station + option(key_hash) for station, key_hash in sorted(founders)]) + u32(finality)
            + items([text(name) + i32(delta) for name, delta in actions])
            + items([text(name) for name in licenses]) + u32(0)
            + u16(256) + u32(60 * 1024) + u32(1_536) + u32(1024 * 1024))


def state(federation, stations, a1, b1, blocks):
    """The trust state after both blocks: keys and values, in order of the keys."""
    yield u32(0), u32(0) + u64(2) + blocks[1].hash + blocks[1].draw + u64(6) + u64(1) + u64(2) + u32(2)
    logs = [(stations[0], 0, "station 1", a1, 4), (stations[1], 1, "station 2", b1, 2)]
    for station, place, name, last, records in sorted(logs):
        reveal = blocks[place].header[128:160]
        yield (u32(1) + station,
               u32(1) + u32(place) + text(name) + u64(2) + last.id + u64(records) + u64(1) + reveal)
    for place, station in enumerate(stations):
        yield u32(2) + u32(place), u32(2) + station

    def subject(kind, *ids):
        return u32(3) + u32(kind) + b"".join(text(part) for part in ids)

    user = subject(0, "käthe")
    yield user + u32(0), u32(3) + u32(450_000) + u64(1)
    # First evidence in block 1; station 1 is the founder, and had seen genesis.
    since, others_since = u64(1) + option(u64(0)), u64(1) + option(None)
    yield user + u32(1), u32(6) + items([u32(0) + u32(450_000) + u64(1) + since])
    other, track = subject(1, "maker", "other"), subject(1, "maker", "track")
    added = option(u32(0) + u64(1) + u16(1))
    none = option(None)
    yield other + u32(0), u32(4) + u32(500_000) + u64(0) + u64(1) + none + i64(at(2_000)) + i64(at(2_000))
    yield other + u32(1), u32(7) + items([u32(0) + u32(500_000) + u64(0) + u64(1) + none + since])
    yield track + u32(0), u32(4) + u32(700_000) + u64(2) + u64(1) + added + i64(at(2_000)) + i64(at(6_000))
    yield track + u32(1), u32(7) + items([u32(0) + u32(700_000) + u64(1) + u64(0) + added + since,
                                         u32(1) + u32(500_000) + u64(1) + u64(1) + none + others_since])
    creator = subject(2, "maker")
    # 633,333 and 100,000 for all; 900,000 and 100,000 for station 1; 500,000 for station 2.
    yield creator + u32(0), u32(5) + u64(2) + u64(733_333) + u64(4)
    yield creator + u32(1), u32(8) + items([u32(0) + u64(2) + u64(1_000_000) + u64(2),
                                           u32(1) + u64(1) + u64(500_000) + u64(2)])
    for height, block in sorted(enumerate(blocks, 1), key=lambda it: it[1].hash):
        yield u32(11) + block.hash, u32(17) + u64(height)
    # Where the batches 0 to 63 of each station stand.
    yield u32(12) + u32(0) + u64(0), u32(18) + items([u64(0) + blocks[0].hash])
    yield u32(12) + u32(1) + u64(0), u32(18) + items([u64(0) + blocks[0].hash, u64(1) + blocks[1].hash])
    # Block 1 has four records that a juror could check; no answers, no disputes.
    yield u32(19), u32(25) + u32(4) + u64(0) + items([])


def values():
    keys = [Key(bytes([seed]) * 32) for seed in (1, 2)]
    one, two = keys
    for place, key in enumerate(keys, 1):
        yield f"station.{place}", key.station
        yield f"station.{place}.shown", peer_id(key.station)

    encoded = parameters(2, 0, 0, [(one.station, None)], 0)
    yield "parameters", encoded
    yield "parameters.others", parameters(8, 1, 1, [(one.station, bytes([7]) * 32), (two.station, None)], 1)
    merkle_root = tagged("qfzz/genesis/1", ZERO, encoded)
    genesis, federation, nonce = mine(ZERO, 2, 0, ZERO, merkle_root, 0, 0, at(0), ZERO, ZERO)
    yield "genesis", encoded + u64(nonce)
    yield "genesis.root", merkle_root
    yield "genesis.header", genesis
    yield "genesis.id", federation
    yield "genesis.sealed", genesis + raw(b"")

    records = [record_user_action("käthe", "late", "", -50_000, at(-86_400_000)),
               record_added("track", "maker", 700_000, "{\"title\":\"Ω\"}"),
               record_about(2, "track", "maker"), record_about(3, "other", "maker")]
    for kind, record in enumerate(records):
        yield f"record.{kind}", record
    yield "record_id", one.station + u64(17) + u16(3)

    chains = []
    for key in keys:
        secret = tagged("qfzz/reveal/1", federation, key.seed, key.station + b"secret")
        chain = [secret]
        for _ in range(1_000):
            chain.append(tagged("qfzz/reveal/1", federation, chain[-1], key.station))
        chains.append(chain)
    introductions = [text(f"station {place}") + chain[-1] for place, chain in enumerate(chains, 1)]
    yield "introduction.1", introductions[0] + option(None)
    hybrid = introductions[0] + option(raw(bytes([1, 2, 3])))
    yield "introduction.hybrid", hybrid

    a0 = Batch(federation, one, 0, ZERO, federation, at(1_000), introductions[0] + option(None), [])
    a1 = Batch(federation, one, 1, a0.id, federation, at(2_000), None, records)
    b0 = Batch(federation, two, 0, ZERO, ZERO, at(3_000), introductions[1] + option(None),
               [record_about(2, "track", "maker")])
    yield from a0.values("a0")
    yield from a1.values("a1")
    yield from b0.values("b0")
    yield "a0.header.hybrid", a0.header[:-len(option(introductions[0] + option(None)))] + option(hybrid)
    path = [a1.record_hashes[3], root(a1.record_hashes[:2])]
    yield "a1.proof.2", u64(2) + u64(4) + items(path)
    yield "pending.digest", tagged("qfzz/pending/1", federation, b"".join(
        key.station + u64(sequence) + last for key, sequence, last in
        sorted([(one, 2, a1.id), (two, 1, b0.id)], key=lambda end: end[0].station)))

    yield "reveal.1", chains[0][-2]
    yield "reveal.1.opens", chains[0][-1]
    block_1 = Block(federation, one, 1, federation, chains[0][-2], [a0, a1, b0], True, federation)
    yield from block_1.values("block.1")
    yield "reveal.2", chains[1][-2]
    b1 = Batch(federation, two, 1, b0.id, block_1.hash, at(6_000), None, [record_about(3, "track", "maker")])
    block_2 = Block(federation, two, 2, block_1.hash, chains[1][-2], [b1], False, block_1.draw)
    yield from block_2.values("block.2")
    stations = [key.station for key in keys]
    for place, (key, value) in enumerate(state(federation, stations, a1, b1, [block_1, block_2])):
        yield f"state.{place:02}.key", key
        yield f"state.{place:02}.value", value

    signature = one.sign(a0.hash, b"another nonce")
    second = tagged("qfzz/batch-id/1", federation, a0.hash + signature), a0.header, signature
    yield "record.8.signatures", equivocation([a0.signed_header(), second])
    other = Batch(federation, two, 1, b0.id, block_1.hash, at(6_000), None, [record_about(2, "track", "maker")])
    proof = equivocation([b1.signed_header(), other.signed_header()])
    yield "record.8", proof
    a2 = Batch(federation, one, 2, a1.id, block_2.hash, at(7_000), None, [proof])
    yield from a2.values("a2")
    # Station 2, proven by record 0 of batch 2 of station number 0; one equivocator.
    yield "state.equivocation.key", u32(4) + two.station
    yield "state.equivocation.value", u32(9) + u32(0) + u64(2) + u16(0)
    yield "state.equivocators.key", u32(5)
    yield "state.equivocators.value", u32(10) + u32(1)
    block_3 = Block(federation, one, 3, block_2.hash, chains[0][-3], [a2], False, block_2.draw)
    yield from dataset_values(federation, one, a2, block_3)
    yield from admission(one, two, Key(bytes([3]) * 32))
    # Record 0 of batch 0 of station 2: agreed with, contested.
    named = u32(7) + two.station + u64(0) + u16(0) + b0.record_hashes[0]
    yield "record.7", named + u32(0)
    yield "record.7.contest", named + u32(1)


def dataset_values(federation, key, batch, block):
    """What one batch of datasets after `batch` says, in a block after `block`."""
    licenses = ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "GPL-2.0-only",
                "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "MIT"]
    yield "dataset_rules", items([text(name) for name in licenses]) + u32(700_000)
    one, other = bytes([0xab]) * 32, bytes([0xcd]) * 32
    records = [record_dataset("ds_001", one), u32(5) + text("ds_001") + one, u32(6) + text("ds_001") + u32(800_000),
               record_dataset("ds_001", other), u32(5) + text("ds_001") + other,
               u32(6) + text("ds_002") + u32(800_000)]
    for kind, record in enumerate(records[:3], 4):
        yield f"record.{kind}", record
    a3 = Batch(federation, key, 3, batch.id, block.hash, at(8_000), None, records)
    yield from a3.values("a3")
    # One verification, one mismatch, one rating of 0.8.
    evidence = u64(1) + u64(1) + u64(1) + u64(800_000)
    subject = u32(3) + u32(3) + text("ds_001")
    yield "state.dataset.key", subject + u32(0)
    yield "state.dataset.value", (u32(11) + one + u32(900_000) + u32(0) + u64(3) + u16(0) + evidence
                                  + i64(at(8_000)) + i64(at(8_000)))
    yield "state.dataset_opinions.key", subject + u32(1)
    yield "state.dataset_opinions.value", u32(12) + items([u32(0) + evidence + u64(4) + option(u64(3))])
    yield "state.datasets.key", u32(6)
    yield "state.datasets.value", u32(13) + u32(1)
    yield "state.dataset_number.key", u32(7) + u32(0)
    yield "state.dataset_number.value", u32(14) + text("ds_001")


def admission(one, two, three):
    """The only founder admits and expels station 2, and admits station 3: founders are bits of a u64."""
    yield "record.10", u32(10) + two.station + text("from Zürich") + option(None)
    yield "record.11", u32(11) + two.station + text("")
    yield "record.10.hybrid", u32(10) + two.station + text("x") + option(bytes([7]) * 32)
    yield "ml_dsa.key_hash", tagged("qfzz/ml-dsa-key/1", ZERO, bytes([7]) * 1952)
    yield "ml_dsa.seed", tagged("qfzz/ml-dsa-seed/1", ZERO, bytes([1]) * 32, one.station)
    yield "state.expelled.key", u32(8) + two.station
    yield "state.expelled.value", u32(15) + u32(2) + u64(0) + u64(1)
    yield "state.admitted.key", u32(8) + three.station
    yield "state.admitted.value", u32(15) + u32(1) + u64(1) + u64(0)
    yield "state.roster.0.key", u32(9) + u32(0)
    yield "state.roster.0.value", u32(2) + two.station
    yield "state.roster.key", u32(10)
    yield "state.roster.value", u32(16) + u32(2)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [line.split() for line in file if not line.startswith("#")]
    frozen = dict(lines)
    wrong, count = [], 0
    for name, value in values():
        shown = value if isinstance(value, str) else value.hex()
        count += 1
        if frozen.get(name) != shown:
            wrong.append(f"{name}: expected {shown}, frozen {frozen.get(name)}")
    for line in wrong:
        print(line)
    if wrong:
        sys.exit(1)
    print(f"{count} values agree")


main()
