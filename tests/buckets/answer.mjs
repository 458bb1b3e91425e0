// What bucket.js says to the vectors on standard input.
import { readFileSync } from "node:fs";
import { bucket, isExposed, variant, xxh3 } from "../../docs/buckets/bucket.js";

const vectors = JSON.parse(readFileSync(0, "utf8"));
const answers = {
  hashes: vectors.hashes.map(({ text }) => String(xxh3(new TextEncoder().encode(text)))),
  buckets: vectors.buckets.map(({ salt, id }) => bucket(salt, id)),
  exposures: vectors.exposures.map(({ salt, id, percentage }) => isExposed(salt, id, percentage)),
  variants: vectors.variants.map(({ flag, id, weights }) => variant(flag, id, weights)),
};
process.stdout.write(JSON.stringify(answers));
