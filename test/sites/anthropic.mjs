// Stand-in for api.anthropic.com: refuses what the real service refuses, with its words (kept in `refusals`), and knows which
// thinking it has signed.
import {Site} from './site.mjs';

const FIELDS = ['model', 'max_tokens', 'messages', 'system', 'stream', 'stop_sequences', 'temperature', 'top_p', 'top_k', 'tools', 'tool_choice',
  'thinking', 'output_config', 'metadata', 'service_tier', 'container', 'context_management', 'mcp_servers', 'cache_control'];
const BLOCKS = {
  text: [['text'], ['citations', 'cache_control']],
  image: [['source'], ['cache_control']],
  document: [['source'], ['title', 'context', 'citations', 'cache_control']],
  tool_use: [['id', 'name', 'input'], ['cache_control', 'caller']],
  tool_result: [['tool_use_id'], ['content', 'is_error', 'cache_control']],
  thinking: [['thinking', 'signature'], []],
  redacted_thinking: [['data'], []],
  server_tool_use: [['id', 'name', 'input'], ['cache_control', 'caller']],
  web_search_tool_result: [['tool_use_id', 'content'], ['cache_control', 'caller']],
  search_result: [['source', 'title', 'content'], ['citations', 'cache_control']],
};
const USER = ['text', 'image', 'document', 'tool_result', 'search_result'];
const ASSISTANT = ['text', 'tool_use', 'thinking', 'redacted_thinking', 'server_tool_use', 'web_search_tool_result'];
const PICTURES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'];
const PLAIN = /^[a-zA-Z0-9_-]+$/;

export const MODELS = {
  'claude-3-5-sonnet-20241022': {generation: 305, max: 8192},
  'claude-sonnet-4-5': {generation: 405, max: 64000},
  'claude-opus-4-5': {generation: 405, max: 64000, effort: ['low', 'medium', 'high']},
  'claude-sonnet-4-6': {generation: 406, max: 64000, effort: ['low', 'medium', 'high']},
  'claude-opus-4-7': {generation: 407, max: 128000, effort: ['low', 'medium', 'high', 'xhigh', 'max']},
  'claude-odd-9': {generation: 405, max: 3000}, // its name tells nothing of its limits: only the list does
};

class Refused extends Error {}
const refuse = (text) => {
  throw new Refused(text);
};
const need = (condition, text) => condition || refuse(text);
const extra = (what, object, known) => {
  for (const key of Object.keys(object)) need(known.includes(key), `${what}${key}: Extra inputs are not permitted`);
};
const closed = (schema) => {
  if (schema === null || typeof schema !== 'object') return;
  if (schema.type === 'object') need(schema.additionalProperties === false, "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false");
  for (const inner of Object.values(schema.properties ?? {})) closed(inner);
  closed(schema.items);
};

export class Anthropic extends Site {
  constructor({apiKeys = ['sk-ant-test'], bearer = false, prefix = '', pages = true, ...rest} = {}) {
    super(rest);
    this.ownHeaders = ['x-api-key'];
    this.apiKeys = apiKeys;
    this.bearer = bearer;
    this.prefix = prefix;
    this.pages = pages;
    this.refusals = [];
    this.signed = new Map(); // signature → the thinking that it proves
    this.serial = 0;
  }

  chatRequests() {
    return this.requests.filter((r) => r.path.endsWith('/messages'));
  }

  error(res, status, type, message, headers = {}) {
    this.json(res, status, {type: 'error', error: {type, message}, request_id: 'req_1'}, {'request-id': 'req_1', ...headers});
  }

