// Stand-in for www.kimi.com: Connect's envelopes, access tokens of a quarter of an hour, refresh tokens that are worth nothing once
// their successor was used. It checks each request against the dossier, field for field, and answers 418 to anything else.
import {Site, jwtOf} from './site.mjs';

const jwt = (payload) => jwtOf(payload, {alg: 'HS512'});

/** One envelope of Connect. */
export function envelope(value, flags = 0) {
  const payload = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
  const head = Buffer.alloc(5);
  head[0] = flags;
  head.writeUInt32BE(payload.length, 1);
  return Buffer.concat([head, payload]);
}

export const heartbeat = {heartbeat: {}};
export const say = (content, {id = '4', op = 'append', kind = 'text'} = {}) =>
  ({op, mask: op === 'set' ? `block.${kind}` : `block.${kind}.content`, block: {id, [kind]: {content}}});
export const done = {eventOffset: 99, done: {}};
const completed = {op: 'set', mask: 'message.status', message: {id: 'm-asst', status: 'MESSAGE_STATUS_COMPLETED'}};
export const page = (n) => ({title: `Page ${n}`, url: `https://pages.example/${n}`});

export const answers = {
  plain: [heartbeat, say('你', {op: 'set'}), say('好'), say(', world 🌍'), completed, done],
  reasoning: [say('First I add.', {op: 'set', kind: 'think', id: '3'}), say(' Then I check.', {kind: 'think', id: '3'}),
    say('The sum', {op: 'set'}), say(' is 4.'), completed, done],
  search: [{op: 'set', mask: 'block.search', block: {id: '6', search: {keywords: ['k'], webPages: [page(1), page(2)]}}},
    say('Found.', {op: 'set'}), completed, {op: 'set', mask: 'message.refs', message: {id: 'm-asst', role: 'assistant', refs: {searchChunks: [{base: page(2)}, {base: page(3)}]}}}, done],
  lateError: [say('Half an', {op: 'set'}), say(' answer'), {error: {code: 'internal', message: 'stream reset'}}],
  crowded: [{op: 'set', mask: 'block.exception', block: {id: '1', exception: {error: {reason: 'REASON_COMPLETION_OVERLOADED', localizedMessage: {locale: 'en-US', message: 'crowded'}, severity: 'SEVERITY_BLOCK_RETRACT'}}}}],
  nothing: [completed, done],
  filter: [{op: 'set', mask: 'block.exception', block: {id: '1', exception: {error: {reason: 'REASON_SENSITIVE_CONTENT'}}}}],
};

const EFFORT = /^REASONING_EFFORT_(NONE|LOW|MEDIUM|HIGH)$/;
const ORIGIN_HEADERS = ['authorization', 'content-type', 'accept', 'origin', 'referer', 'x-msh-platform', 'x-msh-device-id', 'x-msh-session-id',
  'x-traffic-id', 'connect-protocol-version', 'cookie', 'host', 'user-agent', 'accept-encoding', 'content-length', 'connection'];

export class Kimi extends Site {
  /** v1: 'good' or a status that the older refresh answers with. lifeS: how long an access token lives. */
  constructor({refreshTokens = ['cpmt_0'], v1 = 'good', lifeS = 900, rotates = true, ...rest} = {}) {
    super(rest);
    Object.assign(this, {v1, lifeS, rotates});
    this.ownHeaders = ['cookie'];
    this.refreshTokens = new Set(refreshTokens); // good ones
    this.former = new Map();                     // access token → the refresh token that it replaced
    this.access = new Set();
    this.refreshes = 0;
    this.made = 0;
    this.chats = new Map(); // id → {text, deleted, forgotten, last: id of its last answer}
    this.files = new Map();
    this.slowFiles = 0;     // how often a picture is "not yet" read
    this.devices = new Set();
    this.auth = new Auth(this, rest);
  }

  async start() {
    await this.auth.start();
    return super.start();
  }

  async stop() {
    await this.auth.stop();
    await super.stop();
  }

