// Where the packages are: in the folder that the variable names, whatever folder this file is in.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

export const require = createRequire(join(process.env.SERIN_SDK_FOLDER, 'package.json'));

// The web provider rests on a newer core than the published provider for servers does.
export const newestCore = () => {
  const beside = require.resolve('@openfeature/ofrep-web-provider');
  return createRequire(beside)('@openfeature/ofrep-core');
};

export const details = ({ value, variant, reason, errorCode, errorMessage, flagMetadata }) => ({
  value,
  variant: variant ?? null,
  reason: reason ?? null,
  error: errorCode ?? null,
  message: errorMessage ?? null,
  metadata: flagMetadata ?? {},
});

const METHODS = { boolean: 'Boolean', string: 'String', integer: 'Number', float: 'Number', object: 'Object' };

export const evaluate = (client, { key, type, default: otherwise, context }) =>
  client[`get${METHODS[type]}Details`](key, otherwise, context);

// A line of JSON in, a line of JSON out, until there are no more.
export async function answerLines(answer) {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
  }
  process.exit(0);
}