  async handle(r, res) {
    this.same('anthropic-version', r.headers['anthropic-version'], '2023-06-01');
    const key = this.bearer ? /^Bearer (\S+)$/.exec(r.headers.authorization ?? '')?.[1] : r.headers['x-api-key'];
    this.check(!(this.bearer ? 'x-api-key' in r.headers : 'authorization' in r.headers), 'two credentials');
    if (!this.apiKeys.includes(key)) return this.error(res, 401, 'authentication_error', `invalid x-api-key ${key}`);
    const route = `${r.method} ${r.path}`;
    if (route === `GET ${this.prefix}/v1/models`) return this.models(r, res);
    this.same('route', route, `POST ${this.prefix}/v1/messages`);
    this.same('Accept', r.headers.accept, 'text/event-stream');
    this.check(r.json, 'no JSON body');
    try {
      this.judge(r.json);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.refusals.push(error.message);
      return this.error(res, 400, 'invalid_request_error', error.message);
    }
    const plan = this.plans.shift();
    if (typeof plan === 'function') return plan.call(this, r, res);
    return this.answer(r.json, res);
  }

  models(r, res) {
    this.same('limit', r.query.get('limit'), '1000');
    const after = r.query.get('after_id'), ids = Object.keys(MODELS).reverse();
    const from = after ? ids.indexOf(after) + 1 : 0;
    const data = ids.slice(from, this.pages ? from + 4 : undefined).map((id) => {
      const {generation: g, max, effort} = MODELS[id];
      const yes = (supported) => ({supported});
      return {type: 'model', id, display_name: id, created_at: '2025-01-01T00:00:00Z', max_tokens: max, max_input_tokens: 200000,
        capabilities: {structured_outputs: yes(g >= 405), effort: {supported: !!effort, ...Object.fromEntries(['low', 'medium', 'high', 'max', 'xhigh'].map((e) => [e, yes(!!effort?.includes(e))]))},
          thinking: {supported: g >= 307, types: {adaptive: yes(g >= 406), enabled: yes(g >= 307 && g <= 406)}}}};
    });
    this.json(res, 200, {data, has_more: from + data.length < ids.length, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null});
  }

  // ---- what the real service refuses ----

  judge(b) {
    extra('', b, FIELDS);
    const model = MODELS[b.model];
    need(model, `model: ${b.model}`);
    need(Number.isInteger(b.max_tokens) && b.max_tokens >= 1, 'max_tokens: Field required');
    need(b.max_tokens <= model.max, `max_tokens: ${b.max_tokens} > ${model.max}, which is the maximum allowed number of output tokens for ${b.model}`);
    this.same('stream', b.stream, true);
    for (const stop of b.stop_sequences ?? []) need(stop.trim(), 'stop_sequences: each stop sequence must contain non-whitespace');
    if (Array.isArray(b.system)) b.system.forEach((block, i) => this.block(`system.${i}`, block, ['text']));
    this.sampling(b, model);
    this.tools(b);
    this.conversation(b, model);
    const config = b.output_config ?? {};
    extra('output_config.', config, ['effort', 'format', 'task_budget']);
    if ('effort' in config) need(model.effort?.includes(config.effort), `output_config.effort: this model does not support effort level '${config.effort}'`);
    if ('format' in config) {
      need(model.generation >= 405, 'output_config.format: this model does not support structured outputs');
      this.keys('format', config.format, ['type', 'schema']);
      closed(config.format.schema);
    }
  }

  sampling(b, {generation: g}) {
    const thinking = b.thinking?.type;
    need(!(thinking === 'enabled' && (g > 406 || g < 307)), '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.');
    need(!(thinking === 'adaptive' && g < 406), 'adaptive thinking is not supported on this model');
    if (thinking === 'enabled') {
      need(b.thinking.budget_tokens >= 1024, 'thinking.enabled.budget_tokens: Input should be greater than or equal to 1024');
      need(b.thinking.budget_tokens < b.max_tokens, '`max_tokens` must be greater than `thinking.budget_tokens`.');
    }
    if (thinking === 'enabled' || thinking === 'adaptive') {
      need((b.temperature ?? 1) === 1, '`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.');
      need((b.top_p ?? 1) >= 0.95, '`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.');
      need(!('top_k' in b), '`top_k` must be unset when thinking is enabled.');
      need(!['any', 'tool'].includes(b.tool_choice?.type), 'Thinking may not be enabled when tool_choice forces tool use.');
    }
    if ('temperature' in b) need(b.temperature >= 0 && b.temperature <= 1, 'temperature: range: 0..1');
    if (g >= 407) {
      need((b.temperature ?? 1) === 1, '`temperature` is deprecated for this model.');
      need((b.top_p ?? 1) >= 0.99, '`top_p` is deprecated for this model.');
      need(!('top_k' in b), '`top_k` is deprecated for this model.');
    }
    need(g < 401 || !('temperature' in b && 'top_p' in b), '`temperature` and `top_p` cannot both be specified for this model. Please use only one.');
    if (this.noTemperature) need(!('temperature' in b), '`temperature` is deprecated for this model.');
  }

