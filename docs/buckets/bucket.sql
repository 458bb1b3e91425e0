-- Serin's buckets, without Serin: who was on the canary, who had a flag on. For PostgreSQL.
--
--     SELECT serin_bucket('deployment/d-1', 'user-123');           -- 3592
--     SELECT serin_is_exposed('deployment/d-1', 'user-123', 10);   -- false
--
-- The first argument, the salt, is a kind and a name, the second the user's id; README.md says which
-- ones. `psql -f bucket.sql` makes the functions; they need no extension. Without an id (null) they
-- say null.
--
-- Who was on the canary of deployment d-1 at 10 %:
--
--     SELECT id FROM users WHERE serin_is_exposed('deployment/d-1', id, 10);
--
-- Did they order less?
--
--     SELECT serin_is_exposed('deployment/d-1', user_id, 10) AS canary, count(*), avg(total)
--     FROM orders WHERE ordered BETWEEN '2026-01-01 10:00' AND '2026-01-01 10:05' GROUP BY canary;

BEGIN;
-- What is used below is made further below.
SET LOCAL check_function_bodies = off;

-- A user's bucket, 0 to 9,999.
CREATE OR REPLACE FUNCTION serin_bucket(salt text, id text) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT serin_place(salt, id, 10000)::int
$$;

-- Whether this percentage of users (two decimals at most) includes the user.
CREATE OR REPLACE FUNCTION serin_is_exposed(salt text, id text, percentage numeric) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT serin_bucket(salt, id) < round(percentage * 100)
$$;

