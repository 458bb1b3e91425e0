-- What bucket.sql says to the vectors.
\set vectors `cat docs/buckets/vectors.json`
WITH vectors AS (SELECT :'vectors'::jsonb AS v)
SELECT jsonb_build_object(
  'hashes', (
    SELECT jsonb_agg(serin_xxh3(convert_to(e ->> 'text', 'UTF8'))::text ORDER BY n)
    FROM jsonb_array_elements(v -> 'hashes') WITH ORDINALITY AS each(e, n)),
  'buckets', (
    SELECT jsonb_agg(serin_bucket(e ->> 'salt', e ->> 'id') ORDER BY n)
    FROM jsonb_array_elements(v -> 'buckets') WITH ORDINALITY AS each(e, n)),
  'exposures', (
    SELECT jsonb_agg(serin_is_exposed(e ->> 'salt', e ->> 'id', (e ->> 'percentage')::numeric) ORDER BY n)
    FROM jsonb_array_elements(v -> 'exposures') WITH ORDINALITY AS each(e, n)),
  'variants', (
    SELECT jsonb_agg(serin_variant(e ->> 'flag', e ->> 'id', e -> 'weights') ORDER BY n)
    FROM jsonb_array_elements(v -> 'variants') WITH ORDINALITY AS each(e, n)))
FROM vectors;