  tools(b) {
    for (const [i, tool] of (b.tools ?? []).entries()) {
      if (tool.type && tool.type !== 'custom') continue;
      extra(`tools.${i}.custom.`, tool, ['name', 'description', 'input_schema', 'strict', 'cache_control', 'type', 'input_examples']);
      need(PLAIN.test(tool.name) && tool.name.length <= 128, `tools.${i}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'`);
      need(tool.input_schema?.type === 'object', `tools.${i}.custom.input_schema.type: Input should be 'object'`);
    }
    if (!b.tool_choice) return;
    need(b.tools?.length, 'tool_choice may only be specified while providing tools.');
    const {type} = b.tool_choice;
    extra('tool_choice.', b.tool_choice, ['type', ...(type === 'tool' ? ['name'] : []), ...(type === 'none' ? [] : ['disable_parallel_tool_use'])]);
    need(['auto', 'any', 'tool', 'none'].includes(type), 'tool_choice.type');
    if (type === 'tool') need(b.tools.some((t) => t.name === b.tool_choice.name), `Tool '${b.tool_choice.name}' not found in provided tools`);
  }

  block(at, block, kinds) {
    need(kinds.includes(block.type), `${at}: Input tag '${block.type}' found using 'type' does not match any of the expected tags`);
    const [required, optional] = BLOCKS[block.type];
    for (const key of required) need(key in block, `${at}.${block.type}.${key}: Field required`);
    extra(`${at}.${block.type}.`, block, ['type', ...required, ...optional]);
    if (block.type === 'text') need(block.text.trim(), `${at}: text content blocks must contain non-whitespace text`);
    if (block.type === 'image' && block.source.type === 'base64') need(PICTURES.includes(block.source.media_type), `${at}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'`);
    if (block.source && block.type !== 'search_result') need(['base64', 'url', 'text', 'file', 'content'].includes(block.source.type), `${at}.source.type`);
    if (block.type === 'tool_use') {
      need(PLAIN.test(block.id), `${at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'`);
      need(block.input !== null && typeof block.input === 'object' && !Array.isArray(block.input), `${at}.tool_use.input: Input should be a valid dictionary`);
    }
    if (block.type === 'tool_result' && Array.isArray(block.content)) block.content.forEach((inner, i) => this.block(`${at}.content.${i}`, inner, ['text', 'image', 'document', 'search_result']));
    if (block.type === 'thinking') need(this.signed.get(block.signature) === block.thinking, `${at}: Invalid \`signature\` in \`thinking\` block`);
  }

