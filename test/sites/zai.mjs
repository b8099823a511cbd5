// Stand-in for chat.z.ai in both of its forms. It checks each request against the dossier, field for field, and answers 418 to
// anything else.
import {createHmac, randomUUID} from 'node:crypto';
import {Site, jwtOf} from './site.mjs';

export const SIGNING_KEY = 'a test signing key';

/** A token as the site makes them. */
export const jwt = (id, email = `${id}@example.org`, more = {}) => jwtOf({id, email, ...more}, {alg: 'ES256'});

export const say = (delta_content, phase = 'answer') => ({type: 'chat:completion', data: {delta_content, phase}});
export const usage = {type: 'chat:completion', data: {phase: 'other', delta_content: '',
  usage: {prompt_tokens: 11, completion_tokens: 9, total_tokens: 20}}};
export const done = {type: 'chat:completion', data: {phase: 'done', done: true}};
export const siteError = (error) => ({type: 'chat:completion', data: {data: {done: true, error}, done: true, error}});

export const answers = {
  plain: [say('你好'), say(', '), say('world 🌍'), usage, done],
  reasoning: [say('First I add.', 'thinking'), say(' Then I check.', 'thinking'), say('The sum'), say(' is 4.'), usage, done],
  captcha: [siteError({code: 'FRONTEND_CAPTCHA_REQUIRED', captcha_error_type: 'missing_param', detail: 'captcha required'})],
  concurrency: [siteError({code: 429, detail: 'too many requests: concurrency'})],
  internal: [siteError({code: 'INTERNAL_ERROR', detail: 'Oops, something went wrong.'})],
  lateError: [say('Half an'), say(' answer'), siteError({code: 'INTERNAL_ERROR', detail: 'Oops, something went wrong.'})],
  busy: [siteError({code: 'MODEL_CONCURRENCY_LIMIT', detail: '当前模型使用人数较多'})],
  empty: [usage, done],
};

const DATE = /^\d{4}-\d\d-\d\d$/, TIME = /^\d\d:\d\d:\d\d$/;
const WEEKDAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

export class Zai extends Site {
  /** tokens: whose are accepted; guests may be had unless guests is false. Their tokens tell an end when `lifeS` is set. */
  constructor({tokens = [jwt('person')], guests = true, signingKey = null, roles = 'flat', feVersion = null, ...rest} = {}) {
    super(rest);
    Object.assign(this, {guests, signingKey, roles, feVersion});
    this.tokens = new Map(tokens.map((token) => [token, {guest: false}]));
    this.guestsMade = 0;
    this.chats = new Map(); // id -> {user, text, deleted}
    this.files = new Map();
  }

  chatRequests() {
    return this.requests.filter((r) => /\/chat\/completions$/.test(r.path));
  }

  async handle(r, res) {
    const route = `${r.method} ${r.path}`;
    if (route === 'GET /api/v1/auths/') return this.auths(r, res);
    if (route === 'GET /api/models') return this.models(r, res);
    if (route === 'POST /api/chat/completions') return this.chatV1(r, res);
    if (route === 'POST /api/v1/chats/new') return this.newChat(r, res);
    if (route === 'POST /api/v2/chat/completions') return this.chatV2(r, res);
    if (route === 'POST /api/v1/files/') return this.upload(r, res);
    if (r.method === 'DELETE' && r.path.startsWith('/api/v1/chats/')) return this.deleteChat(r, res);
    this.fail('the site has no such path');
  }

  headers(r, {accept = '*/*', type = 'application/json', chat} = {}) {
    const h = r.headers;
    const version = h['x-fe-version'] ?? '';
    this.check(/^prod-fe-\d+\.\d+\.\d+$/.test(version), `X-FE-Version ${version}`);
    if (this.feVersion) this.same('X-FE-Version', version, this.feVersion);
    this.same('Accept', h.accept, accept);
    this.same('Origin', h.origin, this.origin);
    this.same('Referer', h.referer, chat ? `${this.origin}/c/${chat}` : `${this.origin}/`);
    if ('x-region' in h) this.same('X-Region', h['x-region'], 'overseas');
    if (type) this.check((h['content-type'] ?? '').startsWith(type), `Content-Type ${h['content-type']}`);
  }

