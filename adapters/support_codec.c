/*
 * adapters/support_codec.c - ids, digests and encodings of adapters/support.h.
 */
#include <mbedtls/md.h>
#include <time.h>

#include "adapters/support.h"
#include "base/word.h"

static const char hex_digits[] = "0123456789abcdef";

struct span make_uuid(struct turn_run *run)
{
    enum { LENGTH = 36, DIGITS = 32 };
    unsigned char bytes[DIGITS / 2];
    char digits[DIGITS], *text = arena_alloc(run->arena, LENGTH + 1);
    if (!text)
        return span_of(NULL, 0);
    run->random(run->random_owner, bytes, sizeof bytes);
    bytes[6] = (unsigned char)((bytes[6] & 0x0F) | 0x40);
    bytes[8] = (unsigned char)((bytes[8] & 0x3F) | 0x80);
    for (size_t i = 0; i < sizeof bytes; i += 4) {
        uint32_t four = bytes[i] | (uint32_t)bytes[i + 1] << 8 | (uint32_t)bytes[i + 2] << 16 |
                        (uint32_t)bytes[i + 3] << 24;
        word_store(digits + 2 * i, word_hex(four));
    }
    memcpy(text, digits, 8);
    memcpy(text + 9, digits + 8, 4);
    memcpy(text + 14, digits + 12, 4);
    memcpy(text + 19, digits + 16, 4);
    memcpy(text + 24, digits + 20, 12);
    text[8] = text[13] = text[18] = text[23] = '-';
    return span_of(text, LENGTH);
}

struct span make_hex_id(struct turn_run *run)
{
    unsigned char bytes[16];
    run->random(run->random_owner, bytes, sizeof bytes);
    return hex_encode(run->arena, span_of((const char *)bytes, sizeof bytes));
}

bool is_path_id(struct span id)
{
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        if (!ascii_is_alnum(c) && c != '-' && c != '_')
            return false;
    }
    return id.n > 0 && id.n <= PATH_ID_MAX;
}

struct span make_legal_name(struct arena *a, struct span name, bool (*takes)(char),
                            bool (*begins)(char))
{
    enum { KEPT = 100 };
    char legal[KEPT + 1];
    size_t n = 0;
    if (begins && (!name.n || !begins(name.p[0])))
        legal[n++] = '_';
    for (size_t i = 0; i < name.n && n < KEPT; i++) {
        if (takes(name.p[i]))
            legal[n++] = name.p[i];
        else if (((unsigned char)name.p[i] & 0xC0) != 0x80) /* one for each character */
            legal[n++] = '_';
    }
    return arena_printf(a, "%.*s_%08x", (int)n, legal,
                        (unsigned)(span_hash(SPAN_HASH, name) & 0xFFFFFFFF));
}

struct span hex_encode(struct arena *arena, struct span bytes)
{
    char *text = arena_alloc(arena, 2 * bytes.n + JSON_PADDING);
    if (!text)
        return span_of(NULL, 0);
    for (size_t i = 0; i < bytes.n; i++) {
        text[2 * i] = hex_digits[(unsigned char)bytes.p[i] >> 4];
        text[2 * i + 1] = hex_digits[bytes.p[i] & 15];
    }
    return span_of(text, 2 * bytes.n);
}

/* The library copies even nothing, and takes no NULL for it. */
static const unsigned char *bytes_of(struct span s)
{
    return (const unsigned char *)(s.p ? s.p : "");
}

static struct span digest_hex(struct arena *arena, mbedtls_md_type_t type, struct span data)
{
    unsigned char digest[MBEDTLS_MD_MAX_SIZE];
    const mbedtls_md_info_t *info = mbedtls_md_info_from_type(type);
    if (!info || mbedtls_md(info, bytes_of(data), data.n, digest))
        return span_of(NULL, 0);
    return hex_encode(arena, span_of((const char *)digest, mbedtls_md_get_size(info)));
}

struct span md5_hex(struct arena *arena, struct span data)
{
    return digest_hex(arena, MBEDTLS_MD_MD5, data);
}

struct span sha256_hex(struct arena *arena, struct span data)
{
    return digest_hex(arena, MBEDTLS_MD_SHA256, data);
}

struct span hmac_sha256(struct arena *arena, struct span key, struct span data)
{
    unsigned char digest[32];
    if (mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), bytes_of(key), key.n,
                        bytes_of(data), data.n, digest))
        return span_of(NULL, 0);
    return arena_dup(arena, span_of((const char *)digest, sizeof digest));
}

struct span hmac_sha256_hex(struct arena *arena, struct span key, struct span data)
{
    struct span digest = hmac_sha256(arena, key, data);
    return digest.p ? hex_encode(arena, digest) : digest;
}

struct span base64_encode(struct arena *arena, struct span in)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = arena_alloc(arena, (in.n + 2) / 3 * 4 + JSON_PADDING);
    size_t n = 0;
    if (!text)
        return span_of(NULL, 0);
    for (size_t i = 0; i < in.n; i += 3) {
        unsigned v = (unsigned)(unsigned char)in.p[i] << 16;
        v |= i + 1 < in.n ? (unsigned)(unsigned char)in.p[i + 1] << 8 : 0;
        v |= i + 2 < in.n ? (unsigned)(unsigned char)in.p[i + 2] : 0;
        text[n++] = letters[v >> 18];
        text[n++] = letters[v >> 12 & 63];
        text[n++] = i + 1 < in.n ? letters[v >> 6 & 63] : '=';
        text[n++] = i + 2 < in.n ? letters[v & 63] : '=';
    }
    return span_of(text, n);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

struct span base64_decode(struct arena *arena, struct span in)
{
    char *out = arena_alloc(arena, in.n / 4 * 3 + 3 + JSON_PADDING);
    unsigned bits = 0, have = 0;
    size_t n = 0, padding = 0;
    if (!out)
        return span_of(NULL, 0);
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
            continue;
        if (c == '=') {
            padding++;
            continue;
        }
        int v = base64_value(c);
        if (v < 0 || padding)
            return span_of(NULL, 0);
        bits = bits << 6 | (unsigned)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (char)(bits >> have & 0xFF);
        }
    }
    return have == 6 || padding > 2 ? span_of(NULL, 0) : span_of(out, n);
}

struct span jwt_payload(struct arena *arena, struct span token)
{
    ptrdiff_t first = span_find_char(token, '.');
    if (first < 0)
        return span_of(NULL, 0);
    struct span rest = span_from(token, (size_t)first + 1);
    ptrdiff_t second = span_find_char(rest, '.');
    if (second <= 0 || span_find_char(span_from(rest, (size_t)second + 1), '.') >= 0)
        return span_of(NULL, 0);
    struct span json = base64_decode(arena, span_first(rest, (size_t)second));
    return json.n && json.p[0] == '{' ? json : span_of(NULL, 0);
}

int percent_encode(struct buffer *out, struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool plain = ascii_is_alnum((char)c) || c == '-' || c == '.' || c == '_' || c == '~';
        char escaped[3] = {'%', "0123456789ABCDEF"[c >> 4], "0123456789ABCDEF"[c & 15]};
        buffer_append(out, plain ? span_of(&text.p[i], 1) : span_of(escaped, 3));
    }
    return out->error;
}

struct span format_utc(struct arena *arena, int64_t unix_ms, const char *format)
{
    char text[128];
    struct tm tm;
    time_t seconds = (time_t)(unix_ms / 1000);
    gmtime_r(&seconds, &tm);
    return arena_dup(arena, span_of(text, strftime(text, sizeof text, format, &tm)));
}
