// Stand-in for chat.qwen.ai and for the object storage behind it. It checks each request against the dossier, field for field, and
// answers 418 to anything else.
import {createHash, createHmac, randomUUID} from 'node:crypto';
import {Site, jwtOf} from './site.mjs';

export const BUCKET = 'bucket', REGION = 'oss-ap-southeast-1', STORAGE_HOST = 'bucket.oss-accelerate.aliyuncs.com';

/** A token as the site makes them; it ends in `lifeS` seconds. */
export const jwt = (id, lifeS = 30 * 86400) => jwtOf({id, last_password_change: 1, exp: Math.floor(Date.now() / 1000 + lifeS), jti: randomUUID()});

const delta = (content, phase, more = {}) => ({choices: [{delta: {role: 'assistant', content, phase, status: 'typing', ...more}}]});
export const say = (content, phase = 'answer') => delta(content, phase);
export const usage = (input, output, reasoning = 0) => ({usage: {input_tokens: input, output_tokens: output, characters: 0, total_tokens: input + output,
  input_tokens_details: {text_tokens: input}, output_tokens_details: {reasoning_tokens: reasoning, text_tokens: output}}});
export const done = {choices: [{delta: {content: '', role: 'assistant', status: 'finished', phase: 'answer'}}]};
export const alive = {'response.info': {action: 'keep_alive'}};
export const refusal = (data) => ({success: false, request_id: randomUUID(), data});
export const challenge = {ret: ['FAIL_SYS_USER_VALIDATE', 'RGV587_ERROR::SM::哎哟喂,被挤爆啦,请稍后重试!'],
  data: {url: 'https://chat.qwen.ai/api/v2/chat/completions/_____tmd_____/punish?x=1'}};

const page = (n) => ({url: `https://tea.example/${n}`, title: `Cup ${n}`, snippet: 's', hostname: 'tea.example', date: ''});
export const answers = {
  plain: [say('你好'), say(', '), {...say('world 🌍'), ...usage(11, 9)}, say(''), done],
  reasoning: [say('First I add.', 'think'), say(' Then I check.', 'think'), {choices: [{delta: {content: '', phase: 'think', status: 'finished'}}]},
    say('The sum'), alive, {...say(' is 4.'), ...usage(11, 9, 5)}, done],
  search: [delta('', 'web_search', {function_call: {name: 'web_search', arguments: '{"q'}, function_id: 'f'}),
    delta('', 'web_search', {extra: {web_search_info: [page(1)]}}), delta('', 'web_search', {extra: {web_search_info: [page(1), page(2)]}}), say('Green tea.'), done],
  lateError: [say('Half an answer'), {error: {code: 'internal_error', details: 'Internal error'}, response_id: 'r'}],
  empty: [done],
  cut: [say('Half an answer')],
};

export class Qwen extends Site {
  /** tokens: who is signed in; passwords: {email: password}; guests are let in when `guests`; `storage` takes the pictures. */
  constructor({tokens = [], passwords = {}, guests = false, lifeS = 900, storage = null, ...rest} = {}) {
    super(rest);
    this.ownHeaders = ['cookie'];
    Object.assign(this, {guests, lifeS, storage, passwords});
    this.tokens = new Set(tokens);
    Object.assign(this, {refreshes: 0, signIns: 0});
    this.chats = new Map(); // id -> {owner, body, deleted, forgotten, last: id of its last answer}
    this.forgets = 'loudly'; // what a request into a forgotten chat gets; 'silently': an empty answer
    this.files = new Map(); // id -> {name, size, path, mime, bytes}
  }

  chatRequests() {
    return this.requests.filter((r) => r.path === '/api/v2/chat/completions');
  }

  async handle(r, res) {
    const route = `${r.method} ${r.path}`;
    if (r.method === 'PUT') return this.put(r, res);
    this.headers(r);
    if (route === 'POST /api/v1/auths/signin') return this.signIn(r, res);
    if (route === 'POST /api/v2/auths/refresh') return this.refresh(r, res);
    if (route === 'GET /api/models') return this.models(r, res);
    if (route === 'POST /api/v2/files/getstsToken') return this.ticket(r, res);
    if (route === 'POST /api/v2/chats/new') return this.newChat(r, res);
    if (route === 'POST /api/v2/chat/completions') return this.chat(r, res);
    if (r.method === 'DELETE' && r.path.startsWith('/api/v2/chats/')) return this.deleteChat(r, res);
    this.fail('the site has no such path');
  }