  chatRequests() {
    return this.requests.filter((r) => r.path.endsWith('ChatService/Chat'));
  }

  /** A fresh access token that works. */
  grant(more = {}) {
    const now = Math.floor(Date.now() / 1000);
    const token = jwt({iss: 'user-center', app_id: 'kimi', typ: 'access', sub: 'user-1', ssid: '1731234567890123456', device_id: '7401234567890123456', n: ++this.made, iat: now, exp: now + this.lifeS, ...more});
    this.access.add(token);
    return token;
  }

  /** What both forms of the refresh do: null for a token that is no good. */
  renew(token) {
    if (!this.refreshTokens.has(token)) return null;
    this.refreshes++;
    const access = this.grant();
    if (!this.rotates) return {access};
    const refresh = `cpmt_${this.refreshes}`;
    this.refreshTokens.add(refresh);
    this.former.set(access, token);
    return {access, refresh};
  }

  async handle(r, res) {
    const route = `${r.method} ${r.path}`;
    for (const name of Object.keys(r.headers)) this.check(ORIGIN_HEADERS.includes(name), `the header ${name} has no business here`);
    if (route === 'GET /api/auth/token/refresh') return this.refresh(r, res);
    if (route === 'POST /apiv2/kimi.gateway.chat.v1.ChatService/Chat') return this.chat(r, res);
    if (route === 'POST /apiv2/kimi.gateway.config.v1.ConfigService/GetAvailableModels') return this.models(r, res);
    if (route === 'POST /apiv2/kimi.chat.v1.ChatService/DeleteChat') return this.deleteChat(r, res);
    if (route === 'POST /apiv2-files/file/upload') return this.upload(r, res);
    if (route === 'POST /apiv2-files/kimi.gateway.file.v1.FileService/GetFileParseProgress') return this.progress(r, res);
    this.fail('the site has no such path');
  }

  common(r, {type = 'application/json', connect = false} = {}) {
    const h = r.headers;
    this.same('Accept', h.accept, '*/*');
    this.same('Origin', h.origin, this.origin);
    this.same('Referer', h.referer, `${this.origin}/`);
    this.same('X-Msh-Platform', h['x-msh-platform'], 'web');
    this.check(/^7\d{18}$/.test(h['x-msh-device-id'] ?? ''), `X-Msh-Device-Id ${h['x-msh-device-id']}`);
    this.check(/^17\d{17}$/.test(h['x-msh-session-id'] ?? ''), `X-Msh-Session-Id ${h['x-msh-session-id']}`);
    this.devices.add(h['x-msh-device-id']);
    this.same('Connect-Protocol-Version', h['connect-protocol-version'], connect ? '1' : undefined);
    if (type === null) this.check(!('content-type' in h), 'a Content-Type without a body');
    else this.check((h['content-type'] ?? '').startsWith(type), `Content-Type ${h['content-type']}`);
  }

  bearer(r) {
    return /^Bearer (\S+)$/.exec(r.headers.authorization ?? '')?.[1];
  }

  /** Is the access token good? Else 401 went out. The first use of a new one ends the refresh token before it. */
  allowed(r, res) {
    const token = this.bearer(r);
    this.check(token, 'no bearer');
    const payload = token.includes('.') ? JSON.parse(Buffer.from(token.split('.')[1], 'base64url')) : {};
    const good = this.access.has(token) && payload.exp * 1000 > Date.now();
    if (!good) {
      this.json(res, 401, {code: 'unauthenticated', message: 'unauthenticated'});
      return false;
    }
    this.same('X-Traffic-Id', r.headers['x-traffic-id'], payload.sub);
    if (this.former.has(token)) this.refreshTokens.delete(this.former.get(token));
    return true;
  }