  /** The account of the bearer, or null after a 401. */
  account(r, res) {
    const [, token] = /^Bearer (\S+)$/.exec(r.headers.authorization ?? '') ?? [];
    this.check(token, 'no bearer');
    const account = this.tokens.get(token);
    if (!account) this.json(res, 401, {detail: '401 Unauthorized'});
    return account ? {...account, token, id: JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).id} : null;
  }

  auths(r, res) {
    this.check(!('authorization' in r.headers), 'the guest token is asked for with an Authorization');
    this.headers(r, {type: null});
    if (!this.guests) return this.json(res, 403, {detail: 'no guests today'});
    const id = `guest-${++this.guestsMade}`, token = jwt(id, `Guest-${this.guestsMade}@guest.com`, this.lifeS ? {exp: Math.ceil(Date.now() / 1000 + this.lifeS)} : {});
    this.tokens.set(token, {guest: true});
    this.json(res, 200, {id, email: `Guest-${this.guestsMade}@guest.com`, name: `Guest-${this.guestsMade}`, role: 'guest', token, token_type: 'Bearer'});
  }

  models(r, res) {
    if (!this.account(r, res)) return;
    const model = (id, name) => ({id, name, owned_by: 'openai', info: {name, is_active: true, params: {},
      meta: {description: '', capabilities: {vision: false, think: true, web_search: true}, mcpServerIds: [], tags: []}}});
    this.json(res, 200, {data: [model('GLM-4-6-API-V1', 'GLM-4.6'), model('glm-4.7', 'GLM-4.7'), model('brand-new', 'GLM 9 Brand New')]});
  }

  messages(list) {
    this.check(Array.isArray(list) && list.length > 0, 'messages is no list');
    list.forEach((m, i) => {
      this.keys(`messages[${i}]`, m, ['role', 'content']);
      this.check(['system', 'user', 'assistant'].includes(m.role), `role ${m.role}`);
      if (typeof m.content === 'string') return;
      this.check(Array.isArray(m.content), `messages[${i}].content`);
      for (const part of m.content) {
        if (part.type === 'text') {
          this.keys('text part', part, ['type', 'text']);
          continue;
        }
        this.keys('picture', part, ['type', 'image_url']);
        this.same('part type', part.type, 'image_url');
        this.keys('image_url', part.image_url, ['url']);
        this.check(this.files.has(part.image_url.url), `picture ${part.image_url.url} was never uploaded`);
      }
    });
  }

  bools(what, object, required, optional = []) {
    this.keys(what, object, required, optional);
    for (const [key, value] of Object.entries(object)) this.check(typeof value === 'boolean', `${what}.${key} is no boolean`);
  }

  variables(v, more) {
    this.keys('variables', v, ['{{USER_NAME}}', '{{USER_LOCATION}}', '{{CURRENT_DATETIME}}', ...more]);
    this.same('USER_NAME', v['{{USER_NAME}}'], 'User');
    this.same('USER_LOCATION', v['{{USER_LOCATION}}'], 'Unknown');
    const [date, time] = v['{{CURRENT_DATETIME}}'].split(' ');
    this.check(DATE.test(date) && TIME.test(time), `CURRENT_DATETIME ${v['{{CURRENT_DATETIME}}']}`);
    if (!more.length) return;
    this.check(DATE.test(v['{{CURRENT_DATE}}']), 'CURRENT_DATE');
    this.check(TIME.test(v['{{CURRENT_TIME}}']), 'CURRENT_TIME');
    this.check(WEEKDAYS.includes(v['{{CURRENT_WEEKDAY}}']), 'CURRENT_WEEKDAY');
    this.check(v['{{CURRENT_TIMEZONE}}'] && v['{{USER_LANGUAGE}}'], 'time zone or language');
  }

  params(p) {
    this.keys('params', p, [], ['temperature', 'top_p', 'max_tokens', 'stop']);
  }

  chatV1(r, res) {
    const b = r.json;
    this.check(b, 'no JSON body');
    this.keys('body', b, ['stream', 'model', 'messages', 'params', 'features', 'background_tasks', 'chat_id', 'id',
      'mcp_servers', 'tool_servers', 'model_item', 'variables']);
    const referers = [`${this.origin}/c/${b.chat_id}`, `${this.origin}/`];
    this.check(referers.includes(r.headers.referer), `Referer ${r.headers.referer}`);
    this.headers(r, {accept: 'application/json, text/event-stream', chat: r.headers.referer.endsWith('/') ? null : b.chat_id});
    const account = this.account(r, res);
    if (!account) return;
    this.same('stream', b.stream, true);
    this.messages(b.messages);
    this.params(b.params);
    this.bools('features', b.features, ['enable_thinking'], ['web_search', 'auto_web_search', 'image_generation', 'preview_mode']);
    this.same('background_tasks', b.background_tasks, {title_generation: false, tags_generation: false});
    this.fresh('chat_id', b.chat_id);
    this.fresh('id', b.id);
    this.same('mcp_servers', b.mcp_servers, []);
    this.same('tool_servers', b.tool_servers, []);
    this.keys('model_item', b.model_item, ['id', 'name', 'owned_by']);
    this.same('model_item', [b.model_item.id, b.model_item.owned_by], [b.model, 'openai']);
    this.variables(b.variables, []);
    return this.answer(r, res);
  }

  newChat(r, res) {
    this.headers(r);
    const account = this.account(r, res);
    if (!account) return;
    this.keys('body', r.json, ['chat']);
    const c = r.json.chat;
    this.keys('chat', c, ['id', 'title', 'models', 'params', 'history', 'tags', 'flags', 'features', 'mcp_servers', 'enable_thinking',
      'auto_web_search', 'message_version', 'extra', 'timestamp']);
    this.same('chat.id, title', [c.id, c.title], ['', 'New Chat']);
    this.same('features', c.features, [{type: 'tool_selector', server: 'tool_selector_h', status: 'hidden'}]);
    this.same('constants', [c.params, c.tags, c.flags, c.message_version, c.extra], [{}, [], [], 1, {}]);
    this.keys('history', c.history, ['messages', 'currentId']);
    const user = c.history.currentId;
    this.fresh('history.currentId', user);
    this.keys('history.messages', c.history.messages, [user]);
    const m = c.history.messages[user];
    this.keys('message', m, ['id', 'parentId', 'childrenIds', 'role', 'content', 'timestamp', 'models']);
    this.same('message', [m.id, m.parentId, m.childrenIds, m.role, m.models], [user, null, [], 'user', c.models]);
    this.check(Math.abs(m.timestamp - Date.now() / 1000) < 120, `message timestamp ${m.timestamp} is not now in seconds`);
    this.check(Math.abs(c.timestamp - Date.now()) < 120e3, `chat timestamp ${c.timestamp} is not now in milliseconds`);
    const id = randomUUID();
    this.chats.set(id, {user, owner: account.id, model: c.models[0], deleted: false});
    this.json(res, 200, {id, user_id: account.id, title: 'New Chat', chat: c});
  }

  chatV2(r, res) {
    const b = r.json;
    this.check(b, 'no JSON body');
    const chat = this.chats.get(b.chat_id);
    this.check(chat, `chat ${b.chat_id} was never created`);
    this.check(!chat.deleted, 'the chat is deleted already');
    this.headers(r, {chat: b.chat_id});
    const account = this.account(r, res);
    if (!account) return;
    this.same("the chat's owner", account.id, chat.owner);
    this.query(r, account, b);
    this.keys('body', b, ['stream', 'model', 'messages', 'params', 'background_tasks', 'signature_prompt', 'extra', 'features', 'variables',
      'chat_id', 'id', 'current_user_message_id', 'current_user_message_parent_id'], ['files', 'mcp_servers']);
    this.same('stream', b.stream, true);
    this.same('model', b.model, chat.model);
    this.messages(b.messages);
    if (this.roles === 'flat') {
      this.same('number of messages', b.messages.length, 1);
      this.same('role', b.messages[0].role, 'user');
    }
    this.params(b.params);
    this.same('background_tasks', b.background_tasks, {title_generation: false, tags_generation: false});
    this.same('extra', b.extra, {});
    const f = {...b.features};
    this.same('flags', f.flags, []);
    delete f.flags;
    delete f.reasoning_effort;
    this.bools('features', f, ['image_generation', 'web_search', 'auto_web_search', 'preview_mode', 'enable_thinking']);
    this.same('preview_mode', f.preview_mode, true);
    this.variables(b.variables, ['{{CURRENT_DATE}}', '{{CURRENT_TIME}}', '{{CURRENT_WEEKDAY}}', '{{CURRENT_TIMEZONE}}', '{{USER_LANGUAGE}}']);
    this.fresh('id', b.id);
    this.same('current_user_message_id', b.current_user_message_id, chat.user);
    this.same('current_user_message_parent_id', b.current_user_message_parent_id, null);
    const content = b.messages.filter((m) => m.role === 'user').at(-1).content;
    const text = typeof content === 'string' ? content : content.filter((p) => p.type === 'text').map((p) => p.text).join('\n');
    this.same('signature_prompt', b.signature_prompt.trim(), text.trim());
    this.signature(r, account, b);
    const pictures = typeof content === 'string' ? [] : content.filter((p) => p.type === 'image_url');
    this.same('number of files', (b.files ?? []).length, pictures.length);
    for (const file of b.files ?? []) {
      this.keys('file', file, ['type', 'file', 'id', 'url', 'name', 'status', 'size', 'error', 'itemId', 'media', 'ref_user_msg_id']);
      this.same('file', [file.type, file.file, file.url, file.status, file.media, file.ref_user_msg_id],
        ['image', this.files.get(file.id), `/api/v1/files/${file.id}/content`, 'uploaded', 'image', chat.user]);
    }
    return this.answer(r, res);
  }

  query(r, account, b) {
    const q = Object.fromEntries(r.query);
    this.keys('query', q, ['timestamp', 'requestId', 'user_id', 'version', 'platform', 'token', 'current_url', 'pathname', 'signature_timestamp']);
    this.check(/^\d{13}$/.test(q.timestamp) && Math.abs(q.timestamp - Date.now()) < 120e3, `timestamp ${q.timestamp}`);
    this.same('signature_timestamp', q.signature_timestamp, q.timestamp);
    this.fresh('requestId', q.requestId);
    this.same('query', [q.user_id, q.version, q.platform, q.token, q.current_url, q.pathname],
      [account.id, '0.0.1', 'web', account.token, `${this.origin}/c/${b.chat_id}`, `/c/${b.chat_id}`]);
    this.check(!/[:/@+ ]/.test(r.url.split('?')[1]), 'the query is not percent-encoded');
  }

  signature(r, account, b) {
    const given = r.headers['x-signature'];
    if (!this.signingKey) {
      this.check(given === undefined, 'a signature without a key');
      return;
    }
    const ms = r.query.get('timestamp');
    const hmac = (key, data) => createHmac('sha256', key).update(data).digest('hex');
    const info = `requestId,${r.query.get('requestId')},timestamp,${ms},user_id,${account.id}`;
    const data = `${info}|${Buffer.from(b.signature_prompt).toString('base64')}|${ms}`;
    this.same('X-Signature', given, hmac(hmac(this.signingKey, String(Math.floor(ms / 300000))), data));
  }

  upload(r, res) {
    this.headers(r, {type: 'multipart/form-data'});
    const account = this.account(r, res);
    if (!account) return;
    this.check(!account.guest, 'a guest uploads');
    const [, boundary] = /boundary="?([^";]+)"?/.exec(r.headers['content-type']) ?? [];
    const text = r.body.toString('latin1');
    const pattern = new RegExp(`^--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="([^"]+)"\r\nContent-Type: ([^\r]+)\r\n\r\n([^]*)\r\n--${boundary}--\r\n$`, 'i');
    const found = pattern.exec(text);
    this.check(boundary && found, 'no well-formed multipart body with one file');
    const id = randomUUID();
    const file = {id, user_id: account.id, filename: found[1], meta: {name: found[1], content_type: found[2], size: found[3].length,
      cdn_url: `https://cdn.example/${id}`}};
    this.files.set(id, file);
    this.json(res, 200, file);
  }

  deleteChat(r, res) {
    const account = this.account(r, res);
    if (!account) return;
    const chat = this.chats.get(r.path.slice('/api/v1/chats/'.length));
    this.check(chat, 'a chat that was never created is deleted (without an id: all of them)');
    this.same('owner', account.id, chat.owner);
    chat.deleted = true;
    this.json(res, 200, true);
    this.emit('deleted', chat);
  }

  /** A plan is a name in `answers`, a list of events, {status, json, html, headers}, or a function. */
  async answer(r, res) {
    const plan = this.plans.shift() ?? 'plain';
    if (typeof plan === 'function') return plan.call(this, r, res);
    if (!Array.isArray(plan) && typeof plan === 'object') {
      if (plan.html) {
        res.writeHead(plan.status ?? 200, {'content-type': 'text/html; charset=utf-8', ...plan.headers});
        return res.end(plan.html);
      }
      return this.json(res, plan.status, plan.json, plan.headers);
    }
    this.sseHead(res);
    for (const event of Array.isArray(plan) ? plan : answers[plan]) this.event(res, event);
    res.end();
  }
}