  headers(r) {
    const h = r.headers, chat = r.path === '/api/v2/chat/completions';
    this.same('Accept', h.accept, chat ? 'text/event-stream' : 'application/json');
    this.same('Origin', h.origin, this.origin);
    this.check(h.referer?.startsWith(`${this.origin}/`), `Referer ${h.referer}`);
    this.fresh('x-request-id', h['x-request-id']);
    this.same('source', h.source, 'web');
    this.check(/^\d+\.\d+\.\d+$/.test(h.version), `version ${h.version}`);
    this.check(/^(Sun|Mon|Tue|Wed|Thu|Fri|Sat) [A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d GMT\+0000$/.test(h.timezone), `timezone ${h.timezone}`);
    this.check(Math.abs(Date.parse(h.timezone) - Date.now()) < 120e3, 'the time zone tells another time');
    for (const name of Object.keys(h)) this.check(!/^bx-/.test(name), `${name} belongs to the page's script`);
    this.same('Content-Type', h['content-type'], r.body.length ? 'application/json' : undefined);
    if (chat) this.same('X-Accel-Buffering', h['x-accel-buffering'], 'no');
  }

  /** The bearer, 'guest', or null after a 401. */
  account(r, res) {
    const given = r.headers.authorization;
    if (given === undefined && this.guests) return 'guest';
    const [, token] = /^Bearer (\S+)$/.exec(given ?? '') ?? [];
    this.check(token, 'no bearer');
    if (this.tokens.has(token)) return JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).id;
    this.json(res, 401, {success: false, request_id: randomUUID(), data: {code: 'Unauthorized', details: 'Token has expired'}});
    return null;
  }

  give(id, res) {
    const token = jwt(id, this.lifeS);
    this.tokens.add(token);
    this.json(res, 200, {id, token, token_type: 'Bearer'});
  }

  signIn(r, res) {
    this.check(!('authorization' in r.headers), 'a bearer at the sign-in');
    this.keys('body', r.json, ['email', 'password']);
    this.check(/^[0-9a-f]{64}$/.test(r.json.password), 'the password is no SHA-256');
    this.signIns++;
    const password = this.passwords[r.json.email];
    const good = password !== undefined && createHash('sha256').update(password).digest('hex') === r.json.password;
    return good ? this.give(r.json.email, res) : this.json(res, 400, {detail: 'Incorrect email or password'});
  }

  refresh(r, res) {
    const id = this.account(r, res);
    if (!id) return;
    this.refreshes++;
    this.tokens.delete(r.headers.authorization.slice(7));
    this.give(id, res);
  }

  models(r, res) {
    if (!this.account(r, res)) return;
    const model = (id, vision, types = ['t2t']) => ({id, name: id.toUpperCase(), object: 'model', info: {meta: {chat_type: types, abilities: {thinking: true}, capabilities: {vision}}}});
    this.json(res, 200, {data: [model('qwen3.6-plus', true), model('qwen9-blind', false), model('film', true, ['t2v'])]});
  }

  ticket(r, res) {
    const owner = this.account(r, res);
    if (!owner) return;
    this.keys('body', r.json, ['filename', 'filesize', 'filetype']);
    const {filename, filesize, filetype} = r.json;
    this.fresh('the name of a file', filename.split('.')[0]);
    this.same('filetype', filetype, 'image');
    const id = randomUUID(), path = `${owner}/${id}_${filename}`;
    this.files.set(id, {id, owner, name: filename, size: filesize, path, secret: randomUUID()});
    const origin = this.storage ? `https://${STORAGE_HOST}` : this.origin;
    const file = this.files.get(id);
    file.url = `${origin}/${encodeURIComponent(owner)}/${id}_${filename}?x-oss-expires=300&x-oss-signature=s`;
    this.json(res, 200, {success: true, request_id: randomUUID(), data: {access_key_id: `STS.${id}`, access_key_secret: file.secret, security_token: `token of ${id}`.replaceAll(' ', '+'),
      file_url: file.url, file_path: path, file_id: id, bucketname: BUCKET, region: REGION, endpoint: 'oss-accelerate.aliyuncs.com'}});
  }

