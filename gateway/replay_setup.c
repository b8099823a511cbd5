/*
 * gateway/replay_setup.c - see replay_setup.h. Foreign files: everything is checked, nothing is
 * believed.
 */
#include "gateway/replay_setup.h"

#include <errno.h>
#include <stdlib.h>

#include "adapters/support.h"
#include "base/json.h"
#include "base/json_write.h"

enum {
    FILE_MAX = 64 << 20,
    STEPS_MAX = 64,
    PATH_SIZE = 4096,
    LIST_MAX = 65536 /* entries of any list */
};
#define A_TIME INT64_C(1760000000000) /* when no other is told: 2025-10-09 08:53:20 UTC */

/* ---- files ---- */

/* 1 when there is none, -1 with fail when it cannot be read. */
static int read_file(struct arena *arena, const char *path, struct span *text, struct fail *fail)
{
    struct buffer bytes;
    char *at;
    size_t n;
    errno = 0;
    FILE *f = fopen(path, "rbe");
    if (!f && errno == ENOENT)
        return 1;
    if (!f && errno == ENOMEM)
        return fail_memory(fail);
    if (!f)
        return fail_set(fail, FAIL_INTERNAL, "cannot read %s: %s", path, strerror(errno));
    buffer_init(&bytes, FILE_MAX);
    while ((at = buffer_reserve(&bytes, 65536)) && (n = fread(at, 1, 65536, f)) > 0)
        bytes.n += n;
    int rc = 0;
    if (bytes.error == BUFFER_NOMEM)
        rc = fail_memory(fail);
    else if (ferror(f))
        rc = fail_set(fail, FAIL_INTERNAL, "cannot read %s: %s", path, strerror(errno));
    else if (bytes.error)
        rc = fail_set(fail, FAIL_INTERNAL, "%s is too large", path);
    fclose(f);
    *text = arena_dup(arena, buffer_span(&bytes));
    buffer_free(&bytes);
    return rc == 0 && !text->p ? fail_memory(fail) : rc;
}

/* STEM.setup.json, else setup.json of the folder; "" when there is neither. */
static int read_setup(struct arena *arena, const char *file, struct span *text, struct fail *fail)
{
    char path[PATH_SIZE];
    struct span whole = span_str(file);
    ptrdiff_t slash = span_find_last(whole, SPAN("/")), dot = span_find_last(whole, SPAN("."));
    struct span folder = span_first(whole, (size_t)(slash + 1));
    struct span stem = dot > slash ? span_first(whole, (size_t)dot) : whole;
    *text = span_of("", 0);
    if (whole.n + sizeof ".setup.json" > sizeof path)
        return fail_set(fail, FAIL_INTERNAL, "the file's name is too long");
    snprintf(path, sizeof path, "%.*s.setup.json", SPAN_ARGS(stem));
    int rc = read_file(arena, path, text, fail);
    if (rc == 1) {
        snprintf(path, sizeof path, "%.*ssetup.json", SPAN_ARGS(folder));
        rc = read_file(arena, path, text, fail);
    }
    return rc < 0 ? -1 : 0;
}

/* ---- small readers ---- */

static struct span text_of(struct replay_setup *s, struct json object, const char *key)
{
    struct span text = json_get_text(object, key);
    return text.n ? arena_dup(&s->arena, text) : span_of("", 0);
}

static int64_t number_of(struct json object, const char *key, int64_t least, int64_t most,
                         int64_t otherwise)
{
    int64_t n;
    return json_int(json_get(object, key), &n) && n >= least && n <= most ? n : otherwise;
}

static size_t size_of(struct json list)
{
    size_t n = json_size(list);
    return n < LIST_MAX ? n : LIST_MAX;
}

static struct fail read_fail(struct json value)
{
    struct fail fail = {0};
    struct span kind = json_get_text(value, "kind"), message = json_get_text(value, "message");
    for (int k = FAIL_NONE + 1; k < FAIL_KIND_COUNT; k++) {
        if (span_eq(kind, span_str(fail_kind_name((enum fail_kind)k))))
            fail_set(&fail, (enum fail_kind)k, "%.*s", SPAN_ARGS(span_first(message, 239)));
    }
    return fail;
}

/* ---- steps ---- */

static const struct header *read_headers(struct replay_setup *s, struct json list, size_t *n)
{
    struct header *headers = arena_alloc(&s->arena, (size_of(list) + 1) * sizeof *headers);
    struct json_iter it = json_each(list);
    *n = 0;
    while (headers && *n < LIST_MAX && json_next(&it)) {
        struct span name = json_text(json_at(it.value, 0)), value = json_text(json_at(it.value, 1));
        if (name.p && value.p)
            headers[(*n)++] =
                (struct header){arena_dup(&s->arena, name), arena_dup(&s->arena, value)};
    }
    return headers;
}

