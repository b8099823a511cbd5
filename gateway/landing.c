/*
 * gateway/landing.c - see landing.h.
 */
#include "gateway/landing.h"

#include <ctype.h>
#include <string.h>

static void html_text(struct buffer *out, struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        switch (text.p[i]) {
        case '<': buffer_append(out, SPAN("&lt;")); break;
        case '>': buffer_append(out, SPAN("&gt;")); break;
        case '&': buffer_append(out, SPAN("&amp;")); break;
        case '"': buffer_append(out, SPAN("&quot;")); break;
        default: buffer_char(out, text.p[i]);
        }
    }
}

static void model_row(void *owner, struct span id, struct span owned_by)
{
    struct buffer *out = owner;
    buffer_append(out, SPAN("<tr><td><code>"));
    html_text(out, id);
    buffer_append(out, SPAN("</code></td><td>"));
    html_text(out, owned_by);
    buffer_append(out, SPAN("</td></tr>\n"));
}

/* The first id that needs no quoting in a shell, in JSON and in HTML; copied, ids live shortly. */
struct example {
    char id[80];
};

static void first_plain(void *owner, struct span id, struct span owned_by)
{
    struct example *example = owner;
    if (example->id[0] || id.n >= sizeof example->id)
        return;
    for (size_t i = 0; i < id.n; i++) {
        if (!isalnum((unsigned char)id.p[i]) && !strchr("./:_-", id.p[i]))
            return;
    }
    memcpy(example->id, id.p, id.n);
}

void landing_page(struct buffer *out, struct catalogue *catalogue, const struct config *config,
                  struct span base, bool show_models)
{
    buffer_append(
        out,
        SPAN(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            "<title>dragoman</title>\n<style>\n"
            ":root{color-scheme:light dark}\n"
            "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 "
            "1rem}\n"
            "code,pre{font:14px/1.5 ui-monospace,monospace}\n"
            "pre{padding:.8rem 1rem;border:1px solid #8886;border-radius:6px;overflow-x:auto}\n"
            "table{border-collapse:collapse}td,th{padding:.15rem 1.2rem .15rem 0;text-align:left}\n"
            ".base{font-size:1.2rem}\n</style></head><body>\n"
            "<h1>dragoman</h1>\n"
            "<p>A translation gateway on your own machine: chat apps and scripts speak OpenAI's "
            "API to it, "
            "it speaks each chat site's own language, with your own accounts.</p>\n"
            "<p>Paste this as the <b>base URL</b> (API address) into your app:</p>\n"
            "<pre class=\"base\">"));
    html_text(out, base);
    buffer_append(out, SPAN("</pre>\n"));
    buffer_append(
        out,
        config->n_keys
            ? SPAN("<p>The API key is one of the keys in your <code>gateway.toml</code>.</p>\n")
            : SPAN("<p>No key is configured: any text will do as the API key, from this machine "
                   "only.</p>\n"));
    buffer_append(out, SPAN("<p>Try it:</p>\n<pre>curl -N "));
    html_text(out, base);
    buffer_append(out, SPAN("/chat/completions \\\n  -H 'Content-Type: application/json' \\\n"));
    if (config->n_keys)
        buffer_append(out, SPAN("  -H 'Authorization: Bearer YOUR-KEY' \\\n"));
    struct example example = {0};
    if (show_models)
        catalogue_each(catalogue, config, first_plain, &example);
    buffer_printf(out,
                  "  -d '{\"model\":\"%s\",\"stream\":true,"
                  "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'</pre>\n",
                  example.id[0] ? example.id : "MODEL");
    if (show_models) {
        buffer_append(out, SPAN("<h2>Models</h2>\n<table><tr><th>id</th><th>site</th></tr>\n"));
        catalogue_each(catalogue, config, model_row, out);
        buffer_append(out, SPAN("</table>\n"));
    } else {
        buffer_append(
            out, SPAN("<p>The models are listed at <code>/v1/models</code> (with a key).</p>\n"));
    }
    buffer_append(out, SPAN("<p><a href=\"/health\">health</a> · <a href=\"/v1/models\">models as "
                            "JSON</a> · dragoman " DRAGOMAN_VERSION "</p>\n"
                            "</body></html>\n"));
}