  refresh(r, res) {
    this.common(r, {type: null});
    if (this.v1 !== 'good') return this.json(res, this.v1, {code: 'not_found', message: 'gone'});
    const got = this.renew(this.bearer(r));
    if (!got) return this.json(res, 401, {error_type: 'auth.token.invalid', message: 'token invalid'});
    this.json(res, 200, {access_token: got.access, ...(got.refresh ? {refresh_token: got.refresh} : {})});
  }

  models(r, res) {
    this.common(r, {connect: true});
    this.same('body', r.json, {});
    if (!this.allowed(r, res)) return;
    this.json(res, 200, {availableModels: [{scenario: 'SCENARIO_K2D5', displayName: 'K2.6 Thinking', description: 'd', thinking: true},
      {scenario: 'SCENARIO_NEXT', displayName: 'K4 Preview'},
      {scenario: 'SCENARIO_OK_COMPUTER', displayName: 'K4 Swarm', kimiPlusId: 'swarm', agentMode: 'TYPE_ULTRA'}],
    defaultScenario: {scenario: 'SCENARIO_K2D5'}});
  }

  upload(r, res) {
    this.common(r, {type: 'multipart/form-data; boundary='});
    if (!this.allowed(r, res)) return;
    const boundary = r.headers['content-type'].split('boundary=')[1];
    const text = r.body.toString('latin1');
    const found = new RegExp(`^--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="([^"]+)"\r\nContent-Type: (image/[a-z]+)\r\n\r\n([^]*)\r\n--${boundary}--\r\n$`).exec(text);
    this.check(found, 'no form with one file');
    const id = `file-${this.files.size + 1}`;
    this.files.set(id, {bytes: Buffer.from(found[3], 'latin1'), polls: 0, read: this.slowFiles === 0});
    const file = {id, ...(this.slowFiles === 0 ? {parseResult: {thumbnail: {thumbnailUrl: 'https://x/1', previewUrl: 'https://x/2'}}} : {})};
    this.json(res, 200, {file});
  }

  progress(r, res) {
    this.common(r);
    if (!this.allowed(r, res)) return;
    this.keys('body', r.json, ['file_ids']);
    this.json(res, 200, {progresses: r.json.file_ids.map((id) => {
      const file = this.files.get(id);
      this.check(file, `file ${id} was never uploaded`);
      file.read = ++file.polls >= this.slowFiles;
      if (this.brokenFiles) return {status: 'PROCESS_STATUS_FAILED'};
      return {status: file.read ? 'PROCESS_STATUS_SUCCESS' : 'PROCESS_STATUS_RUNNING'};
    })});
  }

  deleteChat(r, res) {
    this.common(r, {connect: true});
    this.keys('body', r.json, ['chat_id']);
    const chat = this.chats.get(r.json.chat_id);
    this.check(chat && !chat.deleted, `chat ${r.json.chat_id} is none of ours`);
    if (!this.allowed(r, res)) return;
    chat.deleted = true;
    this.json(res, 200, {});
    this.emit('deleted', r.json.chat_id);
  }