static void read_splits(struct replay_setup *s, struct json list, struct replay_step *step)
{
    uint32_t *splits = arena_alloc(&s->arena, (size_of(list) + 1) * sizeof *splits);
    struct json_iter it = json_each(list);
    int64_t at;
    while (splits && step->n_splits < LIST_MAX && json_next(&it)) {
        if (json_int(it.value, &at) && at > 0 && at <= FILE_MAX)
            splits[step->n_splits++] = (uint32_t)at;
    }
    step->splits = splits;
}

static void read_step(struct replay_setup *s, struct json value, struct replay_step *step)
{
    struct json request = json_get(value, "request"), answer = json_get(value, "answer");
    struct span end = json_get_text(answer, "end");
    step->method = text_of(s, request, "method");
    step->target = text_of(s, request, "target");
    step->status = (int)number_of(answer, "status", 100, 999, 200);
    step->reason = text_of(s, answer, "reason");
    step->content_type = text_of(s, answer, "content_type");
    step->retry_after_s = (int)number_of(answer, "retry_after", 0, 31536000, 0);
    step->headers = read_headers(s, json_get(answer, "headers"), &step->n_headers);
    step->body = text_of(s, answer, "body");
    if (json_is(json_get(answer, "body_base64"), JSON_STRING))
        step->body = base64_decode(&s->arena, json_get_text(answer, "body_base64"));
    read_splits(s, json_get(answer, "splits"), step);
    step->transport = read_fail(json_get(answer, "transport"));
    step->end = span_eq(end, SPAN("cut"))    ? REPLAY_CUT
                : span_eq(end, SPAN("left")) ? REPLAY_LEFT
                                             : REPLAY_CLEAN;
    if (number_of(answer, "left_out", 1, INT64_MAX, 0)) /* its end is not there */
        step->end = REPLAY_LEFT;
}

/* As in the tests of transcripts: by the file's ending. */
static struct span type_of(struct span file)
{
    return span_ends(file, SPAN(".json"))   ? SPAN("application/json")
           : span_ends(file, SPAN(".html")) ? SPAN("text/html")
           : span_ends(file, SPAN(".bin"))  ? SPAN("application/connect+json")
                                            : SPAN("text/event-stream");
}

static int read_steps(struct replay_setup *s, struct json list, const char *file, struct span body,
                      struct fail *fail)
{
    size_t n = json_size(list);
    if (n > STEPS_MAX)
        return fail_set(fail, FAIL_INTERNAL, "the setup has more than %d steps", STEPS_MAX);
    s->n_steps = n ? n : 1;
    s->steps = arena_alloc(&s->arena, s->n_steps * sizeof *s->steps);
    if (!s->steps)
        return fail_memory(fail);
    struct json_iter it = json_each(list);
    for (size_t i = 0; i < s->n_steps; i++) {
        s->steps[i] = (struct replay_step){.status = 200};
        if (json_next(&it))
            read_step(s, it.value, &s->steps[i]);
        if (!s->steps[i].content_type.n && i + 1 < s->n_steps)
            s->steps[i].content_type = SPAN("application/json");
    }
    struct replay_step *last = &s->steps[s->n_steps - 1];
    last->body = body;
    if (!last->content_type.n)
        last->content_type = type_of(span_str(file));
    for (size_t i = 0; i < s->n_steps; i++) {
        struct replay_step *step = &s->steps[i];
        if (!step->headers || !step->splits || !step->body.p)
            step->n_headers = step->n_splits = 0;
    }
    return 0;
}

/* Path segments that look like ids: they are made by chance, or masked. */
static bool is_id(struct span part)
{
    bool odd = false;
    for (size_t i = 0; i < part.n; i++)
        odd |= ascii_is_digit(part.p[i]) || part.p[i] == '*';
    return odd && part.n >= 6;
}

/* All of it: also one that the adapter holds now under a name without digits ("a-held-…"). */
static bool is_masked(struct span part)
{
    size_t stars = 0;
    while (stars < part.n && part.p[stars] == '*')
        stars++;
    return part.n && stars == part.n;
}

static struct span path_of(struct span target)
{
    ptrdiff_t query = span_find_char(target, '?');
    return query < 0 ? target : span_first(target, (size_t)query);
}

static bool same_path(struct span a, struct span b)
{
    struct span x, y;
    a = path_of(a);
    b = path_of(b);
    for (;;) {
        bool more = span_split(&a, '/', &x), other = span_split(&b, '/', &y);
        if (!more || !other)
            return more == other;
        if (!span_eq(x, y) && !(is_masked(x) && y.n) && !(is_id(x) && is_id(y)))
            return false;
    }
}

