// A server's SDK in Node. A line of JSON on its input names a flag; a line says what it is.
import { answerLines, details, evaluate, newestCore, require } from './packages.mjs';

const { OpenFeature } = require('@openfeature/server-sdk');
const { OFREPProvider } = require('@openfeature/ofrep-provider');

// The published provider is of 2024. Its core has changed since: this is the provider's part
// of the work, over the newest.
class NewestProvider {
  metadata = { name: 'OFREP by the newest core' };
  runsOn = 'server';
  #core = newestCore();
  #api;

  constructor(options) {
    this.#api = new this.#core.OFREPApi(options);
  }

  async #evaluate(key, otherwise, context) {
    const { httpStatus, value } = await this.#api.postEvaluateFlag(key, { context });
    return httpStatus === 200
      ? this.#core.toResolutionDetails(value, otherwise)
      : this.#core.handleEvaluationError(value, otherwise);
  }

  resolveBooleanEvaluation = (...asked) => this.#evaluate(...asked);
  resolveStringEvaluation = (...asked) => this.#evaluate(...asked);
  resolveNumberEvaluation = (...asked) => this.#evaluate(...asked);
  resolveObjectEvaluation = (...asked) => this.#evaluate(...asked);
}

const [baseUrl, headers, core] = process.argv.slice(2);
const Provider = core === 'newest' ? NewestProvider : OFREPProvider;
await OpenFeature.setProviderAndWait(new Provider({ baseUrl, headers: Object.entries(JSON.parse(headers)) }));
const client = OpenFeature.getClient();
await answerLines(async (asked) => details(await evaluate(client, asked)));
