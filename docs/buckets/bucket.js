/**
 * Serin's buckets, without Serin: who was on the canary, who had a flag on.
 *
 *     bucket("deployment/d-1", "user-123");          // 3592
 *     isExposed("deployment/d-1", "user-123", 10);   // false
 *
 * The first argument, the salt, is a kind and a name, the second the user's id; README.md says which ones.
 * Copy this file: a module for browsers and Node that needs nothing else.
 */

export const BUCKETS = 10_000;

/** A user's bucket, 0 to 9,999. */
export function bucket(salt, id) {
  return place(salt, id, BUCKETS);
}

/** Whether this percentage of users (two decimals at most) includes the user. */
export function isExposed(salt, id, percentage) {
  return bucket(salt, id) < Math.round(percentage * 100);
}

/** The variant (a key of `weights`) that a user who has the flag on draws; null without weights. */
export function variant(flag, id, weights) {
  const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  let point = place(`variant/${flag}`, id, total);
  for (const name of Object.keys(weights).sort()) {
    if (point < weights[name]) return name;
    point -= weights[name];
  }
  return null;
}

/** The hash scaled to 0 up to, not including, `places`. */
export function place(salt, id, places) {
  if (typeof id !== "string") throw new TypeError(`an id is a string, not ${typeof id}`);
  return Number((xxh3(new TextEncoder().encode(`${salt}:${id}`)) * BigInt(places)) >> 64n);
}

// XXH3-64 with seed 0 and the default secret, after its specification:
// https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md

const SECRET = view(
  Uint8Array.from(
    (
      "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f" +
      "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c" +
      "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8" +
      "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364" +
      "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e" +
      "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ).match(/../g),
    (byte) => parseInt(byte, 16),
  ),
);
const [PRIME32_1, PRIME32_2, PRIME32_3] = [0x9e3779b1n, 0x85ebca77n, 0xc2b2ae3dn];
const [PRIME64_1, PRIME64_2, PRIME64_3] = [0x9e3779b185ebca87n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n];
const [PRIME64_4, PRIME64_5] = [0x85ebca77c2b2ae63n, 0x27d4eb2f165667c5n];
const [PRIME_MX1, PRIME_MX2] = [0x165667919e3779f9n, 0x9fb21c651e98df25n];
const LOW32 = 0xffff_ffffn;

/** XXH3-64 of a Uint8Array, as a BigInt. */
export function xxh3(bytes) {
  const data = view(bytes);
  const length = bytes.length;
  let total = BigInt(length) * PRIME64_1;
  if (length > 240) return long(data);
  if (length > 128) {
    for (let at = 0; at < 128; at += 16) total += mix(data, at, at);
    total = avalanche(total);
    for (let at = 128; at <= length - 16; at += 16) total += mix(data, at, at - 125);
    return avalanche(total + mix(data, length - 16, 119));
  }
  if (length > 16) {
    // Pieces from both ends, until they meet in the middle.
    for (let at = 0; at < length / 2; at += 16) {
      total += mix(data, at, 2 * at) + mix(data, length - 16 - at, 2 * at + 16);
    }
    return avalanche(total);
  }
  if (length > 8) {
    const low = word(data, 0) ^ word(SECRET, 24) ^ word(SECRET, 32);
    const high = word(data, length - 8) ^ word(SECRET, 40) ^ word(SECRET, 48);
    return avalanche(BigInt(length) + swap(low) + high + fold(low, high));
  }
  if (length > 3) {
    let value = (BigInt(half(data, 0)) << 32n) | BigInt(half(data, length - 4));
    value ^= word(SECRET, 8) ^ word(SECRET, 16);
    value ^= rotate(value, 49n) ^ rotate(value, 24n);
    value = low64(value * PRIME_MX2);
    value = low64((value ^ ((value >> 35n) + BigInt(length))) * PRIME_MX2);
    return value ^ (value >> 28n);
  }
  if (length > 0) {
    const parts = [bytes[length - 1], length, bytes[0], bytes[length >> 1]];
    const value = parts.reduce((sum, byte, i) => sum + byte * 256 ** i, 0);
    return lastMix(BigInt(value) ^ BigInt(half(SECRET, 0)) ^ BigInt(half(SECRET, 4)));
  }
  return lastMix(word(SECRET, 56) ^ word(SECRET, 64));
}

/** More than 240 bytes: eight sums over stripes of 64 bytes, scrambled after each sixteen. */
function long(data) {
  const length = data.byteLength;
  const sums = [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1];
  for (let stripe = 0; stripe * 64 < length - 64; stripe++) {
    accumulate(sums, data, stripe * 64, (stripe % 16) * 8);
    if (stripe % 16 === 15) {
      for (let i = 0; i < 8; i++) {
        sums[i] = low64((sums[i] ^ (sums[i] >> 47n) ^ word(SECRET, 128 + 8 * i)) * PRIME32_1);
      }
    }
  }
  accumulate(sums, data, length - 64, 121);
  let total = BigInt(length) * PRIME64_1;
  for (let i = 0; i < 8; i += 2) {
    total += fold(sums[i] ^ word(SECRET, 11 + 8 * i), sums[i + 1] ^ word(SECRET, 19 + 8 * i));
  }
  return avalanche(total);
}

function accumulate(sums, data, at, secretAt) {
  for (let i = 0; i < 8; i++) {
    const plain = word(data, at + 8 * i);
    const keyed = plain ^ word(SECRET, secretAt + 8 * i);
    sums[i ^ 1] = low64(sums[i ^ 1] + plain);
    sums[i] = low64(sums[i] + (keyed & LOW32) * (keyed >> 32n));
  }
}

function view(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function word(data, at) {
  return data.getBigUint64(at, true);
}

function half(data, at) {
  return data.getUint32(at, true);
}

function low64(value) {
  return BigInt.asUintN(64, value);
}

function rotate(value, by) {
  return low64(value << by) | (value >> (64n - by));
}

/** The bytes in the other order. */
function swap(value) {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setBigUint64(0, value, true);
  return bytes.getBigUint64(0, false);
}

/** The two halves of a product, one upon the other. */
function fold(a, b) {
  const product = a * b;
  return low64(product) ^ (product >> 64n);
}

/** Sixteen bytes with as many of the secret. */
function mix(data, at, secretAt) {
  return fold(word(data, at) ^ word(SECRET, secretAt), word(data, at + 8) ^ word(SECRET, secretAt + 8));
}

function avalanche(value) {
  value = low64(value);
  value = low64((value ^ (value >> 37n)) * PRIME_MX1);
  return value ^ (value >> 32n);
}

/** What ends the hash of the shortest inputs. */
function lastMix(value) {
  value = low64((value ^ (value >> 33n)) * PRIME64_2);
  value = low64((value ^ (value >> 29n)) * PRIME64_3);
  return value ^ (value >> 32n);
}