const struct replay_step *replay_find_step(const struct replay_setup *s,
                                           const struct site_request *req, size_t *cursor)
{
    for (size_t i = *cursor; i < s->n_steps; i++) {
        const struct replay_step *step = &s->steps[i];
        if (step->method.n &&
            !(span_eq(step->method, span_str(req->method)) && same_path(step->target, req->target)))
            continue;
        *cursor = i + 1;
        return step;
    }
    return NULL;
}

/* ---- how the run began ---- */

static void read_options(struct replay_setup *s, struct json options)
{
    size_t room = size_of(options);
    struct option_value *list = arena_alloc(&s->arena, (room + 1) * sizeof *list);
    size_t n = 0;
    for (const struct option_field *f = s->adapter->options; list && f && f->name; f++) {
        struct json value = json_get(options, f->name);
        struct option_value v = {.name = span_str(f->name), .type = f->type};
        if (n == room || json_is(value, JSON_MISSING))
            continue;
        v.text = f->type == OPTION_TEXT ? text_of(s, options, f->name) : span_of(NULL, 0);
        if (f->type == OPTION_BOOL)
            v.integer = json_bool(value, false);
        else if (f->type == OPTION_INT)
            json_int(value, &v.integer);
        else if (f->type == OPTION_NUMBER)
            json_number(value, &v.number);
        list[n++] = v;
    }
    s->site.options = list;
    s->site.n_options = list ? n : 0;
}

static void read_address(struct replay_setup *s, struct json root)
{
    struct span url = text_of(s, root, "base_url");
    if (!url.n)
        url = span_str(s->adapter->origin && *s->adapter->origin ? s->adapter->origin
                                                                 : "https://site.example");
    ptrdiff_t scheme = span_find(url, SPAN("://"));
    size_t host = scheme < 0 ? 0 : (size_t)scheme + 3;
    ptrdiff_t slash = span_find_char(span_from(url, host), '/');
    size_t end = slash < 0 ? url.n : host + (size_t)slash;
    s->site.origin = span_first(url, end);
    s->site.prefix = span_from(url, end);
    if (span_ends(s->site.prefix, SPAN("/")))
        s->site.prefix.n--;
    s->site.path = text_of(s, root, "path");
    s->site.name = text_of(s, root, "site");
    if (!s->site.name.n)
        s->site.name = span_str(s->adapter->name);
}

/* When none is told: one that needs nothing to be obtained. */
static struct span likely_credential(const struct adapter *adapter)
{
    static const char *const names[] = {"token", "api_key", "session_key", NULL};
    for (const char *const *name = names; *name; name++) {
        for (const struct credential_field *f = adapter->credentials; f && f->name; f++) {
            if (strcmp(f->name, *name) == 0)
                return span_str(f->name);
        }
    }
    return span_of("", 0);
}

/* The credentials' names are known; their values are of no importance here. */
static void read_account(struct replay_setup *s, struct json account)
{
    struct json names = json_get(account, "credentials"), held = json_get(account, "held");
    struct credential *list = arena_alloc(&s->arena, (size_of(names) + 1) * sizeof *list);
    struct replay_held *holds = arena_alloc(&s->arena, (size_of(held) + 1) * sizeof *holds);
    struct json_iter it = json_each(names);
    size_t n = 0;
    while (list && n < LIST_MAX && json_next(&it)) {
        struct span name = arena_dup(&s->arena, json_text(it.value));
        if (name.n)
            list[n++] =
                (struct credential){name, arena_printf(&s->arena, "a-%.*s", SPAN_ARGS(name))};
    }
    if (list && json_is(names, JSON_MISSING) && likely_credential(s->adapter).n)
        list[n++] = (struct credential){likely_credential(s->adapter), SPAN("a-credential")};
    for (it = json_each(held); holds && s->n_held < LIST_MAX && json_next(&it);) {
        struct span name = arena_text(&s->arena, it.key);
        int64_t expires;
        if (name.p && !memchr(name.p, '\0', name.n) && json_int(it.value, &expires))
            holds[s->n_held++] =
                (struct replay_held){name.p, arena_printf(&s->arena, "a-held-%s", name.p), expires};
    }
    s->held = holds;
    s->account = (struct site_account){.name = text_of(s, account, "name"),
                                       .guest = json_bool(json_get(account, "guest"), false),
                                       .credentials = list,
                                       .n_credentials = n};
    if (!s->account.name.n)
        s->account.name = SPAN("main");
}