  conversation(b, model) {
    need(b.messages?.length, 'messages: at least one message is required');
    need(b.messages[0].role === 'user', 'messages: first message must use the "user" role');
    let open = [];
    for (const [i, m] of b.messages.entries()) {
      extra(`messages.${i}.`, m, ['role', 'content']);
      if (m.role === 'system') {
        need(model.generation >= 408, `messages.${i}: role 'system' is not supported on this model`);
        continue;
      }
      if (i) need(m.role !== b.messages[i - 1].role, 'messages: roles must alternate between "user" and "assistant"');
      const content = typeof m.content === 'string' ? [{type: 'text', text: m.content}] : m.content;
      need(content.length, `messages.${i}: all messages must have non-empty content`);
      content.forEach((block, k) => this.block(`messages.${i}.content.${k}`, block, m.role === 'user' ? USER : ASSISTANT));
      const results = content.filter((c) => c.type === 'tool_result'), calls = content.filter((c) => c.type === 'tool_use');
      need(content.slice(0, results.length).every((c) => c.type === 'tool_result'), `messages.${i}: tool_result blocks must come first`);
      for (const id of open) need(results.some((c) => c.tool_use_id === id), `messages.${i}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${id}`);
      for (const c of results) need(open.includes(c.tool_use_id), `messages.${i}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${c.tool_use_id}`);
      open = calls.map((c) => c.id);
      if (calls.length) need(b.tools?.length, 'Requests which include `tool_use` or `tool_result` blocks must define tools');
      if (calls.length && b.thinking?.type === 'enabled') {
        need(/thinking$/.test(content[0].type), `messages.${i}.content.0.type: Expected \`thinking\` or \`redacted_thinking\`, but found \`${content[0].type}\`.`);
      }
    }
    need(!open.length, `messages.${b.messages.length - 1}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${open}`);
    const last = b.messages.at(-1);
    if (last.role !== 'assistant') return;
    const text = typeof last.content === 'string' ? last.content : last.content.at(-1).text;
    need(model.generation <= 405 && b.thinking?.type !== 'enabled', 'This model does not support assistant message prefill. The conversation must end with a user message.');
    need(text === text.trimEnd(), 'messages: final assistant content cannot end with trailing whitespace');
  }

  // ---- answers ----

  put(res, type, value = {}) {
    return res.write(`event: ${type}\ndata: ${JSON.stringify({type, ...value})}\n\n`);
  }

  begin(res, model) {
    this.sseHead(res, {'request-id': 'req_1'});
    this.put(res, 'message_start', {message: {id: 'msg_01', type: 'message', role: 'assistant', model, content: [], stop_reason: null, stop_sequence: null,
      usage: {input_tokens: 12, cache_creation_input_tokens: 3, cache_read_input_tokens: 5, output_tokens: 1}}});
    this.put(res, 'ping');
  }

  write(res, index, content_block, ...deltas) {
    this.put(res, 'content_block_start', {index, content_block});
    for (const delta of deltas) this.put(res, 'content_block_delta', {index, delta});
    this.put(res, 'content_block_stop', {index});
  }

  text(res, index, ...pieces) {
    this.write(res, index, {type: 'text', text: ''}, ...pieces.map((text) => ({type: 'text_delta', text})));
  }

  think(res, index) {
    const thinking = `先 thought ${++this.serial}`, signature = `c2ln${this.serial}==`;
    this.signed.set(signature, thinking);
    this.write(res, index, {type: 'thinking', thinking: '', signature: ''}, {type: 'thinking_delta', thinking}, {type: 'signature_delta', signature});
  }

  call(res, index, name, input) {
    const json = JSON.stringify(input);
    this.write(res, index, {type: 'tool_use', id: `toolu_${++this.serial}`, name, input: {}}, ...['', json.slice(0, 5), json.slice(5)].map((partial_json) => ({type: 'input_json_delta', partial_json})));
  }

  end(res, stop_reason = 'end_turn', more = {}) {
    this.put(res, 'message_delta', {delta: {stop_reason, stop_sequence: null, ...more}, usage: {output_tokens: 15}});
    this.put(res, 'message_stop');
    res.end();
  }

  /** Thinks if asked to; with tools it calls one of the first, then two at once, then answers. */
  answer(b, res) {
    const results = b.messages.flatMap((m) => (Array.isArray(m.content) ? m.content.filter((c) => c.type === 'tool_result') : [])).length;
    let index = 0;
    this.begin(res, b.model);
    if (b.thinking && b.thinking.type !== 'disabled') this.think(res, index++);
    if (b.tools && b.tool_choice?.type !== 'none' && results < 3) {
      this.text(res, index++, 'I look. ');
      for (let n = results ? 2 : 1; n > 0; n--) this.call(res, index++, b.tools[0].name, {city: '札幌', n: results + n});
      return this.end(res, 'tool_use');
    }
    this.text(res, index++, '雪 falls ', 'softly ❄️.');
    this.end(res);
  }
}
