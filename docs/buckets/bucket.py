"""Serin's buckets, without Serin: who was on the canary, who had a flag on.

    >>> bucket("deployment/d-1", "user-123")
    3592
    >>> is_exposed("deployment/d-1", "user-123", 10)
    False

The first argument, the salt, is a kind and a name, the second the user's id; README.md says which ones.
Copy this file: it needs nothing but Python 3.6 or newer.
"""

BUCKETS = 10_000


def bucket(salt: str, user_id: str) -> int:
    """A user's bucket, 0 to 9,999."""
    return place(salt, user_id, BUCKETS)


def is_exposed(salt: str, user_id: str, percentage: float) -> bool:
    """Whether this percentage of users (two decimals at most) includes the user."""
    return bucket(salt, user_id) < round(percentage * 100)


def variant(flag: str, user_id: str, weights: dict):
    """The variant (a name of `weights`) that a user who has the flag on draws; None without weights."""
    point = place("variant/" + flag, user_id, sum(weights.values()))
    for name in sorted(weights):
        if point < weights[name]:
            return name
        point -= weights[name]
    return None


def place(salt: str, user_id: str, places: int) -> int:
    """The hash scaled to 0 up to, not including, `places`."""
    return xxh3((salt + ":" + user_id).encode()) * places >> 64


# XXH3-64 with seed 0 and the default secret, after its specification:
# https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md

_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_PRIME32_1, _PRIME32_2, _PRIME32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
_PRIME64_1, _PRIME64_2, _PRIME64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_PRIME64_4, _PRIME64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_PRIME_MX1, _PRIME_MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
_LOW32, _LOW64 = (1 << 32) - 1, (1 << 64) - 1


def xxh3(data: bytes) -> int:
    """XXH3-64 of some bytes."""
    length = len(data)
    if length > 240:
        return _long(data)
    if length > 128:
        total = length * _PRIME64_1 + sum(_mix(data, at, at) for at in range(0, 128, 16))
        total = _avalanche(total) + sum(_mix(data, at, at - 125) for at in range(128, length - 15, 16))
        return _avalanche(total + _mix(data, length - 16, 119))
    if length > 16:
        # Pieces from both ends, until they meet in the middle.
        total = length * _PRIME64_1
        for at in range(0, (length + 1) // 2, 16):
            total += _mix(data, at, 2 * at) + _mix(data, length - 16 - at, 2 * at + 16)
        return _avalanche(total)
    if length > 8:
        low = _word(data, 0) ^ _word(_SECRET, 24) ^ _word(_SECRET, 32)
        high = _word(data, length - 8) ^ _word(_SECRET, 40) ^ _word(_SECRET, 48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _avalanche(length + swapped + high + _fold(low, high))
    if length > 3:
        value = _half(data, 0) << 32 | _half(data, length - 4)
        value ^= _word(_SECRET, 8) ^ _word(_SECRET, 16)
        value ^= _rotate(value, 49) ^ _rotate(value, 24)
        value = value * _PRIME_MX2 & _LOW64
        value = (value ^ (value >> 35) + length) * _PRIME_MX2 & _LOW64
        return value ^ value >> 28
    if length > 0:
        value = data[-1] | length << 8 | data[0] << 16 | data[length // 2] << 24
        return _last_mix(value ^ _half(_SECRET, 0) ^ _half(_SECRET, 4))
    return _last_mix(_word(_SECRET, 56) ^ _word(_SECRET, 64))


def _long(data):
    """More than 240 bytes: eight sums over stripes of 64 bytes, scrambled after each sixteen."""
    sums = [_PRIME32_3, _PRIME64_1, _PRIME64_2, _PRIME64_3, _PRIME64_4, _PRIME32_2, _PRIME64_5, _PRIME32_1]
    for stripe in range((len(data) - 1) // 64):
        _accumulate(sums, data, stripe * 64, stripe % 16 * 8)
        if stripe % 16 == 15:
            for i in range(8):
                value = sums[i] ^ sums[i] >> 47 ^ _word(_SECRET, 128 + 8 * i)
                sums[i] = value * _PRIME32_1 & _LOW64
    _accumulate(sums, data, len(data) - 64, 121)
    total = len(data) * _PRIME64_1
    for i in range(0, 8, 2):
        total += _fold(sums[i] ^ _word(_SECRET, 11 + 8 * i), sums[i + 1] ^ _word(_SECRET, 19 + 8 * i))
    return _avalanche(total)


def _accumulate(sums, data, at, secret_at):
    for i in range(8):
        word = _word(data, at + 8 * i)
        keyed = word ^ _word(_SECRET, secret_at + 8 * i)
        sums[i ^ 1] = sums[i ^ 1] + word & _LOW64
        sums[i] = sums[i] + (keyed & _LOW32) * (keyed >> 32) & _LOW64


def _word(data, at):
    return int.from_bytes(data[at:at + 8], "little")


def _half(data, at):
    return int.from_bytes(data[at:at + 4], "little")


def _rotate(value, by):
    return (value << by | value >> 64 - by) & _LOW64


def _fold(a, b):
    """The two halves of a product, one upon the other."""
    product = a * b
    return product & _LOW64 ^ product >> 64


def _mix(data, at, secret_at):
    """Sixteen bytes with as many of the secret."""
    return _fold(
        _word(data, at) ^ _word(_SECRET, secret_at),
        _word(data, at + 8) ^ _word(_SECRET, secret_at + 8),
    )


def _avalanche(value):
    value &= _LOW64
    value = (value ^ value >> 37) * _PRIME_MX1 & _LOW64
    return value ^ value >> 32


def _last_mix(value):
    """What ends the hash of the shortest inputs."""
    value = (value ^ value >> 33) * _PRIME64_2 & _LOW64
    value = (value ^ value >> 29) * _PRIME64_3 & _LOW64
    return value ^ value >> 32