  /** The storage's side: the signature is computed anew from what came. */
  put(r, res) {
    const h = r.headers;
    const file = [...this.files.values()].find((f) => new URL(f.url).pathname === r.path);
    this.check(file, 'the storage waits for no such file');
    this.same('query', r.url, r.path);
    for (const name of ['origin', 'referer', 'cookie', 'source', 'version', 'x-request-id']) this.check(!(name in h), `${name} goes to the storage`);
    const [, id, day, signature] = /^OSS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/ap-southeast-1\/oss\/aliyun_v4_request,Signature=([0-9a-f]{64})$/.exec(h.authorization) ?? [];
    this.same('the key', id, `STS.${file.id}`);
    const date = h['x-oss-date'];
    this.same('the day', day, date.slice(0, 8));
    const at = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
    this.check(Math.abs(at - Date.now()) < 120e3, `x-oss-date ${date}`);
    this.same('security token', h['x-oss-security-token'], `token+of+${file.id}`);
    this.same('payload', h['x-oss-content-sha256'], 'UNSIGNED-PAYLOAD');
    const path = file.path.split('/').map(encodeURIComponent).join('/');
    const signed = ['content-type', 'x-oss-content-sha256', 'x-oss-date', 'x-oss-security-token'].map((n) => `${n}:${h[n]}\n`).join('');
    const canonical = `PUT\n/${BUCKET}/${path}\n\n${signed}\n\nUNSIGNED-PAYLOAD`;
    const text = `OSS4-HMAC-SHA256\n${date}\n${day}/ap-southeast-1/oss/aliyun_v4_request\n${createHash('sha256').update(canonical).digest('hex')}`;
    const hmac = (key, data) => createHmac('sha256', key).update(data);
    const key = [day, 'ap-southeast-1', 'oss', 'aliyun_v4_request'].reduce((k, step) => hmac(k, step).digest(), `aliyun_v4${file.secret}`);
    this.same('the signature', signature, hmac(key, text).digest('hex'));
    this.same('the size', r.body.length, file.size);
    Object.assign(file, {mime: h['content-type'], bytes: r.body});
    res.writeHead(200, {'content-length': 0});
    res.end();
  }

  newChat(r, res) {
    const owner = this.account(r, res);
    if (!owner) return;
    const b = r.json;
    this.keys('body', b, ['title', 'models', 'chat_mode', 'chat_type', 'timestamp', 'project_id']);
    this.same('constants', [b.title, b.chat_mode, b.project_id], ['New Chat', owner === 'guest' ? 'guest' : 'normal', '']);
    this.check(['t2t', 'search'].includes(b.chat_type), `chat_type ${b.chat_type}`);
    this.check(Math.abs(b.timestamp - Date.now()) < 120e3, `timestamp ${b.timestamp} is not now in milliseconds`);
    this.same('Referer', r.headers.referer, `${this.origin}/c/${owner === 'guest' ? 'guest' : 'new-chat'}`);
    const id = randomUUID();
    this.chats.set(id, {id, owner, body: b, deleted: false});
    this.json(res, 200, {success: true, request_id: randomUUID(), data: {id}});
  }

  chat(r, res) {
    const b = r.json, chat = this.chats.get(b.chat_id);
    this.check(chat, `chat ${b.chat_id} was never created`);
    this.check(!chat.deleted, 'the chat is deleted already');
    const owner = this.account(r, res);
    if (!owner) return;
    this.same("the chat's owner", owner, chat.owner);
    this.same('query', r.url.split('?')[1], `chat_id=${chat.id}`);
    if (owner !== 'guest') this.same('Referer', r.headers.referer, `${this.origin}/c/${chat.id}`);
    this.keys('body', b, ['stream', 'version', 'incremental_output', 'chat_id', 'chat_mode', 'model', 'parent_id', 'messages', 'timestamp']);
    this.same('constants', [b.stream, b.version, b.incremental_output, b.chat_mode], [true, '2.1', true, chat.body.chat_mode]);
    this.same('parent_id', b.parent_id, chat.last ?? null);
    this.same('model', [b.model], chat.body.models);
    this.check(Math.abs(b.timestamp - Date.now() / 1000) < 120, `timestamp ${b.timestamp} is not now in seconds`);
    this.same('number of messages', b.messages.length, 1);
    this.message(b.messages[0], chat);
    if (!chat.forgotten) return this.answer(r, res, chat);
    if (this.forgets === 'loudly') return this.json(res, 200, refusal({code: 'Not_Found', details: 'chat not found'}));
    this.sseHead(res);
    return res.end();
  }

