/*
 * base/json_simdjson.cpp - see json.h: simdjson's DOM behind a C face.
 *
 * A value is simdjson's own tape reference (document and index), so handing one out costs nothing.
 * Everything uses error codes; nothing here throws. The hard part is lenient reading: escaped lone
 * surrogates, which simdjson refuses, are parsed as private-use characters and turned into WTF-8
 * when a string is asked for.
 */
#include "base/json.h"

#include <cstdlib>
#include <memory>
#include <new>

#include <simdjson.h>

#include "base/json_write.h"

using simdjson::dom::element;
using simdjson::internal::tape_ref;

namespace
{
enum { MAX_DEPTH = 1024, RESERVE = 4096, SURROGATES = 0x800, PRIVATE_FIRST = 0xE000 };

/* What strings of the current document need to have undone. Lives beside the document, found
 * through its address. */
struct owned_document {
    simdjson::dom::document document; /* first: a struct json points here */
    bool mapped;                      /* lone surrogates stand as U+E000 + (surrogate - D800) */
};

/* While it lives, new has something set aside to take when it finds nothing else. */
class reserve
{
    static inline std::unique_ptr<char[]> bytes;
    std::new_handler before;

    static void give_back()
    {
        if (!bytes) /* that was not enough: new is to throw */
            std::set_new_handler(nullptr);
        bytes.reset();
    }

  public:
    reserve()
    {
        bytes.reset(new char[RESERVE]);
        before = std::set_new_handler(give_back);
    }
    ~reserve()
    {
        std::set_new_handler(before);
        bytes.reset();
    }
    reserve(const reserve &) = delete;
    reserve &operator=(const reserve &) = delete;
};

/* With its first use simdjson looks which of its implementations suits the machine, and keeps their
 * names: some hundred bytes, asked for within functions that must not throw, where a refusal ends
 * the program. Throws when not even the reserve can be had; then it is tried again the next time.
 */
bool choose_implementation()
{
    reserve for_names;
    return !simdjson::get_active_implementation()->name().empty();
}

/* May simdjson be used? False when memory is short at its first use; a look at a flag from then on.
 */
bool is_ready()
{
    try {
        static const bool chosen = choose_implementation();
        return chosen;
    } catch (const std::bad_alloc &) {
        return false;
    }
}

int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'                     ? c - '0'
                : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                         : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* Calls `mend(at, code)` for each escaped surrogate without its other half; `at` points to the four
 * digits. */
template <typename F> size_t each_lone_surrogate(char *text, size_t n, F mend)
{
    size_t found = 0;
    char *end = text + n;
    char *p = text;
    while ((p = static_cast<char *>(memchr(p, '\\', static_cast<size_t>(end - p)))) &&
           end - p >= 2) {
        if (p[1] != 'u') { /* also steps over an escaped backslash */
            p += 2;
            continue;
        }
        if (end - p < 6)
            break;
        int code = hex4(p + 2);
        if (code < 0xD800 || code > 0xDFFF) {
            p += 2;
            continue;
        }
        if (code < 0xDC00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
            int low = hex4(p + 8);
            if (low >= 0xDC00 && low <= 0xDFFF) {
                p += 12;
                continue;
            }
        }
        mend(p + 2, code);
        found++;
        p += 6;
    }
    return found;
}

} // namespace

struct json_parser {
    simdjson::dom::parser parser;
    owned_document doc;
    size_t max_size;
    bool is_short = false; /* json_parser_take_short */
    struct buffer scratch; /* mended copies */
    explicit json_parser(size_t max) : parser(max), max_size(max)
    {
        doc.mapped = false;
        buffer_init(&scratch, max * 3 + 64);
    }
    ~json_parser() { buffer_free(&scratch); }
    void begin_anew()
    {
        parser = simdjson::dom::parser(parser.max_capacity());
        doc.document = simdjson::dom::document();
    }
};