/* What was asked is not in a capture: a word, and the tools that were offered. */
static int write_chat(struct replay_setup *s, struct json root, struct fail *fail)
{
    struct buffer chat;
    struct json tools = json_get(root, "tools");
    buffer_init(&chat, FILE_MAX);
    struct json_writer w = json_writer(&chat);
    json_begin_object(&w);
    json_member(&w, "model", SPAN("m"));
    json_member_raw(&w, "messages", SPAN("[{\"role\":\"user\",\"content\":\"hi\"}]"));
    json_member_bool(&w, "stream", json_bool(json_get(root, "stream"), true));
    if (json_is(tools, JSON_ARRAY)) {
        json_key(&w, "tools");
        json_dump(&chat, tools);
    }
    json_end_object(&w);
    s->chat = arena_dup(&s->arena, buffer_span(&chat));
    bool bad = chat.error || !s->chat.p;
    struct json emulated = json_get(root, "emulated_tools");
    if (json_is(emulated, JSON_ARRAY)) {
        buffer_clear(&chat);
        json_dump(&chat, emulated);
        s->emulated_tools = arena_dup(&s->arena, buffer_span(&chat));
        bad |= chat.error || !s->emulated_tools.p;
    }
    buffer_free(&chat);
    return bad ? fail_memory(fail) : 0;
}

static int read_all(struct replay_setup *s, struct json root, const char *file, struct span body,
                    struct fail *fail)
{
    const struct model_entry *models = s->adapter->models;
    read_address(s, root);
    read_options(s, json_get(root, "options"));
    read_account(s, json_get(root, "account"));
    s->model = text_of(s, root, "model");
    if (!s->model.n)
        s->model = models && models->id.p ? models->id : SPAN("m");
    s->model_note = text_of(s, root, "model_note");
    s->now_ms = number_of(root, "now_ms", 1, INT64_C(4102444800000), A_TIME);
    if (write_chat(s, root, fail))
        return -1;
    return read_steps(s, json_get(root, "steps"), file, body, fail);
}

/* `given`, else the setup's, else the name of the file's folder. */
static const struct adapter *choose_adapter(const char *given, struct json root, const char *file)
{
    struct span whole = span_str(file), name = json_get_text(root, "adapter");
    ptrdiff_t slash = span_find_last(whole, SPAN("/"));
    if (given)
        return adapter_find(span_str(given));
    if (!name.n && slash > 0) {
        struct span folder = span_first(whole, (size_t)slash);
        name = span_from(folder, (size_t)(span_find_last(folder, SPAN("/")) + 1));
    }
    return adapter_find(name);
}

enum replay_result replay_setup_read(struct replay_setup *s, const char *file, const char *adapter,
                                     struct fail *fail)
{
    struct span text, body;
    struct json root;
    *s = (struct replay_setup){0};
    arena_init(&s->arena);
    if (span_ends(span_str(file), SPAN("setup.json"))) {
        fail_set(fail, FAIL_INTERNAL,
                 "%s is a setup: say which recording to play, the file that it belongs to", file);
        return REPLAY_FAILED;
    }
    int rc = read_file(&s->arena, file, &body, fail);
    if (rc == 1)
        fail_set(fail, FAIL_INTERNAL, "there is no file %s", file);
    if (rc || read_setup(&s->arena, file, &text, fail))
        return REPLAY_FAILED;
    struct json_parser *parser = json_parser_create(FILE_MAX);
    if (!parser) {
        fail_memory(fail);
        return REPLAY_FAILED;
    }
    enum replay_result result = REPLAY_FAILED;
    int error = json_parse(parser, text.n ? text : SPAN("{}"), &root);
    if (error)
        fail_set(fail, FAIL_INTERNAL, "the setup of %s is no JSON: %s", file,
                 json_error_text(error));
    else if (!(s->adapter = choose_adapter(adapter, root, file))) {
        fail_set(fail, FAIL_INTERNAL, "%s: say which adapter with --adapter NAME",
                 adapter ? "there is no such adapter" : "the file does not tell its adapter");
        result = REPLAY_USAGE;
    } else if (s->adapter->capabilities & CAP_LOCAL) {
        fail_set(fail, FAIL_INTERNAL, "the adapter %s reads no answers", s->adapter->name);
        result = REPLAY_USAGE;
    } else if (read_all(s, root, file, body, fail) == 0) {
        result = REPLAY_PLAYED;
    }
    if (arena_take_short(&s->arena)) { /* a text that is not there means something else */
        fail_memory(fail);
        result = REPLAY_FAILED;
    }
    json_parser_destroy(parser);
    return result;
}

void replay_setup_free(struct replay_setup *s) { arena_free(&s->arena); }
