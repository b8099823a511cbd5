// Stand-in for Google's Gemini API, as strict as the service (sites/gemini.md): unknown fields, broken turns, calls without an answer
// or without the proof of their thinking are refused with Google's own words, and remembered as violations.
// What it answers depends on the last user text: "tools" and "two steps" call functions, "blocked" and "filtered" are refused, "cut"
// breaks off, "pictures" counts what came, "search" names sources, anything else is said again in pieces.
import {Site} from './site.mjs';

const DATA = ['text', 'inlineData', 'fileData', 'functionCall', 'functionResponse', 'executableCode', 'codeExecutionResult'];
const THINKS = /^gemini-(2\.5|[3-9]|\d\d)(?!.*(-image|-tts|-live|embedding))/;
const GENERATES = ['generateContent', 'countTokens'];
const SKIP = 'skip_thought_signature_validator';

/** A refusal that is the gateway's fault: told as Google does, and kept as a violation. */
class Refused extends Error {}
/** A refusal that the gateway has to cope with. */
class Refusal extends Error {}

export class Gemini extends Site {
  constructor({keys = ['AIza-test'], ...rest} = {}) {
    super(rest);
    this.allowed = keys;
    this.signatures = new Map(); // signature → model
    this.calls = 0;
    this.pages = [['gemini-2.5-flash', 'gemini-2.5-pro', 'gemini-2.0-flash'], ['gemini-3-flash', 'gemini-3-pro-preview', 'gemma-9-it', 'embedding-001']];
    this.thinking = new Set(['gemma-9-it']); // besides those whose name says so
  }

  chatRequests() {
    return this.requests.filter((r) => r.path.includes(':streamGenerateContent'));
  }

  error(res, code, status, message, details, headers) {
    return this.json(res, code, {error: {code, message, status, ...(details ? {details} : {})}}, headers);
  }

