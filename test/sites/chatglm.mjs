// Stand-in for chatglm.cn. It checks each request against the dossier, header for header and field for field, and answers 418 to
// anything else. Refresh tokens rotate: the former one is dead at once.
import {createHash, randomBytes} from 'node:crypto';
import {Site, jwtOf} from './site.mjs';

export const SIGN_SECRET = 'a test sign secret';
export const ASSISTANT = '65940acff94777010aa6b796';

const hex = () => randomBytes(16).toString('hex');
let serial = 0;

/** A token as the site makes them. */
export const jwt = (type, {lifeS = 86400, device = hex(), uid = 'u1'} = {}) => {
  const now = Math.floor(Date.now() / 1000);
  return jwtOf({sub: 'nick', exp: now + lifeS, nbf: now, iat: now, jti: `${++serial}`, uid, device_id: device, type},
    {signature: randomBytes(12).toString('base64url')});
};

const item = (type, text) => ({type, [type]: text, status: 'init'});
const part = (logic_id, status, content, more = {}) => ({id: 'm', logic_id, role: 'assistant', status, model: 'moe_53f', recipient: 'all', content, meta_data: {}, ...more});
export const event = (status, ...parts) => ({status, parts});
/** Fragments of a text or of reasoning, then the whole once more. */
export const say = (id, type, ...pieces) => [
  ...pieces.map((piece) => event('init', part(id, 'init', [item(type, piece)]))),
  event('init', part(id, 'finish', [item(type, pieces.join(''))]))];
export const finish = event('finish');
export const siteError = (error_code, err_msg) => ({status: 'error', parts: [], error: {error_code, err_msg}, last_error: {error_code, err_msg}});

export const answers = {
  plain: [event('init'), ...say('a', 'text', '你好', ', ', 'world 🌍'), finish],
  reasoning: [...say('r', 'think', 'First I add.', ' Then I check.'), ...say('a', 'text', 'The sum', ' is 4.'), finish],
  search: [event('init', part('t', 'finish', [{type: 'tool_result', tool_result: {id: 'c', content: 'T'}}], {meta_data: {tool_result_extra: {search_results: [
    {match_key: 'turn0search0', title: 'Tea', url: 'https://tea.example/1'}, {match_key: 'turn0search1', title: 'Cup', url: 'https://tea.example/2'}]}}})),
  ...say('a', 'text', 'Green【turn0', 'search1】 tea', '.'), finish],
  drawing: [event('init', part('i', 'init', [{type: 'image', image: [{image_url: 'https://pic.example/1.jpg'}]}])), finish],
  moderated: [{status: 'intervene', parts: [], last_error: {intervene_text: '换个话题'}}],
  lateError: [...say('a', 'text', 'Half an', ' answer'), siteError(10025, 'stream request error')],
  tooLong: [siteError(10040, 'context exceeded')],
  empty: [finish],
  cut: say('a', 'text', 'Half'),
};

export class ChatGlm extends Site {
  /** refreshTokens, accessTokens: those that are good. lifeS: of the access tokens that are sold. */
  constructor({refreshTokens = [], accessTokens = [], signSecret = SIGN_SECRET, lifeS = 86400, guests = true, olderUpload = false, ...rest} = {}) {
    super(rest);
    Object.assign(this, {signSecret, lifeS, guests, olderUpload});
    this.ownHeaders = ['x-device-id'];
    this.refresh = new Map(refreshTokens.map((token) => [token, {uid: 'u1', device: null}]));
    this.access = new Map(accessTokens.map((token) => [token, {uid: 'u1', device: this.deviceOf(token)}]));
    this.dead = new Set(); // refresh tokens that rotated away
    this.nonces = new Set();
    this.devices = new Map(); // uid -> the first device it was seen with
    this.refreshes = 0;
    this.guestsMade = 0;
    this.files = new Map();
    this.conversations = new Map(); // id -> {uid, assistant, running, deleted, message}
    this.stopped = [];
    this.stopGate = null; // a promise: stop requests are answered when it is kept
  }