  /** The JSON of the one envelope that the body is. */
  unwrapped(r) {
    this.check(r.body.length > 5 && r.body[0] === 0, 'the body is no envelope');
    this.same('length of the envelope', r.body.readUInt32BE(1), r.body.length - 5);
    return JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(r.body.subarray(5)));
  }

  checkChat(b) {
    const newer = typeof b.options?.model === 'string';
    const goesOn = 'chat_id' in b;
    this.keys('body', b, ['scenario', 'tools', 'message', 'options', ...(newer ? ['project_id'] : []), ...(goesOn ? ['chat_id'] : [])], ['kimiplusId', 'agentMode']);
    this.check(/^SCENARIO_[A-Z0-9_]+$/.test(b.scenario), `scenario ${b.scenario}`);
    this.check(JSON.stringify(b.tools) === '[]' || JSON.stringify(b.tools) === '[{"type":"TOOL_TYPE_SEARCH","search":{}}]', 'tools');
    this.keys('message', b.message, ['role', 'blocks', 'scenario', ...(newer ? ['is_goal'] : []), ...(goesOn ? ['parent_id'] : [])]);
    this.same('message.role', b.message.role, 'user');
    this.same('message.scenario', b.message.scenario, b.scenario);
    this.keys('options', b.options, newer ? ['thinking', 'enable_plugin', 'reasoning_effort', 'model'] : ['thinking']);
    this.check(typeof b.options.thinking === 'boolean', 'options.thinking');
    if (newer) this.check(EFFORT.test(b.options.reasoning_effort) && b.options.enable_plugin === false && b.message.is_goal === false, 'the newer form');
    const [text, ...files] = b.message.blocks;
    this.keys('text block', text, ['message_id', 'text']);
    this.keys('text', text.text, ['content']);
    for (const block of files) {
      this.keys('file block', block, ['file']);
      this.keys('file', block.file, ['id', 'status']);
      this.same('file.status', block.file.status, 'PROCESS_STATUS_SUCCESS');
      this.check(this.files.has(block.file.id), `file ${block.file.id} was never uploaded`);
    }
    return text.text.content;
  }

  streamHead(res) {
    res.writeHead(200, {'content-type': 'application/connect+json'});
    res.flushHeaders();
  }

  send(res, value, flags) {
    res.write(envelope(value, flags));
  }

  /** What every answer begins with. */
  preamble(res, text, r) {
    const former = r?.json.chat_id, id = former ?? `19b7-${this.chats.size + 1}`;
    if (!former) this.chats.set(id, {text, deleted: false});
    const chat = this.chats.get(id);
    chat.last = `m-asst-${this.requests.length}`;
    this.send(res, heartbeat);
    this.send(res, {op: 'set', eventOffset: 1, chat: {id, name: 'untitled'}});
    this.send(res, {op: 'set', mask: 'message', eventOffset: 2, message: {id: 'm-user', role: 'user', status: 'MESSAGE_STATUS_COMPLETED', blocks: [{messageId: '', text: {content: text}}]}});
    this.send(res, {op: 'set', mask: 'message', eventOffset: 3, message: {id: chat.last, parentId: 'm-user', role: 'assistant', status: 'MESSAGE_STATUS_GENERATING'}});
    return chat;
  }

  async chat(r, res) {
    this.common(r, {type: 'application/connect+json', connect: true});
    r.json = this.unwrapped(r);
    const text = this.checkChat(r.json);
    if (!this.allowed(r, res)) return;
    if (r.json.chat_id) {
      const chat = this.chats.get(r.json.chat_id);
      this.same('parent_id', r.json.message.parent_id, chat?.last);
      if (!chat || chat.deleted || chat.forgotten) {
        this.streamHead(res);
        this.send(res, {error: {code: 'not_found', message: 'chat not found'}}, 2);
        return res.end();
      }
    }
    const plan = this.plans.shift() ?? 'plain';
    if (typeof plan === 'function') return plan.call(this, r, res, text);
    if (plan.json) return this.json(res, plan.status, plan.json, plan.headers);
    if (plan.html) {
      res.writeHead(plan.status, {'content-type': 'text/html'});
      return res.end(plan.html);
    }
    this.streamHead(res);
    if (plan.end) {
      this.send(res, heartbeat);
      this.send(res, plan.end, 2);
      return res.end();
    }
    const {last} = this.preamble(res, text, r);
    for (const event of answers[plan]) this.send(res, event.message ? {...event, message: {...event.message, id: last}} : event);
    this.send(res, {}, 2);
    res.end();
  }
}

/** The other server, where tokens are renewed in the newer way. */
class Auth extends Site {
  constructor(site, options) {
    super(options);
    this.site = site;
  }