  async handle(r, res) {
    this.check(!r.query.has('key') && !('authorization' in r.headers), 'the key belongs into x-goog-api-key');
    if (!this.allowed.includes(r.headers['x-goog-api-key'])) {
      return this.error(res, 400, 'INVALID_ARGUMENT', 'API key not valid. Please pass a valid API key.',
        [{'@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'API_KEY_INVALID', domain: 'googleapis.com'}]);
    }
    if (r.method === 'GET' && r.path === '/v1beta/models') return this.list(r, res);
    const [, model, verb] = /^\/v1beta\/models\/([^/:]+):(\w+)$/.exec(r.path) ?? [];
    this.check(r.method === 'POST' && model, 'the API has no such path');
    this.same('verb and query', [verb, r.query.get('alt')], ['streamGenerateContent', 'sse']);
    this.same('Content-Type', r.headers['content-type'], 'application/json');
    const plan = this.plans.shift();
    if (typeof plan === 'function') return plan.call(this, r, res);
    if (plan) return this.json(res, plan.status, plan.json, plan.headers);
    if (model === 'unknown') {
      return this.error(res, 404, 'NOT_FOUND', 'models/unknown is not found for API version v1beta, or is not supported for generateContent.');
    }
    try {
      this.look(r.json, model);
    } catch (error) {
      if (error instanceof Refused) this.violations.push(error.message);
      else if (!(error instanceof Refusal)) throw error;
      return this.error(res, 400, 'INVALID_ARGUMENT', error.message);
    }
    return this.answer(r.json, model, res);
  }

  list(r, res) {
    if (this.withoutList) return this.error(res, 503, 'UNAVAILABLE', 'The service is currently unavailable.');
    this.same('pageSize', r.query.get('pageSize'), '1000');
    const page = Number(r.query.get('pageToken') ?? 0);
    const models = this.pages[page].map((id) => ({name: `models/${id}`, version: '001', displayName: id, inputTokenLimit: 1048576, outputTokenLimit: 65536,
      supportedGenerationMethods: id.startsWith('embedding') ? ['embedContent'] : GENERATES, temperature: 1, ...(this.thinks(id) ? {thinking: true} : {})}));
    this.json(res, 200, {models, ...(page + 1 < this.pages.length ? {nextPageToken: String(page + 1)} : {})});
  }

  thinks(model) {
    return this.thinking.has(model) || THINKS.test(model);
  }

  // ---- looking at requests ----

  fields(where, object, known) {
    for (const key of Object.keys(object)) {
      if (!known.includes(key)) throw new Refused(`Invalid JSON payload received. Unknown name "${key}"${where ? ` at '${where}'` : ''}: Cannot find field.`);
    }
  }

  need(condition, message) {
    if (!condition) throw new Refused(message);
  }

  look(body, model) {
    this.fields('', body, ['contents', 'systemInstruction', 'tools', 'toolConfig', 'generationConfig', 'safetySettings']);
    this.need(body.contents?.length, '* GenerateContentRequest.contents: contents is not specified');
    if (body.systemInstruction) {
      this.fields('system_instruction', body.systemInstruction, ['parts']);
      for (const part of body.systemInstruction.parts) this.same('a part of systemInstruction', Object.keys(part), ['text']);
    }
    this.lookAtTools(body);
    body.contents.forEach((content, i) => this.lookAtContent(body.contents, i, model));
    this.need(body.contents[0].role === 'user', 'Please ensure that multiturn requests start with a user turn.');
    this.need(body.contents.at(-1).role === 'user', 'Please ensure that multiturn requests end with a user role or a function response.');
    this.lookAtConfig(body.generationConfig ?? {}, model);
    for (const s of body.safetySettings ?? []) {
      this.fields('safety_settings', s, ['category', 'threshold']);
      this.check(/^HARM_CATEGORY_[A-Z_]+$/.test(s.category) && /^(OFF|BLOCK_[A-Z_]+)$/.test(s.threshold), 'a safety setting');
    }
  }

  lookAtTools(body) {
    const functions = [];
    let own = 0;
    for (const tool of body.tools ?? []) {
      this.fields('tools', tool, ['functionDeclarations', 'googleSearch', 'urlContext', 'codeExecution']);
      functions.push(...(tool.functionDeclarations ?? []));
      own += !tool.functionDeclarations;
    }
    this.need(!(own && functions.length), 'Tool use with function calling is unsupported');
    for (const f of functions) {
      this.fields('tools[0].function_declarations', f, ['name', 'description', 'parametersJsonSchema']);
      this.need(/^[A-Za-z_][\w.:-]{0,127}$/.test(f.name), 'Invalid function name. Must start with a letter or an underscore.');
    }
    this.check(new Set(functions.map((f) => f.name)).size === functions.length, 'a function is declared twice');
    if (!body.toolConfig) return;
    this.keys('toolConfig', body.toolConfig, ['functionCallingConfig']);
    const {mode, allowedFunctionNames} = body.toolConfig.functionCallingConfig;
    this.keys('functionCallingConfig', body.toolConfig.functionCallingConfig, ['mode'], ['allowedFunctionNames']);
    this.check(['AUTO', 'ANY', 'NONE', 'VALIDATED'].includes(mode), `mode ${mode}`);
    this.need(!allowedFunctionNames || ['ANY', 'VALIDATED'].includes(mode), 'allowed_function_names can only be set with mode ANY or VALIDATED');
    for (const name of allowedFunctionNames ?? []) this.need(functions.some((f) => f.name === name), `function ${name} is not declared`);
  }

  lookAtContent(contents, i, model) {
    const {role, parts} = contents[i], before = contents[i - 1];
    this.fields(`contents[${i}]`, contents[i], ['role', 'parts']);
    this.need(['user', 'model'].includes(role), 'Please use a valid role: user, model.');
    this.need(parts?.length, `* GenerateContentRequest.contents[${i}].parts: contents.parts must not be empty.`);
    this.check(role !== before?.role, `two neighbouring contents of ${role}`);
    parts.forEach((part, k) => {
      const at = `contents[${i}].parts[${k}]`;
      this.fields(at, part, [...DATA, 'thought', 'thoughtSignature']);
      this.need(DATA.filter((kind) => kind in part).length === 1, `${at}.data: required oneof field 'data' must have one initialized field`);
      if ('text' in part) this.check(part.text !== '', `${at} is empty text`);
      if (part.inlineData) this.keys(at, part.inlineData, ['mimeType', 'data']);
      if (part.functionCall) this.keys(at, part.functionCall, ['name', 'args'], ['id']);
      if (part.functionResponse) this.keys(at, part.functionResponse, ['name', 'response'], ['id']);
      const signature = part.thoughtSignature;
      if (signature && signature !== SKIP) this.need(this.signatures.has(signature), 'Thought signature is not valid');
      this.check(!('thought' in part), `${at}: thoughts are not sent back`);
    });
    this.lookAtCalls(parts.filter((p) => p.functionCall), parts, i, model);
    this.lookAtResults(before?.parts.filter((p) => p.functionCall) ?? [], parts);
  }

  lookAtCalls(calls, parts, i, model) {
    if (!calls.length) return;
    this.need(i > 0, 'Please ensure that function call turn comes immediately after a user turn or after a function response turn.');
    for (const {functionCall} of calls) this.check(typeof functionCall.args === 'object' && !Array.isArray(functionCall.args), 'args is no object');
    if (!/^gemini-([3-9]|\d\d)/.test(model)) {
      this.check(!calls.some((c) => c.thoughtSignature === SKIP), 'the skipping word is for Gemini 3');
      return;
    }
    this.need(calls[0].thoughtSignature,
      `Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly. Function call \`default_api:${calls[0].functionCall.name}\`, position ${i}.`);
  }

  lookAtResults(calls, parts) {
    const results = parts.filter((p) => p.functionResponse).map((p) => p.functionResponse);
    this.need(calls.length === results.length,
      'Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.');
    results.forEach((result, k) => {
      const call = calls[k].functionCall;
      this.same('name and id of a result', [result.name, result.id], [call.name, call.id]);
      this.check(parts[k].functionResponse === result, 'something stands before a result');
      this.check(result.response !== null && typeof result.response === 'object' && !Array.isArray(result.response), 'response is no object');
    });
  }

  lookAtConfig(config, model) {
    this.fields('generation_config', config, ['temperature', 'topP', 'topK', 'maxOutputTokens', 'stopSequences', 'seed', 'presencePenalty',
      'frequencyPenalty', 'responseLogprobs', 'logprobs', 'responseMimeType', 'responseJsonSchema', 'responseModalities', 'thinkingConfig']);
    this.need(!(config.stopSequences?.length > 5 || config.stopSequences?.includes('')), 'stop_sequences');
    this.need(!config.responseJsonSchema || config.responseMimeType, 'response_json_schema needs response_mime_type application/json');
    if (config.seed !== undefined) this.need(config.seed === (config.seed | 0), "Invalid value at 'generation_config.seed' (TYPE_INT32)");
    const penalty = 'presencePenalty' in config || 'frequencyPenalty' in config;
    if (penalty && model === 'gemini-2.5-pro') throw new Refusal(`Penalty is not enabled for models/${model}`);
    const thinking = config.thinkingConfig;
    if (!thinking) return;
    this.fields('generation_config.thinking_config', thinking, ['includeThoughts', 'thinkingBudget', 'thinkingLevel']);
    this.need(this.thinks(model), `Thinking is not enabled for models/${model}`);
    this.need(!('thinkingBudget' in thinking && 'thinkingLevel' in thinking), 'You can only set only one of thinking budget and thinking level.');
    this.check(!('thinkingLevel' in thinking) || /^gemini-[3-9]/.test(model), 'levels are for Gemini 3');
    if (thinking.thinkingLevel === 'medium' && model === 'gemini-3-pro-preview') {
      throw new Refusal('Thinking level MEDIUM is not supported for this model. Please retry with other thinking level.');
    }
  }

  // ---- answering ----

  sign(model) {
    const signature = Buffer.from(`proof ${this.signatures.size} of ${model}`).toString('base64');
    this.signatures.set(signature, model);
    return signature;
  }

  answer(body, model, res) {
    const last = body.contents.at(-1).parts;
    const text = body.contents.flatMap((c) => (c.role === 'user' ? c.parts : [])).filter((p) => p.text).map((p) => p.text).at(-1) ?? '';
    const functions = body.tools?.flatMap((t) => t.functionDeclarations ?? []) ?? [];
    const steps = body.contents.filter((c) => c.parts.some((p) => p.functionResponse)).length;
    const results = last.filter((p) => p.functionResponse).map((p) => p.functionResponse.response);
    const config = body.generationConfig ?? {};
    this.begin(res, model, config);
    if (config.thinkingConfig?.includeThoughts) this.parts([{text: '**Plan**\n', thought: true}], {thoughtsTokenCount: 2});
    if (config.thinkingConfig?.includeThoughts) this.parts([{text: 'Let me see.', thought: true}], {thoughtsTokenCount: 5});
    if (text === 'blocked') return this.finish({promptFeedback: {blockReason: 'PROHIBITED_CONTENT'}, candidates: undefined});
    if (text === 'filtered') {
      this.parts([{text: 'Up to here'}]);
      return this.end({finishReason: 'SAFETY'});
    }
    if (text === 'cut') {
      this.parts([{text: 'A part'}]);
      return setImmediate(() => res.socket.destroy());
    }
    if (functions.length && body.toolConfig?.functionCallingConfig.mode !== 'NONE' && steps < (text.includes('two steps') ? 2 : 1)) {
      return this.call(functions, model, text, steps);
    }
    if (results.length) this.parts([{text: `It says ${JSON.stringify(results)}.`}]);
    else if (config.responseMimeType) this.parts([{text: '{"city":"Oslo",'}, {text: '"celsius":4}'}]);
    else if (text === 'pictures') this.parts([{text: last.filter((p) => p.inlineData).map((p) => `${p.inlineData.mimeType} ${Buffer.from(p.inlineData.data, 'base64').length}`).join(', ')}]);
    else if (body.tools?.some((t) => t.googleSearch)) {
      this.parts([{text: 'Found.'}]);
      return this.end({finishReason: 'STOP', groundingMetadata: {groundingChunks: [{web: {uri: 'https://a.example/', title: 'A'}}]}});
    } else for (const word of text.match(/\s*\S+\s*$|\s*\S+/g) ?? []) this.parts([{text: word}]);
    return this.end({finishReason: 'STOP'});
  }

  /** One function, or with "both" every one; Gemini 3 numbers its calls, 2.5 does not. */
  call(functions, model, text, steps) {
    const numbered = /^gemini-[3-9]/.test(model);
    const called = text.includes('both') ? functions : [functions[steps % functions.length]];
    this.parts(called.map((f, k) => ({
      functionCall: {...(numbered ? {id: `fc-${++this.calls}`} : {}), name: f.name, args: {city: '札幌', step: steps}},
      ...(k === 0 ? {thoughtSignature: this.sign(model)} : {}),
    })));
    return this.end({finishReason: 'STOP'});
  }

  begin(res, model) {
    this.sseHead(res);
    this.out = {res, model, usage: {promptTokenCount: 7, candidatesTokenCount: 0}};
  }

  send(value) {
    const {res, model, usage} = this.out;
    res.write(`data: ${JSON.stringify({...value, usageMetadata: {...usage, totalTokenCount: 0}, modelVersion: model, responseId: 'r-1'})}\r\n\r\n`);
  }

  parts(parts, more = {}) {
    Object.assign(this.out.usage, more);
    if (!parts[0].thought) this.out.usage.candidatesTokenCount += parts.length;
    this.send({candidates: [{content: {parts, role: 'model'}, index: 0}]});
  }

  end(candidate) {
    return this.finish({candidates: [{content: {parts: [{text: ''}], role: 'model'}, index: 0, ...candidate}]});
  }

  finish(value) {
    this.send(value);
    this.out.res.end();
  }
}
