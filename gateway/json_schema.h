/*
 * gateway/json_schema.h - does a JSON value fit a JSON Schema?
 *
 * Pure, over base/json.h; nothing is ever fetched. What counts are the keywords of the draft
 * 2020-12 that OpenAI documents for structured outputs and the other plain ones:
 *   type enum const, properties required additionalProperties minProperties maxProperties
 *   dependentRequired dependentSchemas dependencies, items prefixItems additionalItems contains
 *   minContains maxContains minItems maxItems uniqueItems, anyOf oneOf allOf not if then else,
 *   $ref within the document, minimum maximum exclusiveMinimum exclusiveMaximum multipleOf,
 *   minLength maxLength
 * An older draft's `items` that is a list counts as prefixItems. Everything else says nothing here:
 * format, pattern (no expression of a stranger's is run), propertyNames, unevaluated…; members that
 * patternProperties may mean are never held to be additional.
 *
 * Schema and value may be hostile: time and stack are bounded, whatever refers to what.
 */
#ifndef DRAGOMAN_GATEWAY_JSON_SCHEMA_H
#define DRAGOMAN_GATEWAY_JSON_SCHEMA_H

#include "base/json.h"

enum json_schema_verdict {
    SCHEMA_FITS,
    SCHEMA_DIFFERS,
    SCHEMA_UNDECIDED /* it would take too long to tell, or too deep a stack */
};

enum { SCHEMA_ERRORS_MAX = 8, SCHEMA_REPORT_SIZE = 1200 };

/* What is wrong, for a person or a model: "$.items[2].price: must be a number; $: …". Valid UTF-8,
 * NUL-terminated; the first SCHEMA_ERRORS_MAX errors, as far as there is room. */
struct json_schema_report {
    char text[SCHEMA_REPORT_SIZE];
    size_t n;
    int errors;
};

/* Is it a schema that json_schema_validate understands? Wrongly typed keywords, unknown types and
 * references that lead nowhere, in circles or out of the document are not. 0, or -1 with one error
 * in the report. */
int json_schema_check(struct json schema, struct json_schema_report *);
/* The schema is one that passed json_schema_check; of any other the keywords that make no sense say
 * nothing. The two values come from two parsers. */
enum json_schema_verdict json_schema_validate(struct json schema, struct json value,
                                              struct json_schema_report *);

#endif
