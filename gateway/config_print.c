/*
 * gateway/config_print.c - `dragoman check`: the configuration as it was understood, every default
 * filled in, every secret masked.
 *
 * The walk of the schema once more; types print themselves. What is printed is meant for reading,
 * not for loading again: a masked secret is no TOML.
 */
#include "gateway/config_schema.h"

void config_print_table(struct buffer *out, const struct schema *schema, const void *record)
{
    for (const struct schema_key *key = schema->keys; key->name; key++) {
        if (key->type->print_block) {
            key->type->print_block(out, key, record);
        } else if (key->type->print) {
            buffer_printf(out, "%s = ", key->name);
            key->type->print(out, key, record);
            buffer_char(out, '\n');
        }
    }
}

void config_print(const struct config *config, struct buffer *out)
{
    buffer_append(out, SPAN("# "));
    buffer_append(out, config->file.n ? config->file : SPAN("the built-in demo configuration"));
    buffer_char(out, '\n');
    config_print_table(out, &schema_root, config);
}
