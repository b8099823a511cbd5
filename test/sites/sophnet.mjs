// Stand-in for sophnet.com: the official door with an API key, and the playground with an anonymous token.
import {Site, jwtOf} from './site.mjs';

const PROJECT = 'Ar79PWUQUAhjJOja2orHs';
const KNOWN = ['messages', 'model', 'stream', 'stream_options', 'tools', 'tool_choice', 'parallel_tool_calls', 'max_tokens', 'max_completion_tokens',
  'temperature', 'top_p', 'stop', 'stop_token_ids', 'presence_penalty', 'frequency_penalty', 'logprobs', 'top_logprobs',
  'response_format', 'reasoning_effort', 'reasoning', 'enable_thinking', 'chat_template_kwargs', 'thinking', 'n', 'seed', 'user'];

export class Sophnet extends Site {
  constructor({apiKeys = ['soph-key'], project = PROJECT, ...rest} = {}) {
    super(rest);
    this.apiKeys = apiKeys;
    this.project = project;
    this.anonymous = new Set();
    this.logins = 0;
  }

  chatRequests() {
    return this.requests.filter((r) => r.path.endsWith('/chat/completions'));
  }

  async handle(r, res) {
    const route = `${r.method} ${r.path}`;
    for (const name of ['origin', 'referer']) this.check(!(name in r.headers), `a foreign ${name}`);
    if (route === 'GET /api/sys/login/anonymous') return this.login(r, res);
    if (route === 'GET /api/public/playground/models') return this.models(r, res);
    if (route === 'POST /api/open-apis/v1/chat/completions') return this.official(r, res);
    if (route === `POST /api/open-apis/projects/${this.project}/chat/completions`) return this.playground(r, res);
    this.fail('the site has no such path');
  }

  login(r, res) {
    this.same('Accept', r.headers.accept, 'application/json');
    this.check(!('authorization' in r.headers), 'a login with an Authorization');
    this.logins++;
    const exp = Math.floor(Date.now() / 1000) + 30 * 86400;
    const anonymousToken = jwtOf({exp, n: this.logins});
    this.anonymous.add(`anon-${anonymousToken}`);
    this.json(res, 200, {status: 0, message: 'ok', result: {anonymousToken, expires: new Date(exp * 1000).toISOString()}, timestamp: Date.now()});
  }

  bearer(r) {
    return /^Bearer (\S+)$/.exec(r.headers.authorization ?? '')?.[1];
  }

  models(r, res) {
    this.same('projectUuid', r.query.get('projectUuid'), this.project);
    if (!this.anonymous.has(this.bearer(r))) return this.json(res, 401, {status: 10025, message: 'You must log in first', result: null, timestamp: Date.now()});
    const entry = (id, modelFamily, available = true) => ({id, serviceUuid: `s${id}`, projectUuid: this.project, displayName: modelFamily, modelFamily,
      available, isBaseModel: true, features: [], supportedStream: true, supportedImageInputs: false, schema: []});
    this.json(res, 200, {status: 0, message: 'ok', result: [entry(1, 'DeepSeek-V3-Fast'), entry(2, 'Kimi-K2'), entry(3, 'Gone', false)], timestamp: Date.now()});
  }

  common(r) {
    const b = r.json;
    this.check(b, 'no JSON body');
    this.check(Array.isArray(b.messages) && b.messages.length > 0, 'messages');
    for (const m of b.messages) this.check(['system', 'user', 'assistant', 'tool'].includes(m.role), `role ${m.role} is not supported`);
    if ('stop' in b && b.stop !== null) this.check(Array.isArray(b.stop) && b.stop.length <= 4, 'stop is no list of at most four');
    if ('stream' in b) this.check(typeof b.stream === 'boolean', 'stream is no boolean');
    this.check(!('headers' in b), 'headers in the body');
    return b;
  }

  official(r, res) {
    if (!this.apiKeys.includes(this.bearer(r))) return this.json(res, 401, {status: 10025, message: 'You must log in first', result: null, timestamp: Date.now()});
    const b = this.common(r);
    this.check(typeof b.model === 'string' && b.model !== '', 'model');
    this.check(!('max_tokens' in b && 'max_completion_tokens' in b), 'max_tokens and max_completion_tokens together');
    for (const key of Object.keys(b)) this.check(KNOWN.includes(key) || key.startsWith('x_'), `unknown field ${key}`);
    return this.answer(r, res, b.model);
  }

  playground(r, res) {
    if (!this.anonymous.has(this.bearer(r))) return this.json(res, 200, {status: 40310, message: 'token used up', result: null, timestamp: Date.now()});
    const b = this.common(r);
    this.same('Accept', r.headers.accept, b.stream ? 'text/event-stream' : 'application/json');
    this.check(typeof b.model_id === 'string' && !('model' in b), 'model_id, and no model');
    this.check(!/-[sS]earch$/.test(b.model_id), 'the -Search suffix is sent');
    if ('webSearchEnable' in b) this.check(typeof b.webSearchEnable === 'boolean', 'webSearchEnable');
    return this.answer(r, res, b.model_id);
  }

  chunk(model, delta, finish_reason = null, more = {}) {
    return {object: 'chat.completion.chunk', created: 1760000000, model, choices: [{index: 0, delta, finish_reason, ...more}]};
  }

  async answer(r, res, model) {
    const plan = this.plans.shift();
    if (typeof plan === 'function') return plan.call(this, r, res, model);
    if (plan) return this.json(res, plan.status, plan.json, plan.headers);
    if (r.json.stream) {
      this.sseHead(res);
      const write = (value) => res.write(`data:${JSON.stringify(value)}\n\n`); // no blank after the colon, as the site does it
      write(this.chunk(model, {role: 'assistant', content: ''}));
      write(this.chunk(model, {content: null, role: null, reasoning_content: 'Thinking.'}));
      write(this.chunk(model, {content: '大河', role: null}));
      write(this.chunk(model, {content: ' flows.', role: null}, null, {refs: [{index: 1, title: 'River', content: 'c', type: 'web', url: 'https://river.example/'}]}));
      write(this.chunk(model, {content: null, role: null}, 'stop', {refs: [{index: 1, title: 'River', content: 'c', type: 'web', url: 'https://river.example/'}]}));
      write({...this.chunk(model, {}), choices: [], usage: {prompt_tokens: 5, completion_tokens: 3, total_tokens: 8}});
      if (!this.withoutDone) res.write('data:[DONE]\n\n');
      return res.end();
    }
    this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1760000000, model,
      choices: [{index: 0, message: {role: 'assistant', content: '大河 flows.', reasoning_content: null}, finish_reason: 'stop', logprobs: null}],
      usage: {prompt_tokens: 5, completion_tokens: 3, total_tokens: 8}});
  }
}