  message(m, chat) {
    const type = chat.body.chat_type;
    this.keys('message', m, ['fid', 'parentId', 'parent_id', 'childrenIds', 'role', 'content', 'user_action', 'files', 'timestamp', 'models', 'chat_type',
      'sub_chat_type', 'extra', 'feature_config']);
    this.fresh('fid', m.fid);
    this.same('number of children', m.childrenIds.length, 1);
    this.fresh('childrenIds[0]', m.childrenIds[0]);
    this.same('message', [m.parentId, m.parent_id, m.role, m.user_action, m.models, m.chat_type, m.sub_chat_type, m.extra],
      [chat.last ?? null, chat.last ?? null, 'user', 'chat', chat.body.models, type, type, {meta: {subChatType: type}}]);
    this.check(typeof m.content === 'string' && m.content.length > 0, 'content is no text');
    for (const file of m.files) this.file(file);
    const f = m.feature_config;
    this.keys('feature_config', f, ['thinking_enabled', 'auto_thinking', 'thinking_mode', 'output_schema', 'research_mode', 'auto_search', 'code_interpreter',
      'plugins_enabled', 'function_calling', 'enable_tools', 'enable_function_call', 'tool_choice'], ['thinking_format', 'thinking_budget']);
    this.same('output_schema, research_mode', [f.output_schema, f.research_mode], ['phase', 'normal']);
    this.same('thinking', [f.auto_thinking, f.thinking_mode, f.thinking_format], f.thinking_enabled ? [true, 'Thinking', 'detail'] : [false, 'Fast', undefined]);
    this.same('auto_search', f.auto_search, type === 'search');
    this.same('tools', [f.code_interpreter, f.plugins_enabled, f.function_calling, f.enable_tools, f.enable_function_call, f.tool_choice],
      [false, false, false, false, false, 'none']);
  }

  file(entry) {
    const file = this.files.get(entry.id);
    this.check(file?.bytes, `file ${entry.id} was never uploaded`);
    this.keys('file', entry, ['type', 'file', 'id', 'url', 'name', 'collection_name', 'progress', 'status', 'greenNet', 'size', 'error', 'itemId', 'file_type',
      'showType', 'file_class', 'uploadTaskId']);
    this.fresh('itemId', entry.itemId);
    this.fresh('uploadTaskId', entry.uploadTaskId);
    this.same('file', [entry.type, entry.url, entry.name, entry.collection_name, entry.progress, entry.status, entry.greenNet, entry.size, entry.error,
      entry.file_type, entry.showType, entry.file_class], ['image', file.url, file.name, '', 0, 'uploaded', 'success', file.size, '', file.mime, 'image', 'vision']);
    this.keys('file.file', entry.file, ['created_at', 'data', 'filename', 'hash', 'id', 'meta', 'update_at']);
    this.same('file.file', [entry.file.data, entry.file.filename, entry.file.hash, entry.file.id, entry.file.meta],
      [{}, file.name, null, file.id, {name: file.name, size: file.size, content_type: file.mime}]);
    for (const at of [entry.file.created_at, entry.file.update_at]) this.check(Math.abs(at - Date.now()) < 120e3, `${at} is not now in milliseconds`);
  }

  deleteChat(r, res) {
    const owner = this.account(r, res);
    if (!owner) return;
    const chat = this.chats.get(r.path.slice('/api/v2/chats/'.length));
    this.check(chat && !chat.deleted, 'a chat that is not there is deleted');
    this.same('owner', owner, chat.owner);
    chat.deleted = true;
    this.json(res, 200, {success: true, request_id: randomUUID(), data: {status: true}});
    this.emit('deleted', chat);
  }

  /** What every answer begins with: its id, which the next message of the chat must name. */
  begin(res, chat) {
    chat.last = randomUUID();
    res.write(`data: ${JSON.stringify({'response.created': {chat_id: chat.id, parent_id: randomUUID(), response_id: chat.last}})} \n\n`);
  }

  /** A plan is a name in `answers`, a list of events, {status, json, html, headers}, or a function. */
  answer(r, res, chat) {
    const plan = this.plans.shift() ?? 'plain';
    if (typeof plan === 'function') return plan.call(this, r, res, chat);
    if (!Array.isArray(plan) && typeof plan === 'object') {
      if (plan.html) {
        res.writeHead(plan.status ?? 200, {'content-type': 'text/html; charset=utf-8', ...plan.headers});
        return res.end(plan.html);
      }
      return this.json(res, plan.status ?? 200, plan.json, plan.headers);
    }
    this.sseHead(res);
    this.begin(res, chat);
    for (const event of Array.isArray(plan) ? plan : answers[plan]) this.event(res, event);
    res.end();
  }
}

/** The object storage at its own name, for pictures of `site`. */
export class Storage extends Site {
  constructor(site) {
    super({tls: 'storage', host: STORAGE_HOST});
    this.site = site;
    this.authority = STORAGE_HOST;
  }

  handle(r, res) {
    return this.site.put.call(Object.assign(Object.create(this), {files: this.site.files}), r, res);
  }
}
