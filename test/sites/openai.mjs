// Stand-in for any OpenAI-compatible service. What it answers depends on the last user text, so that tests read well:
//   "gzip" the answer compressed · "json" a whole answer to a streaming request · anything else: the text again, in pieces.
import {gzipSync} from 'node:zlib';
import {Site} from './site.mjs';

export const BIG = '9007199254740993'; // 2^53 + 1: no double holds it

export class OpenAiSite extends Site {
  constructor({keys = ['sk-upstream'], prefix = '/v1', models = ['gpt-test', 'org/nested:free'], ...rest} = {}) {
    super(rest);
    Object.assign(this, {keys, prefix, models});
  }

  chatRequests() {
    return this.requests.filter((r) => r.path.endsWith('/chat/completions'));
  }

  async handle(r, res) {
    const key = /^Bearer (\S+)$/.exec(r.headers.authorization ?? '')?.[1];
    if (this.keys && !this.keys.includes(key)) {
      return this.json(res, 401, {error: {message: `Incorrect API key provided: ${key}`, type: 'invalid_request_error', param: null, code: 'invalid_api_key'}});
    }
    if (!this.keys) this.check(!('authorization' in r.headers), 'an Authorization where no account is configured');
    const route = `${r.method} ${r.path}`;
    if (route === `GET ${this.prefix}/models`) {
      return this.json(res, 200, {object: 'list', data: this.models.map((id) => ({id, object: 'model', created: 1, owned_by: 'test'}))});
    }
    if (route === `POST ${this.prefix}/chat/completions`) return this.chat(r, res);
    if (r.method === 'POST' && r.path.startsWith(this.prefix)) return this.other(r, res, r.path.slice(this.prefix.length));
    this.fail('the service has no such path');
  }

  chat(r, res) {
    this.check(r.json, 'no JSON body');
    this.check(Array.isArray(r.json.messages), 'messages');
    this.same('Content-Type', r.headers['content-type'], 'application/json');
    const plan = this.plans.shift();
    if (typeof plan === 'function') return plan.call(this, r, res);
    if (plan) return this.json(res, plan.status, plan.json, plan.headers);
    const last = r.json.messages.at(-1);
    const text = typeof last.content === 'string' ? last.content : (last.content ?? []).map((p) => p.text ?? '').join(' ');
    const compressed = text.includes('gzip');
    if (!r.json.stream || text.includes('json')) {
      // Written by hand: JSON.stringify cannot write BIG.
      const body = `{"id":"up-1","object":"chat.completion","created":1700000000,"model":"${r.json.model}","system_fingerprint":"fp_1","x_big":${BIG},` +
        `"choices":[${this.#choices(r.json, text)}],"usage":{"prompt_tokens":4,"completion_tokens":5,"total_tokens":9,"x_cost":0.25}}`;
      const bytes = compressed ? gzipSync(body) : Buffer.from(body);
      res.writeHead(200, {'content-type': 'application/json', 'content-length': bytes.length, ...(compressed ? {'content-encoding': 'gzip'} : {})});
      return res.end(bytes);
    }
    const events = this.#events(r.json, text).map((e) => `data: ${e}\n\n`).join('');
    res.writeHead(200, {'content-type': 'text/event-stream', ...(compressed ? {'content-encoding': 'gzip'} : {})});
    if (compressed) return res.end(gzipSync(events));
    for (const piece of events.match(/[^]{1,700}/g)) res.write(piece);
    res.end();
  }

  /** Embeddings, pictures, sound: each a small answer that shows what was asked. */
  other(r, res, path) {
    const plan = this.plans.shift();
    if (typeof plan === 'function') return plan.call(this, r, res);
    if (plan) return this.json(res, plan.status, plan.json, plan.headers);
    if (path === '/embeddings' && r.json?.model === 'embed') {
      const input = [r.json.input].flat();
      return this.json(res, 200, {object: 'list', model: 'embed', usage: {prompt_tokens: input.length, total_tokens: input.length},
        data: input.map((text, index) => ({object: 'embedding', index, embedding: [text.length, 0.25]}))});
    }
    if (path === '/images/generations' && r.json?.model === 'painter') {
      return this.json(res, 200, {created: 1, data: [{b64_json: Buffer.from(r.json.prompt).toString('base64')}]});
    }
    if (path === '/audio/speech' && r.json?.model === 'voice') {
      res.writeHead(200, {'content-type': 'audio/mpeg'});
      return res.end(this.speech);
    }
    if (path === '/audio/transcriptions') {
      const form = r.body.toString('latin1'), field = (name) => new RegExp(`name="${name}"\\r\\n\\r\\n([^]*?)\\r\\n--`).exec(form)?.[1];
      const file = /filename="[^]*?\r\n\r\n([^]*?)\r\n--/.exec(form)[1];
      return this.json(res, 200, {text: `${file.length} bytes heard by ${field('model')} in ${field('language')}`});
    }
    this.json(res, 404, {error: {message: `no ${path} for ${r.json?.model}`, type: 'invalid_request_error', param: 'model', code: 'model_not_found'}});
  }

  #choices(body, text) {
    return Array.from({length: body.n ?? 1}, (_, index) => JSON.stringify({index,
      message: {role: 'assistant', content: text, refusal: null, ...(body.tools ? {tool_calls: [
        {id: 'call_a', type: 'function', function: {name: body.tools[0].function.name, arguments: '{"x": 1}'}}]} : {})},
      logprobs: body.logprobs ? {content: [{token: text, logprob: -0.5, bytes: null, top_logprobs: []}], refusal: null} : null,
      finish_reason: body.tools ? 'tool_calls' : 'stop', x_choice: index})).join(',');
  }

  #events(body, text) {
    const head = `"id":"up-1","object":"chat.completion.chunk","created":1700000000,"model":"${body.model}","system_fingerprint":"fp_1","x_big":${BIG}`;
    const chunk = (index, delta, finish = null, more = {}) =>
      `{${head},"choices":[${JSON.stringify({index, delta, logprobs: null, finish_reason: finish, ...more})}]}`;
    const events = [];
    for (let index = 0; index < (body.n ?? 1); index++) {
      events.push(chunk(index, {role: 'assistant', content: ''}));
      if (body.tools) {
        events.push(chunk(index, {tool_calls: [{index: 0, id: 'call_a', type: 'function', function: {name: body.tools[0].function.name, arguments: ''}}]}));
        for (const piece of ['{"x"', ': 1', '}']) events.push(chunk(index, {tool_calls: [{index: 0, function: {arguments: piece}}]}));
        events.push(chunk(index, {}, 'tool_calls'));
        continue;
      }
      for (const word of text.match(/\s*\S+\s*$|\s*\S+/g) ?? []) {
        events.push(chunk(index, {content: word}, null, body.logprobs
          ? {logprobs: {content: [{token: word, logprob: -0.5, bytes: null, top_logprobs: []}], refusal: null}} : {}));
      }
      events.push(chunk(index, {}, 'stop'));
    }
    if (body.stream_options?.include_usage) events.push(`{${head},"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":5,"total_tokens":9}}`);
    return [...events, '[DONE]'];
  }
}