  deviceOf(token) {
    try {
      return JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).device_id;
    } catch {
      return null;
    }
  }

  chatRequests() {
    return this.requests.filter((r) => r.path === '/chatglm/backend-api/assistant/stream');
  }

  async handle(r, res) {
    const route = `${r.method} ${r.path}`;
    const routes = {
      'POST /chatglm/user-api/user/refresh': this.refreshToken,
      'POST /chatglm/user-api/guest/access': this.visit,
      'GET /chatglm/agent-api/operation/detail': this.models,
      'POST /chatglm/productivity-api/file/chat_upload': this.upload,
      'POST /chatglm/backend-api/assistant/file_upload': this.uploadOlder,
      'POST /chatglm/backend-api/assistant/stream': this.stream,
      'POST /chatglm/mainchat-api/conversation/bulk_delete': this.bulkDelete,
      'POST /chatglm/mainchat-api/stream/stop_stream': this.stopStream,
    };
    this.check(routes[route], 'the site has no such path');
    if (!this.headers(r, res)) return;
    return routes[route].call(this, r, res);
  }

  /** §4. False when the answer is given already. */
  headers(r, res) {
    const h = r.headers, stream = r.path.endsWith('/assistant/stream'), assistant = r.json?.assistant_id ?? ASSISTANT;
    this.same('App-*', [h['app-name'], h['x-app-platform'], h['x-app-version'], h['x-lang'], h['x-app-fr']], ['chatglm', 'pc', '0.0.1', 'zh', 'default']);
    this.same('Accept', h.accept, stream ? 'text/event-stream' : 'application/json, text/plain, */*');
    if (r.method === 'POST' && !/upload$/.test(r.path)) this.same('Content-Type', h['content-type'], 'application/json;charset=UTF-8');
    this.same('Origin', h.origin, this.origin);
    if (!/upload$/.test(r.path)) this.same('Referer', h.referer, `${this.origin}/main/${assistant === ASSISTANT ? 'alltoolsdetail' : `gdetail/${assistant}`}`);
    for (const name of ['x-device-id', 'x-request-id']) this.check(/^[0-9a-f]{32}$/.test(h[name] ?? ''), `${name} ${h[name]}`);
    this.freshNonce('X-Request-Id', h['x-request-id']);
    const signed = ['x-timestamp', 'x-nonce', 'x-sign'].filter((name) => name in h);
    if (!signed.length && this.signSecret) return this.refuse(res, 200, 40011, 'sign is missing');
    if (!signed.length) return true;
    this.same('signature headers', signed.length, 3);
    const [time, nonce] = [h['x-timestamp'], h['x-nonce']];
    this.check(/^\d{13}$/.test(time) && /^[0-9a-f]{32}$/.test(nonce), `X-Timestamp ${time}, X-Nonce ${nonce}`);
    this.freshNonce('X-Nonce', nonce);
    const sum = [...time].reduce((n, digit, i) => n + (i === 11 ? 0 : Number(digit)), 0);
    const good = Number(time[11]) === sum % 10 && Math.abs(Number(time) - Date.now()) < 60000
      && h['x-sign'] === createHash('md5').update(`${time}-${nonce}-${this.signSecret}`).digest('hex');
    return good || this.refuse(res, 200, 40014, 'wrong sign');
  }

  freshNonce(what, id) {
    this.check(!this.nonces.has(id), `${what} was used before`);
    this.nonces.add(id);
  }

  refuse(res, status, code, message) {
    this.json(res, status, {status: code, message, rid: hex()});
    return false;
  }

  bearer(r) {
    const [, token] = /^Bearer (\S+)$/.exec(r.headers.authorization ?? '') ?? [];
    this.check(token, 'no bearer');
    return token;
  }

  /** The account of an access token, or null after the refusal. */
  account(r, res) {
    const account = this.access.get(this.bearer(r));
    if (!account) {
      this.refuse(res, 401, 40103, 'user needs login');
      return null;
    }
    if (account.device) this.same('X-Device-Id', r.headers['x-device-id'], account.device);
    return account;
  }

  sell(res, uid, device, guest) {
    const access = jwt('access', {lifeS: this.lifeS, device, uid}), refresh = jwt('refresh', {lifeS: 180 * 86400, device, uid});
    this.access.set(access, {uid, device, guest});
    this.refresh.set(refresh, {uid, device, guest});
    this.last = {access, refresh};
    this.json(res, 200, {status: 0, message: 'success', result: {user_id: uid, access_token: access, refresh_token: refresh, is_guest: guest}, rid: hex()});
    this.emit('sold', this.last);
  }

  refreshToken(r, res) {
    const token = this.bearer(r);
    this.same('body', r.json, {});
    this.check(!this.dead.has(token), 'a refresh token that has rotated away is used again');
    const account = this.refresh.get(token);
    this.refreshes++;
    if (!account) return this.refuse(res, 401, 40102, 'refresh token refused');
    this.refresh.delete(token);
    this.dead.add(token);
    return this.sell(res, account.uid, account.device ?? r.headers['x-device-id'], account.guest ?? false);
  }

  visit(r, res) {
    this.check(!('authorization' in r.headers), 'a visitor with an Authorization');
    this.same('body', r.body.length, 0);
    if (!this.guests) return this.refuse(res, 200, 40012, 'no visitors');
    this.guestsMade++;
    return this.sell(res, `guest-${this.guestsMade}`, r.headers['x-device-id'], true);
  }

  models(r, res) {
    this.same('query', r.query.get('tag'), 'available_models');
    if (!this.account(r, res)) return;
    const model = (selected_model, chat_switch) => ({display_name: selected_model.toUpperCase(), selected_model, chat_switch,
      reasoning_efforts: [{display_name: 'x', effort: '', am_effort: 'low'}]});
    this.json(res, 200, {status: 0, result: {default: {vip: 'glm-5.3'}, models: [model('glm-5.3', true), model('glm-6-preview', true), model('cogvideo', false)]}});
  }

  multipart(r) {
    const [, boundary] = /boundary="?([^";]+)"?/.exec(r.headers['content-type']) ?? [];
    const parts = {}, text = r.body.toString('latin1');
    this.check(boundary && text.endsWith(`--${boundary}--\r\n`), 'no well-formed multipart body');
    for (const piece of text.split(`--${boundary}\r\n`).slice(1)) {
      const found = /^Content-Disposition: form-data; name="([^"]+)"(?:; filename="([^"]+)")?\r\n(?:Content-Type: ([^\r]+)\r\n)?\r\n([^]*?)\r\n(?:--[^\r]+--\r\n)?$/.exec(piece);
      this.check(found, `a part that is no form field: ${piece.slice(0, 80)}`);
      parts[found[1]] = {filename: found[2], type: found[3], bytes: Buffer.from(found[4], 'latin1')};
    }
    return parts;
  }

  keepFile(file) {
    const file_id = hex().slice(0, 24);
    this.files.set(file_id, file);
    return {file_id, file_url: `https://files.example/${file_id}`, file_name: file.filename, file_size: file.bytes.length};
  }

  upload(r, res) {
    if (!this.account(r, res)) return;
    if (this.olderUpload) return this.refuse(res, 404, 404, 'not found');
    const parts = this.multipart(r);
    this.keys('parts', parts, ['file', 'from', 'assistant_id']);
    this.same('from', String(parts.from.bytes), 'chat');
    this.check(parts.file.filename && parts.file.type, 'a file without name or type');
    this.json(res, 200, {status: 0, result: [this.keepFile(parts.file)]});
  }

  uploadOlder(r, res) {
    if (!this.account(r, res)) return;
    const parts = this.multipart(r);
    this.keys('parts', parts, ['file']);
    this.json(res, 200, {status: 0, result: this.keepFile(parts.file)});
  }

  content(list) {
    this.check(list[0]?.type === 'text', 'the first item is no text');
    this.keys('text item', list[0], ['type', 'text']);
    for (const entry of list.slice(1)) {
      this.keys('item', entry, ['type', entry.type]);
      this.check(Array.isArray(entry[entry.type]), `${entry.type} is no list`);
      for (const file of entry[entry.type]) {
        this.check(this.files.has(file.file_id), `file ${file.file_id} was never uploaded`);
        if (entry.type !== 'image') continue;
        this.keys('image', file, ['file_name', 'file_id', 'image_url', 'file_size', 'order', 'width', 'height']);
        this.same('image_url', file.image_url, `https://files.example/${file.file_id}`);
        this.same('file_size', file.file_size, this.files.get(file.file_id).bytes.length);
      }
    }
  }

  metaData(m) {
    const newer = 'selected_model' in m;
    this.keys('meta_data', m, ['cogview', 'is_test', 'input_question_type', 'channel', 'draft_id', 'is_networking', 'quote_log_id', 'platform',
      ...(newer ? ['selected_model', 'reasoning_effort', 'chat_mode'] : ['if_plus_model'])], newer ? [] : ['chat_mode']);
    this.same('constants', [m.cogview, m.is_test, m.input_question_type, m.channel, m.draft_id, m.quote_log_id, m.platform],
      [{rm_label_watermark: false}, false, 'xxxx', '', '', '', 'pc']);
    this.check(typeof m.is_networking === 'boolean', 'is_networking');
    const modes = newer ? ['normal low', 'thinking high', 'deep_thinking max'] : ['', 'zero', 'deep_research'];
    const mode = newer ? `${m.chat_mode} ${m.reasoning_effort}` : m.chat_mode ?? '';
    this.check(modes.includes(mode), `chat_mode and reasoning_effort: ${mode}`);
    if (!newer) this.same('if_plus_model', m.if_plus_model, true);
  }

  stream(r, res) {
    const b = r.json;
    const account = this.account(r, res);
    if (!account) return;
    this.keys('body', b, ['assistant_id', 'conversation_id', 'project_id', 'chat_type', 'meta_data', 'messages']);
    this.same('constants', [b.project_id, b.chat_type], ['', 'user_chat']);
    this.check(/^[a-z0-9]{24,}$/.test(b.assistant_id), `assistant_id ${b.assistant_id}`);
    this.metaData(b.meta_data);
    this.same('messages', b.messages.length, 1);
    this.keys('message', b.messages[0], ['role', 'content']);
    this.same('role', b.messages[0].role, 'user');
    this.content(b.messages[0].content);
    const former = this.conversations.get(b.conversation_id);
    if (b.conversation_id && (former?.uid !== account.uid || former.assistant !== b.assistant_id || former.deleted || former.forgotten)) {
      if (this.forgets === 'silently') {
        this.sseHead(res);
        return res.end();
      }
      return this.refuse(res, 200, 40004, 'conversation not found');
    }
    if ([...this.conversations.values()].some((c) => c.running && c.uid === account.uid)) return this.refuse(res, 200, 10061, '请等待其他对话生成完毕');
    return this.answer(r, res, account);
  }

  /** A plan is a name in `answers`, a list of events, {status, json, html, headers}, or a function (r, res, send). */
  async answer(r, res, account) {
    const plan = this.plans.shift() ?? 'plain';
    if (!Array.isArray(plan) && typeof plan === 'object') {
      if (plan.html) {
        res.writeHead(plan.status ?? 200, {'content-type': 'text/html; charset=utf-8'});
        return res.end(plan.html);
      }
      return this.json(res, plan.status, plan.json, plan.headers);
    }
    const conversation = this.conversations.get(r.json.conversation_id)
      ?? {id: hex().slice(0, 24), uid: account.uid, assistant: r.json.assistant_id, deleted: false};
    Object.assign(conversation, {message: hex().slice(0, 24), running: true});
    this.conversations.set(conversation.id, conversation);
    const send = (value) => res.write(`event:message\ndata: ${JSON.stringify({id: conversation.message, conversation_id: conversation.id, assistant_id: r.json.assistant_id, last_error: {}, ...value})}\n\n`);
    this.sseHead(res);
    if (typeof plan === 'function') return plan.call(this, r, res, send, conversation);
    for (const value of Array.isArray(plan) ? plan : answers[plan]) send(value);
    conversation.running = false;
    res.end();
  }

  async stopStream(r, res) {
    const account = this.account(r, res);
    if (!account) return;
    this.emit('stopping');
    await this.stopGate;
    this.keys('body', r.json, ['history_id']);
    const conversation = [...this.conversations.values()].find((c) => c.message === r.json.history_id);
    this.check(conversation?.uid === account.uid, `no answer ${r.json.history_id} of this account`);
    conversation.running = false;
    this.stopped.push(conversation);
    this.json(res, 200, {status: 0});
    this.emit('stopped', conversation);
  }

  bulkDelete(r, res) {
    const account = this.account(r, res);
    if (!account) return;
    this.keys('body', r.json, ['conversation_ids', 'assistant_id']);
    this.check(r.json.conversation_ids.length > 0, 'nothing to delete');
    for (const id of r.json.conversation_ids) {
      const conversation = this.conversations.get(id);
      this.check(conversation?.uid === account.uid && conversation.assistant === r.json.assistant_id, `a conversation is deleted that is none of ours: ${id}`);
      conversation.deleted = true;
    }
    this.json(res, 200, {status: 0});
    this.emit('deleted', r.json.conversation_ids);
  }
}