  async handle(r, res) {
    this.same('route', `${r.method} ${r.path}`, 'POST /api/account.gateway.v1.AuthService/RefreshToken');
    this.check(!('authorization' in r.headers), 'a bearer');
    this.check(!('cookie' in r.headers), 'a cookie of another host');
    this.same('Origin', r.headers.origin, this.site.origin);
    this.keys('body', r.json, ['refreshToken']);
    const got = this.site.renew(r.json.refreshToken);
    if (!got) return this.json(res, 401, {code: 'unauthenticated', message: 'token invalid'});
    this.json(res, 200, {data: {accessToken: got.access, refreshToken: got.refresh}});
  }
}

/** The older form, of kimi.moonshot.cn: plain JSON and server-sent events. */
export class OlderKimi extends Kimi {
  constructor(options) {
    super(options);
    this.puts = [];
  }

  chatRequests() {
    return this.requests.filter((r) => r.path.endsWith('/completion/stream'));
  }

  /** As `allowed`, but the user is who /api/user says. */
  known(r, res) {
    const good = this.access.has(this.bearer(r));
    if (!good) this.json(res, 401, {error_type: 'auth.token.invalid', message: 'token invalid'});
    else if (this.former.has(this.bearer(r))) this.refreshTokens.delete(this.former.get(this.bearer(r)));
    return good;
  }

  async handle(r, res) {
    const route = `${r.method} ${r.path}`, [, chat] = /^\/api\/chat\/([^/]+)/.exec(r.path) ?? [];
    if (route === 'GET /api/auth/token/refresh') return this.refresh(r, res);
    if (r.method === 'PUT' && r.path === '/store/1') return this.put(r, res);
    if (!this.known(r, res)) return undefined;
    const traffic = r.headers['x-traffic-id'];
    if (route === 'GET /api/user') return this.json(res, 200, {id: 'older-user', name: 'n'});
    this.same('X-Traffic-Id', traffic, 'older-user');
    if (route === 'POST /api/chat') {
      this.same('body', r.json, {enter_method: 'new_chat', is_example: false, kimiplus_id: r.json.kimiplus_id, name: r.json.name});
      this.chats.set('c0123456789012345678', {deleted: false});
      return this.json(res, 200, {id: 'c0123456789012345678', name: 'n'});
    }
    if (route === 'POST /api/pre-sign-url') {
      this.check(r.json.action === 'image' && /^[0-9a-f-]{36}\.png$/.test(r.json.name), 'pre-sign-url');
      return this.json(res, 200, {url: `${this.origin}/store/1?sign=secret`, object_name: 'o', file_id: 'f1'});
    }
    if (route === 'POST /api/file') {
      this.check(this.puts.length === 1 && r.json.type === 'image' && r.json.file_id === 'f1', 'file');
      return this.json(res, 200, {id: 'f2', status: this.polled++ ? 'parsed' : 'processing'});
    }
    if (route === 'POST /api/file/parse_process') {
      this.same('body', r.json, {ids: ['f2'], timeout: 120000});
      return this.json(res, 200, {});
    }
    this.check(this.chats.has(chat), 'the site has no such path, or chat');
    if (r.method === 'DELETE') {
      this.chats.get(chat).deleted = true;
      this.json(res, 200, {});
      return this.emit('deleted', chat);
    }
    this.same('Referer', r.headers.referer, `${this.origin}/chat/${chat}`);
    this.keys('body', r.json, ['kimiplus_id', 'messages', 'refs', 'refs_file', 'use_math', 'use_research', 'use_search', 'extend']);
    this.sseHead(res);
    for (const event of [{event: 'req', id: 's'}, {event: 'search_plus', msg: {type: 'get_res', ...page(1)}}, {event: 'cmpl', text: '大江'}, {event: 'cmpl', text: '东去'}, {event: 'all_done'}]) this.event(res, event);
    return res.end();
  }

  put(r, res) {
    this.check(!('authorization' in r.headers) && !('x-msh-device-id' in r.headers) && !('cookie' in r.headers), 'the store is told who we are');
    this.same('query', r.query.get('sign'), 'secret');
    this.puts.push(r.body);
    this.polled = 0;
    res.writeHead(200, {'content-type': 'application/xml'});
    res.end();
  }
}
