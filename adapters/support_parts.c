/*
 * adapters/support_parts.c - what is in a part: its bytes, its base64, its true type
 * (adapters/support.h).
 *
 * Types are read off the first bytes, whatever the client or a server calls them: apps send
 * image/jpg, application/octet-stream or nothing at all, and sites believe what they are told.
 */
#include <mbedtls/md.h>

#include "adapters/support.h"

/* ---- the types of pictures ---- */

static bool has_at(struct span bytes, size_t at, struct span mark)
{
    return span_starts(span_from(bytes, at), mark);
}

/* ISO/IEC 14496-12: `ftyp`, the major brand, a version, and the brands that fit as well. */
static struct span boxed_type(struct span bytes)
{
    static const struct {
        struct span brand, type;
    } brands[] = {
        {SPAN_INIT("avif"), SPAN_INIT("image/avif")}, {SPAN_INIT("avis"), SPAN_INIT("image/avif")},
        {SPAN_INIT("heic"), SPAN_INIT("image/heic")}, {SPAN_INIT("heix"), SPAN_INIT("image/heic")},
        {SPAN_INIT("heim"), SPAN_INIT("image/heic")}, {SPAN_INIT("heis"), SPAN_INIT("image/heic")},
        {SPAN_INIT("hevc"), SPAN_INIT("image/heic")},
    };
    enum { MAJOR = 8, COMPATIBLE = 16 };
    size_t end = (size_t)(unsigned char)bytes.p[2] << 8 | (unsigned char)bytes.p[3];
    end = end < bytes.n ? end : bytes.n;
    for (size_t at = MAJOR; at + 4 <= end; at = at == MAJOR ? COMPATIBLE : at + 4) {
        for (size_t i = 0; i < sizeof brands / sizeof *brands; i++) {
            if (has_at(bytes, at, brands[i].brand))
                return brands[i].type;
        }
    }
    bool general = has_at(bytes, MAJOR, SPAN("mif1")) || has_at(bytes, MAJOR, SPAN("msf1"));
    return general ? SPAN("image/heif") : SPAN("");
}

/* "BM" alone is the beginning of many a text: the reserved bytes and the header's size count. */
static bool is_bitmap(struct span bytes)
{
    static const unsigned char sizes[] = {12, 40, 52, 56, 64, 108, 124};
    static const char nothing[4] = {0};
    if (bytes.n < 18 || !span_starts(bytes, SPAN("BM")) || memcmp(bytes.p + 6, nothing, 4) != 0 ||
        memcmp(bytes.p + 15, nothing, 3) != 0)
        return false;
    return memchr(sizes, (unsigned char)bytes.p[14], sizeof sizes) != NULL;
}

struct span picture_type_of(struct span bytes)
{
    if (span_starts(bytes, SPAN("\x89PNG\r\n\x1A\n")))
        return SPAN("image/png");
    if (span_starts(bytes, SPAN("\xFF\xD8\xFF")))
        return SPAN("image/jpeg");
    if (span_starts(bytes, SPAN("GIF87a")) || span_starts(bytes, SPAN("GIF89a")))
        return SPAN("image/gif");
    if (span_starts(bytes, SPAN("RIFF")) && has_at(bytes, 8, SPAN("WEBP")))
        return SPAN("image/webp");
    if (bytes.n >= 12 && has_at(bytes, 4, SPAN("ftyp")))
        return boxed_type(bytes);
    return is_bitmap(bytes) ? SPAN("image/bmp") : SPAN("");
}

/* ---- parts ---- */

bool is_media_type(struct span mime)
{
    ptrdiff_t slash = span_find_char(mime, '/');
    for (size_t i = 0; i < mime.n; i++) {
        char c = mime.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '-' || c == '+' || c == '.' || (ptrdiff_t)i == slash))
            return false;
    }
    return slash > 0 && (size_t)slash + 1 < mime.n && mime.n <= 96;
}

bool part_has_data(const struct part *part)
{
    return part->base64.p || (part->data && part->data->fetched);
}

struct span part_bytes(struct turn_run *run, const struct part *part)
{
    struct part_data *data = part->data;
    if (!data)
        return part->base64.p ? base64_decode(run->arena, part->base64) : span_of(NULL, 0);
    if (!data->decoded && !data->fetched && part->base64.p) {
        data->bytes = base64_decode(run->arena, part->base64);
        data->decoded = true;
    }
    return data->bytes;
}

struct span part_base64(struct turn_run *run, const struct part *part)
{
    struct part_data *data = part->data;
    if (!data || !data->fetched)
        return part->base64;
    if (!data->base64.p)
        data->base64 = base64_encode(run->arena, data->bytes);
    return data->base64;
}

struct span part_digest(struct turn_run *run, const struct part *part, struct span bytes)
{
    struct part_data *data = part->data;
    char *digest;
    if (data && data->digest.p)
        return data->digest;
    digest = arena_alloc(run->arena, PART_DIGEST);
    if (!digest || mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256),
                              (const unsigned char *)(bytes.p ? bytes.p : ""), bytes.n,
                              (unsigned char *)digest))
        return span_of(NULL, 0);
    if (data)
        data->digest = span_of(digest, PART_DIGEST);
    return span_of(digest, PART_DIGEST);
}

enum { BEGINNING = 96 /* characters of base64: more than any mark needs */ };

/* The first bytes, without decoding all of them. */
static struct span beginning_of(const struct part *part, struct arena *arena)
{
    if (part->data && part->data->bytes.p)
        return part->data->bytes;
    struct span head = span_first(part->base64, BEGINNING);
    while (head.n % 4 && head.n < part->base64.n)
        head.n--;
    return head.n ? base64_decode(arena, head) : span_of("", 0);
}

struct span part_picture_type(struct turn_run *run, const struct part *part)
{
    struct span true_type = picture_type_of(beginning_of(part, run->arena));
    if (true_type.n)
        return true_type;
    if (span_eq_nocase(part->mime, SPAN("image/jpg")))
        return SPAN("image/jpeg");
    bool picture =
        is_media_type(part->mime) && span_eq_nocase(span_first(part->mime, 6), SPAN("image/"));
    return picture ? part->mime : SPAN("");
}

struct span part_document_type(struct turn_run *run, const struct part *part)
{
    bool known =
        is_media_type(part->mime) && !span_eq_nocase(part->mime, SPAN("application/octet-stream"));
    if (known)
        return part->mime;
    if (!part_has_data(part) && part->text.p)
        return SPAN("text/plain");
    struct span head = beginning_of(part, run->arena), picture = picture_type_of(head);
    if (span_starts(head, SPAN("%PDF-")))
        return SPAN("application/pdf");
    return picture.n ? picture : SPAN("application/octet-stream");
}