-- The variant that a user who has the flag on draws, by weights such as '{"red": 1, "blue": 3}'.
CREATE OR REPLACE FUNCTION serin_variant(flag text, id text, weights jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT name
  FROM (
    SELECT
      key AS name,
      sum(value::bigint) OVER (ORDER BY key COLLATE "C") AS upto,
      sum(value::bigint) OVER () AS total
    FROM jsonb_each_text(weights)
    WHERE value::bigint > 0
  ) AS parts
  WHERE serin_place('variant/' || flag, id, total) < upto
  ORDER BY upto
  LIMIT 1
$$;

-- The hash scaled to 0 up to, not including, `places`.
CREATE OR REPLACE FUNCTION serin_place(salt text, id text, places numeric) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  RETURN div(serin_xxh3(convert_to(salt || ':' || id, 'UTF8')) * places, 18446744073709551616);
END
$$;

-- XXH3-64 with seed 0 and the default secret, after its specification:
-- https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
--
-- A word of 64 bits is a bigint, whose sign is the highest bit; what is added or multiplied is a
-- numeric without a sign.

CREATE OR REPLACE FUNCTION serin_xxh3_secret() RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT decode(
    'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f'
    'cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c'
    '3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8'
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364'
    'eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e'
    '2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e',
    'hex')
$$;

-- XXH3-64 of some bytes, without a sign.
CREATE OR REPLACE FUNCTION serin_xxh3(data bytea) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  prime64_1 CONSTANT numeric := 11400714785074694791;
  prime_mx2 CONSTANT numeric := 11507291218515648293;
  secret CONSTANT bytea := serin_xxh3_secret();
  bytes CONSTANT int := length(data);
  total numeric := bytes * prime64_1;
  at int := 0;
  low bigint;
  high bigint;
  value bigint;
BEGIN
  IF bytes > 240 THEN
    RETURN serin_xxh3_long(data);
  ELSIF bytes > 128 THEN
    WHILE at < 128 LOOP
      total := total + serin_xxh3_mix(data, at, at);
      at := at + 16;
    END LOOP;
    total := serin_xxh3_avalanche(total);
    WHILE at <= bytes - 16 LOOP
      total := total + serin_xxh3_mix(data, at, at - 125);
      at := at + 16;
    END LOOP;
    RETURN serin_xxh3_avalanche(total + serin_xxh3_mix(data, bytes - 16, 119));
  ELSIF bytes > 16 THEN
    -- Pieces from both ends, until they meet in the middle.
    WHILE 2 * at < bytes LOOP
      total := total + serin_xxh3_mix(data, at, 2 * at) + serin_xxh3_mix(data, bytes - 16 - at, 2 * at + 16);
      at := at + 16;
    END LOOP;
    RETURN serin_xxh3_avalanche(total);
  ELSIF bytes > 8 THEN
    low := serin_xxh3_word(data, 0) # serin_xxh3_word(secret, 24) # serin_xxh3_word(secret, 32);
    high := serin_xxh3_word(data, bytes - 8) # serin_xxh3_word(secret, 40) # serin_xxh3_word(secret, 48);
    RETURN serin_xxh3_avalanche(
      bytes + serin_xxh3_plain(serin_xxh3_word(int8send(low), 0)) + serin_xxh3_plain(high) + serin_xxh3_fold(low, high));
  ELSIF bytes > 3 THEN
    value := (serin_xxh3_half(data, 0) << 32) | serin_xxh3_half(data, bytes - 4);
    value := value # serin_xxh3_word(secret, 8) # serin_xxh3_word(secret, 16);
    value := value # serin_xxh3_rotate(value, 49) # serin_xxh3_rotate(value, 24);
    value := serin_xxh3_signed(serin_xxh3_plain(value) * prime_mx2);
    value := value # (serin_xxh3_shift(value, 35) + bytes);
    value := serin_xxh3_signed(serin_xxh3_plain(value) * prime_mx2);
    RETURN serin_xxh3_plain(value # serin_xxh3_shift(value, 28));
  ELSIF bytes > 0 THEN
    value := get_byte(data, bytes - 1) | (bytes << 8);
    value := value | (get_byte(data, 0)::bigint << 16) | (get_byte(data, bytes / 2)::bigint << 24);
    RETURN serin_xxh3_last_mix(value # serin_xxh3_half(secret, 0) # serin_xxh3_half(secret, 4));
  END IF;
  RETURN serin_xxh3_last_mix(serin_xxh3_word(secret, 56) # serin_xxh3_word(secret, 64));
END
$$;

-- More than 240 bytes: eight sums over stripes of 64 bytes, scrambled after each sixteen.
CREATE OR REPLACE FUNCTION serin_xxh3_long(data bytea) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  prime32_1 CONSTANT numeric := 2654435761;
  prime64_1 CONSTANT numeric := 11400714785074694791;
  secret CONSTANT bytea := serin_xxh3_secret();
  bytes CONSTANT int := length(data);
  sums numeric[] := ARRAY[
    3266489917, 11400714785074694791, 14029467366897019727, 1609587929392839161,
    9650029242287828579, 2246822519, 2870177450012600261, 2654435761];
  total numeric := bytes * prime64_1;
  value bigint;
BEGIN
  FOR stripe IN 0 .. (bytes - 1) / 64 - 1 LOOP
    sums := serin_xxh3_accumulate(sums, data, stripe * 64, stripe % 16 * 8);
    IF stripe % 16 = 15 THEN
      FOR i IN 0 .. 7 LOOP
        value := serin_xxh3_signed(sums[i + 1]);
        value := value # serin_xxh3_shift(value, 47) # serin_xxh3_word(secret, 128 + 8 * i);
        sums[i + 1] := serin_xxh3_plain(value) * prime32_1;
      END LOOP;
    END IF;
  END LOOP;
  sums := serin_xxh3_accumulate(sums, data, bytes - 64, 121);
  FOR i IN 0 .. 3 LOOP
    total := total + serin_xxh3_fold(
      serin_xxh3_signed(sums[2 * i + 1]) # serin_xxh3_word(secret, 11 + 16 * i),
      serin_xxh3_signed(sums[2 * i + 2]) # serin_xxh3_word(secret, 19 + 16 * i));
  END LOOP;
  RETURN serin_xxh3_avalanche(total);
END
$$;

CREATE OR REPLACE FUNCTION serin_xxh3_accumulate(sums numeric[], data bytea, at int, secret_at int) RETURNS numeric[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  word bigint;
  keyed bigint;
  other int;
BEGIN
  FOR i IN 0 .. 7 LOOP
    word := serin_xxh3_word(data, at + 8 * i);
    keyed := word # serin_xxh3_word(serin_xxh3_secret(), secret_at + 8 * i);
    other := (i # 1) + 1;
    sums[other] := sums[other] + serin_xxh3_plain(word);
    sums[i + 1] := sums[i + 1] + (keyed & 4294967295)::numeric * serin_xxh3_shift(keyed, 32);
  END LOOP;
  RETURN sums;
END
$$;

-- Eight bytes, the lowest first.
CREATE OR REPLACE FUNCTION serin_xxh3_word(data bytea, at int) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT serin_xxh3_half(data, at) | (serin_xxh3_half(data, at + 4) << 32)
$$;

-- Four bytes, the lowest first.
CREATE OR REPLACE FUNCTION serin_xxh3_half(data bytea, at int) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT get_byte(data, at)::bigint | (get_byte(data, at + 1)::bigint << 8)
    | (get_byte(data, at + 2)::bigint << 16) | (get_byte(data, at + 3)::bigint << 24)
$$;

-- A word as a number without a sign.
CREATE OR REPLACE FUNCTION serin_xxh3_plain(value bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN value < 0 THEN value + 18446744073709551616 ELSE value END
$$;

-- The lowest 64 bits of a number without a sign as a word.
CREATE OR REPLACE FUNCTION serin_xxh3_signed(value numeric) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (mod(value + 9223372036854775808, 18446744073709551616) - 9223372036854775808)::bigint
$$;

-- To the right, with zeros from the left.
CREATE OR REPLACE FUNCTION serin_xxh3_shift(value bigint, by int) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (value >> by) & ((1::bigint << (64 - by)) - 1)
$$;

CREATE OR REPLACE FUNCTION serin_xxh3_rotate(value bigint, by int) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (value << by) | serin_xxh3_shift(value, 64 - by)
$$;

-- The two halves of a product, one upon the other.
CREATE OR REPLACE FUNCTION serin_xxh3_fold(a bigint, b bigint) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  product CONSTANT numeric := serin_xxh3_plain(a) * serin_xxh3_plain(b);
BEGIN
  RETURN serin_xxh3_plain(
    serin_xxh3_signed(product) # serin_xxh3_signed(div(product, 18446744073709551616)));
END
$$;

-- Sixteen bytes with as many of the secret.
CREATE OR REPLACE FUNCTION serin_xxh3_mix(data bytea, at int, secret_at int) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT serin_xxh3_fold(
    serin_xxh3_word(data, at) # serin_xxh3_word(serin_xxh3_secret(), secret_at),
    serin_xxh3_word(data, at + 8) # serin_xxh3_word(serin_xxh3_secret(), secret_at + 8))
$$;

CREATE OR REPLACE FUNCTION serin_xxh3_avalanche(total numeric) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  value bigint := serin_xxh3_signed(total);
BEGIN
  value := serin_xxh3_signed(serin_xxh3_plain(value # serin_xxh3_shift(value, 37)) * 1609587791953885689);
  RETURN serin_xxh3_plain(value # serin_xxh3_shift(value, 32));
END
$$;

-- What ends the hash of the shortest inputs.
CREATE OR REPLACE FUNCTION serin_xxh3_last_mix(value bigint) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  value := serin_xxh3_signed(serin_xxh3_plain(value # serin_xxh3_shift(value, 33)) * 14029467366897019727);
  value := serin_xxh3_signed(serin_xxh3_plain(value # serin_xxh3_shift(value, 29)) * 1609587929392839161);
  RETURN serin_xxh3_plain(value # serin_xxh3_shift(value, 32));
END
$$;
COMMIT;