extern "C" {

struct json_parser *json_parser_create(size_t max_size)
{
    if (max_size > UINT32_MAX - 64)
        max_size = UINT32_MAX - 64;
    return is_ready() ? new (std::nothrow) json_parser(max_size) : nullptr;
}

void json_parser_destroy(struct json_parser *p) { delete p; }

void json_parser_shrink(struct json_parser *p, size_t keep)
{
    buffer_shrink(&p->scratch, keep);
    if (p->parser.capacity() > keep)
        p->begin_anew();
}

static int error_of(simdjson::error_code e)
{
    switch (e) {
    case simdjson::SUCCESS: return JSON_OK;
    case simdjson::UTF8_ERROR: return JSON_UTF8;
    case simdjson::STRING_ERROR: return JSON_STRING_BAD;
    case simdjson::NUMBER_ERROR: return JSON_NUMBER;
    case simdjson::DEPTH_ERROR: return JSON_DEPTH;
    case simdjson::CAPACITY: return JSON_TOO_LARGE;
    case simdjson::MEMALLOC: return JSON_NOMEM;
    default: return JSON_INVALID;
    }
}

static tape_ref tape_of(struct json v)
{
    return tape_ref(static_cast<const simdjson::dom::document *>(v.doc), v.at);
}

int json_parse(struct json_parser *p, struct span text, struct json *root)
{
    *root = {nullptr, 0};
    p->doc.mapped = false;
    if (text.n == 0)
        return JSON_INVALID;
    if (text.n > p->max_size)
        return JSON_TOO_LARGE;
    element e;
    auto error = p->parser.parse_into_document(p->doc.document, text.p, text.n, true).get(e);
    if (error == simdjson::MEMALLOC) {
        /* Its parts would not fit together any more: the next parse would write to nowhere, or find
         * everything nested too deeply. It begins anew. */
        p->begin_anew();
        p->is_short = true;
    }
    if (error)
        return error_of(error);
    *root = {&p->doc.document, 1};
    return JSON_OK;
}

bool json_parser_take_short(struct json_parser *p)
{
    bool is_short = p->is_short;
    p->is_short = false;
    return is_short;
}

const char *json_error_text(int error)
{
    switch (error) {
    case JSON_OK: return "fine";
    case JSON_UTF8: return "not UTF-8";
    case JSON_STRING_BAD: return "a bad escape or control character in a string";
    case JSON_NUMBER: return "a number out of range or malformed";
    case JSON_DEPTH: return "nested too deeply";
    case JSON_TOO_LARGE: return "too large";
    case JSON_NOMEM: return "out of memory";
    default: return "a syntax error";
    }
}

/* ---- lenient reading ---- */

size_t json_mend_surrogates(char *text, size_t n)
{
    if (n == 0)
        return 0;
    return each_lone_surrogate(text, n, [](char *digits, int) { memcpy(digits, "fffd", 4); });
}

/* Does the text hold characters of the block that we are about to borrow (raw EE 80..9F or
 * escaped)? */
static bool has_private_use(struct span s)
{
    for (size_t i = 0; i + 1 < s.n; i++) {
        unsigned char c = static_cast<unsigned char>(s.p[i]);
        unsigned char d = static_cast<unsigned char>(s.p[i + 1]);
        if (c == 0xEE && d >= 0x80 && d < 0xA0)
            return true;
        if (c == '\\' && d == 'u' && i + 5 < s.n && (s.p[i + 2] | 0x20) == 'e' && s.p[i + 3] < '8')
            return true;
    }
    return false;
}

/* Length of the valid UTF-8 sequence at p, or 0; *bad gets the length of the maximal ill-formed
 * subpart. */
static size_t utf8_sequence(const unsigned char *p, size_t n, size_t *bad)
{
    unsigned char c = p[0];
    size_t need;
    unsigned char low = 0x80, high = 0xBF;
    *bad = 1;
    if (c < 0x80)
        return 1;
    if (c >= 0xC2 && c <= 0xDF)
        need = 1;
    else if (c >= 0xE0 && c <= 0xEF) {
        need = 2;
        low = c == 0xE0 ? 0xA0 : 0x80;
        high = c == 0xED ? 0x9F : 0xBF;
    } else if (c >= 0xF0 && c <= 0xF4) {
        need = 3;
        low = c == 0xF0 ? 0x90 : 0x80;
        high = c == 0xF4 ? 0x8F : 0xBF;
    } else
        return 0;
    for (size_t i = 1; i <= need; i++) {
        if (i >= n || p[i] < low || p[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xBF;
    }
    return need + 1;
}

static int copy_with_replacements(struct buffer *out, struct span s)
{
    size_t from = 0, i = 0, bad = 0;
    while (i < s.n) {
        size_t step =
            utf8_sequence(reinterpret_cast<const unsigned char *>(s.p) + i, s.n - i, &bad);
        if (step) {
            i += step;
            continue;
        }
        buffer_append(out, span_of(s.p + from, i - from));
        buffer_append(out, span_of("\xEF\xBF\xBD", 3));
        i += bad;
        from = i;
    }
    return buffer_append(out, span_of(s.p + from, s.n - from));
}

int json_parse_lenient(struct json_parser *p, struct span text, struct json *root)
{
    int error = json_parse(p, text, root);
    if (error != JSON_UTF8 && error != JSON_STRING_BAD)
        return error;
    buffer_clear(&p->scratch);
    if (copy_with_replacements(&p->scratch, text)) {
        p->is_short = true;
        return JSON_NOMEM;
    }
    bool map = !has_private_use(buffer_span(&p->scratch));
    size_t lone = each_lone_surrogate(p->scratch.p, p->scratch.n, [map](char *digits, int code) {
        char hex[5];
        snprintf(hex, sizeof hex, "%04x", map ? PRIVATE_FIRST + (code - 0xD800) : 0xFFFD);
        memcpy(digits, hex, 4);
    });
    struct span mended = buffer_span(&p->scratch);
    size_t max = p->max_size;
    p->max_size = SIZE_MAX; /* replacements may make it longer than the limit: the parser's own
                               capacity decides */
    error = json_parse(p, mended, root);
    p->max_size = max;
    p->doc.mapped = !error && lone && map;
    return error;
}

/* U+E000..E7FF back to surrogates, in place (both take three bytes): EE 80..9F xx becomes ED A0..BF
 * xx. */
static void unmap(char *text, size_t n)
{
    for (size_t i = 0; i + 2 < n; i++) {
        unsigned char *c = reinterpret_cast<unsigned char *>(text) + i;
        if (c[0] == 0xEE && c[1] >= 0x80 && c[1] < 0xA0) {
            c[0] = 0xED;
            c[1] = static_cast<unsigned char>(c[1] + 0x20);
            i += 2;
        }
    }
}

/* ---- values ---- */

enum json_type json_type(struct json v)
{
    if (!v.doc)
        return JSON_MISSING;
    switch (static_cast<char>(tape_of(v).tape_ref_type())) {
    case 'n': return JSON_NULL;
    case 't':
    case 'f': return JSON_BOOL;
    case 'l': return JSON_INT;
    case 'u': return JSON_UINT;
    case 'd': return JSON_DOUBLE;
    case '"': return JSON_STRING;
    case '[': return JSON_ARRAY;
    case '{': return JSON_OBJECT;
    default: return JSON_MISSING;
    }
}

static struct span string_at(const tape_ref &t)
{
    auto view = t.get_string_view();
    const owned_document *owner = reinterpret_cast<const owned_document *>(t.doc);
    if (owner->mapped) /* the string buffer is ours and is written once more; unmapping twice
                          changes nothing */
        unmap(const_cast<char *>(view.data()), view.size());
    return span_of(view.data(), view.size());
}

struct span json_text(struct json v)
{
    if (json_type(v) != JSON_STRING)
        return span_of(nullptr, 0);
    return string_at(tape_of(v));
}

struct json_iter json_each(struct json v)
{
    struct json_iter it = {{nullptr, 0}, {nullptr, 0}, nullptr, 0, 0, false};
    enum json_type type = json_type(v);
    if (type != JSON_ARRAY && type != JSON_OBJECT)
        return it;
    tape_ref t = tape_of(v);
    it.doc_ = v.doc;
    it.next_ = v.at + 1;
    it.end_ = t.after_element() - 1; /* the closing bracket's place */
    it.object_ = type == JSON_OBJECT;
    return it;
}

bool json_next(struct json_iter *it)
{
    if (it->next_ >= it->end_)
        return false;
    if (it->object_) {
        it->key = string_at(tape_of({it->doc_, it->next_}));
        it->next_++;
    }
    it->value = {it->doc_, it->next_};
    it->next_ = tape_of(it->value).after_element();
    return true;
}

/* Does the key at t hold these bytes? On the hot path: most keys differ in their length already,
 * and nothing needs undoing but where lone surrogates were. */
static bool key_is(const tape_ref &t, struct span key)
{
    const owned_document *owner = reinterpret_cast<const owned_document *>(t.doc);
    if (owner->mapped)
        return span_eq(string_at(t), key);
    return span_eq(span_of(t.get_c_str(), t.get_string_length()), key);
}

struct json json_get_n(struct json object, struct span key)
{
    struct json found = {nullptr, 0};
    if (json_type(object) != JSON_OBJECT)
        return found;
    size_t end = tape_of(object).after_element() - 1; /* the closing bracket's place */
    for (size_t at = object.at + 1; at < end;) {
        struct json value = {object.doc, at + 1};
        if (key_is(tape_of({object.doc, at}), key))
            found = value;
        at = tape_of(value).after_element();
    }
    return found;
}

struct json json_get(struct json object, const char *key)
{
    return json_get_n(object, span_str(key));
}

struct json json_path_of(struct json v, const char *const *keys)
{
    for (; *keys; keys++)
        v = json_get(v, *keys);
    return v;
}

struct span json_get_text(struct json object, const char *key)
{
    return json_text(json_get(object, key));
}

bool json_int(struct json v, int64_t *value)
{
    switch (json_type(v)) {
    case JSON_INT: *value = tape_of(v).next_tape_value<int64_t>(); return true;
    case JSON_UINT: {
        uint64_t u = tape_of(v).next_tape_value<uint64_t>();
        if (u > static_cast<uint64_t>(INT64_MAX))
            return false;
        *value = static_cast<int64_t>(u);
        return true;
    }
    case JSON_DOUBLE: {
        double d = tape_of(v).next_tape_value<double>();
        if (!(d >= -9223372036854775808.0 && d < 9223372036854775808.0) ||
            d != static_cast<double>(static_cast<int64_t>(d)))
            return false;
        *value = static_cast<int64_t>(d);
        return true;
    }
    default: return false;
    }
}

bool json_number(struct json v, double *value)
{
    switch (json_type(v)) {
    case JSON_INT: *value = static_cast<double>(tape_of(v).next_tape_value<int64_t>()); return true;
    case JSON_UINT:
        *value = static_cast<double>(tape_of(v).next_tape_value<uint64_t>());
        return true;
    case JSON_DOUBLE: *value = tape_of(v).next_tape_value<double>(); return true;
    default: return false;
    }
}

bool json_bool(struct json v, bool otherwise)
{
    return json_type(v) == JSON_BOOL ? tape_of(v).is_true() : otherwise;
}

size_t json_size(struct json v)
{
    size_t n = 0;
    struct json_iter it = json_each(v);
    while (json_next(&it))
        n++;
    return n;
}

struct json json_at(struct json array, size_t i)
{
    struct json_iter it = json_each(array);
    if (json_type(array) != JSON_ARRAY)
        return {nullptr, 0};
    while (json_next(&it)) {
        if (i-- == 0)
            return it.value;
    }
    return {nullptr, 0};
}

size_t json_extent(struct json v) { return v.doc ? tape_of(v).after_element() - v.at : 0; }

/* Recursion is bounded by the parser's depth limit. There may be millions of values: none is
 * written where one had no room. */
static void dump(struct json_writer *w, struct json v)
{
    int64_t i = 0;
    struct json_iter it = json_each(v);
    switch (json_type(v)) {
    case JSON_STRING: json_string(w, json_text(v)); break;
    case JSON_INT:
        json_int(v, &i);
        json_write_int(w, i);
        break;
    case JSON_UINT: {
        char text[24];
        int n = snprintf(text, sizeof text, "%llu",
                         static_cast<unsigned long long>(tape_of(v).next_tape_value<uint64_t>()));
        json_raw_value(w, span_of(text, static_cast<size_t>(n)));
        break;
    }
    case JSON_DOUBLE: json_write_double(w, tape_of(v).next_tape_value<double>()); break;
    case JSON_BOOL: json_write_bool(w, json_bool(v, false)); break;
    case JSON_ARRAY:
        json_begin_array(w);
        while (!w->out->error && json_next(&it))
            dump(w, it.value);
        json_end_array(w);
        break;
    case JSON_OBJECT:
        json_begin_object(w);
        while (!w->out->error && json_next(&it)) {
            json_key_span(w, it.key);
            dump(w, it.value);
        }
        json_end_object(w);
        break;
    default: json_null(w); break;
    }
}

int json_dump(struct buffer *out, struct json v)
{
    struct json_writer w = {out, false};
    dump(&w, v);
    return out->error;
}

static bool valid_utf8_slowly(struct span s)
{
    size_t step = 1, bad = 0;
    for (size_t i = 0; i < s.n && step; i += step)
        step = utf8_sequence(reinterpret_cast<const unsigned char *>(s.p) + i, s.n - i, &bad);
    return step != 0;
}

bool json_valid_utf8(struct span s)
{
    if (s.n == 0)
        return true;
    return is_ready() ? simdjson::validate_utf8(s.p, s.n) : valid_utf8_slowly(s);
}

} /* extern "C" */
